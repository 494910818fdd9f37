//! INFO, as far as Dukes read it.

use std::fmt::Write as _;

use duke_resp::Bytes;

use super::{Link, Role, Server};
use crate::{
    history::{Branch, History},
    options::Group,
    queue::{Micros, SECOND},
};

impl Server {
    /// What INFO says now.
    pub(super) fn info(&mut self, now: Micros, history: &History) -> Bytes {
        let text = if let Some(known) = &self.info {
            known.clone()
        } else {
            let text = Bytes::from(self.print(now, history));
            // How long a connection has been down changes by itself.
            let lasts = self.role == Role::Master || self.in_touch().is_some();
            if lasts && self.open.group == Group::Closed {
                self.info = Some(text.clone());
            }
            text
        };
        // So does how long nothing has been heard on one that stands.
        let silent = now.saturating_sub(self.heard) / SECOND;
        if self.in_touch().is_none() || silent == 0 {
            return text;
        }
        let line = format!("master_last_io_seconds_ago:{silent}\r\n");
        Bytes::from([&text[..], line.as_bytes()].concat())
    }

    fn print(&self, now: Micros, history: &History) -> String {
        let mut text = String::with_capacity(512);
        // Writing to a String cannot fail.
        let _ok = write!(
            text,
            "# Server\r\nrun_id:{:032x}{:08x}\r\n# Persistence\r\nloading:{}\r\n# Replication\r\n",
            self.host,
            self.life,
            u8::from(self.loading)
        );
        // How many there are Dukes do not mind, and a server that still loads does not tell.
        if !self.loading && history.has_writes(self.place) {
            let _ok = write!(text, "# Keyspace\r\ndb0:keys=1,expires=0\r\n");
        }
        let offset = self.place.offset;
        let Role::Replica { master, link } = self.role else {
            let _ok = write!(text, "role:master\r\n");
            if self.open.group == Group::Open {
                self.print_replicas(&mut text);
            }
            self.print_history(&mut text);
            return text;
        };
        let up = matches!(link, Link::Up(_));
        let _ok = write!(
            text,
            "role:slave\r\nmaster_host:{}\r\nmaster_port:{}\r\nmaster_link_status:{}\r\n\
             slave_repl_offset:{offset}\r\nmaster_sync_in_progress:{}\r\nslave_priority:{}\r\n",
            master.ip(),
            master.port(),
            if up { "up" } else { "down" },
            u8::from(matches!(link, Link::Copying(_))),
            self.priority,
        );
        if !up {
            let since = if let Link::Down(since) = link {
                since
            } else {
                now
            };
            let seconds = now.saturating_sub(since) / SECOND;
            let _ok = if self.synced {
                write!(text, "master_link_down_since_seconds:{seconds}\r\n")
            } else {
                write!(text, "master_link_down_since_seconds:-1\r\n")
            };
        }
        self.print_history(&mut text);
        text
    }

    fn print_history(&self, text: &mut String) {
        if self.hold.known {
            text.push_str("master_failover_state:no-failover\r\n");
        }
        let none = "0".repeat(40);
        let left = self.before.map_or(-1, |before| {
            i64::try_from(before.offset).map_or(i64::MAX, |end| end.saturating_add(1))
        });
        let before = self.before.map_or(none, |before| id(before.branch));
        let _ok = write!(
            text,
            "master_replid:{}\r\nmaster_replid2:{before}\r\nsecond_repl_offset:{left}\r\nmaster_repl_offset:{}\r\n",
            id(self.place.branch),
            self.place.offset,
        );
    }
}

/// A branch's name as a replication id, never all zeros.
fn id(branch: Branch) -> String {
    format!("{:040x}", u64::from(branch) + 1)
}
