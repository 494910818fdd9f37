//! What servers carry for others: hellos on the channel of an open group's, and writes that wait while a
//! master hands over.

use duke_resp::Bytes;

use super::{Event, Message, World};
use crate::{
    network::ConnectionId,
    queue::{MILLI, Micros},
    server::{Consequence, Postponed},
};

/// Between two looks of a server that is not run, whether it may go on.
const LATER: Micros = 10 * MILLI;

impl World {
    /// What a command brought about besides its answer and a new role.
    pub(super) fn follow_up(&mut self, node: usize, consequence: Consequence) {
        match consequence {
            Consequence::Publish(hello) => {
                let followed = !self.nodes[node].followers.is_empty();
                if followed && self.nodes[node].role == crate::server::Role::Master {
                    // It is part of the stream, as every write is.
                    self.nodes[node].grow(hello.len() as u64);
                    self.stream(node);
                }
                self.push(node, &hello);
            }
            Consequence::Pause(until) => {
                let life = self.nodes[node].life;
                self.queue.push(until, Event::Resume { node, life });
            }
            Consequence::Resume => self.resume(node),
        }
    }

    /// Whoever listens to a server hears of a hello, and whoever listens to its replicas.
    pub(super) fn push(&mut self, node: usize, hello: &Bytes) {
        for index in 0..self.nodes[node].open.subscribers.len() {
            let id = self.nodes[node].open.subscribers[index];
            self.send(id, 0, Message::Push(hello.clone()));
        }
        for index in 0..self.nodes[node].followers.len() {
            let follower = self.nodes[node].followers[index];
            if follower.online {
                self.send(follower.connection, 0, Message::Relay(hello.clone()));
            }
        }
    }

    /// The time is up for which writes were to wait.
    pub(super) fn pause_ends(&mut self, node: usize, life: u32) {
        let server = &self.nodes[node];
        if server.life != life || !server.alive || server.is_paused(self.now) {
            return;
        }
        if self.frozen[server.host] {
            self.queue
                .push(self.now + LATER, Event::Resume { node, life });
        } else {
            self.resume(node);
        }
    }

    /// What waited is taken, in order; some of it may have to wait again.
    fn resume(&mut self, node: usize) {
        for (id, what) in std::mem::take(&mut self.nodes[node].hold.postponed) {
            match what {
                Postponed::Command(request, words) => self.command(node, id, request, &words),
                Postponed::Write => self.client_writes(node, id),
            }
        }
    }

    /// Has a client's write wait, if it must.
    pub(super) fn postpone_write(&mut self, node: usize, id: ConnectionId) -> bool {
        let now = self.now;
        self.nodes[node].postpone(now, id, || Postponed::Write, true)
    }
}
