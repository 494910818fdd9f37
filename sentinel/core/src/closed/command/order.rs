//! Orders to move the master to another node: `SENTINEL FAILOVER` and `DUKE HANDOVER`.
//!
//! Decides what is answered, and whether this Duke begins. Both begin the same switchover; they differ in who may
//! ask, and in what is answered when it is under way already.

use std::net::{IpAddr, SocketAddr};

use duke_resp::Frame;

use crate::{
    closed::{Closed, failover::Failover},
    switchover::Cause,
    words::{Words, shortened},
};

impl Closed {
    /// `SENTINEL FAILOVER name [COORDINATED]`: the second form is called off if the master cannot hold writes.
    pub(super) fn order_failover(&mut self, words: Words<'_>) -> Frame {
        let cause = match (words.len(), words.lower(3).as_str()) {
            (3, _) => Cause::Order,
            (_, "coordinated") => Cause::Coordination,
            _ => return Frame::error("ERR Unknown failover option specified"),
        };
        if self.failover != Failover::Idle || self.waits_for_another() {
            return Frame::error("INPROG Failover already in progress");
        }
        self.begin_order(cause)
    }

    /// `DUKE HANDOVER ip port`: moves the master away from this node. May be asked of every Duke, again and again.
    pub(super) fn order_handover(&mut self, words: Words<'_>) -> Frame {
        let ip = words.text(2).parse::<IpAddr>();
        let (Ok(ip), Ok(port)) = (ip, words.text(3).parse::<u16>()) else {
            let word = shortened(words.text(2));
            return Frame::error(format!(
                "ERR '{word}' is no node: write DUKE HANDOVER <ip> <port>"
            ));
        };
        let node = SocketAddr::new(ip, port);
        let Some(master) = self.durable.master.filter(|_| self.durable.memory) else {
            return Frame::error(
                "NOMAJORITY this Duke does not know its group's master yet: ask another one, or again",
            );
        };
        if master != node {
            return Frame::error(format!("NOTMASTER {master} is the master"));
        }
        match self.failover {
            // It gets its own place again: after that it may be moved.
            Failover::Promoting { target, .. } if target == node => {
                Frame::error("INPROG the master is being made anew in its place: ask again")
            }
            Failover::Idle if self.waits_for_another() => Frame::ok(),
            Failover::Idle if self.usable_dukes() < self.durable.majority() => Frame::error(
                "NOMAJORITY too few Dukes are in touch to agree on a hand-over: ask again",
            ),
            Failover::Idle => self.begin_order(Cause::Order),
            Failover::Candidate { .. }
            | Failover::Selecting { .. }
            | Failover::HandingOver { .. }
            | Failover::Promoting { .. } => Frame::ok(),
        }
    }

    fn begin_order(&mut self, cause: Cause) -> Frame {
        if !self.is_writing() {
            return Frame::error("NOMAJORITY this Duke cannot write its state: ask another one");
        }
        if self.durable.memory && self.start_by_order(cause) {
            Frame::ok()
        } else {
            Frame::error("NOGOODSLAVE No suitable replica to promote")
        }
    }

    /// Dukes that could take part in an election now, this one included.
    pub(super) fn usable_dukes(&self) -> usize {
        let up = |peer: &&crate::closed::member::Peer| {
            peer.down.is_none() && peer.wire.up().is_some() && peer.memory == Some(true)
        };
        let others = self.peers.values().filter(up).count();
        others.saturating_add(usize::from(self.durable.memory))
    }
}
