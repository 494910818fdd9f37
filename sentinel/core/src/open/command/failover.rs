//! `SENTINEL FAILOVER` and `RESET`.

use duke_resp::Frame;

use super::sentinel::no_master;
use crate::{
    open::{Open, failover::Failover, master::Master},
    pattern::matches,
    words::Words,
};

impl Open {
    pub(super) fn failover_command(&mut self, words: Words<'_>) -> Frame {
        let name = words.text(2).to_owned();
        if !self.masters.contains_key(&name) {
            return no_master();
        }
        if words.len() > 3 {
            return Frame::error("ERR Unknown failover option specified");
        }
        let done = self.with(&name, Self::order_failover);
        done.unwrap_or_else(no_master)
    }

    /// As stock: nobody else is asked, the order itself is enough.
    fn order_failover(&mut self, master: &mut Master) -> Frame {
        if master.failover != Failover::Idle {
            return Frame::error("INPROG Failover already in progress");
        }
        if self.candidate(master).is_none() {
            return Frame::error("NOGOODSLAVE No suitable replica to promote");
        }
        let epoch = self.next_epoch(master);
        // Nobody else gets this Duke's vote in the epoch it uses itself.
        master.leader_epoch = epoch;
        master.leader = Some(self.conf.sentinel.id.clone());
        self.save();
        self.begin_selection(master, epoch);
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
        Frame::Integer(i64::try_from(names.len()).unwrap_or(i64::MAX))
    }
}
