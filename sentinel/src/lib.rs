//! Duke's shell: sockets, disk, clock and signals around the engine of `duke-core`.
//!
//! Decides nothing about who is master. One task, the driver, owns the engine; every connection
//! has a task of its own that hands it events and writes what it says; the state file is written
//! beside the loop. Nothing here knows a command, and nothing here knows Kubernetes.

pub mod argument;
mod connection;
mod driver;
mod errand;
pub mod log;
mod open;
mod ready;
mod run;
pub mod secret;
pub mod store;

pub use connection::{ListenError, LocalError, TlsError};
pub use run::{RunError, run};
