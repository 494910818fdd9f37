//! Data servers in the world: their processes, and what Dukes and clients say to them.

use duke_core::{LinkError, RequestId};
use duke_resp::Bytes;
use rand::RngExt as _;

use super::{Event, Message, World};
use crate::{
    fault,
    network::{ConnectionId, Kind, Segment, Side},
    options::Group,
    queue::{MILLI, Micros, SECOND},
    server::{Change, Link, Postponed, Role, nowhere},
};

/// What a master says to its replicas now and then, so that they know it is there.
const PING_BYTES: u64 = 14;
/// A client's write.
const WRITE_BYTES: u64 = 64;
/// How long no server may take writes where an order comes to nothing.
const MASTERLESS_MAX: Micros = 900 * MILLI;
/// How often a snapshot is taken, in seconds.
const SNAPSHOT_PERIOD: u64 = 5;

impl World {
    /// A server's once-a-second work.
    pub(super) fn cron(&mut self, node: usize, life: u32) {
        let server = &self.nodes[node];
        if server.life != life || !server.alive {
            return;
        }
        self.queue
            .push(self.now + SECOND, Event::Cron { node, life });
        if self.frozen[server.host] || server.loading {
            return;
        }
        self.keep(node);
        let timeout = self.options.replication_timeout;
        let server = &self.nodes[node];
        match server.role {
            Role::Master => {
                self.ping_followers(node);
            }
            Role::Replica { link, .. } => match link {
                Link::Down(_) => self.seek_master(node),
                Link::Up(id) if self.now - server.heard > timeout => {
                    self.leave_master(node, id);
                    self.seek_master(node);
                }
                // Whoever answered nothing yet may have died before it could, and its host with it.
                Link::Connecting(id) | Link::Copying(id)
                    if self.now - server.heard > timeout.max(4 * SECOND) =>
                {
                    self.leave_master(node, id);
                }
                Link::Up(id) => self.send(id, 1, Message::Acknowledge),
                Link::Connecting(_) | Link::Copying(_) => {}
            },
        }
        self.drop_silent_followers(node, timeout);
    }

    /// What a restart will find.
    fn keep(&mut self, node: usize) {
        use crate::server::Persistence;
        let due = (self.now / SECOND).is_multiple_of(SNAPSHOT_PERIOD);
        let server = &mut self.nodes[node];
        if server.persistence == Persistence::Log || due {
            server.stored = server.place;
        }
    }

    fn ping_followers(&mut self, node: usize) {
        let server = &self.nodes[node];
        // Also while writes are held, as the server does.
        if !server.followers.is_empty() {
            self.nodes[node].grow(PING_BYTES);
            self.stream(node);
        }
    }

    fn drop_silent_followers(&mut self, node: usize, timeout: Micros) {
        let now = self.now;
        let silent: Vec<ConnectionId> = self.nodes[node]
            .followers
            .iter()
            .filter(|follower| follower.online && now - follower.heard > timeout)
            .map(|follower| follower.connection)
            .collect();
        for id in silent {
            self.nodes[node].forget(id);
            self.close(id, 1, LinkError::Closed);
        }
    }

    /// Something comes to a server.
    pub(super) fn at_node(
        &mut self,
        node: usize,
        id: ConnectionId,
        side: Side,
        segment: Segment<Message>,
    ) {
        if let Some(door) = self.nodes[node].squatter {
            return self.squatter_hears(door, id, side, &segment);
        }
        if !self.nodes[node].alive {
            return;
        }
        let Some(kind) = self.network.get(id).map(|connection| connection.kind) else {
            // It failed before it stood: only a replica opens connections here.
            if side == 0 {
                self.master_lost(node, id);
            }
            return;
        };
        match (kind, segment) {
            (Kind::Replication, segment) if side == 0 => self.master_says(node, id, &segment),
            (Kind::Replication, Segment::Data(message)) => self.follower_says(node, id, &message),
            (Kind::Duke(_), Segment::Data(Message::Command(request, words))) => {
                self.command(node, id, request, &words);
            }
            (Kind::Client, Segment::Data(Message::Write)) => self.client_writes(node, id),
            (_, Segment::End(error)) => {
                self.nodes[node].forget(id);
                self.close(id, 1, error);
            }
            (_, Segment::Established | Segment::Data(_)) => {}
        }
    }

    /// A Duke says something to a server.
    pub(super) fn command(
        &mut self,
        node: usize,
        id: ConnectionId,
        request: RequestId,
        words: &[Bytes],
    ) {
        let now = self.now;
        let is = |word: &[u8]| words.first().is_some_and(|first| first[..] == *word);
        let command = || Postponed::Command(request, words.to_vec());
        if self.nodes[node].postpone(now, id, command, is(b"PUBLISH")) {
            return;
        }
        let effect = self.nodes[node].take(now, id, words, &mut self.history);
        let witness = is(b"INFO").then(|| self.nodes[node].witness());
        self.send(id, 0, Message::Reply(request, effect.reply, witness));
        if let Some(change) = effect.change {
            match change {
                Change::Leads => self
                    .oracle
                    .leads_by_order(&self.nodes[node], &mut self.history),
                Change::Follows => {
                    self.makes_way(node);
                    let kept: Vec<_> = self
                        .dukes
                        .iter()
                        .filter_map(|duke| duke.disk.kept())
                        .collect();
                    let server = &self.nodes[node];
                    self.oracle
                        .demoted(server, &kept, &self.nodes, &mut self.history);
                }
            }
            self.role_changed(node, change);
        }
        if effect.kills {
            self.drop_clients(node, Some(id));
        }
        if let Some(consequence) = effect.consequence {
            self.follow_up(node, consequence);
        }
    }

