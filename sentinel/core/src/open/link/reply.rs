//! What comes in on connections: answers to what was asked, and what is said on channels.

use duke_resp::Frame;

use crate::{
    id::{LinkId, RequestId},
    link::Wire,
    open::{
        Open,
        link::{Owner, RECONNECT},
        master::Master,
        server::Purpose,
    },
    time::Time,
};

impl Open {
    pub(crate) fn link_heard(&mut self, link: LinkId, message: &Frame) {
        if let Some(Owner::Ears(name, id)) = self.owners.get(&link).cloned() {
            self.with(&name, |open, master| open.published(master, id, message));
        }
    }

    pub(crate) fn replied(&mut self, link: LinkId, request: RequestId, reply: &Frame) {
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
                        let long = was_silent.is_some_and(|since| now.since(since) > RECONNECT);
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
                if *reply == Frame::simple("PONG") {
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
            Some(Purpose::Promotion(epoch)) => self.promoted(master, id, *epoch, reply),
            Some(Purpose::Hello | Purpose::Nothing | Purpose::Order | Purpose::Opinion(..))
            | None => {}
        }
    }
}

/// As Sentinel: a server that loads or has lost its master is alive.
fn ponged(wire: &mut Wire<Purpose>, now: Time, reply: &Frame) {
    let acceptable = if let Frame::Error(text) = reply {
        text.starts_with(b"LOADING") || text.starts_with(b"MASTERDOWN")
    } else {
        *reply == Frame::simple("PONG")
    };
    if acceptable {
        wire.ponged(now);
    } else {
        wire.refused();
    }
}
