//! What connections may answer without asking the engine: where masters are, as the engine last said.
//!
//! Decides when that may be done: for a client the engine trusts, with no request under way, so that the
//! answer stands where the engine's would, and reads the same. The driver writes here what the engine
//! says; the connections' own tasks read, and count what they answered until the driver tells the engine.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes, BytesMut};
use duke_core::{ClientId, asked_master};
use duke_resp::{Frame, Protocol, encode, peek};
use tokio::time::Instant;

use crate::connection::outbox::Outbox;
use crate::connection::post::Post;

/// Questions of one client that are answered before others have their turn.
const QUESTIONS_MAX: u64 = 64;

/// Everything that may be answered here.
#[derive(Debug, Default)]
pub(crate) struct Directory(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    /// By masters' names.
    answers: BTreeMap<Bytes, Answer>,
    /// How often trust was taken from everybody.
    distrusted: u64,
    /// Clients that were answered here since the engine was told.
    served: Vec<ClientId>,
}

/// One answer, in both dialects.
#[derive(Debug)]
struct Answer {
    resp2: Bytes,
    resp3: Bytes,
}

/// One client, as far as it may be answered here.
#[derive(Debug)]
pub(crate) struct Standing {
    client: ClientId,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    protocol: Protocol,
    /// Requests that were left to the engine.
    asked: u64,
    /// When trust was given last: after so many of them, and after so many withdrawals from everybody.
    trusted: Option<(u64, u64)>,
    /// Questions answered here of which the engine was not told, and when the last one was.
    served: Option<(u64, Instant)>,
}

impl Standing {
    pub(crate) fn new(client: ClientId) -> Self {
        let state = Mutex::default();
        Self { client, state }
    }

    /// So many requests are left to the engine.
    pub(crate) fn leave(&self, requests: usize) {
        let mut state = self.lock();
        let requests = u64::try_from(requests).unwrap_or(u64::MAX);
        state.asked = state.asked.saturating_add(requests);
    }

    /// The dialect in which the client is answered from now on.
    pub(crate) fn speak(&self, protocol: Protocol) {
        self.lock().protocol = protocol;
    }

