//! Connections to servers and other sentinels: when they are made and given up, and what is asked on
//! them regularly.

mod reply;
mod request;

use std::time::Duration;

pub(crate) use self::request::Way;
use super::{
    Open,
    failover::Failover,
    master::Master,
    server::{Purpose, Server},
    timer::{Sleeper, again},
};
use crate::{
    id::LinkId,
    input::LinkError,
    link::{State, Wire},
    output::Output,
    switchover::POLL,
    time::Time,
};

/// Between two connection attempts to somebody who cannot be reached.
pub(super) const RECONNECT: Duration = Duration::from_millis(100);
/// The same for somebody who has not been reached for long.
const RECONNECT_SLOW: Duration = Duration::from_secs(1);
const LONG_SILENCE: Duration = Duration::from_secs(10);
/// Between two looks at a server while something changes.
const INFO_QUICK: Duration = Duration::from_millis(100);
/// The same while a replica is merely out of touch with its master. Sentinel: one second for both.
pub(super) const INFO_UNSETTLED: Duration = Duration::from_secs(1);

/// Whose connection it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Owner {
    /// For commands to a server of this master.
    Command(String, u64),
    /// For the channel of a server of this master.
    Ears(String, u64),
    /// To another sentinel.
    Peer(u64),
}

impl Open {
    /// Connects to, pings, and asks whoever belongs to a master.
    pub(super) fn tend(&mut self, master: &mut Master) {
        for id in master.ids() {
            self.tend_command(master, id);
            self.tend_ears(master, id);
            self.look(master, id);
        }
    }

    fn tend_command(&mut self, master: &mut Master, id: u64) {
        let now = self.now;
        let down_after = master.conf.down_after;
        let quick = master.ping_period(self.periods.ping);
        let hurries = id == master.server.id || master.is_in_doubt(now, quick);
        let slow = self.periods.ping.min(down_after);
        let ping = master.renamed("PING").to_owned();
        let Some(server) = master.server_of_mut(id) else {
            return;
        };
        let period = if hurries || server.is_in_doubt(now, quick) {
            // Perhaps it was not in doubt yet when it was last pinged.
            server.command.hurry(now, quick);
            quick
        } else {
            slow
        };
        if server.command.is_stale(now, down_after)
            && let Some(link) = server.command.up()
        {
            server.command.ended(now);
            server.doubt(now);
            self.forget(link);
        }
        if let State::Idle(due) = server.command.state
            && due <= now
        {
            let host = server.address.host.clone();
            let looked_up = server.address.is_name();
            let socket = server.address.socket();
            if looked_up {
                self.resolve(&host);
            }
            let Some(address) = socket else {
                server.command.state = State::Idle(now.after(RECONNECT_SLOW));
                return;
            };
            let link = LinkId(self.number());
            if let Some(server) = master.server_of_mut(id) {
                server.command.connecting(now, link);
            }
            self.owners
                .insert(link, Owner::Command(master.name.clone(), id));
            self.outbox.overtake(Output::Connect { link, address });
        } else if server.command.wants_ping(now) {
            self.ask(master, id, Purpose::Ping, &[&ping]);
            if let Some(server) = master.server_of_mut(id) {
                server.command.pinged_until(now, again(now, period));
            }
        }
    }

    fn tend_ears(&mut self, master: &mut Master, id: u64) {
        let now = self.now;
        let silence = self.periods.publish.saturating_mul(3);
        let age = self.periods.reconnect;
        let Some(server) = master.server_of_mut(id) else {
            return;
        };
        // Our own hellos come back on it: a link that lives is never silent.
        if let Some(link) = server.ears.up()
            && now.since(server.heard) > silence
            && server.ears.stood_for(now) > age
        {
            server.ears.ended(now);
            self.forget(link);
        }
        // Whoever takes no commands has no channel either.
        if let State::Idle(due) = server.ears.state
            && due <= now
            && server.command.up().is_some()
        {
            let Some(address) = server.address.socket() else {
                server.ears.state = State::Idle(now.after(RECONNECT_SLOW));
                return;
            };
            let link = LinkId(self.number());
            server.ears.connecting(now, link);
            self.owners
                .insert(link, Owner::Ears(master.name.clone(), id));
            self.outbox.overtake(Output::Connect { link, address });
        }
    }

    /// Asks a server for INFO if its turn has come.
    fn look(&mut self, master: &mut Master, id: u64) {
        let due = master
            .server_of(id)
            .is_some_and(|server| server.command.up().is_some() && server.next_info <= self.now);
        if due {
            self.inform(master, id);
        }
    }

    /// Asks a server for INFO now.
    pub(super) fn inform(&mut self, master: &mut Master, id: u64) {
        let info = master.renamed("INFO").to_owned();
        self.ask(master, id, Purpose::Info, &[&info]);
        let next = again(self.now, self.info_period(master, id));
        if let Some(server) = master.server_of_mut(id) {
            server.next_info = next;
        }
    }

