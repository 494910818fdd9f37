//! Keeps one connection to the server open, and knows what the server last said of itself.
//!
//! Asks once a second, and at once when somebody needs a newer answer. One question is under way at a
//! time, however many wait for its answer, so that nobody can have the server asked without end. A
//! connection that was lost is made again at once, since every change of roles cuts all of them.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::info;

use crate::readiness::{Answer, Contact, Knowledge};
use crate::wire::{Wire, WireError};

/// From one question to the next, if nobody needs an answer sooner.
const PERIOD: Duration = Duration::from_secs(1);
/// From one attempt to connect to the next.
const RETRY: Duration = Duration::from_millis(100);
/// The same, when the server did not let the agent in: its log remembers each attempt.
const REFUSED_RETRY: Duration = Duration::from_secs(1);
/// How long connecting and logging in may take.
const LOGIN_PATIENCE: Duration = Duration::from_secs(2);
/// How long one answer may take until the connection is given up. A server that is held up answers
/// what it was asked meanwhile, so this only has to end some time.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// What is known of the server, and how to have it asked.
#[derive(Debug)]
pub struct Monitor {
    server: SocketAddr,
    users: PathBuf,
    knowledge: watch::Sender<Knowledge>,
    /// Somebody needs a newer answer.
    wanted: Notify,
}

/// Why a session with the server ended.
struct Ended {
    contact: Contact,
    /// From the beginning of the session to that of the next one, at least.
    pause: Duration,
}

impl Monitor {
    /// Of the server at this address, at which the agent has the password in `users`.
    #[must_use]
    pub fn new(server: SocketAddr, users: PathBuf) -> Self {
        Self {
            server,
            users,
            knowledge: watch::Sender::new(Knowledge::default()),
            wanted: Notify::new(),
        }
    }

    /// What is known now.
    #[must_use]
    pub fn knowledge(&self) -> Knowledge {
        self.knowledge.borrow().clone()
    }

    /// What is known after the server was asked no longer than `age` ago, or, if that takes longer
    /// than `patience`, what is known then.
    pub async fn look(&self, age: Duration, patience: Duration) -> Knowledge {
        let newest = Instant::now().checked_sub(age);
        let mut changes = self.knowledge.subscribe();
        let is_new = |knowledge: &Knowledge| {
            knowledge.checked.is_some() && newest.is_none_or(|at| knowledge.checked >= Some(at))
        };
        let looked = timeout(patience, async {
            while !is_new(&changes.borrow_and_update()) {
                self.wanted.notify_one();
                if changes.changed().await.is_err() {
                    return;
                }
            }
        });
        // Out of patience: an older answer has to do, and says its age.
        drop(looked.await);
        self.knowledge()
    }

    /// Asks the server for ever.
    pub async fn run(&self) -> ! {
        loop {
            let begun = Instant::now();
            let Ended { contact, pause } = self.session(begun).await;
            self.tell(|knowledge| knowledge.fail(begun, contact));
            sleep_until(begun + pause).await;
        }
    }

    /// From connecting to the end of the connection.
    async fn session(&self, begun: Instant) -> Ended {
        let entered = timeout(LOGIN_PATIENCE, async {
            let mut wire = Wire::connect(&self.server.to_string()).await?;
            wire.login(&self.users).await?;
            Ok(wire)
        });
        let mut wire = match entered.await {
            Ok(Ok(wire)) => wire,
            Ok(Err(error)) => return ended(&error),
            Err(_) => return lost("the server does not let the agent in in time".to_owned()),
        };
        let mut asked = begun;
        loop {
            let replies = timeout(ANSWER_PATIENCE, wire.ask(&[&["PING"], &["ROLE"]]));
            let answer = match replies.await {
                Ok(Ok(replies)) => match replies.as_slice() {
                    [ping, role] => Answer::read(ping, role),
                    _ => Answer::Refused("it answered something else".to_owned()),
                },
                Ok(Err(error)) => return ended(&error),
                Err(_) => return lost("the server does not answer".to_owned()),
            };
            if let Answer::Refused(reason) = answer {
                return refused(reason);
            }
            self.tell(|knowledge| knowledge.learn(asked, answer));
            tokio::select! {
                biased;
                error = wire.end() => return ended(&error),
                () = self.wanted.notified() => {}
                () = sleep_until(asked + PERIOD) => {}
            }
            asked = Instant::now();
        }
    }

    /// Changes what is known; logs when the verdict changes with it.
    fn tell(&self, change: impl FnOnce(&mut Knowledge)) {
        self.knowledge.send_modify(|knowledge| {
            let now = Instant::now();
            let before = knowledge.readiness(now);
            change(knowledge);
            match (before, knowledge.readiness(now)) {
                (before, Ok(role)) if before != Ok(role) => info!(role, "the server is ready"),
                (before, Err(reason)) if before.as_ref() != Err(&reason) => {
                    info!(reason, "the server is not ready");
                }
                _ => {}
            }
        });
    }
}

