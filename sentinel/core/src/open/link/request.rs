//! What is said on connections, and how it gets past the disk.

use duke_resp::Bytes;

use crate::{
    id::{LinkId, RequestId},
    open::{Open, master::Master, server::Purpose},
    output::Output,
};

/// How a request gets past the disk.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    /// When everything remembered until now is durable.
    Hold,
    /// Then, too, and nothing else waits behind it.
    Apart,
    /// At once, but behind what waits on the same connection.
    Behind,
    /// At once.
    Ahead,
}

impl Way {
    fn of(purpose: &Purpose) -> Self {
        match purpose {
            // A hello may tell of a master the disk does not know of yet.
            Purpose::Hello => Self::Apart,
            Purpose::Nothing | Purpose::Order | Purpose::Promotion(_) => Self::Hold,
            // What a server says of itself must be asked behind the orders that change it. A pause ends by
            // itself, and is the shorter the longer it waits.
            Purpose::Info | Purpose::Demotion(_) | Purpose::Pause(_) => Self::Behind,
            Purpose::Opinion(..) | Purpose::Ping => Self::Ahead,
        }
    }
}

impl Open {
    /// Sends a command to a server, if its connection stands.
    pub(crate) fn ask(&mut self, master: &mut Master, id: u64, purpose: Purpose, words: &[&str]) {
        let way = Way::of(&purpose);
        self.ask_by(way, master, id, purpose, words);
    }

    /// The same, past the disk in another way than what it is for has as a rule.
    pub(crate) fn ask_by(
        &mut self,
        way: Way,
        master: &mut Master,
        id: u64,
        purpose: Purpose,
        words: &[&str],
    ) {
        let request = RequestId(self.number());
        let Some(server) = master.server_of_mut(id) else {
            return;
        };
        let Some(link) = server.command.up() else {
            return;
        };
        server.command.asked.insert(request, purpose);
        self.request(link, request, way, words);
    }

    /// Sends a command to another sentinel, if its connection stands.
    pub(crate) fn ask_peer(&mut self, number: u64, purpose: Purpose, words: &[&str]) {
        let (request, way) = (RequestId(self.number()), Way::of(&purpose));
        let Some(peer) = self.peers.get_mut(&number) else {
            return;
        };
        let Some(link) = peer.wire.up() else { return };
        peer.wire.asked.insert(request, purpose);
        self.request(link, request, way, words);
    }

    fn request(&mut self, link: LinkId, request: RequestId, way: Way, words: &[&str]) {
        let words = words
            .iter()
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect();
        let output = Output::Request {
            link,
            request,
            words,
        };
        match way {
            Way::Hold => self.outbox.hold(output),
            Way::Apart => self.outbox.hold_apart(output),
            Way::Behind => self.outbox.free(output),
            Way::Ahead => self.outbox.overtake(output),
        }
    }

    /// Says something on a link that is only just beginning.
    pub(super) fn say(&mut self, link: LinkId, words: &[&str]) {
        let request = RequestId(self.number());
        self.request(link, request, Way::Behind, words);
    }
}
