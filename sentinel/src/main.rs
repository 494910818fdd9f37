//! The duke binary.
fn main() {}
