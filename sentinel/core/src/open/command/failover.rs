//! `SENTINEL FAILOVER` and `RESET`.

use duke_resp::Frame;

use super::sentinel::no_master;
use crate::{
    open::{Open, failover::Failover, master::Master},
    pattern::matches,
    switchover::Cause,
    words::Words,
};

impl Open {
    pub(super) fn failover_command(&mut self, words: Words<'_>) -> Frame {
        let name = words.text(2).to_owned();
        if !self.masters.contains_key(&name) {
            return no_master();
        }
        let done = match (words.len(), words.lower(3).as_str()) {
            (3, _) => self.with(&name, Self::order_failover),
            (4, "coordinated") => self.with(&name, Self::coordinate_failover),
            _ => return Frame::error("ERR Unknown failover option specified"),
        };
        done.unwrap_or_else(no_master)
    }

    /// Why no failover can begin now, if none can.
    fn failover_fault(&self, master: &Master) -> Option<Frame> {
        if master.failover != Failover::Idle {
            return Some(Frame::error("INPROG Failover already in progress"));
        }
        let nobody = self.candidate(master).is_none();
        nobody.then(|| Frame::error("NOGOODSLAVE No suitable replica to promote"))
    }

    /// As Valkey 9: an election, and a master that hands over.
    fn coordinate_failover(&mut self, master: &mut Master) -> Frame {
        if let Some(fault) = self.failover_fault(master) {
            return fault;
        }
        if !master.server.info.hands_over {
            return Frame::error("NOGOODPRIMARY Primary does not support FAILOVER command");
        }
        self.stand(master, Cause::Coordination);
        Frame::ok()
    }

    /// As stock: nobody else is asked, the order itself is enough.
    fn order_failover(&mut self, master: &mut Master) -> Frame {
        if let Some(fault) = self.failover_fault(master) {
            return fault;
        }
        master.cause = Cause::Order;
        let epoch = self.next_epoch(master);
        // Nobody else gets this Duke's vote in the epoch it uses itself.
        master.leader_epoch = epoch;
        master.leader = Some(self.conf.sentinel.id.clone());
        let own = self.save();
        self.begin_selection(master, epoch, own);
        Frame::ok()
    }

    pub(super) fn reset_command(&mut self, words: Words<'_>) -> Frame {
        let pattern = words.text(2).as_bytes();
        let meant = self
            .masters
            .keys()
            .filter(|name| matches(pattern, name.as_bytes()));
        let names: Vec<String> = meant.cloned().collect();
        for name in &names {
            self.with(name, Self::reset);
        }
        Frame::number(names.len())
    }
}
