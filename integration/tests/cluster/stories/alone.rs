//! Stories that concern whole nodes or the operator itself, or whose times a busy cluster would spoil.

mod deletion;
mod drained_together;
mod drains;
mod rollout;
mod secret_lost;
mod split;
mod upgrade;
