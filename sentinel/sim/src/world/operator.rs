//! The operator, as far as Dukes notice: it tells them who belongs to the group, and gives a group
//! that lost its memory a new beginning. Looks at everybody it reaches, at once and truly; records
//! what it decided, so that it never goes back.

use duke_resp::Frame;
use rand::RngExt as _;

use super::{Event, World};
use crate::{
    queue::{MILLI, SECOND},
    server::{Change, Role, Server, nowhere},
};

/// Between two looks at the group.
const PERIOD: u64 = 500 * MILLI;
/// How long whoever was master last is waited for before another node is chosen.
const PATIENCE: u64 = 6 * SECOND;
/// How long the Dukes may have said that nobody is fit to be master until somebody orders the operator to begin
/// anew with what there is.
const ACCEPTED_LOSS: u64 = 15 * SECOND;
/// The operator's place among those who may log in.
const OPERATOR: usize = 1;

/// What the operator remembers.
#[derive(Debug)]
pub(super) struct Operator {
    /// The name of each Duke, as it last said it.
    names: Vec<String>,
    /// What each Duke was told last, and in which of its lives.
    told: Vec<Option<(u32, Vec<String>)>>,
    seed: Option<Seed>,
    /// The highest epoch it ever saw.
    epoch: u64,
    /// Since when the group is without memory.
    leaderless: Option<u64>,
    /// Since when a majority has said that nobody is fit to be master.
    stuck: Option<u64>,
}

/// A beginning it gave the group.
#[derive(Clone, Copy, Debug)]
struct Seed {
    generation: u64,
    epoch: u64,
}

impl Operator {
    pub(super) fn new(dukes: usize) -> Self {
        Self {
            names: vec![String::new(); dukes],
            told: vec![None; dukes],
            seed: None,
            epoch: 0,
            leaderless: None,
            stuck: None,
        }
    }

    /// The Dukes' names, as they last said them.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }
}

impl World {
    /// The name of a Duke, as it last said it.
    pub(super) fn name_of(&self, duke: usize) -> &str {
        &self.operator.names[duke]
    }

    fn operator_host(&self) -> usize {
        self.options.dukes + self.options.nodes + self.options.clients
    }

    /// The operator looks after the group.
    pub(super) fn operate(&mut self) {
        let jitter = self.rng.random_range(0..PERIOD / 4);
        self.queue.push(self.now + PERIOD + jitter, Event::Operate);
        let here = self.operator_host();
        let reached: Vec<usize> = (0..self.options.dukes)
            .filter(|duke| {
                self.dukes[*duke].engine.is_some() && self.is_conversation_possible(here, *duke)
            })
            .collect();
        let (mut remembering, mut stuck) = (0, 0);
        for &duke in &reached {
            let Some(view) = self.dukes[duke].view() else {
                continue;
            };
            view.id.clone_into(&mut self.operator.names[duke]);
            self.operator.epoch = self.operator.epoch.max(view.current_epoch);
            remembering += usize::from(view.memory);
            stuck += usize::from(view.nobody_fit);
        }
        if self.operator.names.iter().any(String::is_empty) {
            return;
        }
        for &duke in &reached {
            self.feed(duke);
        }
        let unreached = self.options.dukes - reached.len();
        let majority = self.options.majority();
        let brainless = remembering + unreached < majority;
        let now = self.now;
        let since = self.operator.stuck.filter(|_| stuck >= majority);
        self.operator.stuck = (stuck >= majority).then(|| since.unwrap_or(now));
        let accepted = since.is_some_and(|since| now - since > ACCEPTED_LOSS);
        if (brainless || accepted || self.is_orphaned()) && reached.len() >= majority {
            self.seed(&reached, accepted);
        } else {
            self.operator.leaderless = None;
        }
    }

