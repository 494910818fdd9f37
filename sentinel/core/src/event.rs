//! The events Sentinel publishes: names and payloads as its clients know them.

use std::net::SocketAddr;

use duke_resp::Frame;

use crate::{closed::Closed, output::Output};

/// Matches a name against a glob of `*`, `?`, `[…]` and `\`, as the server's PSUBSCRIBE does.
///
/// Takes a time of pattern × name at most, whatever the pattern: on a mismatch only the last `*`
/// takes one character more.
pub(crate) fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    let mut last_star: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some((b'*', rest)) = pattern.split_first() {
            last_star = Some((rest, name));
            pattern = rest;
            continue;
        }
        let stepped = match (step(pattern, name), name.split_first()) {
            (None, None) if pattern.is_empty() => return true,
            (Some(rest), Some((_, tail))) => Some((rest, tail)),
            (_, _) => None,
        };
        if let Some(next) = stepped {
            (pattern, name) = next;
            continue;
        }
        let Some((after, from)) = last_star else {
            return false;
        };
        let Some((_, tail)) = from.split_first() else {
            return false;
        };
        last_star = Some((after, tail));
        (pattern, name) = (after, tail);
    }
}

/// What is left of a pattern without `*` in front after it took the first byte of `name`.
fn step<'a>(pattern: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let byte = *name.first()?;
    match pattern {
        [b'?', rest @ ..] => Some(rest),
        [b'[', rest @ ..] => {
            let end = rest.iter().position(|byte| *byte == b']')?;
            let (class, rest) = (rest.get(..end)?, rest.get(end.saturating_add(1)..)?);
            let (class, wanted) = match class.split_first() {
                Some((b'^', class)) => (class, false),
                _ => (class, true),
            };
            (in_class(class, byte) == wanted).then_some(rest)
        }
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => (*literal == byte).then_some(rest),
        [] => None,
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

impl Closed {
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
            ("*master", "+switch-master", true),
            ("*ma*er*", "+switch-master", true),
            ("*ma*x*", "+switch-master", false),
            ("a*", "", false),
            ("***", "", true),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        let stars = "*a".repeat(50_000);
        let name = "a".repeat(60);
        assert!(!matches(format!("{stars}b").as_bytes(), name.as_bytes()));
    }
}
