//! What comes in on connections: answers to what was asked, and what is said on channels.

use duke_resp::Frame;

use crate::{
    id::{LinkId, RequestId},
    link::Wire,
    open::{
        Open,
        hello::repeat::payload,
        link::{Owner, RECONNECT},
        master::Master,
        server::Purpose,
    },
    time::Time,
};

impl Open {
    pub(crate) fn link_heard(&mut self, link: LinkId, message: &Frame) {
        let Some(Owner::Ears(name, id)) = self.owners.get(&link) else {
            return;
        };
        if let Some(server) = self
            .masters
            .get_mut(name)
            .and_then(|master| master.server_of_mut(*id))
        {
            server.heard = self.now;
        }
        if let Some(text) = payload(message) {
            self.take_hello(text);
        }
    }

    /// Takes an answer after which nothing is to be done: all is well with whoever gave it, and was. Nearly
    /// all answers are of this kind, and a master is not looked after for each of them. False if it is not.
    fn replied_quietly(&mut self, link: LinkId, request: RequestId, reply: &Frame) -> bool {
        let now = self.now;
        match self.owners.get(&link) {
            Some(Owner::Command(name, id)) => {
                let master = self.masters.get_mut(name);
                let Some(server) = master.and_then(|master| master.server_of_mut(*id)) else {
                    return true;
                };
                match server.command.asked.get(&request) {
                    None | Some(Purpose::Hello | Purpose::Nothing) => {}
                    Some(Purpose::Ping) if is_pong(reply) && server.is_calm(now, RECONNECT) => {
                        server.replied = now;
                        server.command.ponged(now);
                    }
                    Some(_) => return false,
                }
                server.command.asked.remove(&request);
            }
            Some(Owner::Peer(number)) => {
                let Some(peer) = self.peers.get_mut(number) else {
                    return true;
                };
                match peer.wire.asked.get(&request) {
                    None | Some(Purpose::Hello | Purpose::Nothing) => {}
                    Some(Purpose::Ping) if is_pong(reply) && peer.is_calm(now) => {
                        peer.replied = now;
                        peer.wire.ponged(now);
                    }
                    Some(_) => return false,
                }
                peer.wire.asked.remove(&request);
            }
            Some(Owner::Ears(..)) | None => {}
        }
        true
    }

    pub(crate) fn replied(&mut self, link: LinkId, request: RequestId, reply: &Frame) {
        if self.replied_quietly(link, request, reply) {
            return;
        }
        let now = self.now;
        match self.owners.get(&link).cloned() {
            Some(Owner::Command(name, id)) => {
                self.with(&name, |open, master| {
                    let purpose = master
                        .server_of_mut(id)
                        .and_then(|server| server.command.asked.remove(&request));
                    open.answered(master, id, purpose.as_ref(), reply);
                });
            }
            Some(Owner::Peer(number)) => {
                let Some(peer) = self.peers.get_mut(&number) else {
                    return;
                };
                match peer.wire.asked.remove(&request) {
                    Some(Purpose::Ping) => {
                        peer.replied = now;
                        let was_silent = peer.wire.silent_since();
                        ponged(&mut peer.wire, now, reply);
                        self.awake.insert(number);
                        // Who was silent for long may have been found down.
                        let long = was_silent.is_some_and(|since| now.since(since) > peer.patience);
                        if let Some(peer) = self.peers.get(&number).filter(|_| long) {
                            self.touched.extend(peer.masters.iter().cloned());
                        }
                    }
                    Some(Purpose::Opinion(name, epoch)) => {
                        self.with(&name, |open, master| {
                            open.opinion(master, number, epoch, reply);
                        });
                    }
                    Some(_) | None => {}
                }
            }
            Some(Owner::Ears(..)) | None => {}
        }
    }

    fn answered(&mut self, master: &mut Master, id: u64, purpose: Option<&Purpose>, reply: &Frame) {
        let now = self.now;
        match purpose {
            Some(Purpose::Ping) => {
                let kill = master.renamed("SCRIPT").to_owned();
                let Some(server) = master.server_of_mut(id) else {
                    return;
                };
                server.replied = now;
                ponged(&mut server.command, now, reply);
                let begins = |code: &str| {
                    reply
                        .as_error()
                        .is_some_and(|text| text.starts_with(code.as_bytes()))
                };
                server.refused = (begins("NOAUTH") || begins("NOPERM")).then_some(now);
                if is_pong(reply) {
                    server.rebooted = None;
                }
                let busy = matches!(reply, Frame::Error(text) if text.starts_with(b"BUSY"));
                if busy && server.down.is_some() && !server.script_kill_sent {
                    server.script_kill_sent = true;
                    self.ask(master, id, Purpose::Nothing, &[&kill, "KILL"]);
                }
            }
            Some(Purpose::Info) => self.informed(master, id, reply),
            Some(Purpose::Pause(epoch)) => self.pause_answered(master, *epoch, reply),
            Some(Purpose::Demotion(epoch)) => self.demotion_answered(master, *epoch, reply),
            Some(Purpose::Promotion(epoch)) => self.promoted(master, id, *epoch, reply),
            Some(Purpose::Hello | Purpose::Nothing | Purpose::Order | Purpose::Opinion(..))
            | None => {}
        }
    }
}

fn is_pong(reply: &Frame) -> bool {
    matches!(reply, Frame::Simple(text) if *text == "PONG")
}

/// As Sentinel: a server that loads or has lost its master is alive.
fn ponged(wire: &mut Wire<Purpose>, now: Time, reply: &Frame) {
    let acceptable = if let Frame::Error(text) = reply {
        text.starts_with(b"LOADING") || text.starts_with(b"MASTERDOWN")
    } else {
        is_pong(reply)
    };
    if acceptable {
        wire.ponged(now);
    } else {
        wire.refused();
    }
}
