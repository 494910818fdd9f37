//! What is known of one data server: its two connections, what it says of itself, and how far it is
//! in a failover.

use std::{collections::BTreeSet, time::Duration};

use duke_resp::Bytes;

use super::address::Address;
use crate::{
    id::RequestId,
    info::{Info, Role},
    link::Wire,
    time::Time,
};

/// What a request to a server or another sentinel was for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Purpose {
    /// Its answer tells nothing.
    Nothing,
    Ping,
    Info,
    /// A hello.
    Hello,
    /// Part of an order, whose answer tells nothing.
    Order,
    /// The EXEC of a promotion in this epoch.
    Promotion(u64),
    /// The EXEC that has the old master follow nowhere, in this epoch.
    Demotion(u64),
    /// That the master takes no writes for a while, for a failover in this epoch.
    Pause(u64),
    /// Whether the peer finds this master down, and its vote, asked for in this epoch or not at all.
    Opinion(String, Option<u64>),
}

/// How far a replica is in following the new master.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reconf {
    None,
    /// It was told then.
    Sent(Time),
    /// It follows, but has not all data yet.
    Following,
    Done,
}

/// One data server.
#[derive(Debug)]
pub(crate) struct Server {
    /// Numbered by the engine, never used twice.
    pub(crate) id: u64,
    pub(crate) address: Address,
    /// The name it had when it was found, for replicas.
    pub(crate) name: String,
    pub(crate) command: Wire<Purpose>,
    pub(crate) ears: Wire<Purpose>,
    /// Since when it answers, but not to us: our credentials are wrong.
    pub(crate) refused: Option<Time>,
    /// When anything was last heard of its channel.
    pub(crate) heard: Time,
    /// When it last answered anything to a PING.
    pub(crate) replied: Time,
    pub(crate) info: Info,
    pub(crate) info_text: Option<Bytes>,
    /// When INFO was last answered on the present connection.
    pub(crate) informed: Option<Time>,
    /// When it was ever last answered.
    pub(crate) info_at: Option<Time>,
    pub(crate) next_info: Time,
    pub(crate) next_hello: Time,
    pub(crate) role_since: Time,
    /// Whether the role it reports is that of a replica; before it reports any, what it should be.
    pub(crate) reports_slave: bool,
    /// It was back then as another process that is a replica: what it held as a master is gone for good.
    pub(crate) role_lost: Option<Time>,
    pub(crate) down: Option<Time>,
    /// When it was last down, to tell the sane from the shaky.
    pub(crate) last_down: Option<Time>,
    /// It restarted then and has not answered PING since.
    pub(crate) rebooted: Option<Time>,
    /// `SCRIPT KILL` was sent while it was down.
    pub(crate) script_kill_sent: bool,
    /// It was master before the present one, and was neither told to follow nor seen following since.
    pub(crate) former: bool,
    pub(crate) reconf: Reconf,
    /// Since when it follows the wrong master.
    pub(crate) stray: Option<Time>,
    /// It is not given orders again before then.
    pub(crate) next_order: Time,
    /// It did not become master when it was told to.
    pub(crate) unfit_until: Option<Time>,
}

impl Server {
    pub(crate) fn new(now: Time, id: u64, address: Address, by_name: bool, slave: bool) -> Self {
        let mut command = Wire::new(now);
        command.owed(now);
        Self {
            id,
            name: address.joined(by_name),
            address,
            command,
            ears: Wire::new(now),
            refused: None,
            heard: now,
            replied: now,
            info: Info::default(),
            info_text: None,
            informed: None,
            info_at: None,
            next_info: now,
            next_hello: now,
            role_since: now,
            reports_slave: slave,
            role_lost: None,
            down: None,
            last_down: None,
            rebooted: None,
            script_kill_sent: false,
            former: false,
            reconf: Reconf::None,
            stray: None,
            next_order: now,
            unfit_until: None,
        }
    }

    /// Whether one of its connections is missing, or of no use because we may do nothing on it.
    pub(crate) fn is_disconnected(&self) -> bool {
        self.refused.is_some() || self.command.up().is_none() || self.ears.up().is_none()
    }

    /// Whether it follows the server at `master`.
    pub(crate) fn follows(&self, master: &Address) -> bool {
        match &self.info.role {
            Role::Replica { host, port, .. } => master.is(host, *port),
            Role::Master | Role::Unknown => false,
        }
    }

    /// Whether it is in touch with its master.
    pub(crate) fn in_touch(&self) -> bool {
        matches!(self.info.role, Role::Replica { link_up: true, .. })
    }

    /// Whether it answers as ever, within `patience`: one more PONG tells nothing.
    pub(crate) fn is_calm(&self, now: Time, patience: Duration) -> bool {
        let owes = self.command.silent_since();
        self.down.is_none()
            && self.rebooted.is_none()
            && self.refused.is_none()
            && self.command.may_ping()
            && owes.is_none_or(|since| now.since(since) <= patience)
    }

    /// Whether it owes an answer for longer than it may take, `quick`, or is down.
    pub(crate) fn is_in_doubt(&self, now: Time, quick: Duration) -> bool {
        let owes = self.command.silent_since();
        self.down.is_some() || owes.is_some_and(|since| now.since(since) >= quick)
    }

    /// Whether it can be talked to and has said what it is.
    pub(crate) fn is_known(&self) -> bool {
        self.command.up().is_some() && self.informed.is_some()
    }

    /// What it said is not what it is any more.
    pub(crate) fn doubt(&mut self, now: Time) {
        self.informed = None;
        self.next_info = now;
        for purpose in self.command.asked.values_mut() {
            if *purpose == Purpose::Info {
                *purpose = Purpose::Nothing;
            }
        }
    }

    /// What was ordered and not answered yet.
    pub(crate) fn orders(&self) -> BTreeSet<RequestId> {
        self.unanswered(|purpose| {
            matches!(
                purpose,
                Purpose::Order | Purpose::Demotion(_) | Purpose::Promotion(_)
            )
        })
    }

    /// Requests of a kind that were not answered yet.
    pub(crate) fn unanswered(&self, is_meant: impl Fn(&Purpose) -> bool) -> BTreeSet<RequestId> {
        let asked = self.command.asked.iter();
        asked
            .filter(|(_, purpose)| is_meant(purpose))
            .map(|(request, _)| *request)
            .collect()
    }

    /// Whether it has been up, as far as this Duke saw, for `span`.
    pub(crate) fn was_up_for(&self, now: Time, span: Duration) -> bool {
        let calm = self.last_down.is_none_or(|last| now.since(last) > span);
        self.down.is_none() && calm
    }
}
