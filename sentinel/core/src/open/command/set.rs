//! `SENTINEL SET`: what can be changed of a monitored master, option by option.

use std::time::Duration;

use duke_resp::Frame;

use super::{Reply, sentinel::no_master};
use crate::{
    open::{Open, event::Level, master::Master},
    output::Output,
    words::Words,
};

/// Valkey: characters that could begin a new line of the file are refused.
pub(super) fn control_character(words: Words<'_>, command: &str) -> Option<Frame> {
    let index = words
        .0
        .iter()
        .position(|word| word.iter().any(u8::is_ascii_control))?;
    Some(Frame::error(format!(
        "ERR Invalid argument at index {index} for SENTINEL {command}: control characters are not allowed"
    )))
}

/// How an option ended.
enum Set {
    Done(usize),
    Refused(Frame),
}

fn invalid(option: &str, value: &str) -> Frame {
    Frame::error(format!(
        "ERR Invalid argument '{value}' for SENTINEL SET '{option}'"
    ))
}

impl Open {
    pub(super) fn set_command(&mut self, words: Words<'_>) -> Reply {
        if let Some(refusal) = control_character(words, "SET") {
            return Reply::Now(refusal);
        }
        let name = words.text(2).to_owned();
        if !self.masters.contains_key(&name) {
            return Reply::Now(no_master());
        }
        if self.asks_for_files(words) {
            return Reply::AskAgain;
        }
        let refusal = self.with(&name, |open, master| open.set_all(master, words));
        let sequence = self.save();
        match refusal.flatten() {
            Some(refusal) => Reply::Now(refusal),
            None => Reply::WhenSaved(sequence),
        }
    }

    /// Whether a script must be looked at before it can be set.
    fn asks_for_files(&mut self, words: Words<'_>) -> bool {
        if self.conf.sentinel.deny_scripts_reconfig {
            return false;
        }
        let mut asked = false;
        for index in 3..words.len().saturating_sub(1) {
            let option = words.lower(index);
            let path = words.text(index.saturating_add(1));
            let script = matches!(
                option.as_str(),
                "notification-script" | "client-reconfig-script"
            );
            if script && !path.is_empty() && !self.files.contains_key(path) {
                self.tell(Output::Check {
                    path: path.to_owned(),
                });
                asked = true;
            }
        }
        asked
    }

    fn set_all(&mut self, master: &mut Master, words: Words<'_>) -> Option<Frame> {
        let mut at = 3;
        while at < words.len() {
            let option = words.lower(at);
            let value = words.text(at.saturating_add(1)).to_owned();
            let second = words.text(at.saturating_add(2)).to_owned();
            let left = words.len().saturating_sub(at).saturating_sub(1);
            let shown = words.text(at).to_owned();
            match self.set_one(master, &option, left, &value, &second) {
                Set::Refused(refusal) => return Some(refusal),
                Set::Done(taken) => {
                    let value = if option == "auth-pass" {
                        "******".to_owned()
                    } else {
                        value
                    };
                    let more = if taken == 2 {
                        format!(" {second}")
                    } else {
                        String::new()
                    };
                    let payload = format!("{} {shown} {value}{more}", self.at_master(master));
                    self.event(Some(master), Level::Warning, "+set", &payload);
                    at = at.saturating_add(taken).saturating_add(1);
                }
            }
        }
        None
    }

    fn set_one(
        &mut self,
        master: &mut Master,
        option: &str,
        left: usize,
        value: &str,
        second: &str,
    ) -> Set {
        let unknown = || {
            Set::Refused(Frame::error(format!(
                "ERR Unknown option or number of arguments for SENTINEL SET '{option}'"
            )))
        };
        if left == 0 {
            return unknown();
        }
        let positive = || value.parse::<u32>().ok().filter(|number| *number > 0);
        let done = match option {
            "down-after-milliseconds" => positive().map(|millis| {
                master.conf.down_after = Duration::from_millis(millis.into());
            }),
            "failover-timeout" => positive().map(|millis| {
                master.conf.failover_timeout = Duration::from_millis(millis.into());
            }),
            "parallel-syncs" => positive().map(|number| master.conf.parallel_syncs = number),
            "quorum" => positive().map(|number| master.conf.quorum = number),
            "master-reboot-down-after-period" | "primary-reboot-down-after-period" => {
                value.parse::<u32>().ok().map(|millis| {
                    master.conf.reboot_down_after = Duration::from_millis(millis.into());
                })
            }
            "notification-script" | "client-reconfig-script" => {
                return self.set_script(master, option, value);
            }
            "auth-pass" => {
                value.clone_into(&mut master.conf.auth_pass);
                Some(())
            }
            "auth-user" => {
                value.clone_into(&mut master.conf.auth_user);
                Some(())
            }
            "rename-command" if left >= 2 => return rename(master, value, second),
            _ => return unknown(),
        };
        if done.is_none() {
            return Set::Refused(invalid(option, value));
        }
        if option.starts_with("auth-") {
            self.reconnect(master);
        }
        Set::Done(1)
    }

    fn set_script(&mut self, master: &mut Master, option: &str, path: &str) -> Set {
        if self.conf.sentinel.deny_scripts_reconfig {
            return Set::Refused(Frame::error(
                "ERR Reconfiguration of scripts path is denied for security reasons. Check the \
                 deny-scripts-reconfig configuration directive in your Sentinel configuration",
            ));
        }
        let usable = path.is_empty() || self.files.get(path).copied().unwrap_or(false);
        let notifies = option == "notification-script";
        if !usable {
            let what = if notifies {
                "Notification"
            } else {
                "Client reconfiguration"
            };
            let text = format!("ERR {what} script seems non existing or non executable");
            return Set::Refused(Frame::error(text));
        }
        let conf = &mut master.conf;
        let slot = if notifies {
            &mut conf.notification_script
        } else {
            &mut conf.reconfig_script
        };
        path.clone_into(slot);
        Set::Done(1)
    }

    /// New credentials count from the next connection on: it is made now.
    fn reconnect(&mut self, master: &mut Master) {
        let now = self.now;
        let mut stale = Vec::new();
        for server in master.servers_mut() {
            stale.extend(server.command.link());
            stale.extend(server.ears.link());
            server.command.ended(now);
            server.ears.ended(now);
            server.doubt(now);
        }
        for link in stale {
            self.forget(link);
        }
    }
}

fn rename(master: &mut Master, old: &str, new: &str) -> Set {
    if old.is_empty() || new.is_empty() {
        let option = "rename-command";
        return Set::Refused(invalid(option, if old.is_empty() { old } else { new }));
    }
    let key = old.to_ascii_uppercase();
    if key == new.to_ascii_uppercase() {
        master.conf.renames.remove(&key);
    } else {
        master.conf.renames.insert(key, new.to_owned());
    }
    Set::Done(2)
}
