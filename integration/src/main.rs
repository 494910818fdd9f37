//! The testbed command line.
fn main() {}
