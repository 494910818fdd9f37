//! A group of real Dukes and real data servers on loopback, and what happens to it when things die.
//!
//! The times printed are information; what is asserted are conditions that must come true.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and tells what it measured"
)]

mod handover;
mod prober;
mod process;
mod wire;
mod world;

use std::time::Duration;

use anyhow::ensure;
use duke_resp::Frame;

use crate::prober::Prober;
use crate::wire::{Wire, text};
use crate::world::{PEER_PASSWORD, READY_PORT, World, wait_for};

/// Long enough for one answer or event on loopback.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_killed_master_is_replaced_and_comes_back_as_a_replica() {
    let mut world = World::seeded("killed");
    let old = world.nodes[0].address();
    let mut subscriber = Wire::connect(world.dukes[0].address(), PATIENCE).unwrap();
    subscriber.ask(&["SUBSCRIBE", "+switch-master"]).unwrap();
    let prober = Prober::start(world.dukes.iter().map(world::Duke::address).collect());
    prober.warm();

    world.node(old).process.kill();
    let new = world.next_master(old);
    let event = subscriber.receive().unwrap();
    let event: Vec<String> = event
        .as_array()
        .unwrap_or_default()
        .iter()
        .map(text)
        .collect();
    let told = format!(
        "mymaster {} {} {} {}",
        old.ip(),
        old.port(),
        new.ip(),
        new.port()
    );
    assert_eq!(event, ["message", "+switch-master", &told]);
    for node in world.nodes.iter().filter(|node| node.address() != old) {
        wait_for("the others to follow", || node.follows(new));
    }
    let gap = prober.finish();
    println!(
        "kill -9 of the master: longest write gap {:?}, {} writes",
        gap.longest, gap.writes
    );

    world.node(old).restart();
    world.settled(new);
}

#[test]
fn a_frozen_master_is_replaced_and_demoted_when_it_thaws() {
    let mut world = World::seeded("frozen");
    let old = world.nodes[0].address();
    let prober = Prober::start(world.dukes.iter().map(world::Duke::address).collect());
    prober.warm();
    world.node(old).process.signal("STOP");
    let new = world.next_master(old);
    let gap = prober.finish();
    println!(
        "SIGSTOP of the master: longest write gap {:?}, {} writes",
        gap.longest, gap.writes
    );
    world.node(old).process.signal("CONT");
    world.settled(new);
}

#[test]
fn a_killed_duke_remembers_and_takes_part_again() {
    let mut world = World::seeded("remembers");
    let master = world.nodes[0].address();
    world.node(master).process.kill();
    let new = world.next_master(master);
    world.node(master).restart();
    world.settled(new);

    let fields = [
        "myid",
        "generation",
        "current-epoch",
        "config-epoch",
        "leader-epoch",
    ];
    let before: Vec<String> = fields
        .iter()
        .map(|field| world.dukes[1].status(field).unwrap())
        .collect();
    world.dukes[1].restart();
    assert_eq!(world.dukes[1].id(), before[0]);
    let after: Vec<String> = fields
        .iter()
        .map(|field| world.dukes[1].status(field).unwrap())
        .collect();
    assert_eq!(after, before);
    world.settled(new);

    world.dukes[0].process.kill();
    world.node(new).process.kill();
    let third = world.next_master(new);
    world.node(new).restart();
    world.dukes[0].restart();
    world.settled(third);
}

#[test]
fn a_duke_that_lost_its_memory_recovers_it_from_the_others_before_it_is_ready() {
    let mut world = World::seeded("newcomer");
    let master = world.nodes[0].address();
    let duke = &mut world.dukes[2];
    let ready = std::net::SocketAddr::new(duke.ip.into(), READY_PORT);
    wait_for("a Duke with memory to be ready", || {
        Wire::connect(ready, PATIENCE)
    });
    let old_id = duke.id();
    duke.process.kill();
    std::fs::remove_file(duke.state()).unwrap();
    duke.restart();
    assert_ne!(duke.id(), old_id);
    assert_eq!(duke.status("memory").unwrap(), "no");
    assert!(
        Wire::connect(ready, PATIENCE).is_err(),
        "ready without memory"
    );
    assert_eq!(duke.master().unwrap(), None);

    // The operator sees another Duke in the place of the old one.
    world.feed();
    wait_for("the newcomer to remember", || {
        let memory = world.dukes[2].status("memory")?;
        ensure!(memory == "yes", "{memory}");
        Ok(())
    });
    wait_for("the newcomer to be ready", || {
        Wire::connect(ready, PATIENCE)
    });
    world.settled(master);
}

#[test]
fn all_data_servers_killed_at_once_have_a_master_again() {
    let mut world = World::seeded("all");
    let old = world.nodes[0].address();
    wait_for("a write", || {
        world.nodes[0].login()?.ask(&["SET", "key", "value"])
    });
    for node in &mut world.nodes {
        node.process.kill();
    }
    for node in &mut world.nodes {
        node.restart();
    }
    let master = wait_for("a master that answers as one", || {
        let named = world.dukes[0].master()?;
        let node = world
            .nodes
            .iter()
            .find(|node| Some(node.address()) == named);
        let node = node.ok_or_else(|| anyhow::anyhow!("no master is named"))?;
        node.follows(node.address())?;
        Ok(node.address())
    });
    println!("all data servers killed: {old} before, {master} after");
    world.settled(master);
}

