//! Faults: which comes next, how it begins, how it ends, and the peace afterwards.

use duke_core::LinkError;
use duke_resp::Frame;
use rand::RngExt as _;

use super::{Event, World, duke::Duke};
use crate::{
    fault::{Fault, Kind, Undo},
    network::{ConnectionId, Host},
    queue::{MILLI, Micros},
    server::{Change, Door, Role},
};

/// How long after a fault of a server or of the network is over something may still be lost by it.
const AFTERMATH: Micros = 5_000 * MILLI;

impl World {
    /// Faults happen from now on.
    pub fn unleash(&mut self) {
        self.network.loss = self.options.loss;
        self.queue.push(self.now, Event::Trouble);
    }

    /// The next fault happens, and the one after it is planned.
    pub(super) fn trouble(&mut self) {
        if self.peace || self.options.faults.is_empty() {
            return;
        }
        // Troubles like company.
        let pause = if self.rng.random_bool(0.3) {
            self.rng.random_range(0..5 * MILLI)
        } else {
            self.rng.random_range(0..2 * self.options.fault_pause)
        };
        self.queue.push(self.now + pause, Event::Trouble);
        let fault = self.draw();
        self.strike(fault);
    }

    fn draw(&mut self) -> Fault {
        let kind = self.options.faults[self.rng.random_range(0..self.options.faults.len())];
        let duke = self.rng.random_range(0..self.options.dukes);
        let mut node = self.rng.random_range(0..self.options.nodes);
        let hosts = self.network.lag.len();
        let mut pair = [0, 0].map(|_: Host| self.rng.random_range(0..hosts));
        if self.rng.random_range(0..100) < self.options.aim
            && let Some(master) = self.believed_master()
        {
            node = master;
            let side = self.rng.random_range(0..2);
            pair[side] = self.options.dukes + master;
        }
        let longest = if self.rng.random_bool(0.2) {
            8_000
        } else {
            1_500
        };
        let time = self.rng.random_range(0..longest) * MILLI;
        let number = self.rng.random();
        Fault {
            kind,
            duke,
            node,
            hosts: pair,
            time,
            number,
        }
    }

    /// The node most Dukes hold for the master.
    pub(crate) fn believed_master(&self) -> Option<usize> {
        let mut votes = vec![0; self.nodes.len()];
        for duke in &self.dukes {
            let master = duke.view().and_then(|view| view.master);
            if let Some(node) = master.and_then(|master| self.node_at(master)) {
                votes[node] += 1;
            }
        }
        let most = votes.iter().max().filter(|most| **most > 0)?;
        votes.iter().position(|count| count == most)
    }

    pub(super) fn begin_fault(&mut self, fault: Fault) {
        let Fault {
            kind,
            duke,
            node,
            hosts: [one, other],
            time,
            number,
        } = fault;
        let end = self.now + time;
        let host = self.options.dukes + node;
        if kind.disturbs() {
            self.oracle.disturbed();
            let after = AFTERMATH + self.options.loading + self.options.copying;
            self.disturbed = self.disturbed.max(end + after);
        }
        match kind {
            Kind::KillDuke => self.take_duke_down(duke, end, false),
            Kind::WipeDuke => self.take_duke_down(duke, end, true),
            Kind::FreezeDuke => self.freeze_until(duke, end),
            Kind::FreezeNode => self.freeze_until(host, end),
            Kind::JumpClock => self.jump(duke, time / MILLI),
            Kind::SlowDisk => {
                self.dukes[duke].slow = time / 4;
                self.queue.push(end, Event::Undo(Undo::QuickDisk(duke)));
            }
            Kind::FailDisk => {
                self.dukes[duke].fails = true;
                self.queue.push(end, Event::Undo(Undo::MendDisk(duke)));
            }
            Kind::Recycle => self.recycle(node, end, number),
            Kind::Impostor => self.impersonate(duke, end, number),
            Kind::Refuse => self.refuse(node, end),
            Kind::Boast => self.boast(duke, number),
            Kind::KillNode => self.take_node_down(node, end, false),
            Kind::EmptyNode => self.take_node_down(node, end, true),
            Kind::PowerLoss => self.cut_power(one, end),
            Kind::CutOneWay => self.cut(vec![(one, other)], end),
            Kind::Cut => self.cut(vec![(one, other), (other, one)], end),
            Kind::Isolate => {
                let others = (0..self.network.lag.len()).filter(|other| *other != one);
                let cuts = others.flat_map(|other| [(one, other), (other, one)]);
                self.cut(cuts.collect(), end);
            }
            Kind::Split => self.split(number, end),
            Kind::Reset => self.reset(number),
            Kind::Lag => {
                self.network.lag[one] = time / 20;
                self.queue.push(end, Event::Undo(Undo::Hurry(one)));
            }
            Kind::Disobey => {
                // One at a time: who makes way for somebody who refuses gets its own role back.
                let other = self.nodes.iter().any(|server| server.hold.refuses_next);
                self.nodes[node].hold.refuses_next |= !other && self.masterless.is_none();
            }
            Kind::Stranger => self.strange(duke, node, number),
            Kind::Order => self.order_failover(duke, number),
            Kind::Priority => {
                self.nodes[node].priority = [0, 1, 50, 100, 100][pick(number, 5)];
                self.nodes[node].changed();
            }
            Kind::Misdirect => {
                let target = Self::node_address(pick(number, self.nodes.len()));
                self.misdirect(node, target);
            }
            Kind::Withhold => {
                self.nodes[node].withholds = true;
                self.queue.push(end, Event::Undo(Undo::Give(node)));
            }
        }
    }

