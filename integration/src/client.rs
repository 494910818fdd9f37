//! What stands in for a group's clients: one that writes all the time, one that fills a server with data
//! and counts it, one that asks the Dukes for the master, one that listens to Sentinel's events. All run
//! where pods are reachable, and tell what they see as lines of JSON; [`run`] holds them from outside.

pub mod bulk;
pub mod discover;
pub mod listen;
pub mod probe;
pub mod run;
pub mod verb;
mod wire;