    /// How soon a server is asked again.
    fn info_period(&self, master: &Master, id: u64) -> Duration {
        let Some(server) = master.server_of(id) else {
            return self.periods.info;
        };
        let busy = master.odown.is_some() || master.failover.is_on();
        let is_master = master.server.id == id;
        let settled = if is_master {
            !server.reports_slave
        } else {
            server.reports_slave && server.in_touch() && server.follows(&master.server.address)
        };
        let becomes =
            matches!(master.failover, Failover::HandingOver { target, .. } if target == id);
        let period = if becomes {
            POLL
        } else if busy && (!is_master || master.failover.target() == Some(id)) {
            INFO_QUICK
        } else if settled {
            self.periods.info
        } else {
            INFO_UNSETTLED
        };
        period.min(self.periods.info)
    }

    /// Connects to, and pings, another sentinel.
    pub(super) fn tend_peer(&mut self, number: u64) {
        let now = self.now;
        let Some(peer) = self.peers.get(&number) else {
            return;
        };
        let masters = peer
            .masters
            .iter()
            .filter_map(|name| self.masters.get(name));
        let down_after = masters.map(|master| master.conf.down_after).min();
        let down_after = down_after.unwrap_or(self.periods.down_after);
        let period = self.periods.ping.min(down_after);
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        peer.patience = down_after;
        if peer.wire.is_stale(now, down_after)
            && let Some(link) = peer.wire.up()
        {
            peer.wire.ended(now);
            self.forget(link);
        }
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        if let State::Idle(due) = peer.wire.state
            && due <= now
        {
            let host = peer.address.host.clone();
            let socket = peer.address.socket();
            if peer.address.is_name() {
                self.resolve(&host);
            }
            let link = LinkId(self.number());
            let Some(peer) = self.peers.get_mut(&number) else {
                return;
            };
            if let Some(address) = socket {
                peer.wire.connecting(now, link);
                self.owners.insert(link, Owner::Peer(number));
                self.outbox.overtake(Output::Connect { link, address });
            } else {
                peer.wire.state = State::Idle(now.after(RECONNECT_SLOW));
            }
        } else if peer.wire.wants_ping(now) {
            self.ask_peer(number, Purpose::Ping, &["PING"]);
            if let Some(peer) = self.peers.get_mut(&number) {
                peer.wire.pinged_until(now, again(now, period));
            }
        }
        let due = self
            .peers
            .get(&number)
            .and_then(|peer| wire_deadline(&peer.wire));
        self.timers.set(Sleeper::Peer(number), due);
    }

    pub(super) fn link_up(&mut self, link: LinkId) {
        let now = self.now;
        let Some(owner) = self.owners.get(&link).cloned() else {
            return;
        };
        let short = self
            .conf
            .sentinel
            .id
            .get(..8)
            .unwrap_or_default()
            .to_owned();
        match owner {
            Owner::Command(name, id) => {
                let stands = self.with(&name, |open, master| {
                    open.log_in(master, link, &format!("sentinel-{short}-cmd"));
                    if let Some(server) = master.server_of_mut(id) {
                        server.command.stands(now, link);
                        server.next_hello = now;
                        server.doubt(now);
                    }
                });
                debug_assert!(
                    stands.is_some(),
                    "links of masters that are gone are closed"
                );
            }
            Owner::Ears(name, id) => {
                self.with(&name, |open, master| {
                    open.log_in(master, link, &format!("sentinel-{short}-pubsub"));
                    let subscribe = master.renamed("SUBSCRIBE").to_owned();
                    open.say(link, &[&subscribe, super::hello::CHANNEL]);
                    open.outbox.free(Output::Listen { link });
                    if let Some(server) = master.server_of_mut(id) {
                        server.ears.stands(now, link);
                        server.heard = now;
                    }
                });
            }
            Owner::Peer(number) => {
                self.greet_peer(link);
                self.say(
                    link,
                    &["CLIENT", "SETNAME", &format!("sentinel-{short}-cmd")],
                );
                if let Some(peer) = self.peers.get_mut(&number) {
                    peer.wire.stands(now, link);
                    let masters: Vec<String> = peer.masters.iter().cloned().collect();
                    for name in masters {
                        self.with(&name, |_, master| {
                            for witness in master.sentinels.values_mut() {
                                if witness.peer == number {
                                    witness.next_hello = now;
                                    witness.next_opinion = now;
                                }
                            }
                        });
                    }
                }
                self.awake.insert(number);
            }
        }
    }

