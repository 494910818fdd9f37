//! What a story tells: events, answers and who is what, with names in place of addresses.

use std::fmt::Write as _;

use duke_resp::Frame;

use super::World;

impl World {
    pub(crate) fn show(&mut self) {
        let mut lines = Vec::new();
        for server in self.nodes.values() {
            let state = match (server.alive, server.frozen, server.follows) {
                (false, ..) => "dead".to_owned(),
                (true, true, _) => "frozen".to_owned(),
                (true, false, None) => "master".to_owned(),
                (true, false, Some(master)) => {
                    format!(
                        "replica of {master}, {}",
                        if server.in_touch {
                            "in touch"
                        } else {
                            "cut off"
                        }
                    )
                }
            };
            lines.push(format!(
                "{} {state}, {} bytes",
                server.address, server.offset
            ));
        }
        for duke in &self.dukes {
            let state = match (&duke.engine, duke.ready) {
                (None, _) => "dead",
                (Some(_), true) => "ready",
                (Some(_), false) => "without memory",
            };
            lines.push(format!("{} {state}", duke.name));
        }
        for line in lines {
            self.tell(&line);
        }
    }

    pub(crate) fn take_transcript(&mut self) -> String {
        let mut text = std::mem::take(&mut self.transcript);
        for (from, to) in &self.names {
            text = text.replace(from.as_str(), to);
        }
        text
    }

    pub(super) fn tell(&mut self, line: &str) {
        let (seconds, millis) = (self.now / 1000, self.now % 1000);
        writeln!(self.transcript, "{seconds}.{millis:03} {line}").unwrap();
    }

    pub(super) fn heard(&mut self, duke: usize, reply: &Frame) {
        let items = reply.as_array().unwrap_or_default();
        let word = |index: usize| {
            items
                .get(index)
                .and_then(Frame::as_text)
                .map(|t| String::from_utf8_lossy(t).into_owned())
        };
        if let (Some("pmessage"), Some(name), Some(payload)) =
            (word(0).as_deref(), word(2), word(3))
        {
            let duke = self.dukes[duke].name.clone();
            self.tell(&format!("{duke} {name} {payload}"));
        }
    }
}

pub(super) fn printed(frame: &Frame) -> String {
    if let Some(text) = frame.as_text() {
        return String::from_utf8_lossy(text).into_owned();
    }
    match frame {
        Frame::Error(text) => format!("-{}", String::from_utf8_lossy(text)),
        Frame::Integer(number) => format!(":{number}"),
        Frame::Null | Frame::NullArray => "null".to_owned(),
        Frame::Array(items) | Frame::Push(items) | Frame::Set(items) => {
            format!(
                "[{}]",
                items.iter().map(printed).collect::<Vec<_>>().join(" ")
            )
        }
        Frame::Map(pairs) => {
            let pairs = pairs
                .iter()
                .map(|(key, value)| format!("{}={}", printed(key), printed(value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(" "))
        }
        Frame::Boolean(value) => value.to_string(),
        Frame::Double(value) => value.to_string(),
        Frame::BigNumber(_) | Frame::Bulk(_) | Frame::Simple(_) | Frame::Verbatim { .. } => {
            unreachable!("texts were printed before")
        }
    }
}
