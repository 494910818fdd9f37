//! A deterministic world around Duke's engine.
//!
//! One seed makes one run: a group of real engines with disks that crash, model data servers, clients,
//! an operator, and a network, in virtual time; what goes wrong is drawn from the seed, too. Invariants
//! are checked after every event ([`World`] shows them to the oracle), and once the faults have ended
//! the group must settle. The same seed gives the same run, to the byte of its log.
//!
//! [`enumerate`] takes no chances: it runs every schedule of a small world up to a bound.
//!
//! Opens no socket, reads no clock, starts no thread; those are the program's.

mod disk;
pub mod enumerate;
mod fault;
mod history;
mod mutant;
mod network;
mod options;
mod oracle;
mod queue;
mod run;
mod server;
mod world;

pub use fault::{Fault, Kind};
pub use mutant::Mutation;
pub use options::{Group, Options};
pub use queue::{MILLI, Micros, SECOND};
pub use run::{Verdict, run};
pub use server::Persistence;
pub use world::World;