    /// What was answered here since the last call.
    pub(crate) fn take_served(&self) -> Option<(u64, Instant)> {
        self.lock().served.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic ends the process; a poisoned lock is never met.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Directory {
    /// From now on this is where the master of this name is; it is left to the engine if there is no reply.
    pub(crate) fn list(&self, name: String, reply: Option<&Frame>) {
        let name = Bytes::from(name);
        let Some(reply) = reply else {
            self.lock().answers.remove(&name);
            return;
        };
        let printed = |protocol| {
            let mut buffer = BytesMut::new();
            encode(reply, protocol, &mut buffer);
            buffer.freeze()
        };
        let answer = Answer {
            resp2: printed(Protocol::Resp2),
            resp3: printed(Protocol::Resp3),
        };
        self.lock().answers.insert(name, answer);
    }

    /// The engine trusts a client of whose requests it has answered so many.
    pub(crate) fn trust(&self, standing: &Standing, answered: u64) {
        let distrusted = self.lock().distrusted;
        standing.lock().trusted = Some((answered, distrusted));
    }

    /// The engine trusts nobody any more.
    pub(crate) fn distrust(&self) {
        let mut entries = self.lock();
        entries.distrusted = entries.distrusted.wrapping_add(1);
    }

    /// Clients that were answered here since the last call.
    pub(crate) fn take_served(&self) -> Vec<ClientId> {
        std::mem::take(&mut self.lock().served)
    }

    /// Answers the questions in front of `buffer`, as far as that may be done here; false if none was.
    pub(crate) fn serve(
        &self,
        standing: &Standing,
        outbox: &Arc<Outbox>,
        post: &Post,
        buffer: &mut BytesMut,
    ) -> bool {
        // Most of what else comes is seen by its first bytes.
        if asked(buffer).is_none() || post.is_full() {
            return false;
        }
        let (mut entries, mut state) = (self.lock(), standing.lock());
        let Entries {
            answers,
            distrusted,
            served,
        } = &mut *entries;
        if state.trusted != Some((state.asked, *distrusted)) {
            return false;
        }
        let protocol = state.protocol;
        let mut count = 0;
        let appended = outbox.append(|pending| {
            while count < QUESTIONS_MAX
                && let Some((name, length)) = asked(buffer)
                && let Some(answer) = answers.get(name)
            {
                pending.extend_from_slice(answer.printed(protocol));
                buffer.advance(length);
                count += 1;
            }
        });
        if appended == Ok(true) {
            post.add(outbox);
        }
        if count == 0 {
            return false;
        }
        if state.served.is_none() {
            served.push(standing.client);
        }
        let before = state.served.map_or(0, |(before, _)| before);
        state.served = Some((before + count, Instant::now()));
        true
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // As above.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer {
    fn printed(&self, protocol: Protocol) -> &Bytes {
        match protocol {
            Protocol::Resp2 => &self.resp2,
            Protocol::Resp3 => &self.resp3,
        }
    }
}

/// The name asked for by the request in front, and the length of that, if it is this question.
fn asked(buffer: &[u8]) -> Option<(&[u8], usize)> {
    let (words, length) = peek(buffer)?;
    Some((asked_master(words)?, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::outbox::Work;

    const QUESTION: &[u8] =
        b"*3\r\n$8\r\nSENTINEL\r\n$23\r\nget-master-addr-by-name\r\n$4\r\nlake\r\n";
    const CLIENT: ClientId = ClientId(7);

    /// One client before a directory.
    struct Scene {
        directory: Directory,
        standing: Standing,
        outbox: Arc<Outbox>,
        post: Post,
    }

    impl Scene {
        fn new(reply: &Frame) -> Self {
            let directory = Directory::default();
            directory.list("lake".to_owned(), Some(reply));
            Self {
                directory,
                standing: Standing::new(CLIENT),
                outbox: Arc::new(Outbox::with_socket(1024, None)),
                post: Post::default(),
            }
        }

        /// What the client is answered here, and what is left of its request.
        fn serve(&self, request: &[u8]) -> (Vec<u8>, Vec<u8>) {
            let mut buffer = BytesMut::from(request);
            self.directory
                .serve(&self.standing, &self.outbox, &self.post, &mut buffer);
            let answer = match self.outbox.next() {
                Work::Write(chunk) => chunk.to_vec(),
                Work::Close | Work::Idle => Vec::new(),
            };
            (answer, buffer.to_vec())
        }

        fn answers(&self) -> bool {
            !self.serve(QUESTION).0.is_empty()
        }
    }

    #[test]
    fn whole_questions_in_front_are_answered() {
        let scene = Scene::new(&Frame::Array(vec![
            Frame::bulk("10.0.0.1"),
            Frame::bulk("1"),
        ]));
        scene.directory.trust(&scene.standing, 0);
        let answer = b"*2\r\n$8\r\n10.0.0.1\r\n$1\r\n1\r\n";
        let rest = b"*1\r\n$4\r\nPING\r\n";
        let (said, left) = scene.serve(&[QUESTION, QUESTION, rest, QUESTION].concat());
        assert_eq!(said, [answer, &answer[..]].concat());
        assert_eq!(
            left,
            [rest, QUESTION].concat(),
            "what is not ours keeps its place"
        );
        assert_eq!(
            scene.serve(&QUESTION[..40]),
            (Vec::new(), QUESTION[..40].to_vec())
        );
        let other = [&QUESTION[..QUESTION.len() - 6], b"pond\r\n"].concat();
        assert_eq!(scene.serve(&other), (Vec::new(), other.clone()));
        assert_eq!(scene.directory.take_served(), [CLIENT]);
        assert!(matches!(scene.standing.take_served(), Some((2, _))));
        assert!(scene.standing.take_served().is_none());
    }

    #[test]
    fn a_client_with_a_request_under_way_is_not_answered() {
        let scene = Scene::new(&Frame::ok());
        assert!(!scene.answers(), "nobody said that it may be");
        scene.directory.trust(&scene.standing, 0);
        assert!(scene.answers());
        scene.standing.leave(2);
        assert!(!scene.answers());
        scene.directory.trust(&scene.standing, 1);
        assert!(!scene.answers(), "the second one is still under way");
        scene.directory.trust(&scene.standing, 2);
        assert!(scene.answers());
    }

    #[test]
    fn trust_that_was_taken_from_everybody_has_to_be_given_again() {
        let scene = Scene::new(&Frame::ok());
        scene.directory.trust(&scene.standing, 0);
        scene.directory.distrust();
        assert!(!scene.answers());
        scene.directory.trust(&scene.standing, 0);
        assert!(scene.answers());
        scene.directory.list("lake".to_owned(), None);
        assert!(!scene.answers(), "it is listed no more");
    }

    #[test]
    fn each_client_is_answered_in_its_dialect() {
        let scene = Scene::new(&Frame::NullArray);
        scene.directory.trust(&scene.standing, 0);
        assert_eq!(scene.serve(QUESTION).0, b"*-1\r\n");
        scene.standing.speak(Protocol::Resp3);
        assert_eq!(scene.serve(QUESTION).0, b"_\r\n");
    }
}
