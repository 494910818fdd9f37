//! One engine on a stage: everything that happens to it is told by hand, in virtual time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use duke_core::{ClientId, Engine, Input, LinkId, Output, RequestId, Time, conf::Conf};
use duke_resp::{Bytes, Frame};

pub(crate) const CLIENT: ClientId = ClientId(1);

/// A Duke and everything it wanted so far.
pub(crate) struct Stage {
    engine: Engine,
    now: u64,
    pub(crate) wanted: Vec<Output>,
}

impl Stage {
    pub(crate) fn new(text: &str) -> Self {
        let conf = Conf::read(text, &[]).unwrap();
        let engine = Engine::open(conf, 7, Time::default());
        let mut stage = Self {
            engine,
            now: 0,
            wanted: Vec::new(),
        };
        stage.drain();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        stage.tell(Input::Joined {
            client: CLIENT,
            address,
        });
        stage
    }

    pub(crate) fn drain(&mut self) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Publish { clients, message } => {
                    let reply = |client| Output::Answer {
                        client,
                        reply: message.clone(),
                    };
                    self.wanted.extend(clients.into_iter().map(reply));
                }
                output => self.wanted.push(output),
            }
        }
    }

    pub(crate) fn tell(&mut self, input: Input) {
        self.engine.handle(Time::from_millis(self.now), input);
        self.drain();
    }

    /// Lets time pass, waking the engine when it wants to be.
    pub(crate) fn pass(&mut self, millis: u64) {
        let end = self.now + millis;
        while let Some(due) = self.engine.deadline().filter(|due| due.as_millis() <= end) {
            self.now = self.now.max(due.as_millis());
            self.engine.tick(Time::from_millis(self.now));
            self.drain();
        }
        self.now = end;
    }

    pub(crate) fn ask(&mut self, line: &str) {
        let words = line
            .split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()));
        self.tell(Input::Asked {
            client: CLIENT,
            words: words.collect(),
        });
    }

    /// What was answered since the last look.
    pub(crate) fn answers(&mut self) -> Vec<Frame> {
        let (answers, rest) = std::mem::take(&mut self.wanted)
            .into_iter()
            .partition::<Vec<_>, _>(|output| matches!(output, Output::Answer { .. }));
        self.wanted = rest;
        let reply = |output| match output {
            Output::Answer { reply, .. } => Some(reply),
            _ => None,
        };
        answers.into_iter().filter_map(reply).collect()
    }

    /// A connection that was wanted stands.
    pub(crate) fn connect(&mut self, link: LinkId) {
        let local = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1));
        self.tell(Input::LinkLocal { link, local });
        self.tell(Input::LinkUp { link });
    }

    /// Answers every request on a connection that is a command of this name, once; says how many.
    pub(crate) fn reply(&mut self, link: LinkId, name: &str, reply: &Frame) -> usize {
        let requests = self.requests(link, name);
        self.wanted.retain(|output| {
            !matches!(output, Output::Request { link: on, words, .. }
                if *on == link && words[0] == name.as_bytes())
        });
        for (request, _) in &requests {
            self.tell(Input::Replied {
                link,
                request: *request,
                reply: reply.clone(),
            });
        }
        requests.len()
    }

    /// The newest state that was to be written.
    pub(crate) fn file(&self) -> Option<(u64, String)> {
        self.wanted.iter().rev().find_map(|output| match output {
            Output::Persist { sequence, text } => Some((*sequence, text.clone())),
            _ => None,
        })
    }

    /// The disk is done with everything that was to be written.
    pub(crate) fn written(&mut self) {
        while let Some((sequence, _)) = self.file() {
            self.wanted
                .retain(|output| !matches!(output, Output::Persist { .. }));
            self.tell(Input::Persisted { sequence });
        }
    }

    /// Connections to somebody that were wanted and not given yet.
    pub(crate) fn connections(&mut self, port: u16) -> Vec<LinkId> {
        let link = |output: &Output| match output {
            Output::Connect { link, address } if address.port() == port => Some(*link),
            _ => None,
        };
        let links = self.wanted.iter().filter_map(link).collect();
        self.wanted.retain(|output| link(output).is_none());
        links
    }

    /// Gives all connections to somebody, who answers INFO so; says which is for commands, not for the channel.
    pub(crate) fn command_link(&mut self, port: u16, info: &Frame) -> LinkId {
        let links = self.connections(port);
        for link in &links {
            self.connect(*link);
        }
        let commands = |link: &LinkId| self.reply(*link, "INFO", info) > 0;
        links.into_iter().find(commands).unwrap()
    }

    /// The requests on a connection that are a command of this name.
    pub(crate) fn requests(&self, wanted: LinkId, name: &str) -> Vec<(RequestId, Vec<Bytes>)> {
        let request = |output: &Output| match output {
            Output::Request {
                link,
                request,
                words,
            } if *link == wanted && words[0] == name.as_bytes() => Some((*request, words.clone())),
            _ => None,
        };
        self.wanted.iter().filter_map(request).collect()
    }
}
