//! The network: which hosts reach each other, and connections as TCP gives them.
//!
//! Within a direction of a connection nothing is lost, doubled or reordered: what cannot pass waits,
//! and passes some time after the way is free again, later the longer it waited. Two connections
//! overtake each other freely. Knows nothing of what the segments mean.

use std::collections::VecDeque;

use duke_core::{LinkError, LinkId, RequestId};
use rand::{RngExt as _, rngs::ChaCha8Rng};

use crate::queue::{MILLI, Micros, Queue};

/// A host's number: Dukes first, then data nodes, then clients, then the operator.
pub(crate) type Host = usize;

/// The first wait before what was lost is sent again.
pub(crate) const RETRANSMISSION: Micros = 200 * MILLI;
/// The longest.
const RETRANSMISSION_MAX: Micros = 30_000 * MILLI;
/// A lost connection request is repeated once before the caller gives up.
const SYN_AGAIN: Micros = 1_000 * MILLI;
/// How long a caller waits for a connection, as Duke's shell does.
const CONNECT_PATIENCE: Micros = 1_500 * MILLI;
/// Connections at a time, a power of two.
const SLOTS: u64 = 4096;

/// A connection's name, never used twice.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// An end of a connection: 0 opened it, 1 listened.
pub(crate) type Side = usize;

/// What a connection is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A Duke's, to another Duke or a data node.
    Duke(LinkId),
    /// A replica's, to its master.
    Replication,
    /// A client's, to the master.
    Client,
}

/// Something that happens in the network.
#[derive(Debug)]
pub(crate) enum Passage<S> {
    /// A connection request arrives.
    Request(ConnectionId),
    /// A segment arrives at a side.
    Arrival(ConnectionId, Side, Segment<S>),
    /// What waits for a side is sent again; after so long, if it is still in vain.
    Again(ConnectionId, Side, Micros),
    /// A caller's patience ends.
    Patience(ConnectionId),
}

/// What travels on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Segment<S> {
    /// The connection stands.
    Established,
    /// The connection ends.
    End(LinkError),
    /// Something said.
    Data(S),
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    /// Its name.
    pub(crate) id: ConnectionId,
    /// What it is for.
    pub(crate) kind: Kind,
    /// Who opened it, and who listened.
    pub(crate) ends: [Host; 2],
    /// Whether it stands, as far as who opened it knows.
    pub(crate) open: bool,
    /// Whether the request for it was answered.
    pub(crate) met: bool,
    /// Whether the listening process knows it.
    pub(crate) joined: bool,
    /// Questions on it that are still to be answered, in order, with the epoch of a vote that was
    /// asked for.
    pub(crate) questions: VecDeque<(RequestId, Option<u64>)>,
    latest: [Micros; 2],
    stalled: [VecDeque<Segment<S>>; 2],
    /// Which end is gone, and whether the other was told.
    gone: [Option<bool>; 2],
}

/// What the network hands to a process.
#[derive(Debug)]
pub(crate) enum Delivery<S> {
    /// Nothing for anybody.
    Nothing,
    /// A segment for this host's process.
    To(Host, ConnectionId, Side, Segment<S>),
    /// A connection attempt of this host failed.
    Failed(Host, ConnectionId, LinkError),
    /// What waited arrives now, in this order, before anything else.
    Release(ConnectionId, Side, VecDeque<Segment<S>>),
}

/// All hosts and connections.
#[derive(Debug)]
pub(crate) struct Network<S> {
    hosts: usize,
    blocked: Vec<bool>,
    /// Whether a host has power.
    pub(crate) powered: Vec<bool>,
    /// Whether its process listens.
    pub(crate) listening: Vec<bool>,
    /// What comes on top of every delay of a host.
    pub(crate) lag: Vec<Micros>,
    /// The shortest and longest way.
    pub(crate) delay: (Micros, Micros),
    /// Lost packets among a thousand.
    pub(crate) loss: u32,
    slots: Vec<Option<Connection<S>>>,
    free: Vec<usize>,
    stamp: u64,
}

impl<S> Network<S> {
    /// Hosts that all reach each other.
    #[must_use]
    pub(crate) fn new(hosts: usize, delay: (Micros, Micros)) -> Self {
        Self {
            hosts,
            blocked: vec![false; hosts * hosts],
            powered: vec![true; hosts],
            listening: vec![true; hosts],
            lag: vec![0; hosts],
            delay,
            loss: 0,
            slots: Vec::new(),
            free: Vec::new(),
            stamp: 0,
        }
    }

    /// Whether nothing passes from one to the other.
    #[must_use]
    pub(crate) fn is_blocked(&self, from: Host, to: Host) -> bool {
        self.blocked[from * self.hosts + to]
    }

