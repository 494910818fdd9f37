//! Who looks on: subscribers to every sentinel, somebody who asks each for the master every
//! millisecond, and somebody who tries to write to every replica.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::Result;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout_at},
};

use crate::{
    group::NAME,
    wire::{Wire, command, local, text},
};

/// Between two questions or attempts.
const PERIOD: Duration = Duration::from_millis(1);
/// How long somebody who asks waits for an answer before he asks anew.
const ANSWER: Duration = Duration::from_millis(250);

/// Something that was seen.
#[derive(Debug)]
pub(super) enum Sight {
    /// A sentinel published this.
    Event { channel: String, payload: String },
    /// This sentinel names another master than before.
    Answer { sentinel: u16, port: Option<u16> },
    /// A replica took a write.
    Written,
}

/// Everything that was seen so far.
#[derive(Debug)]
pub(super) struct Witness {
    sights: Vec<(Instant, Sight)>,
    seeing: mpsc::UnboundedReceiver<(Instant, Sight)>,
    /// What each sentinel answers now.
    answers: BTreeMap<u16, Option<u16>>,
    /// When all of them began to name one that is not the old one.
    all_right: Option<Instant>,
    _tasks: JoinSet<()>,
}

type Seen = mpsc::UnboundedSender<(Instant, Sight)>;

impl Witness {
    /// Begins to look; returns when everybody is in place.
    pub(super) async fn start(sentinels: &[u16], replicas: &[u16]) -> Result<Self> {
        let (seen, seeing) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for port in sentinels {
            let mut ears = Wire::connect(local(*port)).await?;
            ears.ask(&["PSUBSCRIBE", "*"]).await?;
            tasks.spawn(listen(ears, seen.clone()));
            tasks.spawn(ask(*port, seen.clone()));
        }
        for port in replicas {
            tasks.spawn(write(*port, seen.clone()));
        }
        Ok(Self {
            sights: Vec::new(),
            seeing,
            answers: sentinels.iter().map(|port| (*port, None)).collect(),
            all_right: None,
            _tasks: tasks,
        })
    }

    /// Looks until every sentinel names one master that is not `old`, or until `limit`.
    pub(super) async fn until_all_name_another(&mut self, old: u16, limit: Instant) {
        while self.all_right.is_none() && self.see(limit).await {
            let mut named = self.answers.values();
            let first = named.next().copied().flatten();
            let agreed = first.is_some_and(|port| port != old);
            if agreed && named.all(|port| *port == first) {
                self.all_right = self.sights.last().map(|(at, _)| *at);
            }
        }
    }

    /// Looks until `limit`.
    pub(super) async fn look_on(&mut self, limit: Instant) {
        while self.see(limit).await {}
    }

    /// Takes one more sight; false at the limit.
    async fn see(&mut self, limit: Instant) -> bool {
        let Ok(Some((at, sight))) = timeout_at(limit.into(), self.seeing.recv()).await else {
            return false;
        };
        if let Sight::Answer { sentinel, port } = sight {
            self.answers.insert(sentinel, port);
        }
        self.sights.push((at, sight));
        true
    }

    /// In the order in which they were taken.
    pub(super) fn sights(&self) -> impl Iterator<Item = &(Instant, Sight)> {
        self.sights.iter()
    }

    pub(super) fn all_right(&self) -> Option<Instant> {
        self.all_right
    }

    /// How many changes of master were announced, by whomever.
    pub(super) fn switches(&self) -> usize {
        let told = self.sights().filter_map(|(_, sight)| match sight {
            Sight::Event { channel, payload } if channel == "+switch-master" => Some(payload),
            Sight::Event { .. } | Sight::Answer { .. } | Sight::Written => None,
        });
        told.collect::<BTreeSet<_>>().len()
    }
}

async fn listen(mut ears: Wire, seen: Seen) {
    while let Ok(message) = ears.receive().await {
        let at = Instant::now();
        let words: Vec<String> = message
            .as_array()
            .unwrap_or_default()
            .iter()
            .map(text)
            .collect();
        let Ok([_, _, channel, payload]) = <[String; 4]>::try_from(words) else {
            continue;
        };
        if seen.send((at, Sight::Event { channel, payload })).is_err() {
            return;
        }
    }
}

async fn ask(sentinel: u16, seen: Seen) {
    let question = command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
    let mut last = None;
    while !seen.is_closed() {
        let Ok(mut wire) = Wire::connect(local(sentinel)).await else {
            sleep(PERIOD).await;
            continue;
        };
        loop {
            let answer = async {
                wire.send(&question).await?;
                wire.receive().await
            };
            let Ok(Ok(answer)) = tokio::time::timeout(ANSWER, answer).await else {
                break;
            };
            let at = Instant::now();
            let port = answer
                .as_array()
                .and_then(|place| text(place.get(1)?).parse().ok());
            if last != Some(port) && seen.send((at, Sight::Answer { sentinel, port })).is_err() {
                return;
            }
            last = Some(port);
            sleep(PERIOD).await;
        }
    }
}

async fn write(port: u16, seen: Seen) {
    let attempt = command(&["SET", "probe", "1"]);
    while !seen.is_closed() {
        let Ok(mut wire) = Wire::connect(local(port)).await else {
            sleep(PERIOD).await;
            continue;
        };
        loop {
            let answer = async {
                wire.send(&attempt).await?;
                wire.receive().await
            };
            let Ok(answer) = answer.await else { break };
            if answer.as_error().is_none() {
                // Once is enough; nobody may be left to hear it.
                drop(seen.send((Instant::now(), Sight::Written)));
                return;
            }
            sleep(PERIOD).await;
        }
    }
}
