//! Servers that are none: what they say must neither fill Duke's memory nor stop it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::unharmed;
use crate::victim::{Victim, wait_for};

/// Calls that are answered in one test; the listener is closed then.
const CALLS_MAX: usize = 40;
/// Most that one call is told, in pieces.
const PIECES_MAX: usize = 64 * 1024;

/// A server that says `first`, and then `again` until nobody listens; counts its calls.
fn server(first: &'static [u8], again: Vec<u8>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    thread::spawn(move || {
        for stream in listener.incoming().take(CALLS_MAX).flatten() {
            let again = again.clone();
            let counted = Arc::clone(&counted);
            thread::spawn(move || {
                talk(stream, first, &again);
                counted.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    (port, calls)
}

/// Waits to be asked something, then talks.
fn talk(mut stream: TcpStream, first: &[u8], again: &[u8]) {
    let mut asked = [0; 1024];
    if !stream.read(&mut asked).is_ok_and(|read| read > 0) || stream.write_all(first).is_err() {
        return;
    }
    for _ in 0..PIECES_MAX {
        if again.is_empty() || stream.write_all(again).is_err() {
            return;
        }
    }
}

/// Watches a server that talks like this; expects it to be called, left, and called again.
fn survives(name: &str, first: &'static [u8], again: Vec<u8>) {
    let (port, calls) = server(first, again);
    let duke = Victim::duke(
        name,
        &format!(
            "sentinel monitor lake 127.0.0.1 {port} 1\nsentinel down-after-milliseconds lake 1000\n"
        ),
    );
    wait_for("the server to be left and called again", || {
        calls.load(Ordering::Relaxed) >= 4
    });
    unharmed(&duke);
}

#[test]
fn garbage_is_left() {
    survives(
        "garbage",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\xff\r\n".repeat(64),
    );
}

#[test]
fn a_string_without_end_is_left() {
    survives("endless", b"$2000000000\r\n", vec![b'x'; 64 * 1024]);
}

#[test]
fn a_line_without_end_is_left() {
    survives("line", b"+", vec![b'x'; 64 * 1024]);
}

#[test]
fn an_array_without_end_is_left() {
    survives("array", b"*2000000000\r\n", b":1\r\n".repeat(4096));
}

#[test]
fn half_an_answer_is_no_answer() {
    survives("close", b"$1000\r\nrole:mas", Vec::new());
}

#[test]
fn pushes_nobody_asked_for_are_left() {
    let push = b"*3\r\n$7\r\nmessage\r\n$18\r\n__sentinel__:hello\r\n$5\r\nhello\r\n";
    survives("push", b"+PONG\r\n", push.repeat(256));
}
