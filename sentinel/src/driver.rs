//! The one task that owns the engine: waits for one thing to happen, tells the engine, carries out
//! everything the engine wants, and waits again.
//!
//! Decides nothing about the protocol. Promises the engine that all outputs are taken before the
//! next input, that `tick` comes no later than its deadline while the process may run, and that a
//! state is acknowledged only when it is durable. Logs no input or output whole: some hold passwords.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use duke_core::{ClientId, Engine, Input, LinkId, Output, Time};
use duke_resp::{BytesMut, Frame, Protocol, RequestError, encode};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info};

use crate::connection::client::{ClientEvent, Reception};
use crate::connection::directory::Standing;
use crate::connection::link::{Link, LinkEvent};
use crate::connection::outbox::{End, Outbox, Overflow};
use crate::connection::tls::Caller;
use crate::errand::Errands;
use crate::ready::Ready;
use crate::store::{Store, Written};

/// How long a connection attempt may take; a lost first packet alone costs a second.
const CONNECT_PATIENCE: Duration = Duration::from_millis(1500);
/// Outputs that may wait for a state to become durable. Beyond it clients wait in their sockets, so a
/// disk that hangs cannot make answers pile up without bound.
const HELD_MAX: usize = 4096;

/// Everything the driver listens to.
#[derive(Debug)]
pub(crate) struct Sources {
    pub(crate) clients: mpsc::Receiver<ClientEvent>,
    pub(crate) links: mpsc::Receiver<LinkEvent>,
    /// States that were written, or could not be.
    pub(crate) durable: mpsc::UnboundedReceiver<Written>,
    /// What was found out beside the loop: hosts, files, scripts.
    pub(crate) errands: mpsc::UnboundedReceiver<Input>,
}

/// Subscribers that hear of an event at once.
const SOON: usize = 64;
/// Events of links in a row after which a client has its turn.
const STREAK_MAX: usize = 64;

/// The engine and everything it acts upon.
pub(crate) struct Driver {
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    /// None if no readiness port was configured.
    pub(crate) ready: Option<Ready>,
    pub(crate) link_events: mpsc::Sender<LinkEvent>,
    /// None if links are plain.
    pub(crate) caller: Option<Caller>,
    pub(crate) errands: Errands,
    /// What it shares with the clients' connections.
    reception: Arc<Reception>,
    clients: HashMap<ClientId, Client>,
    links: HashMap<LinkId, Link>,
    /// Clients that were cut off and of which the engine is still to hear.
    dropped: Vec<ClientId>,
    /// Links with commands that are still to be sent.
    asked: Vec<LinkId>,
    /// The clock's zero.
    begin: Instant,
}

struct Client {
    outbox: Arc<Outbox>,
    standing: Arc<Standing>,
    protocol: Protocol,
    /// Requests the engine was told of.
    asked: u64,
}

/// Why the driver ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// A failure was to be simulated; the process ends with this status.
    Crashed(u8),
    /// The engine was asked to shut down.
    Shutdown,
    /// A source of events closed, which happens only when the runtime is torn down.
    Torn,
}

impl Drop for Driver {
    /// Nobody is answered any more: clients are to learn it at once, and ask another Duke.
    fn drop(&mut self) {
        self.push();
        while self.reception.post.send() {}
        for client in self.clients.values() {
            client.outbox.finish(End::Flushed);
        }
    }
}

impl Driver {
    pub(crate) fn new(
        engine: Engine,
        store: Store,
        ready: Option<Ready>,
        link_events: mpsc::Sender<LinkEvent>,
        caller: Option<Caller>,
        errands: Errands,
        reception: Arc<Reception>,
    ) -> Self {
        Self {
            engine,
            store,
            ready,
            link_events,
            caller,
            errands,
            reception,
            clients: HashMap::new(),
            links: HashMap::new(),
            dropped: Vec::new(),
            asked: Vec::new(),
            begin: Instant::now(),
        }
    }

    /// Runs until the engine shuts down.
    ///
    /// The clock comes first, then what was asked for (disk, links), and clients last: however many
    /// there are, they cannot delay a failover. But a server that talks without end does not keep them
    /// waiting for ever either.
    pub(crate) async fn run(mut self, mut sources: Sources) -> Ended {
        let mut timer = pin!(sleep_until(self.begin));
        let mut armed = self.begin;
        let mut ticked = self.begin;
        let mut streak = 0_usize;
        loop {
            let ended = self.drain();
            self.push();
            if let Some(ended) = ended {
                return ended;
            }
            let deadline = self.deadline(ticked);
            if let Some(deadline) = deadline
                && deadline != armed
            {
                armed = deadline;
                timer.as_mut().reset(deadline);
            }
            let taking = self.engine.held() < HELD_MAX;
            if streak >= STREAK_MAX {
                streak = 0;
                if taking && let Ok(event) = sources.clients.try_recv() {
                    if let Some(ended) = self.client_event(event) {
                        return ended;
                    }
                    continue;
                }
            }
            tokio::select! {
                biased;
                () = &mut timer, if deadline.is_some() => {
                    ticked = Instant::now();
                    self.engine.tick(self.now());
                }
                Some(written) = sources.durable.recv() => self.written(written),
                Some(event) = sources.links.recv() => {
                    streak += 1;
                    self.link_event(event);
                }
                Some(input) = sources.errands.recv() => self.handle(input),
                Some(event) = sources.clients.recv(), if taking => {
                    streak = 0;
                    if let Some(ended) = self.client_event(event) {
                        return ended;
                    }
                }
                else => return Ended::Torn,
            }
        }
    }

