//! The engine of Duke: a state machine that decides who is master, without doing any I/O.
//!
//! It opens no socket, reads no clock, no environment and no file, and starts no thread. Whatever
//! happens to a Duke is an [`Input`]; whatever it wants done is an [`Output`]. Time is an argument,
//! randomness is seeded by the caller, so the same inputs always give the same outputs.
//!
//! # The driver's duties
//!
//! 1. Create the engine with [`Engine::new`].
//! 2. Tell it each thing that happens with [`Engine::handle`], and call [`Engine::tick`] no later
//!    than [`Engine::deadline`].
//! 3. After each of these take outputs with [`Engine::poll`] until there are none, in order, before
//!    the next input.
//! 4. Make a [`Output::Persist`] durable, then say so with [`Input::Persisted`]. A newer one replaces
//!    an older one. Until it is durable `poll` gives nothing that depends on it: a vote leaves only
//!    when it is on disk, while watching goes on.
//! 5. A client that is trusted ([`Output::Trust`]) and has asked nothing else since may be answered from
//!    the directory ([`Output::Directory`]) without the engine. Report that with [`Input::Served`] before the
//!    next input that is about any client.
//!
//! ```
//! use duke_core::{Durable, Engine, Input, Output, Secrets, Time, config};
//!
//! let settings = config::parse("duke group mymaster\nduke state /data/duke.state\n").unwrap();
//! let mut engine = Engine::new(settings, Secrets::default(), None::<Durable>, 42, Time::default());
//! while let Some(output) = engine.poll() {
//!     if let Output::Persist { sequence, text: _ } = output {
//!         engine.handle(Time::default(), Input::Persisted { sequence });
//!     }
//! }
//! assert!(engine.deadline().is_none(), "a Duke that was told nothing has nothing to wait for");
//! ```

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::indexing_slicing
    )
)]

mod boundary;
mod closed;
pub mod conf;
mod engine;
mod info;
mod link;
mod mutation;
mod open;
mod outbox;
mod pattern;
mod question;
mod subscription;
mod switchover;
mod words;

use boundary::{id, input, output, secret, time};

pub use closed::{
    config,
    durable::{Durable, DurableError, Member},
    view::View,
};
pub use engine::Engine;
pub use id::{ClientId, LinkId, RequestId, ScriptId};
pub use input::{Input, LinkError, ScriptEnd};
pub use mutation::Mutant;
pub use open::OpenView;
pub use output::{LogLevel, Output};
pub use question::asked_master;
pub use secret::Secrets;
pub use time::Time;
