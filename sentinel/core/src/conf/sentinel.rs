//! The directives that begin with `sentinel`.
//!
//! Decides what each means; error texts are stock's.

use std::{str::FromStr, time::Duration};

use super::{Conf, MasterConf, Place};

/// In which pass a directive is obeyed, from 0.
pub(super) fn pass(name: &str) -> usize {
    match name {
        "announce-ip"
        | "announce-port"
        | "deny-scripts-reconfig"
        | "sentinel-user"
        | "sentinel-pass"
        | "current-epoch"
        | "myid"
        | "resolve-hostnames"
        | "announce-hostnames" => 0,
        "monitor" => 1,
        _ => 2,
    }
}

/// A number as C's `atoi` would read it where that matters: junk is 0.
fn number<T: FromStr + Default>(word: &str) -> T {
    word.parse().unwrap_or_default()
}

fn positive(word: &str) -> Result<u64, String> {
    match number::<u64>(word) {
        0 => Err("negative or zero time parameter.".to_owned()),
        millis => Ok(millis),
    }
}

fn switch(name: &str, word: &str) -> Result<bool, String> {
    match word.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(format!("Please specify yes or no for the {name} options.")),
    }
}

/// Obeys one directive, given without the word `sentinel`.
pub(super) fn obey(conf: &mut Conf, words: &[String]) -> Result<(), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let [name, arguments @ ..] = words.as_slice() else {
        return Err("Unrecognized sentinel configuration statement.".to_owned());
    };
    let name = name.to_ascii_lowercase();
    match (name.as_str(), arguments) {
        ("monitor", [master, host, port, quorum]) => monitor(conf, master, host, port, quorum),
        (_, [value]) => of_duke(conf, &name, value),
        (_, [master, arguments @ ..]) => {
            let known = conf.masters.get_mut(*master);
            of_master(known, &name, arguments)
        }
        (_, []) => Err(unknown()),
    }
}

fn unknown() -> String {
    "Unrecognized sentinel configuration statement.".to_owned()
}

fn monitor(
    conf: &mut Conf,
    name: &str,
    host: &str,
    port: &str,
    quorum: &str,
) -> Result<(), String> {
    let quorum = number::<u32>(quorum);
    if quorum == 0 {
        return Err("Quorum must be 1 or greater.".to_owned());
    }
    let Ok(port) = port.parse::<u16>() else {
        return Err("Invalid port number.".to_owned());
    };
    if super::ip(host).is_none() && !conf.sentinel.resolve_hostnames {
        return Err("Can't resolve instance hostname.".to_owned());
    }
    if conf.masters.contains_key(name) {
        return Err("Duplicate master name.".to_owned());
    }
    let place = Place {
        host: host.to_owned(),
        port,
    };
    let master = MasterConf::new(place, quorum);
    conf.masters.insert(name.to_owned(), master);
    Ok(())
}

fn of_duke(conf: &mut Conf, name: &str, value: &str) -> Result<(), String> {
    let own = &mut conf.sentinel;
    match name {
        "announce-ip" => value.clone_into(&mut own.announce_ip),
        "announce-port" => own.announce_port = number(value),
        "deny-scripts-reconfig" => own.deny_scripts_reconfig = switch(name, value)?,
        "resolve-hostnames" => own.resolve_hostnames = switch(name, value)?,
        "announce-hostnames" => own.announce_hostnames = switch(name, value)?,
        "sentinel-user" => value.clone_into(&mut own.sentinel_user),
        "sentinel-pass" => value.clone_into(&mut own.sentinel_pass),
        "current-epoch" => own.current_epoch = own.current_epoch.max(number(value)),
        "myid" if value.len() == 40 => value.clone_into(&mut own.id),
        "myid" => return Err("Malformed Sentinel id in myid option.".to_owned()),
        _ => return Err(unknown()),
    }
    Ok(())
}

fn of_master(master: Option<&mut MasterConf>, name: &str, words: &[&str]) -> Result<(), String> {
    const KNOWN: &[(&str, usize)] = &[
        ("down-after-milliseconds", 1),
        ("failover-timeout", 1),
        ("parallel-syncs", 1),
        ("master-reboot-down-after-period", 1),
        ("primary-reboot-down-after-period", 1),
        ("auth-pass", 1),
        ("auth-user", 1),
        ("notification-script", 1),
        ("client-reconfig-script", 1),
        ("rename-command", 2),
        ("config-epoch", 1),
        ("leader-epoch", 1),
        ("known-replica", 2),
        ("known-slave", 2),
        ("known-sentinel", 2),
        ("known-sentinel", 3),
    ];
    if !KNOWN.contains(&(name, words.len())) {
        return Err(unknown());
    }
    let Some(master) = master else {
        return Err("No such master with specified name.".to_owned());
    };
    match (name, words) {
        ("down-after-milliseconds", [value]) => {
            master.down_after = Duration::from_millis(positive(value)?);
        }
        ("failover-timeout", [value]) => {
            master.failover_timeout = Duration::from_millis(positive(value)?);
        }
        ("parallel-syncs", [value]) => master.parallel_syncs = number(value),
        ("master-reboot-down-after-period" | "primary-reboot-down-after-period", [value]) => {
            let Ok(millis) = value.parse() else {
                return Err("negative time parameter.".to_owned());
            };
            master.reboot_down_after = Duration::from_millis(millis);
        }
        ("auth-pass", [value]) => (*value).clone_into(&mut master.auth_pass),
        ("auth-user", [value]) => (*value).clone_into(&mut master.auth_user),
        ("notification-script", [path]) => (*path).clone_into(&mut master.notification_script),
        ("client-reconfig-script", [path]) => (*path).clone_into(&mut master.reconfig_script),
        ("rename-command", [old, new]) => {
            let old = old.to_ascii_uppercase();
            if master.renames.insert(old, (*new).to_owned()).is_some() {
                let reason = "Same command renamed multiple times with rename-command.";
                return Err(reason.to_owned());
            }
        }
        ("config-epoch", [value]) => master.config_epoch = number(value),
        ("leader-epoch", [value]) => master.leader_epoch = number(value),
        ("known-sentinel", [host, port, id]) => {
            let place = place(host, port, "sentinel")?;
            master.sentinels.insert((*id).to_owned(), place);
        }
        ("known-replica" | "known-slave", [host, port]) => {
            let place = place(host, port, "replica")?;
            master.replicas.insert(place);
        }
        // Without its id another sentinel is found anew by its hello.
        _ => {}
    }
    Ok(())
}

fn place(host: &str, port: &str, kind: &str) -> Result<Place, String> {
    let port = port
        .parse()
        .map_err(|_| format!("Wrong hostname or port for {kind}."))?;
    Ok(Place {
        host: host.to_owned(),
        port,
    })
}
