//! What comes from Debian: packages the machine needs, programs for images, stock servers and their own tests.

mod fetch;
pub mod package;
pub(crate) mod pick;
pub mod stock;
