//! Replication: how a replica comes into touch with its master, and what flows then.

use duke_core::LinkError;
use rand::RngExt as _;

use super::{Event, Message, World};
use crate::{
    history::Place,
    network::{ConnectionId, Kind, Segment},
    server::{Answer, Follower, Link, Role},
};

impl World {
    /// A replica connects to whom it follows.
    pub(super) fn seek_master(&mut self, node: usize) {
        let Role::Replica {
            master,
            link: Link::Down(_),
        } = self.nodes[node].role
        else {
            return;
        };
        let Some(to) = self.host_at(master) else {
            return;
        };
        let host = self.nodes[node].host;
        if to == host {
            return;
        }
        let id = self.connect(Kind::Replication, host, to);
        self.nodes[node].heard = self.now;
        self.link(node, Link::Connecting(id));
    }

    fn link(&mut self, node: usize, next: Link) {
        let server = &mut self.nodes[node];
        if let Role::Replica { link, .. } = &mut server.role {
            *link = next;
            server.changed();
        }
    }

    /// A replica gives its connection up.
    pub(super) fn leave_master(&mut self, node: usize, id: ConnectionId) {
        self.close(id, 0, LinkError::TimedOut);
        self.link(node, Link::Down(self.now));
    }

    /// A replica's connection is gone.
    pub(super) fn master_lost(&mut self, node: usize, lost: ConnectionId) {
        let Role::Replica { link, .. } = self.nodes[node].role else {
            return;
        };
        match link {
            Link::Up(id) if id == lost => {
                self.drop_followers(node);
                self.link(node, Link::Down(self.now));
                // One that stood is worth an attempt at once.
                self.seek_master(node);
            }
            Link::Connecting(id) | Link::Copying(id) if id == lost => {
                self.link(node, Link::Down(self.now));
            }
            Link::Up(_) | Link::Connecting(_) | Link::Copying(_) | Link::Down(_) => {}
        }
    }

    /// Whoever follows this server has to come anew.
    pub(super) fn drop_followers(&mut self, node: usize) {
        for follower in std::mem::take(&mut self.nodes[node].followers) {
            self.close(follower.connection, 1, LinkError::Closed);
        }
    }

    /// A replica hears of its master.
    pub(super) fn master_says(
        &mut self,
        node: usize,
        id: ConnectionId,
        segment: &Segment<Message>,
    ) {
        let Role::Replica { link, .. } = self.nodes[node].role else {
            return;
        };
        let (Link::Connecting(known) | Link::Copying(known) | Link::Up(known)) = link else {
            return;
        };
        if known != id {
            if matches!(segment, Segment::End(_)) {
                self.close(id, 0, LinkError::Closed);
            }
            return;
        }
        self.nodes[node].heard = self.now;
        match segment {
            Segment::Established => {
                let place = self.nodes[node].place;
                self.send(id, 1, Message::Sync(place));
            }
            Segment::End(error) => {
                self.close(id, 0, *error);
                self.master_lost(node, id);
            }
            Segment::Data(Message::Continue(place)) => {
                self.nodes[node].advance(*place);
                self.nodes[node].synced = true;
                self.nodes[node].whole = true;
                self.in_touch(node, id);
            }
            Segment::Data(Message::CopyBegins) => self.link(node, Link::Copying(id)),
            Segment::Data(Message::Copy(place)) => {
                // Whoever follows this one has the old data.
                self.drop_followers(node);
                self.nodes[node].copy(*place);
                self.in_touch(node, id);
            }
            Segment::Data(Message::Relay(hello)) if matches!(link, Link::Up(_)) => {
                self.push(node, hello);
            }
            Segment::Data(Message::Stream(place)) if matches!(link, Link::Up(_)) => {
                self.nodes[node].advance(*place);
                self.stream(node);
            }
            Segment::Data(_) => {}
        }
    }

    fn in_touch(&mut self, node: usize, id: ConnectionId) {
        self.link(node, Link::Up(id));
        self.send(id, 1, Message::Acknowledge);
        self.stream(node);
    }

    /// A master hears of a replica.
    pub(super) fn follower_says(&mut self, node: usize, id: ConnectionId, message: &Message) {
        let now = self.now;
        match message {
            Message::Sync(place) => self.bring_up(node, id, *place),
            Message::Acknowledge => {
                let known = |follower: &&mut Follower| follower.connection == id;
                let follower = self.nodes[node].followers.iter_mut().find(known);
                if let Some(follower) = follower {
                    follower.heard = now;
                }
            }
            Message::Command(..)
            | Message::Push(_)
            | Message::Relay(_)
            | Message::Reply(..)
            | Message::Continue(_)
            | Message::CopyBegins
            | Message::Copy(_)
            | Message::Stream(_)
            | Message::Write
            | Message::Written(_)
            | Message::Refused => {}
        }
    }

    fn bring_up(&mut self, node: usize, id: ConnectionId, place: Place) {
        let server = &self.nodes[node];
        let answer = server.answer_to(place);
        let online = answer == Answer::Continue;
        match answer {
            Answer::Refuse => return self.close(id, 1, LinkError::Closed),
            Answer::Continue => {
                let place = server.place;
                self.send(id, 0, Message::Continue(place));
            }
            Answer::Copy => {
                let life = server.life;
                self.send(id, 0, Message::CopyBegins);
                let time = self.options.copying;
                let time = self.rng.random_range(time / 4..=time);
                let connection = id;
                self.queue.push(
                    self.now + time,
                    Event::Copied {
                        node,
                        life,
                        connection,
                    },
                );
            }
        }
        let heard = self.now;
        let Some(from) = self.network.get(id).map(|connection| connection.ends[0]) else {
            return;
        };
        let address = self.address_of(from);
        self.nodes[node].followers.push(Follower {
            connection: id,
            address,
            online,
            heard,
        });
    }

    /// A copy is ready to be sent.
    pub(super) fn copied(&mut self, node: usize, life: u32, connection: ConnectionId) {
        let now = self.now;
        let server = &mut self.nodes[node];
        if server.life != life {
            return;
        }
        let known = |follower: &&mut Follower| follower.connection == connection;
        if let Some(follower) = server.followers.iter_mut().find(known) {
            follower.online = true;
            follower.heard = now;
            let place = server.place;
            self.send(connection, 0, Message::Copy(place));
        }
    }

    /// Tells whoever follows this server how far its stream went.
    pub(super) fn stream(&mut self, node: usize) {
        let place = self.nodes[node].place;
        for index in 0..self.nodes[node].followers.len() {
            let follower = self.nodes[node].followers[index];
            if follower.online {
                self.send(follower.connection, 0, Message::Stream(place));
            }
        }
    }
}
