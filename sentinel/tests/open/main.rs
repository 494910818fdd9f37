//! Dukes beside stock sentinels, around real data servers on loopback: one group, whoever leads it.
//!
//! Needs Debian's redis-server and redis-sentinel. Nothing here waits by the clock: every step is a
//! condition that must come true.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answers;
mod clients;
mod handover;
mod lead;
#[path = "../group/process.rs"]
mod process;
mod story;
mod users;
#[path = "../group/wire.rs"]
#[expect(
    dead_code,
    reason = "shared with the closed group's tests, which need more"
)]
mod wire;
mod world;

use std::os::unix::fs::PermissionsExt as _;

use crate::world::{Kind, World, wait_for};

use Kind::Duke;

#[test]
fn dukes_alone_replace_a_killed_master() {
    let mut world = World::new("dukes", &[Duke, Duke, Duke]);
    let old = world.settled();
    world.server(old).process.kill();
    let new = world.next_master(old);
    world.server(old).restart();
    world.follows(new);
}

#[test]
fn a_restarted_duke_remembers_its_group() {
    let mut world = World::new("remembers", &[Duke, Duke, Duke]);
    let old = world.settled();
    world.server(old).process.kill();
    let new = world.next_master(old);
    let id = world.sentinels[0].text(&["SENTINEL", "MYID"]).unwrap();
    world.sentinels[0].restart();
    let duke = &world.sentinels[0];
    wait_for("the restarted Duke to answer", || {
        duke.text(&["SENTINEL", "MYID"]).is_ok()
    });
    assert_eq!(duke.text(&["SENTINEL", "MYID"]).unwrap(), id);
    assert_eq!(duke.master_port(), Some(new), "before it heard of anybody");
    let others = duke.master_field("num-other-sentinels");
    assert_eq!(others.as_deref(), Some("2"), "they stand in its file");
}

#[test]
fn a_script_under_way_is_not_left_behind() {
    let mut world = World::new("script", &[Duke]);
    world.settled();
    let (begun, go_on, done) = (
        world.folder().join("begun"),
        world.folder().join("go-on"),
        world.folder().join("done"),
    );
    let script = world.folder().join("script.sh");
    let text = format!(
        "#!/bin/sh\ntouch {}\nuntil [ -e {} ]; do sleep 0.01; done\ntouch {}\n",
        begun.display(),
        go_on.display(),
        done.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let line = format!("sentinel notification-script lake {}\n", script.display());
    let duke = &mut world.sentinels[0];
    duke.restart_with(&line);
    wait_for("its settings to be changed", || {
        duke.ask(&["SENTINEL", "SET", "lake", "quorum", "1"])
            .is_ok()
    });
    wait_for("the script to begin", || begun.exists());
    duke.process.signal("TERM");
    std::fs::write(&go_on, "").unwrap();
    duke.process.wait();
    assert!(done.exists(), "it ended before Duke did");
}

#[test]
fn a_taken_port_ends_the_start_before_anything_is_written() {
    let world = World::new("taken", &[Duke]);
    let conf = world.folder().join("second.conf");
    let first = &world.sentinels[0];
    wait_for("the first to hold its port", || {
        first.ask(&["PING"]).is_ok()
    });
    let port = first.port;
    let text = format!("port {port}\nbind 127.0.0.1\nsentinel monitor lake 127.0.0.1 1 1\n");
    std::fs::write(&conf, &text).unwrap();
    let mut second = process::Process::start(
        env!("CARGO_BIN_EXE_duke"),
        &[conf.to_str().unwrap()],
        &world.folder().join("second.log"),
    );
    assert_eq!(second.wait().code(), Some(1));
    assert_eq!(std::fs::read_to_string(&conf).unwrap(), text);
}
