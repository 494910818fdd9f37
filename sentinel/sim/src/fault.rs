//! What can go wrong: the kinds of faults, one of each kind, and what ends it.

use std::fmt;

use crate::{network::Host, queue::Micros};

/// A kind of fault; a run has some of them and not others.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// A Duke's process dies and is started again with its disk.
    KillDuke,
    /// A Duke's process dies and its disk is lost.
    WipeDuke,
    /// A Duke's process is not run for a while.
    FreezeDuke,
    /// A Duke's clock jumps ahead.
    JumpClock,
    /// A Duke's disk is slow for a while.
    SlowDisk,
    /// A server's process dies and is started again with what its disk has.
    KillNode,
    /// A server's process dies and its disk is lost.
    EmptyNode,
    /// A server's process is not run for a while.
    FreezeNode,
    /// A host loses its power for a while.
    PowerLoss,
    /// Nothing passes from one host to another for a while.
    CutOneWay,
    /// Nothing passes between two hosts for a while.
    Cut,
    /// A host reaches nobody for a while.
    Isolate,
    /// The hosts fall into two halves for a while.
    Split,
    /// A connection is reset.
    Reset,
    /// Everything to and from a host takes longer for a while.
    Lag,
    /// Somebody who does not belong to the group speaks to a Duke.
    Stranger,
    /// The operator asks for a failover.
    Order,
    /// A server's priority changes.
    Priority,
    /// Somebody points a server at another.
    Misdirect,
    /// A server gives whole copies to nobody for a while.
    Withhold,
    /// A Duke's disk writes nothing for a while, and says so.
    FailDisk,
    /// A server's process dies, and for a while somebody else's server is at its address.
    Recycle,
    /// A Duke's process dies, and for a while somebody else pretends to be one at its address.
    Impostor,
    /// A server lets no Duke in for a while.
    Refuse,
    /// A member tells of epochs or generations that cannot be.
    Boast,
    /// A server does not obey the next order to take another role; only where little else goes wrong.
    Disobey,
}

impl Kind {
    /// Those that every kind of group may have.
    pub const ALL: [Self; 20] = [
        Self::KillDuke,
        Self::WipeDuke,
        Self::FreezeDuke,
        Self::JumpClock,
        Self::SlowDisk,
        Self::KillNode,
        Self::EmptyNode,
        Self::FreezeNode,
        Self::PowerLoss,
        Self::CutOneWay,
        Self::Cut,
        Self::Isolate,
        Self::Split,
        Self::Reset,
        Self::Lag,
        Self::Stranger,
        Self::Order,
        Self::Priority,
        Self::Misdirect,
        Self::Withhold,
    ];

    /// Those that only closed groups are asked to bear; [`Self::FailDisk`] open ones, too, but seldom.
    pub const CLOSED: [Self; 5] = [
        Self::FailDisk,
        Self::Recycle,
        Self::Impostor,
        Self::Refuse,
        Self::Boast,
    ];
}

impl Kind {
    /// Whether data servers may lose something by it, or the network may be late: what is lost then need not be
    /// anybody's fault.
    #[must_use]
    pub const fn disturbs(self) -> bool {
        match self {
            Self::KillDuke
            | Self::WipeDuke
            | Self::FreezeDuke
            | Self::JumpClock
            | Self::SlowDisk
            | Self::Stranger
            | Self::Order
            | Self::Priority
            | Self::FailDisk
            | Self::Disobey => false,
            Self::KillNode
            | Self::EmptyNode
            | Self::FreezeNode
            | Self::PowerLoss
            | Self::CutOneWay
            | Self::Cut
            | Self::Isolate
            | Self::Split
            | Self::Reset
            | Self::Lag
            | Self::Misdirect
            | Self::Withhold
            | Self::Recycle
            | Self::Impostor
            | Self::Refuse
            | Self::Boast => true,
        }
    }
}

/// One fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fault {
    /// Its kind.
    pub kind: Kind,
    /// The Duke it is about, if it is about one.
    pub duke: usize,
    /// The node.
    pub node: usize,
    /// Two hosts.
    pub hosts: [Host; 2],
    /// How long it lasts.
    pub time: Micros,
    /// Whatever else has to be decided.
    pub number: u64,
}

impl Fault {
    /// One of this kind, of the first of everybody, that ends at once.
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            duke: 0,
            node: 0,
            hosts: [0; 2],
            time: 0,
            number: 0,
        }
    }
}

/// What ends a fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Undo {
    StartDuke(usize, u32),
    StartNode {
        node: usize,
        life: u32,
        emptied: bool,
    },
    Thaw(Host),
    Mend(Vec<(Host, Host)>),
    Hurry(Host),
    QuickDisk(usize),
    MendDisk(usize),
    Admit(usize),
    Give(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            duke,
            node,
            hosts: [one, other],
            time,
            number,
        } = self;
        write!(
            f,
            "{kind:?} d{} n{} hosts {one} {other} for {time}us, {number}",
            duke + 1,
            node + 1
        )
    }
}