    fn now(&self) -> Time {
        self.time(Instant::now())
    }

    fn time(&self, at: Instant) -> Time {
        let elapsed = at.duration_since(self.begin).as_millis();
        Time::from_millis(u64::try_from(elapsed).unwrap_or(u64::MAX))
    }

    /// When the engine is to be told the time; never twice within a millisecond, its own unit.
    fn deadline(&self, ticked: Instant) -> Option<Instant> {
        let deadline = self.begin + Duration::from_millis(self.engine.deadline()?.as_millis());
        Some(deadline.max(ticked + Duration::from_millis(1)))
    }

    /// Tells the engine what happened. It happens now: the engine's time must never run backwards, and
    /// between two inputs of one batch others may come, of clients that are dropped meanwhile.
    fn handle(&mut self, input: Input) {
        let now = self.now();
        self.engine.handle(now, input);
    }

    fn written(&mut self, written: Written) {
        match written {
            Written::Durable(sequence) => self.handle(Input::Persisted { sequence }),
            Written::Failed(sequence) => self.handle(Input::PersistFailed { sequence }),
        }
    }

    fn link_event(&mut self, event: LinkEvent) {
        let (LinkEvent::Down { link, .. }
        | LinkEvent::Published { link, .. }
        | LinkEvent::Replied { link, .. }
        | LinkEvent::Up { link, .. }) = event;
        // What a link said before it was disconnected may still be under way.
        if !self.links.contains_key(&link) {
            return;
        }
        match event {
            LinkEvent::Down { link, error } => {
                self.links.remove(&link);
                self.handle(Input::LinkDown { link, error });
            }
            LinkEvent::Replied {
                link,
                request,
                reply,
            } => {
                self.handle(Input::Replied {
                    link,
                    request,
                    reply,
                });
            }
            LinkEvent::Published { link, message } => {
                self.handle(Input::Published { link, message });
            }
            LinkEvent::Up {
                link,
                local,
                outbox,
            } => {
                if let Some(link) = self.links.get_mut(&link) {
                    link.stands(outbox);
                }
                if let Some(local) = local {
                    self.handle(Input::LinkLocal { link, local });
                }
                self.handle(Input::LinkUp { link });
            }
        }
    }

    fn client_event(&mut self, event: ClientEvent) -> Option<Ended> {
        let mut ended = self.report();
        match event {
            ClientEvent::Asked { client, requests } => {
                for words in requests {
                    if let Some(known) = self.clients.get_mut(&client) {
                        known.asked = known.asked.saturating_add(1);
                        self.handle(Input::Asked { client, words });
                        // One input, then all its outputs.
                        ended = self.drain();
                    }
                    if ended.is_some() {
                        break;
                    }
                }
            }
            ClientEvent::Broken { client, error } => {
                if self.forget(client) {
                    if error != RequestError::ForeignProtocol {
                        self.answer(client, &Frame::error(format!("ERR {error}")));
                    }
                    self.close(client, End::Flushed);
                }
            }
            ClientEvent::Joined {
                client,
                address,
                outbox,
                standing,
            } => {
                self.clients.insert(
                    client,
                    Client {
                        outbox,
                        standing,
                        protocol: Protocol::Resp2,
                        asked: 0,
                    },
                );
                self.handle(Input::Joined { client, address });
            }
            ClientEvent::Left { client } => {
                if self.forget(client) {
                    self.close(client, End::Flushed);
                }
            }
            ClientEvent::Quiet { client } => self.handle(Input::Quiet { client }),
        }
        ended
    }

    /// Tells the engine what clients were answered without it.
    fn report(&mut self) -> Option<Ended> {
        for client in self.reception.directory.take_served() {
            let known = self.clients.get(&client);
            if let Some((count, at)) = known.and_then(|known| known.standing.take_served()) {
                let at = self.time(at);
                self.handle(Input::Served { client, count, at });
            }
        }
        self.drain()
    }

