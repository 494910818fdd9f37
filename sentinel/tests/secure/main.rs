//! TLS at both of Duke's sides: clients that come, and the servers and sentinels it calls.
//!
//! Needs Debian's redis-server and redis-sentinel, which are built with TLS. Certificates are made
//! here and hold no address. Nothing waits by the clock: every step is a condition.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authority;
mod place;
#[path = "../group/process.rs"]
#[expect(dead_code, reason = "shared with tests that need more")]
mod process;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::{ClientConfig, ProtocolVersion};

use crate::authority::{Authority, Identity};
use crate::place::{
    Folder, PATIENCE, address, ask, converse, directives, field, free_port, start, texts, wait_for,
};
use crate::process::Process;

const DUKE: &str = env!("CARGO_BIN_EXE_duke");

/// A Duke with a TLS port and nothing to watch.
fn lonely(folder: &Folder, name: &str, lines: &str) -> (Process, u16) {
    let port = free_port();
    let conf = format!("port 0\ntls-port {port}\nbind 127.0.0.1\n{lines}");
    let process = start(DUKE, &folder.0, name, &conf);
    wait_for("the TLS port to be open", || {
        TcpStream::connect(address(port)).is_ok()
    });
    (process, port)
}

fn pong(port: u16, client: &Arc<ClientConfig>) -> bool {
    ask(port, client, &["PING"]).is_ok()
}

#[test]
fn clients_are_asked_for_certificates_as_configured() {
    let folder = Folder::new("clients");
    let own = Authority::new(&folder.0.join("own"));
    let foreign = Authority::new(&folder.0.join("foreign"));
    let ours = own.client(Some(&own.identity("client")));
    let theirs = own.client(Some(&foreign.identity("client")));
    let nobody = own.client(None);
    let server = directives(&own, &own.identity("server"));
    let by_folder = server.replace(
        &format!("tls-ca-cert-file {}", own.certificate().display()),
        &format!("tls-ca-cert-dir {}", own.folder.join("trusted").display()),
    );
    assert_ne!(server, by_folder);
    for (name, lines, expected) in [
        ("default", server.clone(), [true, false, false]),
        ("folder", by_folder, [true, false, false]),
        (
            "optional",
            format!("{server}tls-auth-clients optional\n"),
            [true, true, false],
        ),
        (
            "no",
            format!("{server}tls-auth-clients no\n"),
            [true, true, true],
        ),
    ] {
        let (_duke, port) = lonely(&folder, name, &lines);
        let answered = [&ours, &nobody, &theirs].map(|client| pong(port, client));
        assert_eq!(answered, expected, "{name}: ours, none, theirs");
    }
}

#[test]
fn only_the_named_protocols_are_spoken() {
    let folder = Folder::new("protocols");
    let own = Authority::new(&folder.0.join("own"));
    let client = own.client(Some(&own.identity("client")));
    let server = directives(&own, &own.identity("server"));
    for (words, expected) in [
        ("TLSv1.2", ProtocolVersion::TLSv1_2),
        ("TLSv1.1 TLSv1.3", ProtocolVersion::TLSv1_3),
        ("", ProtocolVersion::TLSv1_3),
    ] {
        let lines = format!("{server}tls-protocols \"{words}\"\n");
        let (_duke, port) = lonely(&folder, &format!("duke-{}", words.len()), &lines);
        let (_, version) = converse(port, &client, &["PING"]).unwrap();
        assert_eq!(version, Some(expected), "{words}");
    }
}

