//! The agent beside a real server: what it says of it, and what it does when it is told to stop.
//!
//! Needs Debian's redis-server. Nothing here waits by the clock.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attack;
mod process;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use duke_agent::readiness::{Answer, Link, Role};

use crate::process::{Process, free_port, wait_for};

/// Much for a test that does not care.
const GRACE_SECONDS: u32 = 60;

fn agent(name: &str, server: u16) -> Process {
    Process::agent(name, server, free_port(), GRACE_SECONDS)
}

/// What the server says to PING and ROLE.
fn answer(server: &Process) -> Option<Answer> {
    Some(Answer::read(
        &server.ask(&["PING"])?,
        &server.ask(&["ROLE"])?,
    ))
}

fn fill(server: &Process, keys: u32) {
    let script = "for i = 1, ARGV[1] do redis.call('set', i, i) end";
    let reply = server.ask(&["EVAL", script, "0", &keys.to_string()]);
    assert!(reply.is_some_and(|reply| reply.as_error().is_none()));
}

#[test]
fn a_replica_is_ready_once_it_has_its_copy() {
    let (first, second) = (free_port(), free_port());
    let lines = format!("replicaof 127.0.0.1 {first}\n");
    let replica = Process::server("sync-replica", second, &lines);
    let agent = agent("sync", second);
    agent.becomes(503, "the replica has no connection to its master");
    // The copy is made slowly enough to be seen.
    let slowly = "rdb-key-save-delay 4000\nrepl-diskless-sync-delay 1\n";
    let master = Process::server("sync-master", first, slowly);
    wait_for("the master", || master.ask(&["PING"]).is_some());
    fill(&master, 500);
    agent.becomes(503, "the replica is being given its copy");
    agent.becomes(200, "replica in sync");
    replica.ask(&["REPLICAOF", "127.0.0.1", "1"]);
    agent.becomes(503, "no Duke has given the server a role yet");
    replica.ask(&["REPLICAOF", "NO", "ONE"]);
    agent.becomes(200, "master");
}

#[test]
fn a_server_that_loads_its_data_is_not_ready() {
    let port = free_port();
    let mut server = Process::server("loading-server", port, "");
    wait_for("the server", || server.ask(&["PING"]).is_some());
    fill(&server, 3000);
    server.ask(&["SAVE"]);
    let agent = agent("loading", port);
    agent.becomes(200, "master");
    server.kill();
    agent.becomes(503, "nobody listens on the server's port");
    // It loads slowly, and answers while it does.
    let slowly = "key-load-delay 3000\nloading-process-events-interval-bytes 1024\n";
    let server = Process::server("loading-server", port, slowly);
    agent.becomes(503, "the server is loading its data");
    assert_eq!(answer(&server), Some(Answer::Loading));
    server.ask(&["CONFIG", "SET", "key-load-delay", "0"]);
    agent.becomes(200, "master");
}

#[test]
fn a_server_that_does_not_let_the_agent_in_is_not_ready() {
    let port = free_port();
    let server = Process::server("login-server", port, "");
    let agent = agent("login", port);
    agent.becomes(200, "master");
    // As when the Secret is changed: first the server's user, then the file.
    server.ask(&["ACL", "DELUSER", "agent"]);
    let rights = ["on", ">other", "resetkeys", "-@all", "+ping", "+role"];
    server.ask(&[&["ACL", "SETUSER", "agent"], rights.as_slice()].concat());
    agent.becomes(503, "the server refuses the agent: WRONGPASS");
    std::fs::write(agent.folder.join("agent"), "other\n").unwrap();
    agent.becomes(200, "master");
    server.ask(&["ACL", "SETUSER", "agent", "-role"]);
    agent.becomes(503, "the server refuses the agent: NOPERM");
}

