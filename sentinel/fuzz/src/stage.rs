//! An engine to which everything happens that a line of a story says, in virtual time; and what must
//! hold whatever happens.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use duke_core::{
    ClientId, Engine, Input, LinkError, LinkId, Output, RequestId, ScriptEnd, ScriptId, Time,
};
use duke_resp::{Bytes, BytesMut, Frame, ReplyDecoder, ReplyLimit};

/// Outputs one input may have. Events go to each of a story's few clients.
const OUTPUTS_MAX: usize = 20_000;
/// Turns of the clock within one virtual millisecond.
const TURNS_MAX: usize = 100;
/// Virtual time one line may take, in milliseconds.
const WAIT_MAX_MS: u64 = 60_000;

/// The engine and what it wanted.
pub(crate) struct Stage {
    engine: Engine,
    now_ms: u64,
    links: Vec<LinkId>,
    asked: BTreeMap<LinkId, VecDeque<RequestId>>,
    states: Vec<u64>,
    scripts: Vec<ScriptId>,
    hosts: Vec<String>,
    /// What may be answered without the engine, and to whom.
    directory: BTreeMap<String, Frame>,
    trusted: BTreeSet<ClientId>,
    /// The last answer, and to whom.
    said: Option<(ClientId, Frame)>,
}

impl Stage {
    pub(crate) fn new(engine: Engine) -> Self {
        let mut stage = Self {
            engine,
            now_ms: 0,
            links: Vec::new(),
            asked: BTreeMap::new(),
            states: Vec::new(),
            scripts: Vec::new(),
            hosts: Vec::new(),
            directory: BTreeMap::new(),
            trusted: BTreeSet::new(),
            said: None,
        };
        stage.drain();
        stage
    }

