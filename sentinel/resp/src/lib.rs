//! The Redis wire protocol, both dialects, as bytes in and values out.
//!
//! Decides what is well-formed and what is too large; does no input or output, holds no clock and
//! never panics, whatever bytes it is given.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::indexing_slicing
)]

mod frame;

pub use bytes::{Bytes, BytesMut};

pub use frame::{Frame, Protocol, encode};
