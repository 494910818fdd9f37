//! Keeps the cluster as its Pipelines say: observe → resolve → plan → apply → report.

pub mod resolve;