    /// Does what a line says; what means nothing is skipped.
    pub(crate) fn play(&mut self, line: &str) {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (first, more) = rest.split_once(' ').unwrap_or((rest, ""));
        let number = first.parse::<u64>().unwrap_or(0);
        match verb {
            "wait" => self.wait(number.min(WAIT_MAX_MS)),
            "join" => {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 7));
                let client = ClientId(number % 4);
                self.tell(Input::Joined { client, address });
            }
            "left" => {
                let client = ClientId(number % 4);
                self.trusted.remove(&client);
                self.tell(Input::Left { client });
            }
            "ask" => self.ask(ClientId(number % 4), more),
            "written" => {
                for sequence in std::mem::take(&mut self.states) {
                    self.tell(Input::Persisted { sequence });
                }
            }
            "unwritten" => {
                if let Some(sequence) = self.states.pop() {
                    self.tell(Input::PersistFailed { sequence });
                }
            }
            "up" => self.with_link(number, |stage, link| {
                let local = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1));
                stage.tell(Input::LinkLocal { link, local });
                stage.tell(Input::LinkUp { link });
            }),
            "down" => self.with_link(number, |stage, link| {
                stage.asked.remove(&link);
                let error = LinkError::Reset;
                stage.tell(Input::LinkDown { link, error });
            }),
            "reply" => self.with_link(number, |stage, link| stage.reply(link, more)),
            "push" => self.with_link(number, |stage, link| {
                for message in frames(more) {
                    stage.tell(Input::Published { link, message });
                }
            }),
            "resolved" => {
                if let Some(host) = self.hosts.pop() {
                    let address = first.parse().ok();
                    self.tell(Input::Resolved { host, address });
                }
            }
            "ended" => {
                if let Some(script) = self.scripts.pop() {
                    self.tell(Input::ScriptStarted { script, pid: 7 });
                    let end = ScriptEnd::Exited(i32::try_from(number).unwrap_or(1));
                    self.tell(Input::ScriptEnded { script, end });
                }
            }
            _ => {}
        }
        self.check_directory();
    }

    /// Whoever is trusted is told by the engine what the directory says, and is trusted again.
    fn check_directory(&mut self) {
        let Some(client) = self.trusted.first().copied() else {
            return;
        };
        let Some((name, reply)) = self.directory.first_key_value() else {
            return;
        };
        let reply = reply.clone();
        let question = ["SENTINEL", "get-master-addr-by-name", name];
        let words = question.map(|word| Bytes::copy_from_slice(word.as_bytes()));
        let words = words.to_vec();
        self.trusted.remove(&client);
        self.said = None;
        self.tell(Input::Asked { client, words });
        assert_eq!(self.said.take(), Some((client, reply)));
        assert!(self.trusted.contains(&client), "{client:?} lost its trust");
    }

    fn with_link(&mut self, number: u64, act: impl FnOnce(&mut Self, LinkId)) {
        let count = self.links.len();
        let at = usize::try_from(number).unwrap_or(0) % count.max(1);
        // The newest come first: most stories are about them.
        if let Some(link) = count.checked_sub(at + 1).and_then(|at| self.links.get(at)) {
            act(self, *link);
        }
    }

    fn ask(&mut self, client: ClientId, line: &str) {
        let words: Vec<Bytes> = line.split(' ').map(|word| unescaped(word).into()).collect();
        if !words[0].is_empty() {
            self.trusted.remove(&client);
            self.tell(Input::Asked { client, words });
        }
    }

    /// Answers what was asked first on a link, and so on.
    fn reply(&mut self, link: LinkId, text: &str) {
        for reply in frames(text) {
            let request = self.asked.get_mut(&link).and_then(VecDeque::pop_front);
            let Some(request) = request else { return };
            self.tell(Input::Replied {
                link,
                request,
                reply,
            });
        }
    }

    fn wait(&mut self, millis: u64) {
        let end = self.now_ms + millis;
        let mut turns = 0;
        while let Some(due) = self.engine.deadline().map(Time::as_millis) {
            if due > end {
                break;
            }
            turns = if due > self.now_ms { 0 } else { turns + 1 };
            assert!(
                turns < TURNS_MAX,
                "it is never satisfied at {} ms",
                self.now_ms
            );
            self.now_ms = self.now_ms.max(due);
            self.engine.tick(Time::from_millis(self.now_ms));
            self.drain();
        }
        self.now_ms = end;
    }

    fn tell(&mut self, input: Input) {
        self.engine.handle(Time::from_millis(self.now_ms), input);
        self.drain();
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(output) = self.engine.poll() {
            count += 1;
            assert!(count < OUTPUTS_MAX, "it never ends: {output:?}");
            match output {
                Output::Connect { link, .. } => self.links.push(link),
                Output::Disconnect { link } => {
                    self.links.retain(|known| *known != link);
                    self.asked.remove(&link);
                }
                Output::Request { link, request, .. } => {
                    self.asked.entry(link).or_default().push_back(request);
                }
                Output::Persist { sequence, .. } => self.states.push(sequence),
                Output::Resolve { host } => self.hosts.push(host),
                Output::RunScript { script, .. } => self.scripts.push(script),
                Output::Answer { client, reply } => self.said = Some((client, reply)),
                Output::Directory { name, reply } => {
                    match reply {
                        Some(reply) => self.directory.insert(name, reply),
                        None => self.directory.remove(&name),
                    };
                }
                Output::Distrust => self.trusted.clear(),
                Output::Trust { client } => {
                    self.trusted.insert(client);
                }
                Output::Close { client } => {
                    self.trusted.remove(&client);
                }
                Output::Check { .. }
                | Output::Crash(_)
                | Output::KillScript { .. }
                | Output::Listen { .. }
                | Output::LogLevel(_)
                | Output::Measure
                | Output::Protocol { .. }
                | Output::Publish { .. }
                | Output::Read { .. }
                | Output::Ready(_)
                | Output::Shutdown
                | Output::Write { .. } => {}
            }
        }
    }
}

/// The frames in an escaped text, up to the first that is none.
fn frames(text: &str) -> Vec<Frame> {
    let mut buffer = BytesMut::from(&unescaped(text)[..]);
    let mut decoder = ReplyDecoder::new(ReplyLimit::default());
    let mut all = Vec::new();
    while let Ok(Some(frame)) = decoder.decode(&mut buffer) {
        all.push(frame);
    }
    all
}

/// `\r`, `\n`, `\s` for a space and `\\` as in a story's lines.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let meant = match (byte, byte == b'\\') {
            (_, true) => match rest.next() {
                Some(b'r') => b'\r',
                Some(b'n') => b'\n',
                Some(b's') => b' ',
                Some(other) => other,
                None => b'\\',
            },
            (plain, false) => plain,
        };
        bytes.push(meant);
    }
    bytes
}
