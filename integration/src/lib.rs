//! The testbed: a real Kubernetes on one machine, its images and faults, and what tests stand on.
//!
//! A typed library; the program `testbed` only parses its arguments and calls it.

#![cfg_attr(
    test,
    allow(
        clippy::panic_in_result_fn,
        reason = "a test both asserts and passes errors on"
    )
)]

pub mod audit;
pub mod bench;
pub mod build;
pub mod client;
pub mod cluster;
pub mod debian;
pub mod demo;
pub mod fault;
pub mod image;
pub mod place;
pub mod process;
pub mod progress;
pub mod scene;
pub mod verify;
