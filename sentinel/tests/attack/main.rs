//! Clients and servers that mean harm, or are broken: Duke keeps its memory, its other clients and its
//! duty.
//!
//! Needs Debian's redis-server. Memory is bounded by `PEAK_KIB_MAX`, whatever happens; nothing here waits
//! by the clock.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod resources;
mod servers;
mod victim;
#[path = "../group/wire.rs"]
#[expect(dead_code, reason = "shared with tests that need more")]
mod wire;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use duke_resp::Frame;

use crate::victim::{PATIENCE, Victim, free_port, take_all, wait_for};
use crate::wire::text;

/// The most memory Duke may ever hold in these tests, in KiB.
pub(crate) const PEAK_KIB_MAX: u64 = 64 * 1024;

/// Everything a connection still says; empty if it says nothing more.
fn rest(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "still open");
    }
    String::from_utf8_lossy(&said).into_owned()
}

pub(crate) fn unharmed(duke: &Victim) {
    assert!(duke.answers());
    let peak = duke.peak_kib();
    assert!(peak < PEAK_KIB_MAX, "held {peak} KiB");
}

#[test]
fn frames_that_are_never_finished_cost_little() {
    let duke = Victim::duke("half", "");
    let begun = b"*3\r\n$8\r\nSENTINEL\r\n$6\r\nMAS".as_slice();
    let held: Vec<_> = (0..200).map(|_| duke.send(begun)).collect();
    unharmed(&duke);
    drop(held);
}

#[test]
fn what_is_announced_too_large_is_refused_at_once() {
    let duke = Victim::duke("announced", "");
    for bytes in ["*2\r\n$536870912\r\n", "*2147483647\r\n", "*1\r\n$-5\r\n"] {
        let said = rest(&mut duke.send(bytes.as_bytes()));
        assert!(said.starts_with("-ERR Protocol error"), "{bytes:?}: {said}");
    }
    unharmed(&duke);
}

#[test]
fn an_endless_line_ends_the_connection() {
    let duke = Victim::duke("inline", "");
    let said = rest(&mut duke.send(&vec![b'a'; 1024 * 1024]));
    assert!(
        said.is_empty() || said.contains("too big inline request"),
        "{said}"
    );
    unharmed(&duke);
}

#[test]
fn a_million_empty_requests_are_nothing() {
    let duke = Victim::duke("empty", "");
    let mut stream = duke.send(&b"*0\r\n".repeat(1_000_000));
    stream.write_all(b"PING\r\n").unwrap();
    let mut pong = [0; 7];
    stream.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"+PONG\r\n");
    unharmed(&duke);
}

#[test]
fn who_asks_and_never_reads_is_not_read_from() {
    let duke = Victim::duke("pipeline", "");
    let mut stream = TcpStream::connect(duke.address()).unwrap();
    stream
        .set_write_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    // However much is sent: either it is not taken, or the connection ends.
    let sent = stream.write_all(&b"INFO\r\n".repeat(100_000));
    unharmed(&duke);
    drop((sent, stream));
    unharmed(&duke);
}

#[test]
fn questions_without_end_keep_nobody_waiting() {
    let duke = Victim::duke("questions", "sentinel monitor lake 127.0.0.1 1 1\n");
    let question = b"*3\r\n$8\r\nSENTINEL\r\n$23\r\nGET-MASTER-ADDR-BY-NAME\r\n$4\r\nlake\r\n";
    let many = question.repeat(10_000);
    // One never reads the answers.
    let mut deaf = TcpStream::connect(duke.address()).unwrap();
    let patience = Some(Duration::from_millis(500));
    deaf.set_write_timeout(patience).unwrap();
    let sent = (0..20).map(|_| deaf.write_all(&many)).last();
    let mut asker = TcpStream::connect(duke.address()).unwrap();
    let mut reader = asker.try_clone().unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if asker.write_all(&many).is_err() {
                    break;
                }
            }
            drop(asker.shutdown(std::net::Shutdown::Both));
        });
        scope.spawn(|| {
            let mut chunk = vec![0; 256 * 1024];
            while matches!(reader.read(&mut chunk), Ok(1..)) {}
        });
        for _ in 0..100 {
            assert!(duke.answers());
        }
        over.store(true, Ordering::Relaxed);
    });
    unharmed(&duke);
    drop((sent, deaf));
}