#[test]
fn who_does_not_shake_hands_is_closed_and_holds_up_nobody() {
    let folder = Folder::new("handshake");
    let own = Authority::new(&folder.0.join("own"));
    let client = own.client(Some(&own.identity("client")));
    let server = directives(&own, &own.identity("server"));
    let (_duke, port) = lonely(&folder, "duke", &format!("{server}maxclients 200\n"));
    let silent = |first: &[u8]| {
        let mut stream = TcpStream::connect(address(port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(first).unwrap();
        stream
    };
    let mut strangers: Vec<_> = (0..100).map(|_| silent(b"")).collect();
    // The beginning of a handshake that never goes on.
    strangers.extend((0..50).map(|_| silent(&[22, 3, 1, 2, 0, 1, 0, 1])));
    strangers.extend((0..20).map(|_| silent(b"*1\r\n$4\r\nPING\r\n")));
    assert!(pong(port, &client), "while strangers wait");
    for mut stranger in strangers {
        // An alert may come first; a reset is an end as well.
        let mut said = Vec::new();
        if let Err(error) = stranger.read_to_end(&mut said) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        assert!(!said.starts_with(b"+PONG"));
    }
    wait_for("every place to be free again", || {
        let held: Vec<_> = (0..190).map(|_| silent(b"")).collect();
        held.len() == 190 && pong(port, &client)
    });
}

#[test]
fn what_cannot_be_obeyed_ends_the_start() {
    let folder = Folder::new("refused");
    let own = Authority::new(&folder.0.join("own"));
    let identity = own.identity("server");
    let other = own.identity("other");
    let locked = Identity {
        certificate: identity.certificate.clone(),
        key: folder.0.join("locked.key"),
    };
    let text = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    std::fs::write(&locked.key, text).unwrap();
    let crossed = Identity {
        certificate: identity.certificate.clone(),
        key: other.key,
    };
    let good = directives(&own, &identity);
    let (pair, _) = good.split_once("tls-ca-cert-file").unwrap();
    for (name, lines, expected) in [
        ("bare", String::new(), "no tls-cert-file configured"),
        ("nobody", pair.to_owned(), "tls-ca-cert-file"),
        ("locked", directives(&own, &locked), "is encrypted"),
        (
            "crossed",
            directives(&own, &crossed),
            "cannot use the certificate",
        ),
        ("old", format!("{good}tls-protocols TLSv1.1\n"), "TLSv1.2"),
        (
            "cipher",
            format!("{good}tls-ciphers DEFAULT\n"),
            "tls-ciphers",
        ),
        ("half", format!("{good}tls-client-key-file /x\n"), ""),
        (
            "word",
            format!("{good}tls-auth-clients maybe\n"),
            "optional",
        ),
    ] {
        let conf = format!(
            "port 0\ntls-port {}\ntls-replication yes\n{lines}",
            free_port()
        );
        let mut duke = start(DUKE, &folder.0, name, &conf);
        assert_eq!(duke.wait().code(), Some(1), "{name}");
        let said = std::fs::read_to_string(folder.0.join(format!("{name}.log"))).unwrap();
        assert!(said.contains(expected), "{name}: {said}");
        let left = std::fs::read_to_string(folder.0.join(format!("{name}.conf"))).unwrap();
        assert_eq!(left, conf, "{name}: nothing was written");
    }
}

/// A data server that speaks nothing but TLS.
fn data_server(folder: &Folder, own: &Authority, port: u16, master: Option<u16>) -> Process {
    let home = folder.0.join(port.to_string());
    std::fs::create_dir_all(&home).unwrap();
    let replicaof = master.map(|port| format!("replicaof 127.0.0.1 {port}\n"));
    let conf = format!(
        "port 0\ntls-port {port}\ntls-replication yes\nbind 127.0.0.1\ndir {}\nsave \"\"\n\
         repl-diskless-sync-delay 0\n{}{}",
        home.display(),
        directives(own, &own.identity(&format!("data-{port}"))),
        replicaof.unwrap_or_default()
    );
    start("redis-server", &folder.0, &format!("data-{port}"), &conf)
}

struct Sentinel {
    port: u16,
    _process: Process,
}

fn sentinel(folder: &Folder, own: &Authority, program: &str, master: u16, plain: u16) -> Sentinel {
    let port = free_port();
    let name = format!("sentinel-{port}");
    let server = own.identity(&name);
    let client = own.identity(&format!("{name}-client"));
    let conf = format!(
        "port {plain}\ntls-port {port}\ntls-replication yes\nbind 127.0.0.1\ndir {}\n{}\
         tls-client-cert-file {}\ntls-client-key-file {}\n\
         sentinel monitor lake 127.0.0.1 {master} 2\n\
         sentinel down-after-milliseconds lake 1000\nsentinel failover-timeout lake 10000\n",
        folder.0.display(),
        directives(own, &server),
        client.certificate.display(),
        client.key.display()
    );
    Sentinel {
        port,
        _process: start(program, &folder.0, &name, &conf),
    }
}

impl Sentinel {
    fn master(&self, client: &Arc<ClientConfig>, name: &str) -> Option<String> {
        let reply = ask(self.port, client, &["SENTINEL", "MASTER", "lake"]).ok()?;
        field(&texts(&reply), name)
    }
}

#[test]
fn a_mixed_group_that_speaks_only_tls_replaces_a_killed_master() {
    let folder = Folder::new("group");
    let own = Authority::new(&folder.0.join("own"));
    let client = own.client(Some(&own.identity("client")));
    let ports = [free_port(), free_port(), free_port()];
    let mut master = data_server(&folder, &own, ports[0], None);
    wait_for("the master to answer", || pong(ports[0], &client));
    let _replicas = [1, 2].map(|at: usize| data_server(&folder, &own, ports[at], Some(ports[0])));
    // One Duke has a plain port, too: what it tells others is the other one.
    let sentinels = [
        sentinel(&folder, &own, DUKE, ports[0], 0),
        sentinel(&folder, &own, DUKE, ports[0], free_port()),
        sentinel(&folder, &own, "redis-sentinel", ports[0], 0),
    ];
    for sentinel in &sentinels {
        wait_for("a sentinel to know everybody", || {
            sentinel.master(&client, "num-slaves").as_deref() == Some("2")
                && sentinel.master(&client, "num-other-sentinels").as_deref() == Some("2")
        });
        let reply = ask(sentinel.port, &client, &["SENTINEL", "SENTINELS", "lake"]).unwrap();
        let known = texts(&reply);
        for other in sentinels.iter().filter(|other| other.port != sentinel.port) {
            assert!(known.contains(&other.port.to_string()), "{known:?}");
        }
    }
    wait_for("the replicas to be in step", || {
        let info = ask(ports[0], &client, &["INFO", "replication"]);
        info.is_ok_and(|info| texts(&info).concat().matches("state=online").count() == 2)
    });
    master.kill();
    let mut named = Vec::new();
    wait_for("the sentinels to agree on another master", || {
        named = sentinels
            .iter()
            .map(|sentinel| sentinel.master(&client, "port"))
            .collect();
        named[0].is_some()
            && named[0] != Some(ports[0].to_string())
            && named.iter().all(|port| *port == named[0])
    });
    let new: u16 = named[0].as_ref().unwrap().parse().unwrap();
    wait_for("the new one to be master", || {
        let info = ask(new, &client, &["INFO", "replication"]);
        info.is_ok_and(|info| texts(&info).concat().contains("role:master"))
    });
}

#[test]
fn a_server_with_a_foreign_certificate_is_not_believed() {
    let folder = Folder::new("foreign");
    let own = Authority::new(&folder.0.join("own"));
    let foreign = Authority::new(&folder.0.join("foreign"));
    let client = own.client(Some(&own.identity("client")));
    let insider = foreign.client(Some(&foreign.identity("client")));
    let port = free_port();
    let _server = data_server(&folder, &foreign, port, None);
    wait_for("the server to answer", || pong(port, &insider));
    let duke = sentinel(&folder, &own, DUKE, port, 0);
    wait_for("the server to count as down", || {
        let flags = duke.master(&client, "flags").unwrap_or_default();
        flags.contains("s_down")
    });
    let run_id = duke.master(&client, "runid");
    assert_eq!(run_id.as_deref(), Some(""), "nothing was heard from it");
}
