//! Where a schedule may leave the usual course, and what happens instead.
//!
//! Decides which events are worth a choice: what a Duke is told by another or by a node, what changes
//! a node or its data, and what a disk has written. Whatever only keeps a connection alive is none.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use duke_resp::Frame;

use super::{Event, Message, Next, World};
use crate::{
    enumerate::Deviation,
    fault::{Fault, Kind},
    network::{ConnectionId, Host, Passage, RETRANSMISSION, Segment, Side},
    queue::{MILLI, Micros},
    server::Role,
};

/// So late comes what others of the same round overtake.
const LATE: Micros = 5 * MILLI;
/// So late comes what the next candidate overtakes: Dukes stand some 20 ms one after the other.
const LATER: Micros = 30 * MILLI;
/// How long a slow disk takes on top.
const SLOW: Micros = 100 * MILLI;
/// After which a process that died is started again: soon enough to meet its own election.
const RESTART: Micros = 50 * MILLI;

/// What a choice is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Choice {
    /// Something arrives at a host's process from another host.
    Arrival {
        from: Host,
        to: Host,
        id: ConnectionId,
        side: Side,
    },
    /// A Duke's disk has written.
    Written(usize),
}

impl Choice {
    /// What may happen instead of the usual.
    pub(crate) fn alternatives(self) -> &'static [Deviation] {
        match self {
            Self::Arrival { .. } => &Deviation::ALL,
            Self::Written(_) => &[
                Deviation::Late,
                Deviation::Crash,
                Deviation::CrashAfter,
                Deviation::Wipe,
                Deviation::Pause,
            ],
        }
    }
}

impl World {
    /// Lets everything happen before `end` up to the next choice, or until an invariant is broken.
    pub(crate) fn run_to_choice(&mut self, end: Micros) -> Option<Choice> {
        while self.oracle.broken().is_none() {
            let choice = match self.next(end) {
                Some(Next::Event) => self.choice(),
                Some(Next::Tick(..)) | None => None,
            };
            if choice.is_some() {
                return choice;
            }
            if !self.step(end) {
                return None;
            }
        }
        None
    }

    /// Lets what was about to happen happen, or something else instead; `number` is the choice's, for the log.
    pub(crate) fn decide(&mut self, number: u32, choice: Choice, deviation: Option<Deviation>) {
        let Some(event) = self.take_event() else {
            return;
        };
        if self.is_logging() {
            let what = self.describe(choice, &event);
            let star = if deviation.is_some() { "**" } else { "" };
            let name = deviation.map_or_else(String::new, |deviation| format!("{deviation}: "));
            self.tell(format_args!("  {star}{number} {name}{what}{star}"));
        }
        match (choice, deviation) {
            (_, None) => self.happen(event),
            (Choice::Arrival { from, to, id, side }, Some(deviation)) => {
                self.deviate_at_arrival(deviation, event, [from, to], (id, side));
            }
            (Choice::Written(duke), Some(deviation)) => {
                self.deviate_at_disk(deviation, event, duke);
            }
        }
    }

    fn describe(&self, choice: Choice, event: &Event) -> String {
        let (from, to) = match choice {
            Choice::Written(duke) => return format!("the disk of {} has written", self.name(duke)),
            Choice::Arrival { from, to, .. } => (self.name(from), self.name(to)),
        };
        let Event::Network(Passage::Arrival(_, _, segment)) = event else {
            return String::new();
        };
        let what = match segment {
            Segment::Data(Message::Command(_, words)) => {
                let words = words.iter().map(|word| String::from_utf8_lossy(word));
                words.collect::<Vec<_>>().join(" ")
            }
            Segment::Data(Message::Reply(_, _, Some(_))) => "answers INFO".to_owned(),
            Segment::Data(Message::Reply(_, frame, None)) => format!("answers {frame:?}"),
            Segment::Data(message) => format!("{message:?}"),
            Segment::Established | Segment::End(_) => format!("{segment:?}"),
        };
        format!("{from} to {to}: {what}")
    }

    fn deviate_at_arrival(
        &mut self,
        deviation: Deviation,
        event: Event,
        [from, to]: [Host; 2],
        end: (ConnectionId, Side),
    ) {
        match deviation {
            Deviation::Late => self.hold_back(event, end, LATE),
            Deviation::Later => self.hold_back(event, end, LATER),
            Deviation::Lost => {
                self.oracle.disturbed();
                self.hold_back(event, end, RETRANSMISSION);
            }
            Deviation::Reset => {
                self.oracle.disturbed();
                self.reset_connection(end.0);
            }
            Deviation::Crash => self.crash(to, false),
            Deviation::Wipe => self.crash(to, true),
            Deviation::CrashAfter => {
                self.happen(event);
                self.crash(to, false);
            }
            Deviation::Pause => {
                self.pause(to);
                self.happen(event);
            }
            Deviation::Cut => {
                self.afflict(Kind::Cut, [to, from]);
                self.happen(event);
            }
            Deviation::Isolate => {
                self.afflict(Kind::Isolate, [to, from]);
                self.happen(event);
            }
        }
    }

    fn deviate_at_disk(&mut self, deviation: Deviation, event: Event, duke: usize) {
        match deviation {
            Deviation::Late => self.queue.push(self.now + SLOW, event),
            Deviation::Crash => self.crash(duke, false),
            Deviation::Wipe => self.crash(duke, true),
            Deviation::CrashAfter => {
                // It had got through, and the process never learns that.
                self.crash_duke(duke, self.now + RESTART, false, true);
            }
            Deviation::Pause => {
                self.pause(duke);
                self.happen(event);
            }
            // Of a connection; a disk is offered none of these.
            Deviation::Later
            | Deviation::Lost
            | Deviation::Reset
            | Deviation::Cut
            | Deviation::Isolate => {
                self.happen(event);
            }
        }
    }

