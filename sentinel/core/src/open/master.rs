//! One monitored master with its replicas and the sentinels that watch it with us.

pub(super) mod view;

use std::{collections::BTreeMap, time::Duration};

use super::{command::directory::Entry, failover::Failover, peer::Witness, server::Server};
use crate::{
    conf::MasterConf,
    switchover::{Cause, Cut},
    time::Time,
};

/// One group of servers under a master's name.
#[derive(Debug)]
pub(crate) struct Master {
    pub(crate) name: String,
    /// Settings as `SENTINEL SET` knows them; who belongs to it is kept in the other fields.
    pub(crate) conf: MasterConf,
    pub(crate) config_epoch: u64,
    /// For whom this Duke voted last.
    pub(crate) leader: Option<String>,
    pub(crate) leader_epoch: u64,
    pub(crate) server: Server,
    /// By their names.
    pub(crate) replicas: BTreeMap<String, Server>,
    /// By their ids.
    pub(crate) sentinels: BTreeMap<String, Witness>,
    /// Since when enough sentinels find it down.
    pub(crate) odown: Option<Time>,
    pub(crate) failover: Failover,
    /// Why there is one, or was the last.
    pub(crate) cause: Cause,
    /// Clients of the master before, while they are not cut off yet.
    pub(crate) cut: Option<Cut<u64>>,
    pub(crate) candidacy: Candidacy,
    /// When its address last changed, and whether that was this Duke's doing.
    pub(crate) switched: Option<(Time, bool)>,
    /// The sequence under which its present address is on disk.
    pub(crate) switch_saved: u64,
    /// What the directory says of it.
    pub(crate) listed: Option<Entry>,
}

/// What this Duke has done about leading.
#[derive(Debug, Default)]
pub(crate) struct Candidacy {
    pub(crate) due: Option<Time>,
    pub(crate) not_before: Option<Time>,
    /// Elections lost in a row.
    pub(crate) lost: u32,
    /// It was told that there is nobody to promote, or no majority.
    pub(crate) told: Option<&'static str>,
}

impl Master {
    pub(crate) fn new(name: &str, conf: MasterConf, server: Server) -> Self {
        Self {
            name: name.to_owned(),
            config_epoch: conf.config_epoch,
            leader: None,
            leader_epoch: conf.leader_epoch,
            conf,
            server,
            replicas: BTreeMap::new(),
            sentinels: BTreeMap::new(),
            odown: None,
            failover: Failover::Idle,
            cause: Cause::Outage,
            cut: None,
            candidacy: Candidacy::default(),
            switched: None,
            switch_saved: 0,
            listed: None,
        }
    }

    /// The master and its replicas.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.server).chain(self.replicas.values())
    }

    pub(crate) fn servers_mut(&mut self) -> impl Iterator<Item = &mut Server> {
        std::iter::once(&mut self.server).chain(self.replicas.values_mut())
    }

    pub(crate) fn server_of(&self, id: u64) -> Option<&Server> {
        self.servers().find(|server| server.id == id)
    }

    pub(crate) fn server_of_mut(&mut self, id: u64) -> Option<&mut Server> {
        self.servers_mut().find(|server| server.id == id)
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.servers().map(|server| server.id).collect()
    }

    /// Sentinels that must agree to elect one, of all that are known and this Duke.
    pub(crate) fn majority(&self) -> usize {
        let known = self.sentinels.len().saturating_add(1);
        known.checked_div(2).unwrap_or(0).saturating_add(1)
    }

    /// Whether the others are to be asked what they think, or for their votes.
    pub(crate) fn consults(&self) -> bool {
        self.server.down.is_some() || self.failover.candidate_epoch().is_some()
    }

    /// Asks those at once, as soon as they can be, who are not known to find it down.
    pub(crate) fn ask_again(&mut self, now: Time) {
        let witnesses = self.sentinels.values_mut();
        for witness in witnesses.filter(|witness| witness.master_down.is_none()) {
            witness.next_opinion = now;
        }
    }

    /// How many more replicas may be given the master's data just now, by parallel-syncs.
    pub(crate) fn syncs_to_spare(&self, now: Time) -> usize {
        let on_its_way = |server: &&Server| {
            server.next_order > now
                || server.follows(&self.server.address)
                    && !server.in_touch()
                    && server.down.is_none()
        };
        let busy = self.replicas.values().filter(on_its_way).count();
        self.syncs_at_once().saturating_sub(busy)
    }

    /// The parallel-syncs asked for, at least one.
    pub(crate) fn syncs_at_once(&self) -> usize {
        usize::try_from(self.conf.parallel_syncs.max(1)).unwrap_or(usize::MAX)
    }

    pub(crate) fn quorum(&self) -> usize {
        usize::try_from(self.conf.quorum).unwrap_or(usize::MAX)
    }

    /// What a command is called on its servers.
    pub(crate) fn renamed<'a>(&'a self, command: &'a str) -> &'a str {
        self.conf
            .renames
            .get(command)
            .map_or(command, String::as_str)
    }

    /// Whether it may be about to be replaced, or is being replaced.
    pub(crate) fn is_in_doubt(&self, now: Time, quick: Duration) -> bool {
        self.failover.is_on() || self.odown.is_some() || self.server.is_in_doubt(now, quick)
    }

    /// How often the master is pinged, and whoever is in doubt: often enough to see a silence in time,
    /// and never more seldom than the period allows.
    pub(crate) fn ping_period(&self, most: Duration) -> Duration {
        let quarter = self.conf.down_after.checked_div(4).unwrap_or_default();
        quarter.clamp(PING_PERIOD_MIN, PING_PERIOD_MAX).min(most)
    }

    /// Whether nothing is wrong with it: its word is that of the group.
    pub(crate) fn is_sane(&self, now: Time, info_period: Duration) -> bool {
        let fresh = |at| now.since(at) <= info_period.saturating_mul(2);
        self.server.down.is_none()
            && self.odown.is_none()
            && !self.server.reports_slave
            && self.server.informed.is_some_and(fresh)
    }
}

const PING_PERIOD_MIN: Duration = Duration::from_millis(10);
const PING_PERIOD_MAX: Duration = Duration::from_secs(1);
