//! Strangers at the group's addresses, and what they say there: somebody else's server where a node was, somebody
//! who pretends to be a Duke where one was.

use duke_core::{LinkError, RequestId};
use duke_resp::{Bytes, Frame};

use super::{Event, Message, World};
use crate::{
    fault::Undo,
    network::{ConnectionId, Kind, Segment, Side},
    queue::Micros,
    server::{Door, no_login, wrong_password},
};

impl World {
    /// A node's process dies, and somebody else's server is at its address until `end`.
    pub(super) fn recycle(&mut self, node: usize, end: Micros, number: u64) {
        if !self.nodes[node].alive {
            return;
        }
        self.kill_node(node, true);
        let doors = [Door::Open, Door::Locked];
        self.nodes[node].squatter = Some(doors[usize::from(!number.is_multiple_of(2))]);
        let (host, life) = (self.nodes[node].host, self.nodes[node].life);
        self.network.listening[host] = true;
        let undo = Undo::StartNode {
            node,
            life,
            emptied: number.is_multiple_of(5),
        };
        self.queue.push(end, Event::Undo(undo));
    }

    /// A Duke's process dies, and somebody pretends to be one at its address until `end`.
    pub(super) fn impersonate(&mut self, duke: usize, end: Micros, number: u64) {
        if self.dukes[duke].engine.is_none() {
            return;
        }
        self.crash_duke(duke, end, false, number % 4 < 2);
        self.dukes[duke].impostor = Some(number);
        self.network.listening[duke] = true;
    }

    /// Whoever is at an address leaves it: its connections are gone.
    pub(super) fn vacate(&mut self, host: usize) {
        for (id, side) in self.connections_of(host) {
            self.close(id, side, LinkError::Reset);
        }
    }

    /// A node lets no Duke in until `end`, and those that are in have to come anew.
    pub(super) fn refuse(&mut self, node: usize, end: Micros) {
        if !self.nodes[node].alive {
            return;
        }
        self.nodes[node].door = Door::Locked;
        self.queue.push(end, Event::Undo(Undo::Admit(node)));
        let host = self.nodes[node].host;
        for (id, side) in self.connections_of(host) {
            let connection = self.network.get(id);
            if side == 1 && connection.is_some_and(|known| matches!(known.kind, Kind::Duke(_))) {
                self.nodes[node].forget(id);
                self.close(id, 1, LinkError::Closed);
            }
        }
    }

    /// Something comes to somebody else's server at a node's address.
    pub(super) fn squatter_hears(
        &mut self,
        door: Door,
        id: ConnectionId,
        side: Side,
        segment: &Segment<Message>,
    ) {
        match segment {
            Segment::Data(Message::Command(request, words)) => {
                let reply = squatter_says(door, words);
                self.send(id, 0, Message::Reply(*request, reply, None));
            }
            Segment::Data(Message::Write) => self.send(id, 0, Message::Refused),
            // It gives its data to nobody who cannot log in there.
            Segment::Data(_) | Segment::End(_) => self.close(id, side, LinkError::Closed),
            Segment::Established => {}
        }
    }

    /// Something comes to whoever pretends to be a Duke.
    pub(super) fn impostor_hears(
        &mut self,
        duke: usize,
        id: ConnectionId,
        side: Side,
        segment: &Segment<Message>,
    ) {
        let Some(number) = self.dukes[duke].impostor else {
            return;
        };
        match segment {
            Segment::Data(Message::Command(request, words)) => {
                let reply = self.impostor_says(duke, number, words);
                let request: RequestId = *request;
                self.send(id, 0, Message::Reply(request, reply, None));
            }
            Segment::End(_) => self.close(id, side, LinkError::Closed),
            Segment::Established | Segment::Data(_) => {}
        }
    }

    /// It agrees with whoever asks, and votes for everybody. One kind does not know the group's password, but the
    /// name of the Duke that was there; the other knows the password, and has a name of its own.
    fn impostor_says(&self, duke: usize, number: u64, words: &[Bytes]) -> Frame {
        let knows_password = !number.is_multiple_of(2);
        let word = |index: usize| {
            let word = words.get(index).map_or(&b""[..], |word| word);
            String::from_utf8_lossy(word).into_owned()
        };
        let text = |text: &str| Frame::bulk(text.to_owned());
        match (word(0).as_str(), word(1).to_ascii_lowercase().as_str()) {
            ("AUTH", _) if knows_password => Frame::ok(),
            ("AUTH", _) => wrong_password(),
            ("PING", _) => Frame::simple("PONG"),
            ("SENTINEL", "myid") if knows_password => text(&format!("{number:040x}")),
            ("SENTINEL", "myid") => text(self.name_of(duke)),
            ("SENTINEL", "is-master-down-by-addr") => {
                let epoch = word(4).parse::<u64>().unwrap_or(0);
                let down = Frame::Integer(1);
                Frame::Array(vec![down, text(&word(5)), Frame::number(epoch)])
            }
            ("DUKE", "recover") => {
                let master = Self::node_address(0);
                let (ip, port) = (master.ip().to_string(), master.port().to_string());
                let said = [&word(2), "yes", "1", "1", "1", "1", &ip, &port];
                Frame::Array(said.into_iter().map(text).collect())
            }
            _ => Frame::ok(),
        }
    }
}

fn squatter_says(door: Door, words: &[Bytes]) -> Frame {
    let first: &[u8] = words.first().map_or(b"", |word| word);
    match first {
        b"AUTH" => wrong_password(),
        _ if door == Door::Locked => no_login(),
        b"PING" => Frame::simple("PONG"),
        b"INFO" => {
            let run_id = "f".repeat(40);
            Frame::bulk(format!(
                "run_id:{run_id}\r\nloading:0\r\nrole:master\r\nmaster_replid:{run_id}\r\nmaster_repl_offset:999999\r\n\
                 db0:keys=1,expires=0\r\n"
            ))
        }
        b"EXEC" => Frame::Array(vec![Frame::ok()]),
        _ => Frame::ok(),
    }
}
