//! No emptier node is promoted while a better one may exist.
//!
//! Poor is a node whose process never had a whole copy of the group's data and never was its master, and a master that
//! is back without a single write. A leader may promote one only if every other node answered it in the same
//! election, and none of them holds an acknowledged write that it lacks. Who read more of the master's very history
//! from its disk than the master itself, which is back, is not poor.

use std::net::SocketAddr;

use super::{Belief, Oracle};
use crate::{
    history::History,
    server::{Server, Witness},
};

impl Oracle {
    /// A leader chose whom to promote.
    pub(super) fn check_emptier(
        &mut self,
        duke: usize,
        belief: &Belief,
        target: SocketAddr,
        nodes: &[Server],
        history: &History,
    ) {
        let (Some(chosen), Some(master)) = (Self::host(nodes, target), belief.master) else {
            return;
        };
        let in_place = target == master;
        let said = |server: &Server| {
            let mut all = self.watches[duke].witnesses.iter();
            let found = all.find(|(_, witness)| witness.node == server.host);
            found.map(|(_, witness)| *witness)
        };
        let Some(own) = said(chosen) else { return };
        let holds = |witness: &Witness| history.has_writes(witness.place);
        let poor = if in_place {
            !holds(&own)
        } else {
            !chosen.whole
        };
        // Of one history with the master, and as much of it: then it is as good as the master in its place.
        let lacks = |witness: &Witness| history.lacks(own.place, witness.place).is_some();
        let in_step = |witness: Witness| {
            let same = witness.place.branch == own.place.branch;
            same && holds(&witness) && witness.place.offset <= own.place.offset
        };
        let back = Self::host(nodes, master).and_then(said);
        if !poor || (!in_place && back.is_some_and(in_step)) {
            return;
        }
        let better = nodes.iter().find(|server| {
            let Some(witness) = said(server).filter(|witness| !witness.loading) else {
                // It is away, or cannot tell yet: it may have anything.
                return server.host != chosen.host;
            };
            server.host != chosen.host && holds(&witness) && lacks(&witness)
        });
        if let Some(better) = better {
            let better = better.address;
            self.fail(format!(
                "d{} promotes {target}, which never had a whole copy or is empty, although {better} may have more",
                duke + 1
            ));
        }
    }
}