    fn take_duke_down(&mut self, duke: usize, end: Micros, wipe: bool) {
        if self.dukes[duke].engine.is_none() {
            return;
        }
        let lucky = self.rng.random();
        self.crash_duke(duke, end, wipe, lucky);
    }

    /// A Duke's process dies and is started again at `end`.
    pub(super) fn crash_duke(&mut self, duke: usize, end: Micros, wipe: bool, lucky: bool) {
        self.kill_duke(duke, true, lucky);
        if wipe {
            self.wipe(duke);
        }
        let life = self.dukes[duke].life;
        self.queue
            .push(end, Event::Undo(Undo::StartDuke(duke, life)));
    }

    fn take_node_down(&mut self, node: usize, end: Micros, emptied: bool) {
        if !self.nodes[node].alive {
            return;
        }
        self.kill_node(node, true);
        let life = self.nodes[node].life;
        self.queue.push(
            end,
            Event::Undo(Undo::StartNode {
                node,
                life,
                emptied,
            }),
        );
    }

    fn cut_power(&mut self, host: Host, end: Micros) {
        let (dukes, nodes) = (self.options.dukes, self.options.nodes);
        if host < dukes {
            if self.dukes[host].engine.is_some() {
                let lucky = self.rng.random();
                self.kill_duke(host, false, lucky);
                let life = self.dukes[host].life;
                self.queue
                    .push(end, Event::Undo(Undo::StartDuke(host, life)));
            }
        } else if host < dukes + nodes && self.nodes[host - dukes].alive {
            let node = host - dukes;
            self.kill_node(node, false);
            let life = self.nodes[node].life;
            self.queue.push(
                end,
                Event::Undo(Undo::StartNode {
                    node,
                    life,
                    emptied: false,
                }),
            );
        }
    }

    fn freeze_until(&mut self, host: Host, end: Micros) {
        self.freeze(host, true);
        self.queue.push(end, Event::Undo(Undo::Thaw(host)));
    }

    fn cut(&mut self, cuts: Vec<(Host, Host)>, end: Micros) {
        for &(from, to) in &cuts {
            self.network.block(from, to, from != to);
        }
        self.queue.push(end, Event::Undo(Undo::Mend(cuts)));
    }

    fn split(&mut self, sides: u64, end: Micros) {
        let hosts = self.network.lag.len();
        let side = |host: Host| sides >> (host % 64) & 1;
        let pairs = (0..hosts).flat_map(|from| (0..hosts).map(move |to| (from, to)));
        let cuts = pairs.filter(|(from, to)| side(*from) != side(*to));
        self.cut(cuts.collect(), end);
    }

    fn reset(&mut self, number: u64) {
        let all: Vec<_> = self.network.connections().map(|known| known.id).collect();
        if all.is_empty() {
            return;
        }
        self.reset_connection(all[pick(number, all.len())]);
    }

    /// Both ends of a connection hear that it is no more; what was on its way is lost.
    pub(super) fn reset_connection(&mut self, id: ConnectionId) {
        let ends = self.network.get(id).map(|connection| connection.ends);
        for (side, host) in ends.into_iter().flatten().enumerate() {
            self.receive(
                host,
                id,
                side,
                crate::network::Segment::End(LinkError::Reset),
            );
        }
        self.network.remove(id);
    }