    fn log_in(&mut self, master: &Master, link: LinkId, name: &str) {
        let (user, password) = (&master.conf.auth_user, &master.conf.auth_pass);
        let auth = master.renamed("AUTH");
        if !password.is_empty() && user.is_empty() {
            self.say(link, &[auth, password]);
        } else if !password.is_empty() {
            self.say(link, &[auth, user, password]);
        }
        self.say(link, &[master.renamed("CLIENT"), "SETNAME", name]);
    }

    /// Sentinel: `sentinel-pass` if there is one, else the own `requirepass`.
    fn greet_peer(&mut self, link: LinkId) {
        let own = &self.conf.sentinel;
        let (user, pass) = (own.sentinel_user.clone(), own.sentinel_pass.clone());
        let local = self.conf.server.requirepass.clone();
        if !pass.is_empty() && !user.is_empty() {
            self.say(link, &["AUTH", &user, &pass]);
        } else if !pass.is_empty() {
            self.say(link, &["AUTH", &pass]);
        } else if !local.is_empty() {
            self.say(link, &["AUTH", &local]);
        }
    }

    /// Closes a connection; it is made anew when it is needed.
    pub(super) fn disconnect(&mut self, link: LinkId) {
        if self.owners.contains_key(&link) {
            self.outbox.overtake(Output::Disconnect { link });
            self.link_down(link, LinkError::Closed);
        }
    }

    /// Ends the connections to a server that is no longer watched.
    pub(super) fn part(&mut self, server: &Server) {
        for link in [server.command.link(), server.ears.link()]
            .into_iter()
            .flatten()
        {
            self.forget(link);
        }
    }

    /// Closes a connection whose owner knows already.
    pub(super) fn forget(&mut self, link: LinkId) {
        self.locals.remove(&link);
        if self.owners.remove(&link).is_some() {
            self.outbox.overtake(Output::Disconnect { link });
        }
    }

    pub(super) fn link_down(&mut self, link: LinkId, error: LinkError) {
        self.locals.remove(&link);
        let Some(owner) = self.owners.remove(&link) else {
            return;
        };
        tracing::debug!(?owner, ?error, "lost a link");
        let now = self.now;
        let slowest = self.periods.ping;
        let lost = |wire: &mut Wire<Purpose>| {
            let long = wire
                .silent_since()
                .is_some_and(|since| now.since(since) > LONG_SILENCE);
            let pause = if long { RECONNECT_SLOW } else { RECONNECT };
            wire.lost(now, RECONNECT, pause.min(slowest))
        };
        match owner {
            Owner::Command(name, id) => {
                self.with(&name, |open, master| {
                    let mut stood = false;
                    if let Some(server) = master.server_of_mut(id) {
                        stood = lost(&mut server.command);
                        server.doubt(now);
                    }
                    open.failover_link_lost(master, id, stood);
                });
            }
            Owner::Ears(name, id) => {
                self.with(&name, |_, master| {
                    if let Some(server) = master.server_of_mut(id) {
                        lost(&mut server.ears);
                    }
                });
            }
            Owner::Peer(number) => {
                if let Some(peer) = self.peers.get_mut(&number) {
                    lost(&mut peer.wire);
                }
                self.awake.insert(number);
            }
        }
    }

    /// When a master is to be looked after again.
    pub(super) fn master_deadline(&self, master: &Master) -> Option<Time> {
        let limit = master
            .conf
            .down_after
            .saturating_add(Duration::from_millis(1));
        let expiry = |wire: &Wire<Purpose>, down: Option<Time>| {
            wire.silent_since()
                .filter(|_| down.is_none())
                .map(|since| since.after(limit))
        };
        let servers = master.servers().flat_map(|server| {
            let up = server.command.up().is_some();
            [
                wire_deadline(&server.command),
                wire_deadline(&server.ears).filter(|_| up && server.ears.up().is_none()),
                expiry(&server.command, server.down),
                up.then_some(server.next_info),
                up.then_some(server.next_hello),
            ]
        });
        let asks = master.consults();
        let sentinels = master.sentinels.values().flat_map(|witness| {
            let peer = self.peers.get(&witness.peer);
            let up = peer.is_some_and(|peer| peer.wire.up().is_some());
            [
                peer.and_then(|peer| expiry(&peer.wire, witness.down)),
                (up && asks).then_some(witness.next_opinion),
                up.then_some(witness.next_hello),
            ]
        });
        let own = [
            Self::election_deadline(master),
            self.failover_deadline(master),
            master.cut.as_ref().map(|cut| cut.until),
        ];
        servers.chain(sentinels).chain(own).flatten().min()
    }
}

fn wire_deadline(wire: &Wire<Purpose>) -> Option<Time> {
    match wire.state {
        State::Idle(due) => Some(due),
        // An open group's connections stand as soon as they are made.
        State::Connecting(_) | State::Greeting(_) => None,
        State::Up(_) => wire.may_ping().then_some(wire.next_ping),
    }
}
