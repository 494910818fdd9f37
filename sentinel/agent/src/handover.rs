//! What happens once the server is to be stopped: the Dukes are asked to make another one master.
//!
//! ```text
//!  Running ──order to stop──▶ HandingOver ──▶ Over ──server gone──▶ end
//! ```
//!
//! Asks nothing of a server that is no master. A master is handed over when it follows somebody real,
//! or when a Duke says that another node is master; until then it may be needed, should the promotion
//! fail. Every Duke may be asked, again and again, so each question goes to whichever answers.
//!
//! It gives up when waiting cannot help ([`Outcome`] lists the cases), and in any case before the
//! grace period ends: the server then stops as a master, and the Dukes replace it as a dead one.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use duke_resp::Frame;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tracing::info;

use crate::monitor::Monitor;
use crate::readiness::{Contact, Link, Role};
use crate::wire::{Wire, WireError, shown};

/// The name under which the Dukes know the group, as Sentinel clients ask for it.
const GROUP: &str = "mymaster";
/// What is left of the grace period for the server to stop, unless the period is too short for it.
const RESERVE: Duration = Duration::from_secs(5);
/// From one question to the Dukes to the next.
const RETRY: Duration = Duration::from_millis(100);
/// From one look at the server to the next, while the hand-over goes on.
const LOOK: Duration = Duration::from_millis(20);
/// How long a hand-over that a Duke began may show no effect until Dukes are asked again.
const EFFECT_PATIENCE: Duration = Duration::from_secs(1);
/// How long a demoted server may follow nobody until it is no longer waited for.
const SUCCESSOR_PATIENCE: Duration = Duration::from_secs(3);
/// How long the server goes on once another one is master. Whoever reaches it by an address that is not
/// up to date yet is told that it takes no writes; were it gone, their connections would hang. Proxies
/// of Services look for changes once a second.
const LINGER: Duration = Duration::from_millis(1500);
/// How long one question may take, from connecting on.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// How long nothing but answers that waiting cannot change are waited out: one Duke of several may be
/// of another version, or read a new password later.
const FUTILE_PATIENCE: Duration = Duration::from_secs(3);

/// How far the end of the server has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Nobody ordered it.
    Running,
    /// It is ordered, and the server may still be master.
    HandingOver,
    /// Nothing more will be done for it: the server may be stopped.
    Over,
}

/// How a hand-over ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The server was master, and another one is now.
    HandedOver,
    /// The server is no master.
    NotMaster,
    /// There is no other node that could become master.
    Alone,
    /// The server was gone first.
    Gone,
    /// No Duke takes the order, or the Dukes and all replicas are gone.
    Futile,
    /// The time is up.
    TimeUp,
}

/// What a Duke said to the order.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Reply {
    /// It is begun.
    Begun,
    /// The node is no master in the eyes of the Dukes.
    NotMaster,
    /// Nobody could follow it now; and whether the Dukes know of other nodes at all.
    NobodyFit { is_alone: bool },
    /// Not now.
    Later,
    /// Never.
    Never,
    /// No Duke could be reached, or none answered.
    Unreachable,
}

/// One hand-over.
#[derive(Debug)]
pub struct Handover<'a> {
    monitor: &'a Monitor,
    announced: SocketAddr,
    dukes: String,
    users: PathBuf,
    begun: Instant,
    deadline: Instant,
    /// What was logged last.
    said: String,
}

impl<'a> Handover<'a> {
    /// Of the server at `announced`, by the Dukes at `dukes`; it has to be over in `grace`.
    #[must_use]
    pub fn new(
        monitor: &'a Monitor,
        announced: SocketAddr,
        dukes: String,
        users: &Path,
        grace: Duration,
    ) -> Self {
        let begun = Instant::now();
        Self {
            monitor,
            announced,
            dukes,
            users: users.to_owned(),
            begun,
            deadline: begun + grace.saturating_sub(RESERVE.min(grace / 2)),
            said: String::new(),
        }
    }

