//! What the engine and its driver say to each other: inputs, outputs, and the words they are made of.

pub(crate) mod id;
pub(crate) mod input;
pub(crate) mod output;
pub(crate) mod secret;
pub(crate) mod time;