    fn order_failover(&mut self, duke: usize, number: u64) {
        let running = self.dukes[duke].engine.is_some() && !self.frozen[duke];
        // Where nothing else goes wrong, nobody orders while another order is being obeyed: two Dukes that
        // hold and release one master's writes know nothing of each other.
        let busy = self.is_open() && self.options.is_calm() && self.is_replacing();
        if running && !busy {
            let words = ["SENTINEL", "FAILOVER", "mymaster", "COORDINATED"];
            // Closed groups have one way, which is the second of open ones.
            let count = if self.is_open() {
                3 + pick(number, 2)
            } else {
                3
            };
            let user = (!self.is_open()).then_some(1);
            // From here on nothing may be lost, as long as only Dukes have trouble.
            let strict = !self.is_open() || self.options.is_calm();
            let quiet = strict && self.options.loss == 0 && self.disturbed <= self.now;
            let sure = self.options.hands_over && quiet && self.unsettled().is_none();
            let answer = self.ask(duke, user, &words[..count]);
            // A refusal comes at once, consent when the vote is on disk.
            if sure && !matches!(answer, Some(Frame::Error(_))) {
                self.oracle.order_begun(duke);
            }
            if let Some(Frame::Error(text)) = answer {
                let text = String::from_utf8_lossy(&text).into_owned();
                self.tell(format_args!("d{} refused: {text}", duke + 1));
            } else {
                self.oracle.ordered_failover(duke);
            }
        }
    }

    fn misdirect(&mut self, node: usize, target: std::net::SocketAddr) {
        let (now, server) = (self.now, &mut self.nodes[node]);
        let own = server.address == target;
        if server.alive && !own && server.role != Role::Master && server.follow(now, target) {
            self.role_changed(node, Change::Follows);
        }
    }

