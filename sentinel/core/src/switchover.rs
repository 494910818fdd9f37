//! Moving the master from one node to another.

/// On whose word a master is replaced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Cause {
    /// Enough Dukes find it down.
    Outage,
    /// Somebody entitled asked for it.
    Order,
    /// The same, and only if the master holds its clients' writes meanwhile, so that nothing is lost.
    Coordination,
}
