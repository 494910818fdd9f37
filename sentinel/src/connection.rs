//! Sockets: clients that come, servers and sentinels that are called, and what both have in common.

pub(crate) mod client;
pub(crate) mod directory;
pub(crate) mod entrance;
pub(crate) mod link;
pub(crate) mod listener;
pub(crate) mod outbox;
pub(crate) mod post;
pub(crate) mod tls;

pub use entrance::LocalError;
pub use listener::ListenError;
pub use tls::TlsError;
