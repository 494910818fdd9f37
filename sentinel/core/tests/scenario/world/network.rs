//! What passes between Dukes and nodes, and what does not: connections, cuts, replication.

use std::{collections::VecDeque, net::SocketAddr};

use duke_core::{ClientId, Input, LinkError, LinkId, RequestId};
use duke_resp::Bytes;

use super::{CONNECT_PATIENCE, Caller, DELAY, DISK_PAUSE, Event, Link, World};

impl World {
    pub(super) fn is_cut(&self, left: SocketAddr, right: SocketAddr) -> bool {
        self.cuts.contains(&(left, right))
    }

    pub(crate) fn cut(&mut self, left: &str, right: &str) {
        let (left, right) = (self.address(left), self.address(right));
        self.cuts.extend([(left, right), (right, left)]);
        let nodes: Vec<SocketAddr> = self.nodes.keys().copied().collect();
        for node in nodes {
            let master = self.nodes[&node].follows;
            if master.is_some_and(|master| self.is_cut(node, master)) {
                self.nodes.get_mut(&node).unwrap().in_touch = false;
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        let nodes: Vec<SocketAddr> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.later(DELAY, Event::Sync { node });
        }
    }

    pub(super) fn connect(&mut self, duke: usize, link: LinkId, to: SocketAddr) {
        self.numbers += 1;
        let number = self.numbers;
        self.dukes[duke].links.insert(
            link,
            Link {
                to,
                up: false,
                number,
            },
        );
        let alive = self.nodes.get(&to).map_or_else(
            || {
                self.dukes
                    .iter()
                    .any(|other| other.address == to && other.engine.is_some())
            },
            |server| server.alive,
        );
        if self.is_cut(self.dukes[duke].address, to) {
            self.later(
                CONNECT_PATIENCE,
                Event::Broken {
                    duke,
                    link,
                    error: LinkError::TimedOut,
                },
            );
        } else if alive {
            self.later(2 * DELAY, Event::Connected { duke, link });
        } else {
            self.later(
                2 * DELAY,
                Event::Broken {
                    duke,
                    link,
                    error: LinkError::Refused,
                },
            );
        }
    }

    pub(super) fn break_links_to(&mut self, to: SocketAddr, error: LinkError) {
        for duke in 0..self.dukes.len() {
            let broken: Vec<LinkId> = self.dukes[duke]
                .links
                .iter()
                .filter(|(_, link)| link.to == to)
                .map(|(id, _)| *id)
                .collect();
            if self.is_cut(self.dukes[duke].address, to) {
                continue;
            }
            for link in broken {
                self.later(DELAY, Event::Broken { duke, link, error });
            }
        }
    }

    pub(super) fn lose_touch(&mut self, master: SocketAddr) {
        for server in self.nodes.values_mut() {
            if server.follows == Some(master) {
                server.in_touch = false;
            }
        }
    }

    pub(super) fn happen(&mut self, event: Event) {
        if let Some(to) = self.reaches(&event)
            && self.dukes[to].frozen
        {
            self.dukes[to].inbox.push(event);
            return;
        }
        self.deliver(event);
    }

    /// The Duke an event comes to.
    fn reaches(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Connected { duke, .. }
            | Event::Broken { duke, .. }
            | Event::Reply { duke, .. }
            | Event::Durable { duke, .. } => Some(*duke),
            Event::ToDuke { duke, link, .. } => self.dukes[*duke]
                .links
                .get(link)
                .and_then(|link| self.dukes.iter().position(|other| other.address == link.to)),
            Event::ToNode { .. } | Event::Sync { .. } => None,
        }
    }