#[test]
fn a_subscriber_that_never_reads_is_dropped() {
    let duke = Victim::duke("subscriber", "sentinel monitor lake 127.0.0.1 1 1\n");
    let deaf = duke.send(b"PSUBSCRIBE *\r\n");
    let mut wire = duke.wire();
    let clients = |wire: &mut wire::Wire| {
        let list = text(&wire.ask(&["CLIENT", "LIST"]).unwrap());
        list.lines().count()
    };
    wait_for("the subscriber to be known", || clients(&mut wire) == 2);
    // Each change of a setting is an event, and its words may be long.
    let long = "x".repeat(60_000);
    let mut sent = 0;
    wait_for("the subscriber to be dropped", || {
        sent += 1;
        assert!(sent < 2000, "it was never dropped");
        wire.ask(&["SENTINEL", "SET", "lake", "auth-user", &long])
            .unwrap();
        clients(&mut wire) == 1
    });
    unharmed(&duke);
    drop(deaf);
}

#[test]
fn a_subscriber_dropped_in_the_middle_of_a_batch_harms_nobody_else() {
    let duke = Victim::duke("batch", "sentinel monitor lake 127.0.0.1 1 1\n");
    // It hears of each event five hundred times.
    let patterns: Vec<String> = (0..500).map(|n| format!("[+{n}]reset-master")).collect();
    let mut deaf = duke.send(format!("PSUBSCRIBE {}\r\n", patterns.join(" ")).as_bytes());
    deaf.read_exact(&mut [0]).unwrap();
    let mut wire = duke.wire();
    let clients = |wire: &mut wire::Wire| {
        let list = text(&wire.ask(&["CLIENT", "LIST"]).unwrap());
        list.lines().count()
    };
    assert_eq!(clients(&mut wire), 2);
    let mut rounds = 0;
    wait_for("the subscriber to be dropped", || {
        rounds += 1;
        assert!(rounds < 1000, "it was never dropped");
        wire.send(&b"SENTINEL RESET *\r\n".repeat(64)).unwrap();
        for _ in 0..64 {
            assert_eq!(wire.receive().unwrap(), Frame::Integer(1));
        }
        clients(&mut wire) == 1
    });
    unharmed(&duke);
    drop(deaf);
}

#[test]
fn clients_beyond_the_limit_are_told_so() {
    let duke = Victim::duke("full", "maxclients 20\n");
    let held = take_all(&duke);
    assert_eq!(held.len(), 20);
    let mut late = TcpStream::connect(duke.address()).unwrap();
    assert_eq!(rest(&mut late), "-ERR max number of clients reached\r\n");
    drop(held);
    wait_for("places to be free again", || duke.answers());
    unharmed(&duke);
}

/// Bytes without meaning, the same at every run.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..4096).map(|_| next()).collect()
}

#[test]
fn a_failover_goes_on_while_strangers_make_noise() {
    let (first, second) = (free_port(), free_port());
    let mut master = Victim::server("noise-master", first, "repl-diskless-sync-delay 0\n");
    let _replica = Victim::server(
        "noise-replica",
        second,
        &format!("replicaof 127.0.0.1 {first}\n"),
    );
    let duke = Victim::duke(
        "noise",
        &format!(
            "sentinel monitor lake 127.0.0.1 {first} 1\nsentinel down-after-milliseconds lake 1000\n"
        ),
    );
    let master_port = || {
        let reply = duke
            .wire()
            .ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "lake"]);
        reply
            .ok()
            .and_then(|reply| text(reply.as_array()?.get(1)?).parse().ok())
    };
    wait_for("the replica to be found", || {
        let reply = duke.wire().ask(&["SENTINEL", "REPLICAS", "lake"]);
        reply.is_ok_and(|reply| reply.as_array().is_some_and(|rows| rows.len() == 1))
    });
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (duke, over) = (&duke, &over);
            scope.spawn(move || {
                // Bounded, also if the failover never comes.
                for round in 0..20_000 {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    if let Ok(mut stream) = TcpStream::connect_timeout(&duke.address(), PATIENCE) {
                        drop(stream.write_all(&noise(thread * 1_000_000 + round)));
                    }
                }
            });
        }
        master.kill();
        wait_for("the failover", || master_port() == Some(second));
        over.store(true, Ordering::Relaxed);
    });
    unharmed(&duke);
}