    /// Cuts or mends one direction.
    pub(crate) fn block(&mut self, from: Host, to: Host, blocked: bool) {
        self.blocked[from * self.hosts + to] = blocked;
    }

    /// The connection of this name, if it is still there.
    #[must_use]
    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Connection<S>> {
        self.slots
            .get(slot(id))?
            .as_ref()
            .filter(|connection| connection.id == id)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection<S>> {
        self.slots
            .get_mut(slot(id))?
            .as_mut()
            .filter(|connection| connection.id == id)
    }

    /// Every connection, by slot.
    pub(crate) fn connections(&self) -> impl Iterator<Item = &Connection<S>> {
        self.slots.iter().flatten()
    }

    /// Asks for a connection.
    pub(crate) fn connect<E: From<Passage<S>>>(
        &mut self,
        queue: &mut Queue<E>,
        rng: &mut ChaCha8Rng,
        now: Micros,
        kind: Kind,
        ends: [Host; 2],
    ) -> ConnectionId {
        let index = self.free.pop().unwrap_or(self.slots.len());
        self.stamp += 1;
        let id = ConnectionId(self.stamp * SLOTS + index as u64);
        let connection = Connection {
            id,
            kind,
            ends,
            open: false,
            met: false,
            joined: false,
            questions: VecDeque::new(),
            latest: [now; 2],
            stalled: [VecDeque::new(), VecDeque::new()],
            gone: [None; 2],
        };
        if index == self.slots.len() {
            self.slots.push(Some(connection));
        } else {
            self.slots[index] = Some(connection);
        }
        let way = self.way(rng, ends[0], ends[1]);
        queue.push(now + way, Passage::Request(id).into());
        queue.push(now + SYN_AGAIN + way, Passage::Request(id).into());
        queue.push(now + CONNECT_PATIENCE, Passage::Patience(id).into());
        id
    }

    /// Says something to one side of a connection.
    pub(crate) fn send<E: From<Passage<S>>>(
        &mut self,
        queue: &mut Queue<E>,
        rng: &mut ChaCha8Rng,
        now: Micros,
        id: ConnectionId,
        side: Side,
        segment: Segment<S>,
    ) {
        let Some(connection) = self.get(id) else {
            return;
        };
        let (from, to) = (connection.ends[1 - side], connection.ends[side]);
        let way = self.way(rng, from, to);
        if let Some(connection) = self.get_mut(id) {
            let at = (now + way).max(connection.latest[side]);
            connection.latest[side] = at;
            queue.push(at, Passage::Arrival(id, side, segment).into());
        }
    }

    /// One side closes its end; the other hears of it unless the host has no power.
    pub(crate) fn close<E: From<Passage<S>>>(
        &mut self,
        queue: &mut Queue<E>,
        rng: &mut ChaCha8Rng,
        now: Micros,
        id: ConnectionId,
        side: Side,
        error: LinkError,
    ) {
        let Some(connection) = self.get(id).filter(|c| c.gone[side].is_none()) else {
            return;
        };
        let told = self.powered[connection.ends[side]];
        let other_gone = connection.gone[1 - side].is_some();
        if other_gone {
            return self.remove(id);
        }
        if let Some(connection) = self.get_mut(id) {
            connection.gone[side] = Some(told);
            connection.stalled[side].clear();
        }
        if told {
            self.send(queue, rng, now, id, 1 - side, Segment::End(error));
        }
    }

    /// Something passes, or does not.
    pub(crate) fn pass<E: From<Passage<S>>>(
        &mut self,
        queue: &mut Queue<E>,
        rng: &mut ChaCha8Rng,
        now: Micros,
        passage: Passage<S>,
    ) -> Delivery<S> {
        match passage {
            Passage::Request(id) => self.requested(queue, rng, now, id),
            Passage::Arrival(id, side, segment) => self.arrived(queue, rng, now, id, side, segment),
            Passage::Again(id, side, waited) => self.again(queue, now, id, side, waited),
            Passage::Patience(id) => {
                let Some(connection) = self.get(id).filter(|c| !c.open && c.gone[0].is_none())
                else {
                    return Delivery::Nothing;
                };
                let host = connection.ends[0];
                self.remove(id);
                Delivery::Failed(host, id, LinkError::TimedOut)
            }
        }
    }

    fn requested<E: From<Passage<S>>>(
        &mut self,
        queue: &mut Queue<E>,
        rng: &mut ChaCha8Rng,
        now: Micros,
        id: ConnectionId,
    ) -> Delivery<S> {
        let Some(connection) = self.get(id).filter(|c| !c.open && !c.met) else {
            return Delivery::Nothing;
        };
        let [from, to] = connection.ends;
        if self.is_blocked(from, to) || !self.powered[to] {
            return Delivery::Nothing;
        }
        let listens = self.listening[to];
        let answer = if listens {
            Segment::Established
        } else {
            Segment::End(LinkError::Refused)
        };
        if let Some(connection) = self.get_mut(id) {
            // A repeated request finds the first one answered.
            connection.met = true;
            connection.gone[1] = (!listens).then_some(true);
        }
        self.send(queue, rng, now, id, 0, answer);
        Delivery::Nothing
    }

    fn arrived<E: From<Passage<S>>>(
        &mut self,
        queue: &mut Queue<E>,
        rng: &mut ChaCha8Rng,
        now: Micros,
        id: ConnectionId,
        side: Side,
        segment: Segment<S>,
    ) -> Delivery<S> {
        let Some(connection) = self.get(id) else {
            return Delivery::Nothing;
        };
        let (from, to) = (connection.ends[1 - side], connection.ends[side]);
        let waits = !connection.stalled[side].is_empty();
        if waits || self.is_blocked(from, to) || !self.powered[to] {
            self.stall(queue, now, (id, side), segment, RETRANSMISSION);
            return Delivery::Nothing;
        }
        let ends = matches!(segment, Segment::End(_));
        match connection.gone[side] {
            Some(_) if ends => self.remove(id),
            Some(false) => {
                // The process that spoke here is gone, and its host says so only now.
                if let Some(connection) = self.get_mut(id) {
                    connection.gone[side] = Some(true);
                }
                let reset = Segment::End(LinkError::Reset);
                self.send(queue, rng, now, id, 1 - side, reset);
            }
            Some(true) => {}
            None => {
                if let Some(connection) = self.get_mut(id)
                    && matches!(segment, Segment::Established)
                {
                    connection.open = true;
                }
                return Delivery::To(to, id, side, segment);
            }
        }
        Delivery::Nothing
    }

    /// A segment does not arrive now, nor does anything behind it in its direction, until what waits is
    /// sent again after `wait`.
    pub(crate) fn stall<E: From<Passage<S>>>(
        &mut self,
        queue: &mut Queue<E>,
        now: Micros,
        (id, side): (ConnectionId, Side),
        segment: Segment<S>,
        wait: Micros,
    ) {
        if let Some(connection) = self.get_mut(id) {
            if connection.stalled[side].is_empty() {
                queue.push(now + wait, Passage::Again(id, side, wait).into());
            }
            connection.stalled[side].push_back(segment);
        }
    }

    /// Whether a segment that arrives now at a side reaches the process there.
    #[must_use]
    pub(crate) fn is_passable(&self, id: ConnectionId, side: Side) -> bool {
        self.get(id).is_some_and(|connection| {
            let (from, to) = (connection.ends[1 - side], connection.ends[side]);
            let free = connection.stalled[side].is_empty() && connection.gone[side].is_none();
            free && self.powered[to] && !self.is_blocked(from, to)
        })
    }

    fn again<E: From<Passage<S>>>(
        &mut self,
        queue: &mut Queue<E>,
        now: Micros,
        id: ConnectionId,
        side: Side,
        waited: Micros,
    ) -> Delivery<S> {
        let Some(connection) = self.get(id) else {
            return Delivery::Nothing;
        };
        let (from, to) = (connection.ends[1 - side], connection.ends[side]);
        if self.is_blocked(from, to) || !self.powered[to] {
            let wait = (waited * 2).min(RETRANSMISSION_MAX);
            queue.push(now + wait, Passage::Again(id, side, wait).into());
            return Delivery::Nothing;
        }
        let stalled = self
            .get_mut(id)
            .map(|connection| std::mem::take(&mut connection.stalled[side]));
        Delivery::Release(id, side, stalled.unwrap_or_default())
    }

    /// Forgets a connection; whatever is on its way on it is dropped.
    pub(crate) fn remove(&mut self, id: ConnectionId) {
        if self.get(id).is_some() {
            self.slots[slot(id)] = None;
            self.free.push(slot(id));
        }
    }

    /// How long one packet takes, and its repetition if it is lost.
    fn way(&self, rng: &mut ChaCha8Rng, from: Host, to: Host) -> Micros {
        let (shortest, longest) = self.delay;
        let mut way = self.lag[from] + self.lag[to];
        way += if shortest < longest {
            rng.random_range(shortest..=longest)
        } else {
            shortest
        };
        if self.loss > 0 && rng.random_range(0..1000) < self.loss {
            way += RETRANSMISSION;
        }
        way
    }
}

fn slot(id: ConnectionId) -> usize {
    usize::try_from(id.0 % SLOTS).unwrap_or(0)
}
