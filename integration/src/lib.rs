//! The testbed library.
