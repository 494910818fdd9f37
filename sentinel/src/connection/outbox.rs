//! Bytes on their way out of one connection.
//!
//! Whoever appends never waits. The post writes what the socket takes at once, the connection's own task the
//! rest. What piles up is bounded: whoever does not read loses the connection, and nobody else notices.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// The largest buffer that is kept for the next answer.
const KEPT_BYTES: usize = 4 * 1024;

/// A bounded queue of bytes between the driver and one connection.
#[derive(Debug)]
pub(crate) struct Outbox {
    limit_bytes: usize,
    /// Where bytes may be written without the connection's task, if they may.
    socket: Option<Arc<TcpStream>>,
    state: Mutex<State>,
    /// Something was appended, or the end was ordered.
    woken: Notify,
    /// The connection is to be closed without writing any more.
    cut: Notify,
}

#[derive(Debug, Default)]
struct State {
    pending: BytesMut,
    /// Bytes handed to the socket that it did not take yet.
    writing: usize,
    /// It is in the post: what is pending is written soon.
    queued: bool,
    end: Option<End>,
}

/// How a connection is to be closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// After everything appended so far was written.
    Flushed,
    /// At once.
    Cut,
}

/// What the connection's task is to do next.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Work {
    Close,
    Idle,
    Write(BytesMut),
}

/// More piled up than the limit; the connection is being cut.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Overflow;

impl Outbox {
    /// For a connection on which [`Outbox::push`] writes if there is a socket; else its own task writes
    /// everything.
    pub(crate) fn with_socket(limit_bytes: usize, socket: Option<Arc<TcpStream>>) -> Self {
        let state = Mutex::new(State::default());
        Self {
            limit_bytes,
            socket,
            state,
            woken: Notify::new(),
            cut: Notify::new(),
        }
    }

    /// Lets `print` append to what is to be written; true if the outbox is to be put into the post, which
    /// it is in already otherwise, or its own task writes everything.
    pub(crate) fn append(&self, print: impl FnOnce(&mut BytesMut)) -> Result<bool, Overflow> {
        let mut state = self.lock();
        if state.end.is_some() {
            return Ok(false);
        }
        // What one command is answered may be of any size; it is piling up that is bounded.
        let overflow = state.pending.len() + state.writing > self.limit_bytes;
        print(&mut state.pending);
        let is_first = self.socket.is_some() && !state.queued && !state.pending.is_empty();
        state.queued |= is_first;
        drop(state);
        if overflow {
            self.finish(End::Cut);
            return Err(Overflow);
        }
        if self.socket.is_none() {
            self.woken.notify_one();
        }
        Ok(is_first)
    }

    /// Writes what the socket takes just now; the connection's task is woken for the rest. It saves that
    /// task a turn for every answer.
    pub(crate) fn push(&self) {
        let mut state = self.lock();
        state.queued = false;
        if let Some(socket) = &self.socket
            && state.writing == 0
            && state.end.is_none()
            && !state.pending.is_empty()
        {
            // An error is found again by the task.
            if let Ok(written) = socket.try_write(&state.pending) {
                state.pending.advance(written);
            }
            if state.pending.is_empty() {
                if state.pending.capacity() > KEPT_BYTES {
                    state.pending = BytesMut::new();
                }
                return;
            }
        }
        drop(state);
        self.woken.notify_one();
    }

    /// Orders the connection to be closed; a cut overrules a flush.
    pub(crate) fn finish(&self, end: End) {
        let mut state = self.lock();
        if state.end != Some(End::Cut) {
            state.end = Some(end);
        }
        if end == End::Cut {
            state.pending = BytesMut::new();
        }
        drop(state);
        if end == End::Cut {
            self.cut.notify_one();
        }
        self.woken.notify_one();
    }

    /// What is to be done now; the chunk given last counts as written.
    pub(crate) fn next(&self) -> Work {
        let mut state = self.lock();
        state.writing = 0;
        if state.end == Some(End::Cut) {
            return Work::Close;
        }
        // What is in the post waits for that, unless it is much.
        let waits = state.queued && state.end.is_none() && state.pending.len() <= KEPT_BYTES;
        if !state.pending.is_empty() && !waits {
            let chunk = std::mem::take(&mut state.pending);
            state.writing = chunk.len();
            return Work::Write(chunk);
        }
        if state.end.is_some() {
            Work::Close
        } else {
            Work::Idle
        }
    }

    /// Waits until [`Outbox::next`] may have something to do.
    pub(crate) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Waits until the connection is to be cut.
    pub(crate) async fn cut(&self) {
        self.cut.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic ends the process; a poisoned lock is never met.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn chunks_come_out_in_order_and_then_the_end() {
        let outbox = Outbox::with_socket(100, None);
        assert_eq!(outbox.next(), Work::Idle);
        outbox
            .append(|buffer| buffer.extend_from_slice(b"ab"))
            .unwrap();
        outbox
            .append(|buffer| buffer.extend_from_slice(b"c"))
            .unwrap();
        outbox.finish(End::Flushed);
        outbox
            .append(|buffer| buffer.extend_from_slice(b"late"))
            .unwrap();
        assert_eq!(outbox.next(), Work::Write(BytesMut::from(&b"abc"[..])));
        assert_eq!(outbox.next(), Work::Close);
    }

    #[test]
    fn what_the_socket_did_not_take_counts_against_the_limit() {
        let outbox = Outbox::with_socket(4, None);
        outbox
            .append(|buffer| buffer.extend_from_slice(b"abcde"))
            .unwrap();
        assert!(
            matches!(outbox.next(), Work::Write(_)),
            "one answer may be longer"
        );
        let late = outbox.append(|buffer| buffer.extend_from_slice(b"de"));
        assert_eq!(late, Err(Overflow));
        assert_eq!(outbox.next(), Work::Close);
    }

    #[tokio::test]
    async fn what_is_in_the_post_is_written_by_it_or_before_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap());
        let (socket, accepted) = tokio::join!(socket, listener.accept());
        let (mut reader, _) = accepted.unwrap();
        let socket = Arc::new(socket.unwrap());
        socket.writable().await.unwrap();
        let outbox = Outbox::with_socket(100, Some(socket));
        let append = |text: &[u8]| outbox.append(|buffer| buffer.extend_from_slice(text));
        assert_eq!(append(b"ab"), Ok(true));
        assert_eq!(append(b"c"), Ok(false), "it is in the post already");
        assert_eq!(outbox.next(), Work::Idle);
        outbox.push();
        let mut text = [0; 3];
        reader.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"abc");
        assert_eq!(append(b"d"), Ok(true));
        outbox.finish(End::Flushed);
        assert_eq!(outbox.next(), Work::Write(BytesMut::from(&b"d"[..])));
        assert_eq!(outbox.next(), Work::Close);
    }
}
