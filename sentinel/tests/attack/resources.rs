//! Files and time that clients take: none of what Duke needs for its duty, and none after its end.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;

use crate::unharmed;
use crate::victim::{Victim, free_port, take_all, wait_for};
use crate::wire::{Wire, text};

#[test]
fn the_limit_of_files_is_raised_to_what_maxclients_needs() {
    let duke = Victim::duke_with_files("raised", "maxclients 300\n", "100:4096");
    // The first question's place may still be taken.
    assert!(take_all(&duke).len() >= 299);
    unharmed_again(&duke);
}

#[test]
fn where_files_are_few_clients_leave_some_for_links() {
    let port = free_port();
    let lines = format!(
        "sentinel monitor lake 127.0.0.1 {port} 1\nsentinel down-after-milliseconds lake 1000\n"
    );
    let duke = Victim::duke_with_files("few", &lines, "200:200");
    let mut asker = duke.wire();
    asker.ask(&["PING"]).unwrap();
    let held = take_all(&duke);
    assert!((100..200).contains(&held.len()), "{} served", held.len());
    // All places are taken; only now there is a server to be found.
    let _server = Victim::server("few-server", port, "");
    wait_for("the server to be found", || flags(&mut asker) == "master");
    drop(held);
    unharmed_again(&duke);
}

#[test]
fn a_link_waits_for_a_file() {
    let port = free_port();
    let lines = format!(
        "sentinel monitor lake 127.0.0.1 {port} 1\nsentinel down-after-milliseconds lake 1000\n"
    );
    let duke = Victim::duke("shortage", &lines);
    let mut asker = duke.wire();
    asker.ask(&["PING"]).unwrap();
    // As if somebody else had used up all files of the host.
    duke.limit_files("5:4096");
    wait_for("a link to find no file", || {
        let log = fs::read_to_string(duke.folder().join("log")).unwrap();
        log.contains("cannot connect for want of files")
    });
    let _server = Victim::server("shortage-server", port, "");
    duke.limit_files("1024:4096");
    wait_for("the server to be found", || flags(&mut asker) == "master");
    unharmed(&duke);
}

/// What Duke thinks of the master.
fn flags(asker: &mut Wire) -> String {
    let reply = asker.ask(&["SENTINEL", "MASTER", "lake"]).unwrap();
    let fields: Vec<String> = reply.as_array().unwrap().iter().map(text).collect();
    let at = fields.iter().position(|field| field == "flags").unwrap();
    fields[at + 1].clone()
}

fn unharmed_again(duke: &Victim) {
    wait_for("places to be free again", || duke.answers());
    unharmed(duke);
}

#[test]
fn clients_are_let_go_before_the_last_script_ends() {
    let port = free_port();
    let mut duke = Victim::duke(
        "end",
        &format!("sentinel monitor lake 127.0.0.1 {port} 1\nsentinel deny-scripts-reconfig no\n"),
    );
    let (begun, go_on) = (duke.folder().join("begun"), duke.folder().join("go-on"));
    let script = duke.folder().join("script.sh");
    let lines = format!(
        "#!/bin/sh\ntouch {}\nfor _ in $(seq 6000); do [ -e {} ] && exit; sleep 0.01; done\n",
        begun.display(),
        go_on.display()
    );
    fs::write(&script, lines).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut wire = duke.wire();
    let script = script.to_str().unwrap();
    wire.ask(&["SENTINEL", "SET", "lake", "notification-script", script])
        .unwrap();
    wait_for("the script to run", || {
        wire.ask(&["SENTINEL", "SET", "lake", "quorum", "1"])
            .unwrap();
        begun.exists()
    });
    let mut idle = duke.wire();
    idle.ask(&["PING"]).unwrap();
    duke.terminate();
    assert!(idle.closed().unwrap());
    wait_for("new clients to be refused", || {
        TcpStream::connect(duke.address()).is_err()
    });
    fs::write(&go_on, "").unwrap();
    wait_for("the end", || duke.is_over());
    let log = fs::read_to_string(duke.folder().join("log")).unwrap();
    assert!(!log.contains("left scripts running"), "{log}");
}
