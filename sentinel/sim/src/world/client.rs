//! Clients: they ask a Duke for the master, write to it, and remember what they were told is done.

use std::net::SocketAddr;

use duke_core::LinkError;
use duke_resp::Frame;
use rand::RngExt as _;

use super::{Event, Message, World};
use crate::{
    network::{ConnectionId, Kind, Segment},
    queue::{MILLI, Micros, SECOND},
};

/// How long a client waits for anything.
const PATIENCE: Micros = SECOND;
/// Before it asks for the master again.
const PAUSE: Micros = 50 * MILLI;

/// One client.
#[derive(Debug, Default)]
pub(super) struct Client {
    /// Which of its attempts this is; whatever belongs to an earlier one is void.
    turn: u64,
    connection: Option<ConnectionId>,
    stands: bool,
    /// Since when the oldest write waits for its answer.
    waiting: Option<Micros>,
    /// When a write was last acknowledged.
    pub(super) served: Micros,
}

impl World {
    /// A client's next step.
    pub(super) fn client_turn(&mut self, client: usize, turn: u64) {
        if self.clients[client].turn != turn {
            return;
        }
        let now = self.now;
        let one = &mut self.clients[client];
        let late = one.waiting.is_some_and(|since| now - since > PATIENCE);
        match one.connection {
            Some(id) if !late => {
                if one.stands {
                    one.waiting.get_or_insert(now);
                    self.send(id, 1, Message::Write);
                }
                let pause = self.options.write_pause;
                self.queue.push(now + pause, Event::Client { client, turn });
            }
            Some(_) => self.start_over(client),
            None => self.discover(client),
        }
    }

    fn start_over(&mut self, client: usize) {
        let one = &mut self.clients[client];
        one.turn += 1;
        one.stands = false;
        one.waiting = None;
        let turn = one.turn;
        if let Some(id) = one.connection.take() {
            self.close(id, 0, LinkError::Closed);
        }
        self.queue
            .push(self.now + PAUSE, Event::Client { client, turn });
    }

    fn client_host(&self, client: usize) -> usize {
        self.options.dukes + self.options.nodes + client
    }

    fn discover(&mut self, client: usize) {
        let duke = self.rng.random_range(0..self.options.dukes);
        let turn = self.clients[client].turn;
        let way = self.options.delay.1;
        if self.is_conversation_possible(self.client_host(client), duke) {
            let discovery = Event::Discovery { client, duke, turn };
            self.queue.push(self.now + way, discovery);
        } else {
            self.queue
                .push(self.now + 4 * PAUSE, Event::Client { client, turn });
        }
    }

    /// A client's question for the master, at a Duke.
    pub(super) fn discovery(&mut self, client: usize, duke: usize, turn: u64) {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"];
        let running = self.dukes[duke].engine.is_some() && !self.frozen[duke];
        let answer = if running {
            self.ask(duke, None, &words)
        } else {
            None
        };
        let master = answer.as_ref().and_then(master_named);
        if let Some(master) = master {
            match self.dukes[duke].disk.kept() {
                Some(kept) if self.is_open() => self.oracle.named_open(duke, master, kept),
                Some(_) | None => self.oracle.named(duke, master),
            }
        }
        let way = self.options.delay.1;
        self.queue.push(
            self.now + way,
            Event::Discovered {
                client,
                turn,
                master,
            },
        );
    }

    /// The answer to it, at the client.
    pub(super) fn discovered(&mut self, client: usize, turn: u64, master: Option<SocketAddr>) {
        if self.clients[client].turn != turn {
            return;
        }
        let Some(to) = master.and_then(|master| self.host_at(master)) else {
            return self.start_over(client);
        };
        let from = self.client_host(client);
        let id = self.connect(Kind::Client, from, to);
        let one = &mut self.clients[client];
        one.connection = Some(id);
        one.waiting = Some(self.now);
        self.queue
            .push(self.now + PAUSE, Event::Client { client, turn });
    }

    /// Something comes to a client.
    pub(super) fn at_client(
        &mut self,
        client: usize,
        id: ConnectionId,
        segment: &Segment<Message>,
    ) {
        if self.clients[client].connection != Some(id) {
            return;
        }
        match segment {
            Segment::Established => {
                let one = &mut self.clients[client];
                one.stands = true;
                one.waiting = None;
            }
            Segment::End(_) | Segment::Data(Message::Refused) => self.start_over(client),
            Segment::Data(Message::Written(place)) => {
                self.history.acknowledge(*place);
                if self.history.is_given_up(*place) {
                    self.oracle.lost_by_order(*place);
                }
                let one = &mut self.clients[client];
                one.waiting = None;
                one.served = self.now;
            }
            Segment::Data(_) => {}
        }
    }
}

/// The address in a Duke's answer.
fn master_named(reply: &Frame) -> Option<SocketAddr> {
    let [ip, port] = reply.as_array()?.first_chunk()?;
    let text = |frame: &Frame| {
        let text = frame.as_text()?;
        Some(String::from_utf8_lossy(text).into_owned())
    };
    Some(SocketAddr::new(
        text(ip)?.parse().ok()?,
        text(port)?.parse().ok()?,
    ))
}
