//! The Pipeline operator: the Kubernetes side.
//!
//! `api` and `render` say what a Pipeline is and which objects it has; `controller` keeps the
//! cluster so: observe → resolve → plan → apply → report. `redis` is the client to data nodes and
//! Dukes, `leadership` decides which replica of the operator works, `serve`, `metrics`,
//! `telemetry` and `shutdown` are what every server needs. Nothing here decides who is master.

pub mod api;
pub mod cli;
pub mod controller;
pub mod leadership;
pub mod metrics;
pub mod redis;
pub mod render;
pub mod run;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
