//! What stands in for a group's clients: one that writes all the time, one that listens to Sentinel's
//! events. Both run where pods are reachable, and tell what they see as lines of JSON.

pub mod listen;
pub mod probe;
mod wire;
