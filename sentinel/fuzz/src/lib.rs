//! Whatever a stranger may send, tried by chance. A target takes any bytes and panics if something is
//! wrong; the corpus below `corpus/` holds where chance begins, and every input that ever showed a bug.

mod codec;
mod mutate;
mod stage;
mod story;
mod text;

use std::path::{Path, PathBuf};

pub use mutate::Mutator;

/// One thing that is tried.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// As the command line and the corpus call it.
    pub name: &'static str,
    /// Panics if these bytes show something wrong.
    pub run: fn(&[u8]),
}

/// All there are.
pub const TARGETS: &[Target] = &[
    Target {
        name: "request",
        run: codec::request,
    },
    Target {
        name: "reply",
        run: codec::reply,
    },
    Target {
        name: "sentinel-conf",
        run: text::sentinel_conf,
    },
    Target {
        name: "duke-conf",
        run: text::duke_conf,
    },
    Target {
        name: "state",
        run: text::state,
    },
    Target {
        name: "open-group",
        run: story::open_group,
    },
    Target {
        name: "closed-group",
        run: story::closed_group,
    },
];

/// Where a target's corpus lies.
#[must_use]
pub fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target)
}
