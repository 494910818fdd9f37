//! `SENTINEL CONFIG`: what can be changed of this Duke, all or nothing.

use std::collections::BTreeSet;

use duke_resp::Frame;

use super::{Reply, set::control_character};
use crate::{
    open::Open,
    output::{LogLevel, Output},
    pattern::matches,
    words::Words,
};

/// The options, in the order in which they are told.
const OPTIONS: &[&str] = &[
    "resolve-hostnames",
    "announce-hostnames",
    "announce-ip",
    "announce-port",
    "sentinel-user",
    "sentinel-pass",
    "loglevel",
];

fn yes(value: bool) -> String {
    (if value { "yes" } else { "no" }).to_owned()
}

impl Open {
    pub(super) fn config_command(&mut self, words: Words<'_>) -> Reply {
        match words.lower(2).as_str() {
            "get" => Reply::Now(self.config_get(words)),
            "set" if words.len() > 4 => self.config_set(words),
            _ => Reply::Now(Frame::error(
                "ERR Only SENTINEL CONFIG GET <param> [<param> <param> ...] / SET <param> <value> \
                 [<param> <value> ...] are supported.",
            )),
        }
    }

    fn config_get(&self, words: Words<'_>) -> Frame {
        let mut told = BTreeSet::new();
        let mut pairs = Vec::new();
        for index in 3..words.len() {
            let pattern = words.lower(index);
            for option in OPTIONS {
                if matches(pattern.as_bytes(), option.as_bytes()) && told.insert(*option) {
                    pairs.push((Frame::bulk(*option), Frame::bulk(self.config_value(option))));
                }
            }
        }
        Frame::Map(pairs)
    }

    fn config_value(&self, option: &str) -> String {
        let own = &self.conf.sentinel;
        match option {
            "resolve-hostnames" => yes(own.resolve_hostnames),
            "announce-hostnames" => yes(own.announce_hostnames),
            "announce-ip" => own.announce_ip.clone(),
            "announce-port" => own.announce_port.to_string(),
            "sentinel-user" => own.sentinel_user.clone(),
            "sentinel-pass" => own.sentinel_pass.clone(),
            _ => self.conf.server.loglevel.word().to_owned(),
        }
    }

    fn config_set(&mut self, words: Words<'_>) -> Reply {
        if let Some(refusal) = control_character(words, "CONFIG SET") {
            return Reply::Now(refusal);
        }
        let pairs = match config_pairs(words) {
            Ok(pairs) => pairs,
            Err(refusal) => return Reply::Now(Frame::error(refusal)),
        };
        for (option, value) in pairs {
            self.config_set_one(&option, &value);
        }
        Reply::WhenSaved(self.save())
    }

    fn config_set_one(&mut self, option: &str, value: &str) {
        let own = &mut self.conf.sentinel;
        let on = value.eq_ignore_ascii_case("yes");
        match option {
            "resolve-hostnames" => own.resolve_hostnames = on,
            "announce-hostnames" => own.announce_hostnames = on,
            "announce-ip" => value.clone_into(&mut own.announce_ip),
            "announce-port" => own.announce_port = value.parse().unwrap_or(0),
            "sentinel-user" => value.clone_into(&mut own.sentinel_user),
            "sentinel-pass" => value.clone_into(&mut own.sentinel_pass),
            _ => {
                let level = LogLevel::read(value).unwrap_or_default();
                self.conf.server.loglevel = level;
                self.tell(Output::LogLevel(level));
            }
        }
        if option == "announce-hostnames" {
            // Every entry of the directory may read differently now.
            self.touched.extend(self.masters.keys().cloned());
        }
        if option.starts_with("sentinel-") {
            // New credentials count from the next connection on: it is made now.
            let links: Vec<_> = self
                .peers
                .values()
                .filter_map(|peer| peer.wire.link())
                .collect();
            for link in links {
                self.disconnect(link);
            }
        }
    }
}

/// The options and values, if every one of them can be set.
fn config_pairs(words: Words<'_>) -> Result<Vec<(String, String)>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut at = 3;
    while at < words.len() {
        let option = words.lower(at);
        let shown = words.text(at);
        if !OPTIONS.contains(&option.as_str()) {
            return Err(format!(
                "ERR Invalid argument '{shown}' to SENTINEL CONFIG SET"
            ));
        }
        if pairs.iter().any(|(known, _)| *known == option) {
            return Err(format!(
                "ERR Duplicate argument '{shown}' to SENTINEL CONFIG SET"
            ));
        }
        let value = at.saturating_add(1);
        if value >= words.len() {
            return Err(format!("ERR Missing argument '{shown}' value"));
        }
        let value = words.text(value);
        let valid = match option.as_str() {
            "resolve-hostnames" | "announce-hostnames" => {
                value.eq_ignore_ascii_case("yes") || value.eq_ignore_ascii_case("no")
            }
            "announce-port" => value.parse::<u16>().is_ok(),
            "loglevel" => LogLevel::read(value).is_some(),
            _ => true,
        };
        if !valid {
            return Err(format!(
                "ERR Invalid value '{value}' to SENTINEL CONFIG SET '{shown}'"
            ));
        }
        pairs.push((option, value.to_owned()));
        at = at.saturating_add(2);
    }
    Ok(pairs)
}