    /// Carries it out.
    pub async fn run(mut self) -> Outcome {
        let (begun, deadline) = (self.begun, self.deadline);
        let outcome = timeout_at(deadline, self.attempts()).await;
        let outcome = outcome.unwrap_or(Outcome::TimeUp);
        let elapsed_ms = begun.elapsed().as_millis();
        info!(?outcome, elapsed_ms, "the hand-over is over");
        if outcome == Outcome::HandedOver {
            sleep_until(deadline.min(Instant::now() + LINGER)).await;
        }
        outcome
    }

    async fn attempts(&mut self) -> Outcome {
        let mut was_master = false;
        let mut demoted: Option<Instant> = None;
        // When answers began that waiting will not change.
        let mut futile: Option<Instant> = None;
        loop {
            let knowledge = self.monitor.look(LOOK, ANSWER_PATIENCE).await;
            let replicas = match (knowledge.role(), &knowledge.contact) {
                (_, Contact::Absent) => return Outcome::Gone,
                (Some(Role::Master { replicas }), _) => {
                    (was_master, demoted) = (true, None);
                    Some(replicas)
                }
                (Some(Role::Replica(Link::Nobody)), _) if was_master => {
                    let since = *demoted.get_or_insert_with(Instant::now);
                    if since.elapsed() > SUCCESSOR_PATIENCE || self.ask().await == Reply::NotMaster
                    {
                        return Outcome::HandedOver;
                    }
                    sleep(LOOK).await;
                    continue;
                }
                (Some(Role::Replica(_)), _) if was_master => return Outcome::HandedOver,
                (Some(Role::Replica(_)), _) => return Outcome::NotMaster,
                // It is starting, or does not let the agent in: the Dukes know who it is.
                (None, _) => None,
            };
            let reply = self.ask().await;
            let has_replicas = replicas.is_some_and(|replicas| replicas > 0);
            let is_futile = match reply {
                Reply::Begun => {
                    self.await_effect().await;
                    false
                }
                Reply::NobodyFit { is_alone: true } if !has_replicas => return Outcome::Alone,
                Reply::NotMaster if replicas.is_none() => return Outcome::NotMaster,
                // Also if it is no master to the Dukes: they will tell it so.
                Reply::NotMaster | Reply::Later | Reply::NobodyFit { .. } => false,
                Reply::Never => true,
                // With the replicas gone, too, the group as a whole is being deleted.
                Reply::Unreachable => !has_replicas,
            };
            let since = *futile.get_or_insert_with(Instant::now);
            if !is_futile {
                futile = None;
            } else if since.elapsed() > FUTILE_PATIENCE {
                return Outcome::Futile;
            }
            if reply != Reply::Begun {
                sleep(RETRY).await;
            }
        }
    }

    /// Waits until the server is no longer master, or that takes too long.
    async fn await_effect(&self) {
        let begun = Instant::now();
        while begun.elapsed() < EFFECT_PATIENCE {
            let knowledge = self.monitor.look(LOOK, ANSWER_PATIENCE).await;
            if !matches!(knowledge.role(), Some(Role::Master { .. })) {
                return;
            }
            sleep(LOOK).await;
        }
    }

    /// Gives the order to whichever Duke answers.
    async fn ask(&mut self) -> Reply {
        let answered = timeout(ANSWER_PATIENCE, self.order()).await;
        let (reply, text) = match answered {
            Ok(Ok(answered)) => answered,
            Ok(Err(error)) => {
                let reply = match error {
                    WireError::Refused(_) | WireError::Unreadable { .. } => Reply::Never,
                    WireError::Closed
                    | WireError::Io(_)
                    | WireError::Protocol(_)
                    | WireError::Unasked(_) => Reply::Unreachable,
                };
                (reply, error.to_string())
            }
            Err(_) => (Reply::Unreachable, "no Duke answered in time".to_owned()),
        };
        if text != self.said {
            info!(
                dukes = self.dukes,
                said = text,
                "asked the Dukes to hand the master over"
            );
            self.said = text;
        }
        reply
    }