    pub(super) fn client_writes(&mut self, node: usize, id: ConnectionId) {
        if self.postpone_write(node, id) {
            return;
        }
        if self.is_open() {
            self.oracle
                .taken(&self.nodes[node], &self.nodes, &mut self.history);
        }
        let (now, needed) = (self.now, self.options.min_replicas);
        match self.nodes[node].write(now, WRITE_BYTES, needed) {
            Ok(place) => {
                self.history.write(place);
                self.send(id, 0, Message::Written(place));
                self.stream(node);
            }
            Err(_) => self.send(id, 0, Message::Refused),
        }
    }

    /// A server leads or follows since just now.
    pub(super) fn role_changed(&mut self, node: usize, change: Change) {
        if self.is_logging() {
            let name = self.name(self.options.dukes + node);
            let place = self.nodes[node].place;
            self.tell(format_args!(
                "{name} {change:?} at {}:{}",
                place.branch, place.offset
            ));
        }
        self.examine(false, None);
        self.watch_masters();
        self.drop_followers(node);
        let host = self.nodes[node].host;
        for (id, side) in self.connections_of(host) {
            let up = self.network.get(id);
            let to_master = side == 0 && up.is_some_and(|c| c.kind == Kind::Replication);
            if to_master {
                self.close(id, 0, LinkError::Closed);
            }
        }
        if change == Change::Follows {
            self.seek_master(node);
        }
    }

    /// A master that can hold its clients' writes makes way only while it does.
    fn makes_way(&mut self, node: usize) {
        let server = &self.nodes[node];
        let away = matches!(server.role, Role::Replica { master, .. } if master == nowhere());
        let able = server.hold.allowed && self.options.group == Group::Closed;
        if away && able && !server.is_paused(self.now) {
            let address = server.address;
            self.oracle.makes_way_unheld(address);
        }
    }

    /// Where Dukes only obey, nobody is lost for good and servers at most refuse, nobody is without a master for long:
    /// whoever had it make way gives it its role back if it finds nobody else.
    fn watch_masters(&mut self) {
        let mut servers = self.nodes.iter();
        let leads = servers.any(|server| server.alive && server.role == Role::Master);
        let since = match (leads, self.masterless) {
            (false, since) => {
                self.masterless = since.or(Some(self.now));
                return;
            }
            (true, since) => since,
        };
        self.masterless = None;
        let took = self.now - since.unwrap_or(self.now);
        let faults = &self.options.faults;
        let obey = faults
            .iter()
            .all(|kind| matches!(kind, fault::Kind::Order | fault::Kind::Disobey));
        let all_there = !self.lost.contains(&true);
        let quiet = obey && !faults.is_empty() && all_there && self.oracle.has_orders();
        if took > MASTERLESS_MAX && quiet && self.options.group == Group::Closed {
            let took = took / MILLI;
            self.oracle.fail(format!(
                "nobody took writes for {took} ms of an ordered move"
            ));
        }
    }

    /// Closes every connection of clients, Dukes among them, but for one.
    fn drop_clients(&mut self, node: usize, spared: Option<ConnectionId>) {
        let host = self.nodes[node].host;
        for (id, side) in self.connections_of(host) {
            let connection = self.network.get(id);
            let is_client = connection
                .is_some_and(|connection| connection.open && connection.kind != Kind::Replication);
            if side == 1 && is_client && spared != Some(id) {
                self.nodes[node].forget(id);
                self.close(id, 1, LinkError::Closed);
            }
        }
    }

    /// A server's process dies; without power nobody is told.
    pub(super) fn kill_node(&mut self, node: usize, power: bool) {
        let server = &mut self.nodes[node];
        let host = server.host;
        server.alive = false;
        server.loading = false;
        server.followers.clear();
        self.network.powered[host] = power;
        self.network.listening[host] = false;
        self.frozen[host] = false;
        self.inboxes[host].clear();
        for (id, side) in self.connections_of(host) {
            self.close(id, side, LinkError::Reset);
        }
    }

    /// Starts a server's process; `emptied` if its data was lost meanwhile.
    pub(super) fn start_node(&mut self, node: usize, emptied: bool) {
        let now = self.now;
        if self.nodes[node].alive {
            return;
        }
        if self.nodes[node].squatter.is_some() {
            self.vacate(self.nodes[node].host);
        }
        let server = &mut self.nodes[node];
        server.start(now, emptied, &mut self.history);
        if self.options.group == Group::Open && server.role == Role::Master {
            self.oracle.restarted(&self.nodes[node], &mut self.history);
        }
        let server = &mut self.nodes[node];
        server.loading =
            server.place.offset > 0 || server.persistence != crate::server::Persistence::Nothing;
        let (host, life) = (server.host, server.life);
        self.network.powered[host] = true;
        self.network.listening[host] = true;
        let time = self.options.loading;
        let time = self.rng.random_range(time / 4..=time);
        self.queue.push(now + time, Event::Loaded { node, life });
        self.queue.push(now + SECOND, Event::Cron { node, life });
    }

    pub(super) fn loaded(&mut self, node: usize, life: u32) {
        let server = &mut self.nodes[node];
        if server.life == life && server.alive {
            server.loading = false;
            server.changed();
            self.examine(false, None);
        }
    }
}
