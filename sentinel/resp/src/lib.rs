//! The Redis wire protocol, both dialects, as bytes in and values out.
//!
//! Decides what is well-formed and what is too large; does no input or output, holds no clock and
//! never panics, whatever bytes it is given.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::indexing_slicing
    )
)]

mod frame;
mod front;
mod inline;
mod number;
mod reply;
mod request;

pub use bytes::{Bytes, BytesMut};

pub use frame::{Frame, Protocol, encode};
pub use front::peek;
pub use inline::{UnbalancedQuotes, split_words};
pub use reply::{ReplyDecoder, ReplyError, ReplyLimit};
pub use request::{RequestDecoder, RequestError, RequestLimit};