    /// Tells the engine that a client is gone, after all it is still owed was taken; false if
    /// nobody knows the client any more.
    fn forget(&mut self, client: ClientId) -> bool {
        if !self.clients.contains_key(&client) {
            return false;
        }
        self.handle(Input::Left { client });
        true
    }

    /// Carries out everything the engine wants; true if that is the end.
    fn drain(&mut self) -> Option<Ended> {
        loop {
            while let Some(output) = self.engine.poll() {
                let ended = self.carry_out(output);
                if ended.is_some() {
                    return ended;
                }
            }
            // Clients dropped meanwhile are inputs like any other: one, then all its outputs.
            let client = self.dropped.pop()?;
            self.handle(Input::Left { client });
        }
    }

    fn carry_out(&mut self, output: Output) -> Option<Ended> {
        match output {
            Output::Answer { client, reply } => self.answer(client, &reply),
            Output::Check { path } => self.errands.check(path),
            Output::Close { client } => self.close(client, End::Flushed),
            Output::Connect { link, address } => {
                let (events, caller) = (self.link_events.clone(), self.caller.clone());
                let started = Link::start(link, address, CONNECT_PATIENCE, caller, events);
                self.links.insert(link, started);
            }
            Output::Crash(status) => return Some(Ended::Crashed(status)),
            Output::Directory { name, reply } => {
                self.reception.directory.list(name, reply.as_ref());
            }
            Output::Disconnect { link } => drop(self.links.remove(&link)),
            Output::Distrust => self.reception.directory.distrust(),
            Output::KillScript { script } => self.errands.kill(script),
            Output::Listen { link } => {
                if let Some(link) = self.links.get(&link) {
                    link.listen();
                }
            }
            Output::LogLevel(level) => crate::log::set(level),
            Output::Measure => self.errands.measure(),
            Output::Persist { sequence, text } => self.store.save(sequence, text),
            Output::Protocol { client, protocol } => {
                if let Some(client) = self.clients.get_mut(&client) {
                    client.protocol = protocol;
                    client.standing.speak(protocol);
                }
            }
            Output::Publish { clients, message } => self.publish(clients, &message),
            Output::Read { path } => self.errands.read(path),
            Output::Ready(ready) => {
                if let Some(port) = &mut self.ready {
                    port.set(ready);
                }
            }
            Output::Request {
                link,
                request,
                words,
            } => {
                if let Some(known) = self.links.get(&link) {
                    known.send(request, words);
                    if self.asked.last() != Some(&link) {
                        self.asked.push(link);
                    }
                }
            }
            Output::Resolve { host } => self.errands.resolve(host),
            Output::RunScript { script, words } => self.errands.run(script, words),
            Output::Shutdown => {
                info!("was told to shut down");
                return Some(Ended::Shutdown);
            }
            Output::Trust { client } => {
                if let Some(client) = self.clients.get(&client) {
                    self.reception
                        .directory
                        .trust(&client.standing, client.asked);
                }
            }
            Output::Write { path, text } => self.errands.write(path, text),
        }
        None
    }

    fn answer(&mut self, client: ClientId, reply: &Frame) {
        self.append(client, |protocol, buffer| encode(reply, protocol, buffer));
    }

    fn publish(&mut self, clients: Vec<ClientId>, message: &Frame) {
        let [resp2, resp3] = [Protocol::Resp2, Protocol::Resp3].map(|protocol| {
            let mut buffer = BytesMut::new();
            encode(message, protocol, &mut buffer);
            buffer
        });
        for (number, client) in clients.into_iter().enumerate() {
            self.append(client, |protocol, buffer| match protocol {
                Protocol::Resp2 => buffer.extend_from_slice(&resp2),
                Protocol::Resp3 => buffer.extend_from_slice(&resp3),
            });
            if number == SOON {
                // The first ones need not wait until thousands of others were thought of.
                self.reception.post.send();
            }
        }
    }

    fn append(&mut self, client: ClientId, print: impl FnOnce(Protocol, &mut BytesMut)) {
        let Some(known) = self.clients.get(&client) else {
            return;
        };
        let protocol = known.protocol;
        match known.outbox.append(|buffer| print(protocol, buffer)) {
            Ok(true) => self.reception.post.add(&known.outbox),
            Ok(false) => {}
            Err(Overflow) => {
                debug!(?client, "dropped a client that does not read");
                self.close(client, End::Cut);
                self.dropped.push(client);
            }
        }
    }

    /// Sends what servers are asked.
    fn push(&mut self) {
        for link in self.asked.drain(..) {
            if let Some(link) = self.links.get(&link) {
                link.push();
            }
        }
    }

    fn close(&mut self, client: ClientId, end: End) {
        if let Some(client) = self.clients.remove(&client) {
            client.outbox.finish(end);
        }
    }
}