    /// Whether every server there is was started anew and follows nothing: Dukes promote none of these
    /// but the master itself.
    fn is_orphaned(&self) -> bool {
        let mut living = self
            .nodes
            .iter()
            .filter(|server| server.alive && !self.lost[server.host]);
        let blank = |server: &Server| matches!(server.role, Role::Replica { master, .. } if master == nowhere());
        let master = self.believed_master();
        let serves = master.is_some_and(|master| {
            let server = &self.nodes[master];
            server.alive && !self.lost[server.host]
        });
        !serves && living.clone().next().is_some() && living.all(blank)
    }

    /// Tells a Duke who belongs to the group, if it has not been told.
    fn feed(&mut self, duke: usize) {
        let mut members = vec![
            "DUKE".to_owned(),
            "MEMBERS".to_owned(),
            self.options.dukes.to_string(),
            self.options.quorum.to_string(),
        ];
        for (other, name) in self.operator.names.iter().enumerate() {
            members.push(format!("{name}@{}", self.dukes[other].address));
        }
        let now = (self.dukes[duke].life, members);
        if self.operator.told[duke].as_ref() == Some(&now) {
            return;
        }
        self.order(duke, &now.1);
        self.oracle.told(duke, &self.operator.names);
        let mut nodes = vec!["DUKE".to_owned(), "NODES".to_owned()];
        nodes.extend(self.nodes.iter().map(|node| node.address.to_string()));
        self.order(duke, &nodes);
        self.operator.told[duke] = Some(now);
    }

    fn order(&mut self, duke: usize, words: &[String]) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let answer = self.ask(duke, Some(OPERATOR), &words);
        if let Some(Frame::Error(text)) = answer {
            let text = String::from_utf8_lossy(&text).into_owned();
            self.tell(format_args!("d{} refused {}: {text}", duke + 1, words[1]));
        }
    }

    /// Gives the group a beginning; at once with whoever there is, if the loss was accepted.
    fn seed(&mut self, reached: &[usize], accepted: bool) {
        let since = *self.operator.leaderless.get_or_insert(self.now);
        let Some(node) = self.chosen(accepted || self.now - since > PATIENCE) else {
            return;
        };
        let master = self.nodes[node].address;
        let generation = self.operator.seed.map_or(1, |seed| seed.generation + 1);
        // Always a new generation: whether the last one was taken up and forgotten nobody can tell.
        let seed = Seed {
            generation,
            epoch: self.operator.epoch + 1,
        };
        self.operator.seed = Some(seed);
        self.operator.epoch = self.operator.epoch.max(seed.epoch);
        self.oracle.seeded(seed.generation, seed.epoch);
        if self.nodes[node].lead(&mut self.history) {
            self.role_changed(node, Change::Leads);
        }
        let text = self.name(self.nodes[node].host);
        self.tell(format_args!(
            "operator seeds {text}, generation {}, epoch {}",
            seed.generation, seed.epoch
        ));
        let words = [
            "DUKE".to_owned(),
            "SEED".to_owned(),
            seed.generation.to_string(),
            master.ip().to_string(),
            master.port().to_string(),
            seed.epoch.to_string(),
        ];
        for &duke in reached {
            self.oracle.seeds(Some(duke));
            self.order(duke, &words);
            self.oracle.seeds(None);
        }
    }

    /// The node with the best claim: a master others follow, a replica that was in touch, whoever
    /// has most, in this order; the master it last made is waited for unless `at_last`.
    fn chosen(&self, at_last: bool) -> Option<usize> {
        let here = self.operator_host();
        let reached = |node: &usize| {
            let server = &self.nodes[*node];
            server.alive && !server.loading && self.is_conversation_possible(here, server.host)
        };
        let first_time = self.operator.seed.is_none();
        let best = (0..self.nodes.len()).filter(reached).max_by_key(|node| {
            let server = &self.nodes[*node];
            let master = server.role == Role::Master;
            let rank = match (master, server.synced) {
                (true, _) => 2,
                (false, true) => 1,
                (false, false) => 0,
            };
            (
                rank,
                server.followers.len(),
                self.history.depth(server.place),
                usize::MAX - node,
            )
        })?;
        let server = &self.nodes[best];
        let sure = server.role == Role::Master || server.synced;
        (sure || first_time || at_last).then_some(best)
    }
}
