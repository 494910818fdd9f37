//! Clients: how long they may say nothing, and the socket in the file system, as stock has both.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;

use crate::world::{Kind, World, wait_for};

/// A Duke and a stock sentinel, each with further lines.
fn world(name: &str, lines: impl Fn(usize) -> String) -> World {
    let mut world = World::new(name, &[Kind::Duke, Kind::Stock]);
    world.settled();
    for (number, sentinel) in world.sentinels.iter_mut().enumerate() {
        sentinel.restart_with(&lines(number));
        wait_for("a sentinel to answer", || sentinel.ask(&["PING"]).is_ok());
    }
    world
}

#[test]
fn who_says_nothing_is_closed_unless_it_listens() {
    let world = world("quiet", |_| "timeout 1".to_owned());
    for sentinel in &world.sentinels {
        let mut listens = sentinel.connect();
        listens.ask(&["SUBSCRIBE", "+tilt"]).unwrap();
        let mut quiet = sentinel.connect();
        quiet.ask(&["PING"]).unwrap();
        let mut busy = sentinel.connect();
        let ends = thread::spawn(move || quiet.closed());
        while !ends.is_finished() {
            busy.ask(&["PING"]).unwrap();
        }
        assert!(ends.join().unwrap().unwrap());
        assert!(
            busy.ask(&["PING"]).is_ok(),
            "it was never silent for so long"
        );
        assert!(listens.ask(&["PING"]).is_ok(), "it waits for events");
    }
}

/// What a sentinel answers at its socket in the file system.
fn ping(path: &Path) -> Option<String> {
    let mut stream = UnixStream::connect(path).ok()?;
    stream.write_all(b"PING\r\n").ok()?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn a_socket_in_the_file_system_goes_with_its_process() {
    let folder = std::env::temp_dir();
    let own = std::process::id();
    let path = |number: usize| folder.join(format!("duke-local-{own}-{number}.sock"));
    let mut world = world("local", |number| {
        format!("unixsocket {}\nunixsocketperm 750", path(number).display())
    });
    for (number, sentinel) in world.sentinels.iter_mut().enumerate() {
        let path = path(number);
        assert_eq!(ping(&path).as_deref(), Some("+PONG\r\n"));
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750);
        // A killed one leaves it behind, and finds it when it starts again.
        sentinel.restart();
        wait_for("an answer at the socket", || ping(&path).is_some());
        sentinel.process.signal("TERM");
        wait_for("the socket to be gone", || !path.exists());
    }
}