    fn hold_back(&mut self, event: Event, end: (ConnectionId, Side), wait: Micros) {
        if let Event::Network(Passage::Arrival(_, _, segment)) = event {
            let (queue, now) = (&mut self.queue, self.now);
            self.network.stall(queue, now, end, segment, wait);
        }
    }

    /// A host's process dies, and what a disk was writing with it.
    fn crash(&mut self, host: Host, wipe: bool) {
        let end = self.now + RESTART;
        if host < self.options.dukes {
            return self.crash_duke(host, end, wipe, false);
        }
        let kind = if wipe {
            Kind::EmptyNode
        } else {
            Kind::KillNode
        };
        self.strike(Fault {
            node: host - self.options.dukes,
            time: RESTART,
            ..Fault::new(kind)
        });
    }

    /// Lasting trouble for the first host, or between it and the second: longer than others bear.
    fn afflict(&mut self, kind: Kind, hosts: [Host; 2]) {
        self.strike(Fault {
            duke: hosts[0],
            node: hosts[0].saturating_sub(self.options.dukes),
            hosts,
            time: 2 * self.options.down_after * MILLI,
            ..Fault::new(kind)
        });
    }

    fn pause(&mut self, host: Host) {
        let kind = if host < self.options.dukes {
            Kind::FreezeDuke
        } else {
            Kind::FreezeNode
        };
        self.afflict(kind, [host; 2]);
    }

    /// The choice the next event of the queue is, if it is one.
    fn choice(&self) -> Option<Choice> {
        match self.queue.peek()? {
            Event::Written { duke, life } => {
                let one = &self.dukes[*duke];
                let runs = one.life == *life && one.engine.is_some() && !self.frozen[*duke];
                runs.then_some(Choice::Written(*duke))
            }
            Event::Network(Passage::Arrival(id, side, segment)) => {
                let (id, side) = (*id, *side);
                let connection = self.network.get(id)?;
                let (from, to) = (connection.ends[1 - side], connection.ends[side]);
                let heard = self.network.is_passable(id, side) && !self.frozen[to];
                let counts = self.is_running(to)
                    && match segment {
                        Segment::Established => false,
                        // Others are refused again and again.
                        Segment::End(_) => connection.open,
                        Segment::Data(message) => counts(message),
                    };
                (heard && counts).then_some(Choice::Arrival { from, to, id, side })
            }
            Event::Network(_)
            | Event::Cron { .. }
            | Event::Loaded { .. }
            | Event::Resume { .. }
            | Event::Copied { .. }
            | Event::Client { .. }
            | Event::Discovery { .. }
            | Event::Discovered { .. }
            | Event::Operate
            | Event::Trouble
            | Event::Undo(_) => None,
        }
    }

    /// Whether a Duke's or a node's process runs; clients and the operator are left alone.
    fn is_running(&self, host: Host) -> bool {
        let node = host.wrapping_sub(self.options.dukes);
        self.dukes.get(host).map_or_else(
            || self.nodes.get(node).is_some_and(|server| server.alive),
            |duke| duke.engine.is_some(),
        )
    }

    /// Whether a write is about to reach a replica.
    pub(crate) fn is_write_on_its_way(&self) -> bool {
        let arrival = self.queue.peek();
        matches!(
            arrival,
            Some(Event::Network(Passage::Arrival(
                _,
                _,
                Segment::Data(Message::Stream(_))
            )))
        )
    }

    /// What Dukes believe and nodes are, as one number: the same for the same.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for duke in &self.dukes {
            let view = duke.view();
            view.is_some().hash(&mut hasher);
            if let Some(view) = view {
                (view.generation, view.current_epoch, view.config_epoch).hash(&mut hasher);
                (view.memory, view.leader_epoch, view.leader).hash(&mut hasher);
                (view.master, view.master_down).hash(&mut hasher);
                (view.leads, view.target).hash(&mut hasher);
            }
            let kept = duke.disk.kept();
            kept.map(|kept| (kept.current_epoch, kept.leader_epoch, kept.config_epoch))
                .hash(&mut hasher);
        }
        for (host, node) in (self.options.dukes..).zip(&self.nodes) {
            let follows = match node.role {
                Role::Master => None,
                Role::Replica { master, .. } => Some((master, node.in_touch())),
            };
            (node.alive, self.frozen[host], node.loading, follows).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Whether a message is worth a choice.
fn counts(message: &Message) -> bool {
    match message {
        Message::Command(_, words) => {
            let first = words.first().map_or(&b""[..], |word| word);
            !matches!(first, b"PING" | b"INFO" | b"AUTH" | b"MULTI" | b"CLIENT")
        }
        Message::Reply(_, frame, witness) => {
            witness.is_some() || matches!(frame, Frame::Array(_) | Frame::Error(_))
        }
        Message::Sync(_)
        | Message::Continue(_)
        | Message::Copy(_)
        | Message::Stream(_)
        | Message::Write => true,
        Message::CopyBegins
        | Message::Acknowledge
        | Message::Written(_)
        | Message::Refused
        | Message::Relay(_)
        | Message::Push(_) => false,
    }
}
