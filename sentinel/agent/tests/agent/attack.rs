//! Clients and servers that mean harm: the agent goes on answering the kubelet, and stays small.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::agent;
use crate::process::{PATIENCE, Process, free_port, wait_for};

/// The most memory the agent may hold of its own, whatever happens, in KiB.
const OWN_KIB_MAX: u64 = 5 * 1024;
/// How long the kubelet waits.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);

/// A master, and its agent to be attacked.
fn victim(name: &str) -> (Process, Process) {
    let port = free_port();
    let server = Process::server(&format!("{name}-server"), port, "");
    let agent = agent(name, port);
    agent.becomes(200, "master");
    (server, agent)
}

/// The kubelet is answered in time, and nothing was piled up.
fn unharmed(agent: &Process) {
    let begin = Instant::now();
    assert_eq!(agent.get("/ready"), (200, "master".to_owned()));
    let took = begin.elapsed();
    assert!(took < PROBE_PATIENCE, "answered after {took:?}");
    let own = agent.memory_kib("RssAnon");
    assert!(own < OWN_KIB_MAX, "holds {own} KiB");
}

/// A connection on which these bytes were sent, as many as were taken.
fn send(agent: &Process, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(agent.address()).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be closed before all is sent, which is the point.
    drop(stream.write_all(bytes));
    stream
}

#[test]
fn connections_that_are_held_keep_nobody_out() {
    let (_server, agent) = victim("held");
    for begun in ["", "GET /re", "GET /stopping HTTP/1.1\r\n\r\n"] {
        let held: Vec<_> = (0..300)
            .map(|_| {
                let stream = send(&agent, begun.as_bytes());
                unharmed(&agent);
                stream
            })
            .collect();
        unharmed(&agent);
        drop(held);
    }
}

#[test]
fn requests_of_any_size_and_kind_are_refused() {
    let (_server, agent) = victim("size");
    let head = "POST /stopping HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n";
    for bytes in [
        [head.as_bytes(), &vec![b'x'; 4 * 1024 * 1024]].concat(),
        [b"GET /".as_slice(), &vec![b'a'; 4 * 1024 * 1024]].concat(),
        [
            b"GET / HTTP/1.1\r\n".as_slice(),
            &b"A: b\r\n".repeat(500_000),
        ]
        .concat(),
        b"GET /ready HTTP/1.1\r\n\r\n".repeat(100_000),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".to_vec(),
        b"AUTH agent secret\r\nROLE\r\n".to_vec(),
        vec![0; 1024 * 1024],
    ] {
        drop(send(&agent, &bytes));
        unharmed(&agent);
    }
}

#[test]
fn who_asks_and_never_reads_is_dropped() {
    let (_server, agent) = victim("deaf");
    let deaf: Vec<_> = (0..100)
        .map(|_| send(&agent, b"GET /ready HTTP/1.1\r\n\r\n"))
        .collect();
    unharmed(&agent);
    drop(deaf);
}

#[test]
fn a_flood_does_not_have_the_server_asked_without_end() {
    let (server, agent) = victim("flood");
    let over = AtomicBool::new(false);
    let commands = || {
        let info = server.ask(&["INFO", "commandstats"]).unwrap();
        let text = String::from_utf8_lossy(info.as_text().unwrap()).into_owned();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_role:calls="));
        let calls = line.and_then(|line| line.split(',').next()?.parse::<u64>().ok());
        calls.unwrap()
    };
    let (before, begin) = (commands(), Instant::now());
    let answered = thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut answered = 0_u64;
                    while !over.load(Ordering::Relaxed) {
                        let mut said = Vec::new();
                        let mut stream = send(&agent, b"GET /ready HTTP/1.1\r\n\r\n");
                        drop(stream.read_to_end(&mut said));
                        answered += u64::from(said.starts_with(b"HTTP/1.1 200"));
                    }
                    answered
                })
            })
            .collect();
        for _ in 0..50 {
            unharmed(&agent);
        }
        over.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum::<u64>()
    });
    // Five times a second, and what the beginning and the end make of it.
    let most = begin.elapsed().as_secs() * 5 + 10;
    let asked = commands() - before;
    assert!(
        asked <= most,
        "asked {asked} times in {:?}",
        begin.elapsed()
    );
    // All are answered in turns: of a flood of four about four answers for each of ours.
    assert!(answered >= 100, "{answered} answers");
}

#[test]
fn noise_is_nothing() {
    let (_server, agent) = victim("noise");
    let mut state = 1_u64;
    for _ in 0..500 {
        let noise: Vec<u8> = (0..4096)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                state.to_be_bytes()[0]
            })
            .collect();
        drop(send(&agent, &noise));
    }
    unharmed(&agent);
}

#[test]
fn a_server_that_is_none_fills_nothing() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let agent = agent("fake", listener.local_addr().unwrap().port());
    let junk: [(&[u8], Vec<u8>); 4] = [
        (b"$2000000000\r\n", vec![b'x'; 64 * 1024]),
        (b"+", vec![b'x'; 64 * 1024]),
        (b"*2000000000\r\n", b":1\r\n".repeat(4096)),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Vec::new()),
    ];
    for (first, again) in junk {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut talked = stream.write_all(first);
        for _ in 0..1024 {
            if talked.is_err() || again.is_empty() {
                break;
            }
            talked = stream.write_all(&again);
        }
        assert!(talked.is_err() || again.is_empty(), "it listens for ever");
    }
    drop(listener);
    wait_for("the server to be gone", || {
        agent.get("/ready").1.starts_with("nobody listens")
    });
    let own = agent.memory_kib("RssAnon");
    assert!(own < OWN_KIB_MAX, "holds {own} KiB");
}
