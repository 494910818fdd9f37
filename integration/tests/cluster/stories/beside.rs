//! Stories that do not notice each other.

mod lost_together;
mod ownership;
mod reasons;
mod scale_in;
mod secrets;
mod settings;
mod snapshots;
mod volumes;
mod webhook;
