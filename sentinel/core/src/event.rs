//! The events Sentinel publishes: names and payloads as its clients know them.

use std::net::SocketAddr;

use duke_resp::Frame;

use crate::{engine::Engine, output::Output};

/// Matches a name against a glob of `*`, `?`, `[…]` and `\`, as the server's PSUBSCRIBE does.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => {
            (0..=name.len()).any(|skip| matches(rest, name.get(skip..).unwrap_or_default()))
        }
        Some((b'?', rest)) => name
            .split_first()
            .is_some_and(|(_, tail)| matches(rest, tail)),
        Some((b'[', rest)) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else {
                return false;
            };
            let (class, rest) = (
                rest.get(..end).unwrap_or_default(),
                rest.get(end.saturating_add(1)..),
            );
            let (class, wanted) = match class.split_first() {
                Some((b'^', class)) => (class, false),
                _ => (class, true),
            };
            name.split_first().is_some_and(|(byte, tail)| {
                in_class(class, *byte) == wanted && matches(rest.unwrap_or_default(), tail)
            })
        }
        Some((b'\\', rest)) if !rest.is_empty() => literal(rest, name),
        Some(_) => literal(pattern, name),
    }
}

fn literal(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (Some((wanted, rest)), Some((byte, tail))) => wanted == byte && matches(rest, tail),
        _ => false,
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let mut rest = class;
    loop {
        rest = match rest {
            [] => return false,
            [low, b'-', high, tail @ ..] => {
                if (*low..=*high).contains(&byte) {
                    return true;
                }
                tail
            }
            [one, tail @ ..] => {
                if *one == byte {
                    return true;
                }
                tail
            }
        };
    }
}

impl Engine {
    /// Publishes an event to everyone who subscribed to its name.
    pub(crate) fn publish(&mut self, name: &str, payload: &str) {
        tracing::info!(event = name, payload, "published");
        let mut said = Vec::new();
        for session in self.sessions.values() {
            if session.channels.contains(name.as_bytes()) {
                let words = ["message", name, payload];
                said.push((
                    session.id,
                    words.map(|word| Frame::bulk(word.to_owned())).to_vec(),
                ));
            }
            for pattern in &session.patterns {
                if matches(pattern, name.as_bytes()) {
                    let mut message = vec![Frame::bulk("pmessage"), Frame::bulk(pattern.clone())];
                    message.extend([name, payload].map(|word| Frame::bulk(word.to_owned())));
                    said.push((session.id, message));
                }
            }
        }
        for (client, message) in said {
            self.emit(Output::Answer {
                client,
                reply: Frame::Push(message),
            });
        }
    }

    /// Publishes an event about the master: `master <name> <ip> <port>` and more.
    pub(crate) fn publish_master(&mut self, name: &str, more: &str) {
        let Some(master) = self.durable.master else {
            return;
        };
        let group = self.settings.group.clone();
        let space = if more.is_empty() { "" } else { " " };
        self.publish(
            name,
            &format!(
                "master {group} {} {}{space}{more}",
                master.ip(),
                master.port()
            ),
        );
    }

    /// Publishes an event about a replica: `slave <ip:port> <ip> <port> @ <master> <ip> <port>`.
    pub(crate) fn publish_node(&mut self, name: &str, node: SocketAddr) {
        if self.durable.master == Some(node) {
            return self.publish_master(name, "");
        }
        let at = self.at();
        self.publish(
            name,
            &format!("slave {node} {} {}{at}", node.ip(), node.port()),
        );
    }

    /// Publishes an event about another Duke: `sentinel <id> <ip> <port> @ <master> <ip> <port>`.
    pub(crate) fn publish_peer(&mut self, name: &str, id: &str) {
        let Some(address) = self.peers.get(id).map(|peer| peer.address) else {
            return;
        };
        let at = self.at();
        self.publish(
            name,
            &format!("sentinel {id} {} {}{at}", address.ip(), address.port()),
        );
    }

    fn at(&self) -> String {
        let group = &self.settings.group;
        self.durable
            .master
            .map(|master| format!(" @ {group} {} {}", master.ip(), master.port()))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_the_servers_do() {
        for (pattern, name, expected) in [
            ("*", "+switch-master", true),
            ("+s*", "+sdown", true),
            ("-s*", "+sdown", false),
            ("?sdown", "-sdown", true),
            ("[+-]odown", "-odown", true),
            ("[^+]odown", "+odown", false),
            ("[a-c]", "b", true),
            ("\\*", "*", true),
            ("\\*", "x", false),
            ("", "", true),
            ("[", "a", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }
}