    /// Somebody with or without a Duke's password says what no member says.
    fn strange(&mut self, duke: usize, node: usize, number: u64) {
        if self.dukes[duke].engine.is_none() || self.frozen[duke] {
            return;
        }
        // Whatever is due anyway happens before.
        self.tick(duke);
        let Some(view) = self.dukes[duke].view() else {
            return;
        };
        let (epoch, generation) = (view.current_epoch + 1, view.generation);
        let Some(master) = view.master else { return };
        let absurd = u64::MAX / 2 - number % 1000;
        let stranger = format!("{number:040x}");
        let other = self.dukes.iter().filter_map(Duke::view);
        let ids: Vec<String> = other.map(|view| view.id.to_owned()).collect();
        let member = ids[pick(number, ids.len())].clone();
        let (ip, port) = (master.ip().to_string(), master.port().to_string());
        let wrong = Self::node_address(node);
        let user = (!number.is_multiple_of(3)).then_some(2);
        let hello = |id: &str, epoch: u64, config: u64| {
            format!(
                "10.9.9.9,26379,{id},{epoch},mymaster,{},{},{config},{generation}",
                wrong.ip(),
                wrong.port()
            )
        };
        let vote = |epoch: u64, id: &str, generation: u64| {
            let words = ["SENTINEL", "IS-MASTER-DOWN-BY-ADDR", &ip, &port];
            let mut words = words.map(str::to_owned).to_vec();
            words.extend([epoch.to_string(), id.to_owned(), generation.to_string()]);
            words
        };
        let say = |text: String| vec!["PUBLISH".to_owned(), "__sentinel__:hello".to_owned(), text];
        let words = match number % 7 {
            0 => vote(epoch, &stranger, generation),
            1 => vote(absurd, &member, generation),
            2 => say(hello(&stranger, epoch, epoch)),
            3 => say(hello(&member, absurd, absurd)),
            4 if generation > 0 => vote(epoch, &stranger, generation - 1),
            5 => vec![
                "DUKE".into(),
                "SEED".into(),
                "9".into(),
                ip,
                port,
                "9".into(),
            ],
            _ => say(hello(&stranger, absurd, absurd)),
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let before = self.oracle.footprint(duke);
        let answer = self.ask(duke, user, &words);
        if let Some(answer) = answer {
            self.oracle.answered_stranger(duke, &answer);
        }
        if before != self.oracle.footprint(duke) {
            let what = words.join(" ");
            self.oracle
                .fail(format!("d{} was moved by a stranger: {what}", duke + 1));
        }
    }

    /// A hello in a member's name tells of numbers that cannot be. They differ from one such hello to the next: of
    /// what a majority agrees on somebody would have to be able to convince it.
    fn boast(&mut self, duke: usize, number: u64) {
        if self.dukes[duke].engine.is_none() || self.frozen[duke] {
            return;
        }
        self.tick(duke);
        let Some(view) = self.dukes[duke].view() else {
            return;
        };
        let (epoch, generation) = (view.current_epoch, view.generation);
        let others = self.operator.names();
        let others: Vec<&String> = others.iter().filter(|name| **name != view.id).collect();
        let Some(member) = others.get(pick(number / 16, others.len().max(1))) else {
            return;
        };
        let absurd = [u64::MAX - number % 9, (1 << 41) + number % (1 << 60)][pick(number / 4, 2)];
        let (epoch, config, generation) = match number % 4 {
            0 => (absurd, absurd, generation + 1),
            1 => (epoch + 1, absurd, generation + 1),
            2 => (epoch + 1, epoch + 1, absurd),
            _ => (absurd, epoch, generation + 1),
        };
        let wrong = Self::node_address(pick(number / 64, self.nodes.len()));
        let hello = format!(
            "10.9.9.9,26379,{member},{epoch},mymaster,{},{},{config},{generation}",
            wrong.ip(),
            wrong.port()
        );
        let before = self.oracle.footprint(duke);
        self.ask(duke, Some(2), &["PUBLISH", "__sentinel__:hello", &hello]);
        if before != self.oracle.footprint(duke) {
            let what = format!("d{} believed {hello}", duke + 1);
            self.oracle.fail(what);
        }
    }

    pub(super) fn undo(&mut self, undo: Undo) {
        self.end_fault(undo);
        self.examine(false, None);
    }

    fn end_fault(&mut self, undo: Undo) {
        match undo {
            Undo::StartDuke(duke, life) => {
                let dead = self.dukes[duke].engine.is_none() && self.dukes[duke].life == life;
                if dead && !self.lost[duke] {
                    self.tell(format_args!("d{} starts", duke + 1));
                    self.boot(duke);
                }
            }
            Undo::StartNode {
                node,
                life,
                emptied,
            } => {
                let host = self.nodes[node].host;
                if self.nodes[node].life == life && !self.lost[host] {
                    self.tell(format_args!("n{} starts", node + 1));
                    self.start_node(node, emptied);
                }
            }
            Undo::Thaw(host) => {
                if !self.lost[host] {
                    self.freeze(host, false);
                }
            }
            Undo::Mend(cuts) => {
                for (from, to) in cuts {
                    if !self.lost[from] && !self.lost[to] {
                        self.network.block(from, to, false);
                    }
                }
            }
            Undo::Hurry(host) => self.network.lag[host] = 0,
            Undo::QuickDisk(duke) => self.dukes[duke].slow = 0,
            Undo::MendDisk(duke) => self.dukes[duke].fails = false,
            Undo::Admit(node) => self.nodes[node].door = Door::Ours,
            Undo::Give(node) => self.nodes[node].withholds = false,
        }
    }

    /// The faults end. If the run is about a core, some hosts stay cut off for good: never so many
    /// Dukes that no majority is left, and never the node most Dukes hold for the master.
    pub fn make_peace(&mut self) {
        self.peace = true;
        self.network.loss = 0;
        self.tell(format_args!("peace"));
        if self.options.core {
            self.lose_some();
        }
        let pending = self.queue.extract(|event| matches!(event, Event::Undo(_)));
        for event in pending {
            self.happen(event);
        }
        let hosts = self.network.lag.len();
        for host in 0..hosts {
            for other in 0..hosts {
                let apart = host != other && (self.lost[host] || self.lost[other]);
                self.network.block(host, other, apart);
            }
        }
        for node in 0..self.nodes.len() {
            self.nodes[node].priority = self.nodes[node].priority.max(1);
            self.nodes[node].changed();
        }
    }

    fn lose_some(&mut self) {
        let (dukes, nodes) = (self.options.dukes, self.options.nodes);
        // Whoever has no memory needs a majority that has it.
        let remembers = |duke: &usize| {
            let kept = self.dukes[*duke].disk.kept();
            !self.lost[*duke] && kept.is_some_and(|kept| kept.memory)
        };
        let needed = self.options.majority().max(self.options.quorum);
        let spare = (0..dukes).filter(remembers).count().saturating_sub(needed);
        for _ in 0..spare {
            let duke = self.rng.random_range(0..dukes);
            self.lose(duke);
        }
        let master = self.believed_master();
        for node in 0..nodes {
            if self.rng.random_bool(0.3) && master != Some(node) && master.is_some() {
                self.lose(dukes + node);
            }
        }
    }

    fn lose(&mut self, host: Host) {
        let name = self.name(host);
        self.tell(format_args!("{name} is lost"));
        self.lost[host] = true;
    }
}

fn pick(number: u64, count: usize) -> usize {
    usize::try_from(number % count as u64).unwrap_or(0)
}