#[test]
fn a_server_held_up_by_a_script_says_that_it_is_busy() {
    let port = free_port();
    let server = Process::server("busy-server", port, "busy-reply-threshold 20\n");
    let agent = agent("busy", port);
    agent.becomes(200, "master");
    thread::scope(|scope| {
        scope.spawn(|| server.ask(&["EVAL", "while true do end", "0"]));
        wait_for("the server to be busy", || {
            answer(&server) == Some(Answer::Busy)
        });
        assert_eq!(agent.get("/ready"), (200, "master".to_owned()));
        server.ask(&["SCRIPT", "KILL"]);
    });
    agent.becomes(200, "master");
}

#[test]
fn connections_cut_by_a_change_of_roles_do_not_make_a_master_unready() {
    let port = free_port();
    let server = Process::server("cut-server", port, "");
    let agent = agent("cut", port);
    agent.becomes(200, "master");
    for _ in 0..200 {
        server.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert_eq!(agent.get("/ready"), (200, "master".to_owned()));
    }
}

/// A Duke that refuses the order so often, then carries it out: the server follows `successor`.
fn duke(server: u16, successor: u16, refusals: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let orders = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&orders);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut answers = stream.try_clone().unwrap();
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                // The last word of each request; nothing else is looked at.
                let said = match line.as_str() {
                    "secret" => "+OK\r\n",
                    word if word == server.to_string() => {
                        if counted.fetch_add(1, Ordering::Relaxed) < refusals {
                            "-INPROG another failover\r\n"
                        } else {
                            follow(server, successor);
                            "+OK\r\n"
                        }
                    }
                    _ => continue,
                };
                drop(answers.write_all(said.as_bytes()));
            }
        }
    });
    (port, orders)
}

fn follow(server: u16, successor: u16) {
    let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, server)).unwrap();
    let order = format!("REPLICAOF 127.0.0.1 {successor}\r\n");
    stream.write_all(order.as_bytes()).unwrap();
    let mut reply = String::new();
    BufReader::new(stream).read_line(&mut reply).unwrap();
    assert_eq!(reply, "+OK\r\n");
}

#[test]
fn a_master_is_handed_over_before_it_may_be_stopped() {
    let (port, other) = (free_port(), free_port());
    let mut server = Process::server("stop-server", port, "");
    let successor = Process::server("stop-successor", other, "");
    wait_for("the successor", || successor.ask(&["PING"]).is_some());
    let (dukes, orders) = duke(port, other, 2);
    let mut agent = Process::agent("stop", port, dukes, GRACE_SECONDS);
    agent.becomes(200, "master");
    thread::scope(|scope| {
        // As the kubelet does: both at once, and the server waits for the answer.
        let hook = scope.spawn(|| agent.get("/stopping"));
        agent.signal("TERM");
        assert_eq!(
            hook.join().unwrap(),
            (200, "the hand-over is over".to_owned())
        );
    });
    assert_eq!(orders.load(Ordering::Relaxed), 3);
    let role = answer(&server);
    assert!(
        matches!(role, Some(Answer::Role(Role::Replica(link))) if link != Link::Nobody),
        "{role:?}"
    );
    assert!(!agent.is_over(), "it stays as long as the server");
    agent.becomes(200, "replica in sync");
    server.kill();
    wait_for("the agent to end", || agent.is_over());
}

#[test]
fn a_server_that_is_stopped_alone_does_not_wait() {
    let port = free_port();
    let _server = Process::server("alone-server", port, "");
    let agent = agent("alone", port);
    agent.becomes(200, "master");
    let begin = Instant::now();
    let (status, text) = agent.get("/stopping");
    assert_eq!(
        (status, text.as_str()),
        (200, "nobody ordered the agent to stop")
    );
    assert!(begin.elapsed().as_secs() < u64::from(GRACE_SECONDS) / 2);
    agent.becomes(200, "master");
}

#[test]
fn an_agent_without_a_server_ends_when_it_is_told() {
    let mut agent = agent("none", free_port());
    agent.becomes(503, "nobody listens on the server's port");
    agent.signal("TERM");
    wait_for("the agent to end", || agent.is_over());
}
