//! The agent beside a data server: says whether the server is in sync, and has its mastership handed
//! over before it is stopped.
//!
//! It elects nobody and orders nothing of the server: it asks the server who it is ([`monitor`]),
//! judges by that whether the server may be counted on ([`readiness`]), and, once it is told to stop,
//! asks the Dukes to move the master elsewhere ([`handover`]). What others may ask of it ([`http`])
//! changes nothing.

mod connections;
pub mod handover;
pub mod http;
pub mod monitor;
pub mod readiness;
mod run;
pub mod settings;
#[cfg(test)]
mod stage;
mod wire;

pub use run::run;