#[test]
fn strangers_may_discover_and_nothing_else() {
    let world = World::seeded("strangers");
    let duke = &world.dukes[0];
    let mut stranger = duke.anonymous().unwrap();
    assert_eq!(stranger.ask(&["PING"]).unwrap(), Frame::simple("PONG"));
    stranger.ask(&["SENTINEL", "MASTERS"]).unwrap();
    for words in [
        vec!["DUKE", "STATUS"],
        vec!["DUKE", "SEED", "9", "203.0.113.66", "6379", "9"],
        vec!["SENTINEL", "FAILOVER", "mymaster"],
        vec!["SENTINEL", "SET", "mymaster", "quorum", "1"],
        vec![
            "SENTINEL",
            "IS-MASTER-DOWN-BY-ADDR",
            "127.0.0.1",
            "6379",
            "9223372036854775807",
            "x",
        ],
        vec!["PUBLISH", "__sentinel__:hello", "x"],
        vec!["SHUTDOWN"],
    ] {
        let reply = stranger.raw(&words).unwrap();
        let refusal = reply
            .as_error()
            .map(|text| String::from_utf8_lossy(text).into_owned());
        assert!(
            refusal.is_some_and(|text| text.starts_with("NOPERM ")),
            "{words:?}: {reply:?}"
        );
    }
    let wrong = stranger.raw(&["AUTH", "operator", PEER_PASSWORD]).unwrap();
    let refusal = Frame::error("WRONGPASS invalid username-password pair or user is disabled.");
    assert_eq!(wrong, refusal);
    world.settled(world.nodes[0].address());
}

#[test]
fn junk_ends_its_own_connection_only() {
    let world = World::start("junk");
    let duke = &world.dukes[0];
    duke.id();
    let refusals = [
        (
            "*1\r\nPING\r\n",
            "ERR Protocol error: expected '$', got 'P'",
        ),
        ("*x\r\n", "ERR Protocol error: invalid multibulk length"),
        (
            "PING \"\r\n",
            "ERR Protocol error: unbalanced quotes in request",
        ),
    ];
    for (junk, refusal) in refusals {
        let mut wire = duke.anonymous().unwrap();
        wire.send(b"PING\r\n\r\n").unwrap();
        wire.send(junk.as_bytes()).unwrap();
        assert_eq!(wire.receive().unwrap(), Frame::simple("PONG"));
        assert_eq!(wire.receive().unwrap(), Frame::error(refusal));
        assert!(wire.closed().unwrap(), "{junk:?}");
    }
    let mut browser = duke.anonymous().unwrap();
    browser
        .send(b"POST / HTTP/1.1\r\nHost: duke\r\n\r\nSHUTDOWN\r\n")
        .unwrap();
    assert!(browser.closed().unwrap());
    for seed in 0..200_u32 {
        let mut wire = duke.anonymous().unwrap();
        let noise = (0..400_u32).map(|at| (at * at).wrapping_mul(seed * 2_654_435 + 97) >> 8);
        let noise: Vec<u8> = noise.map(|number| number.to_le_bytes()[0]).collect();
        // Duke may close before everything was taken.
        drop(wire.send(&noise));
    }
    assert_eq!(
        duke.anonymous().unwrap().ask(&["PING"]).unwrap(),
        Frame::simple("PONG")
    );
}

#[test]
fn a_client_that_never_reads_is_no_burden() {
    let world = World::start("deaf");
    let duke = &world.dukes[0];
    duke.id();
    let mut deaf = duke.anonymous().unwrap();
    let request =
        b"PING 0123456789012345678901234567890123456789012345678901234567890\r\n".repeat(500);
    // Once nothing more fits on the way, sending times out: Duke stopped reading.
    while deaf.send(&request).is_ok() {}
    assert_eq!(
        duke.anonymous().unwrap().ask(&["PING"]).unwrap(),
        Frame::simple("PONG")
    );
}

#[test]
fn a_damaged_state_file_is_fatal_and_says_what_to_do() {
    let mut world = World::seeded("damaged");
    let duke = &mut world.dukes[0];
    duke.process.kill();
    let state = std::fs::read_to_string(duke.state()).unwrap();
    std::fs::write(duke.state(), &state[..state.len() / 2]).unwrap();
    duke.restart();
    assert_eq!(duke.process.wait().code(), Some(1));
    let log = duke.log();
    assert!(
        log.contains("is damaged") && log.contains("move it away"),
        "{log}"
    );
}

#[test]
fn a_second_duke_on_a_busy_port_ends_before_it_wrote_anything() {
    let mut world = World::start("busy");
    let id = world.dukes[0].id();
    let before = wait_for("a state file", || {
        Ok(std::fs::read_to_string(world.dukes[0].state())?)
    });
    let mut second = world.dukes[0].twin();
    assert_eq!(second.wait().code(), Some(1));
    assert_eq!(
        std::fs::read_to_string(world.dukes[0].state()).unwrap(),
        before
    );
    assert_eq!(world.dukes[0].id(), id);
    world.dukes[0].process.signal("TERM");
    assert_eq!(world.dukes[0].process.wait().code(), Some(0));
}