    async fn order(&self) -> Result<(Reply, String), WireError> {
        let mut duke = Wire::connect(&self.dukes).await?;
        duke.login(&self.users).await?;
        let (ip, port) = (
            self.announced.ip().to_string(),
            self.announced.port().to_string(),
        );
        let replies = duke.ask(&[&["DUKE", "HANDOVER", &ip, &port]]).await?;
        let Some(refusal) = replies.first().and_then(Frame::as_error) else {
            return Ok((Reply::Begun, "OK".to_owned()));
        };
        let reply = match refusal.split(|byte| *byte == b' ').next() {
            Some(b"NOTMASTER") => Reply::NotMaster,
            Some(b"NOGOODSLAVE") => {
                let replies = duke.ask(&[&["SENTINEL", "REPLICAS", GROUP]]).await?;
                let others = replies.first().and_then(Frame::as_array);
                Reply::NobodyFit {
                    is_alone: others.is_some_and(<[_]>::is_empty),
                }
            }
            // The Duke knows no such command or user.
            Some(b"ERR" | b"NOPERM" | b"NOAUTH") => Reply::Never,
            _ => Reply::Later,
        };
        Ok((reply, shown(refusal)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::stage::{ALONE, DEMOTED, Dukes, IN_SYNC, MASTER, Role as Is, Says, Server};

    const GRACE: Duration = Duration::from_secs(30);
    const LATER: Says = Says::Line("INPROG another failover is under way");
    const NOBODY_FIT: Says = Says::Line("NOGOODSLAVE No suitable replica to promote");
    const UNKNOWN: Says = Says::Line("ERR unknown subcommand 'HANDOVER'. Try DUKE HELP.");

    struct Scene {
        server: Server,
        dukes: Dukes,
        monitor: Arc<Monitor>,
    }

    impl Scene {
        fn new(role: Is, lines: &[Says], others: usize) -> Self {
            let server = Server::start(role);
            let dukes = Dukes::start(&server, lines, others);
            let monitor = Arc::new(Monitor::new(server.address, server.users.clone()));
            let running = Arc::clone(&monitor);
            tokio::spawn(async move { running.run().await });
            Self {
                server,
                dukes,
                monitor,
            }
        }

        /// How a hand-over ends, and how long it takes.
        async fn end(&self, grace: Duration) -> (Outcome, Duration) {
            let begun = Instant::now();
            let announced = "10.0.0.7:6379".parse().unwrap();
            let outcome = Handover::new(
                &self.monitor,
                announced,
                self.dukes.address.clone(),
                &self.server.users,
                grace,
            )
            .run()
            .await;
            (outcome, begun.elapsed())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_is_let_go_without_a_word() {
        let scene = Scene::new(IN_SYNC, &[LATER], 2);
        let (outcome, took) = scene.end(GRACE).await;
        assert_eq!(outcome, Outcome::NotMaster);
        assert!(took < Duration::from_millis(100), "{took:?}");
        assert!(scene.dukes.heard().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_master_is_handed_over_by_its_announced_address() {
        let scene = Scene::new(MASTER, &[LATER, LATER, Says::Begins(IN_SYNC)], 2);
        let (outcome, took) = scene.end(GRACE).await;
        assert_eq!(outcome, Outcome::HandedOver);
        assert_eq!(scene.dukes.heard(), ["DUKE HANDOVER 10.0.0.7 6379"; 3]);
        assert!((LINGER..LINGER * 2).contains(&took), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_demoted_master_is_kept_until_there_is_another() {
        let moved = Says::Line("NOTMASTER 10.0.0.2:6379 is the master");
        let under_way = [Says::Begins(DEMOTED), LATER, LATER, moved];
        let scene = Scene::new(MASTER, &under_way, 2);
        let (outcome, _) = scene.end(GRACE).await;
        assert_eq!(outcome, Outcome::HandedOver);
        assert_eq!(scene.dukes.heard().len(), 4, "{:?}", scene.dukes.heard());
    }

    #[tokio::test(start_paused = true)]
    async fn a_promotion_that_fails_is_ordered_again() {
        let scene = Scene::new(
            MASTER,
            &[
                Says::Begins(DEMOTED),
                Says::Begins(MASTER),
                LATER,
                Says::Begins(IN_SYNC),
            ],
            2,
        );
        let (outcome, _) = scene.end(GRACE).await;
        assert_eq!(outcome, Outcome::HandedOver);
        assert_eq!(scene.dukes.heard().len(), 4, "{:?}", scene.dukes.heard());
    }

    #[tokio::test(start_paused = true)]
    async fn dukes_that_fail_are_asked_again() {
        let lines = [Says::Closes, Says::Nothing, LATER, Says::Begins(IN_SYNC)];
        let scene = Scene::new(MASTER, &lines, 2);
        let (outcome, took) = scene.end(GRACE).await;
        assert_eq!(outcome, Outcome::HandedOver);
        assert!(took < Duration::from_secs(2) + LINGER, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn replicas_that_are_away_are_waited_for_until_the_time_is_up() {
        for role in [ALONE, MASTER] {
            let scene = Scene::new(role, &[NOBODY_FIT], 2);
            let (outcome, took) = scene.end(GRACE).await;
            assert_eq!(outcome, Outcome::TimeUp);
            assert_eq!(took, Duration::from_secs(25));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_server_that_does_not_say_who_it_is_the_dukes_are_asked() {
        let moved = Says::Line("NOTMASTER 10.0.0.2:6379 is the master");
        let scene = Scene::new(MASTER, &[LATER, LATER, moved], 2);
        scene.server.set_password("other");
        let (outcome, took) = scene.end(GRACE).await;
        // The Dukes take the other password, too: the agent's is wrong for both.
        assert_eq!(outcome, Outcome::Futile);
        assert!(took < FUTILE_PATIENCE + Duration::from_secs(2), "{took:?}");
        let scene = Scene::new(&["NOPERM no permissions"], &[LATER, LATER, moved], 2);
        let (outcome, took) = scene.end(GRACE).await;
        assert_eq!(outcome, Outcome::NotMaster);
        // By the Dukes' word, not because patience has run out.
        assert!(took < FUTILE_PATIENCE, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_grace_period_is_shared_with_the_server() {
        let scene = Scene::new(MASTER, &[LATER], 2);
        let (outcome, took) = scene.end(Duration::from_secs(4)).await;
        assert_eq!((outcome, took), (Outcome::TimeUp, Duration::from_secs(2)));
        let scene = Scene::new(MASTER, &[LATER, Says::Begins(IN_SYNC)], 2);
        let (outcome, took) = scene.end(Duration::from_secs(2)).await;
        assert_eq!(
            (outcome, took),
            (Outcome::HandedOver, Duration::from_secs(1))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_of_one_waits_for_nothing() {
        let scene = Scene::new(ALONE, &[NOBODY_FIT], 0);
        let (outcome, took) = scene.end(GRACE).await;
        assert_eq!(outcome, Outcome::Alone);
        assert!(took < Duration::from_millis(100), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn dukes_that_cannot_do_it_are_not_waited_for() {
        let scene = Scene::new(MASTER, &[UNKNOWN], 2);
        let (outcome, took) = scene.end(GRACE).await;
        assert_eq!(outcome, Outcome::Futile);
        assert!(took < FUTILE_PATIENCE + Duration::from_secs(1), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_duke_of_another_version_stops_nothing() {
        let lines = [UNKNOWN, UNKNOWN, Says::Begins(IN_SYNC)];
        let scene = Scene::new(MASTER, &lines, 2);
        assert_eq!(scene.end(GRACE).await.0, Outcome::HandedOver);
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_that_is_deleted_goes_soon() {
        let mut scene = Scene::new(ALONE, &[LATER], 2);
        // A port on which nobody listens.
        let gone = Server::start(MASTER);
        gone.stop();
        scene.dukes.address = gone.address.to_string();
        let (outcome, took) = scene.end(GRACE).await;
        assert_eq!(outcome, Outcome::Futile);
        assert!(took < FUTILE_PATIENCE + Duration::from_secs(1), "{took:?}");
        scene.server.become_role(MASTER);
        let (outcome, _) = scene.end(GRACE).await;
        assert_eq!(outcome, Outcome::TimeUp, "replicas wait for Dukes");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_gone_is_not_waited_for() {
        let scene = Scene::new(MASTER, &[LATER], 2);
        scene.monitor.look(LOOK, ANSWER_PATIENCE).await;
        scene.server.stop();
        let (outcome, took) = scene.end(GRACE).await;
        assert_eq!(outcome, Outcome::Gone);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}