    fn deliver(&mut self, event: Event) {
        match event {
            Event::Connected { duke, link } => {
                if let Some(known) = self.dukes[duke].links.get_mut(&link) {
                    known.up = true;
                    self.give(duke, Input::LinkUp { link });
                }
            }
            Event::Broken { duke, link, error } => {
                if self.dukes[duke].links.remove(&link).is_some() {
                    self.give(duke, Input::LinkDown { link, error });
                }
            }
            Event::ToNode {
                duke,
                link,
                request,
                words,
            } => self.at_node(duke, link, request, &words),
            Event::ToDuke {
                duke,
                link,
                request,
                words,
            } => self.at_duke(duke, link, request, words),
            Event::Reply {
                duke,
                link,
                request,
                reply,
            } => {
                let known = self.dukes[duke].links.get(&link).map(|link| link.to);
                if known.is_some_and(|to| !self.is_cut(self.dukes[duke].address, to)) {
                    self.give(
                        duke,
                        Input::Replied {
                            link,
                            request,
                            reply,
                        },
                    );
                }
            }
            Event::Durable {
                duke,
                life,
                sequence,
                text,
            } => {
                let one = &mut self.dukes[duke];
                // A newer state holds all that an older one did.
                if one.life != life || one.engine.is_none() || sequence < one.saved {
                    return;
                }
                if one.spoiled {
                    let again = Event::Durable {
                        duke,
                        life,
                        sequence,
                        text,
                    };
                    self.later(DISK_PAUSE, again);
                    return self.give(duke, Input::PersistFailed { sequence });
                }
                one.disk = Some(text);
                one.saved = sequence;
                self.give(duke, Input::Persisted { sequence });
            }
            Event::Sync { node } => self.sync(node),
        }
    }

    fn at_node(&mut self, duke: usize, link: LinkId, request: RequestId, words: &[Bytes]) {
        let Some(known) = self.dukes[duke].links.get(&link) else {
            return;
        };
        let (to, number) = (known.to, known.number);
        if self.is_cut(self.dukes[duke].address, to) {
            return;
        }
        let words: Vec<String> = words
            .iter()
            .map(|w| String::from_utf8_lossy(w).into_owned())
            .collect();
        let server = self.nodes.get_mut(&to).unwrap();
        if !server.alive {
            return;
        }
        if server.frozen {
            server.waiting.push(((duke, number), request.0, words));
            return;
        }
        let effect = server.take(self.now, (duke, number), &words);
        if let Some(what) = effect.tells {
            self.tell(&format!("{to} {what}"));
        }
        self.later(
            DELAY,
            Event::Reply {
                duke,
                link,
                request,
                reply: effect.reply,
            },
        );
        if effect.kills || effect.changes {
            self.lose_touch(to);
        }
        if effect.kills {
            for other in 0..self.dukes.len() {
                // Whoever is cut off does not hear of it.
                if self.is_cut(self.dukes[other].address, to) {
                    continue;
                }
                let broken: Vec<LinkId> = self.dukes[other]
                    .links
                    .iter()
                    .filter(|(id, known)| {
                        known.to == to && known.up && (other != duke || **id != link)
                    })
                    .map(|(id, _)| *id)
                    .collect();
                for link in broken {
                    self.later(
                        DELAY,
                        Event::Broken {
                            duke: other,
                            link,
                            error: LinkError::Closed,
                        },
                    );
                }
            }
        }
        let nodes: Vec<SocketAddr> = self.nodes.keys().copied().collect();
        for node in nodes {
            if !self.nodes[&node].in_touch {
                self.later(DELAY, Event::Sync { node });
            }
        }
    }

    fn at_duke(&mut self, duke: usize, link: LinkId, request: RequestId, words: Vec<Bytes>) {
        let Some(known) = self.dukes[duke].links.get(&link) else {
            return;
        };
        let (to, number) = (known.to, known.number);
        if self.is_cut(self.dukes[duke].address, to) {
            return;
        }
        let Some(other) = self.dukes.iter().position(|other| other.address == to) else {
            return;
        };
        let client = ClientId(number);
        if self.dukes[other].engine.is_none() {
            return;
        }
        let known = self.dukes[other].clients.contains_key(&client);
        let caller = self.dukes[other]
            .clients
            .entry(client)
            .or_insert_with(|| Caller {
                duke,
                link,
                open: VecDeque::new(),
            });
        caller.open.push_back(request);
        if !known {
            let address = self.dukes[duke].address;
            self.give(other, Input::Joined { client, address });
        }
        self.give(other, Input::Asked { client, words });
    }

    /// A replica comes into touch with its master and copies what it has.
    fn sync(&mut self, node: SocketAddr) {
        let Some(master) = self.nodes[&node].follows else {
            return;
        };
        let reachable = self.nodes.get(&master).is_some_and(|master| {
            master.alive && !master.frozen && !master.withholds && master.follows.is_none()
        });
        let server = &self.nodes[&node];
        if reachable && server.alive && !server.frozen && !self.is_cut(node, master) {
            let (offset, lineage) = {
                let master = self.nodes.get_mut(&master).unwrap();
                master.attach();
                (master.offset, master.lineage.clone())
            };
            self.nodes.get_mut(&node).unwrap().copy(offset, lineage);
        }
    }
}
