//! The operator and its Dukes on a real cluster: every story here is told with real servers, real
//! containers and real faults.
//!
//! The tests share one cluster and run one after the other; each has a namespace of its own that
//! enforces Pod Security `restricted`.

mod bed;
mod change;
mod discovery;
mod failover;
mod field;
mod packaging;
mod recovery;
mod rest;
mod stories;