fn ended(error: &WireError) -> Ended {
    match error {
        WireError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ended {
            contact: Contact::Absent,
            pause: RETRY,
        },
        WireError::Refused(_) | WireError::Unreadable { .. } => refused(error.to_string()),
        WireError::Closed | WireError::Io(_) | WireError::Protocol(_) | WireError::Unasked(_) => {
            lost(error.to_string())
        }
    }
}

fn refused(reason: String) -> Ended {
    Ended {
        contact: Contact::Refused(reason),
        pause: REFUSED_RETRY,
    }
}

fn lost(reason: String) -> Ended {
    Ended {
        contact: Contact::Lost(reason),
        pause: RETRY,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::readiness::{Link, Role};
    use crate::stage::{IN_SYNC, MASTER, Server};

    const SOON: Duration = Duration::from_millis(400);

    async fn watched(server: &Server) -> Arc<Monitor> {
        let monitor = Arc::new(Monitor::new(server.address, server.users.clone()));
        let running = Arc::clone(&monitor);
        tokio::spawn(async move { running.run().await });
        monitor.look(Duration::ZERO, SOON).await;
        monitor
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_at_rest_is_asked_once_a_second() {
        let server = Server::start(MASTER);
        let monitor = watched(&server).await;
        let before = server.asked();
        tokio::time::sleep(Duration::from_mins(1)).await;
        let asked = server.asked() - before;
        assert!((58..=61).contains(&asked), "{asked} times a minute");
        assert_eq!(
            monitor.knowledge().role(),
            Some(Role::Master { replicas: 1 })
        );
        assert_eq!(server.connected(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_needs_a_newer_answer_gets_it_and_all_get_the_same() {
        let server = Server::start(IN_SYNC);
        let monitor = watched(&server).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = server.asked();
        server.become_role(MASTER);
        let looks = (0..50).map(|_| {
            let monitor = Arc::clone(&monitor);
            tokio::spawn(async move { monitor.look(Duration::from_millis(200), SOON).await })
        });
        for look in looks.collect::<Vec<_>>() {
            let role = look.await.unwrap().role();
            assert_eq!(role, Some(Role::Master { replicas: 1 }));
        }
        let asked = server.asked() - before;
        assert!((1..=2).contains(&asked), "asked {asked} times");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_cut_is_made_again_before_anybody_notices() {
        let server = Server::start(MASTER);
        let monitor = watched(&server).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        server.become_role(IN_SYNC);
        server.cut();
        let knowledge = monitor.look(Duration::ZERO, SOON).await;
        assert_eq!(knowledge.role(), Some(Role::Replica(Link::InSync)));
        assert_eq!(server.connected(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_goes_is_known_to_be_gone() {
        let server = Server::start(MASTER);
        let monitor = watched(&server).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        server.stop();
        let knowledge = monitor.look(Duration::ZERO, SOON).await;
        assert_eq!(knowledge.contact, Contact::Absent);
    }

    #[tokio::test(start_paused = true)]
    async fn a_password_that_was_changed_is_picked_up() {
        let server = Server::start(MASTER);
        server.set_password("other");
        let monitor = watched(&server).await;
        let knowledge = monitor.knowledge();
        assert!(
            matches!(&knowledge.contact, Contact::Refused(reason) if reason.starts_with("WRONGPASS")),
            "{knowledge:?}"
        );
        std::fs::write(server.users.join("agent"), "other\n").unwrap();
        tokio::time::sleep(REFUSED_RETRY).await;
        let knowledge = monitor.look(Duration::ZERO, SOON).await;
        assert_eq!(knowledge.role(), Some(Role::Master { replicas: 1 }));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_password_the_reason_names_the_file() {
        let server = Server::start(MASTER);
        let monitor = Arc::new(Monitor::new(server.address, "/nowhere".into()));
        let running = Arc::clone(&monitor);
        tokio::spawn(async move { running.run().await });
        let knowledge = monitor.look(Duration::ZERO, SOON).await;
        assert!(
            matches!(&knowledge.contact, Contact::Refused(reason) if reason.contains("/nowhere/agent")),
            "{knowledge:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_held_up_keeps_its_connection_for_ten_seconds() {
        let server = Server::start(MASTER);
        let monitor = watched(&server).await;
        server.hold(true);
        let knowledge = monitor.look(Duration::ZERO, SOON).await;
        assert_eq!(knowledge.readiness(Instant::now()), Ok("master"));
        tokio::time::sleep(Duration::from_secs(7)).await;
        assert!(monitor.knowledge().readiness(Instant::now()).is_err());
        server.hold(false);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let knowledge = monitor.look(SOON, SOON).await;
        assert_eq!(knowledge.readiness(Instant::now()), Ok("master"));
        assert_eq!(server.connected(), 1);
    }
}
