//! The Pipeline operator.
