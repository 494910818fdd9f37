//! Dukes of an open group in the world: what their files hold at first, how they start from them, and
//! what the oracle is shown of them.

use duke_core::{Engine, Input, Time, conf::Conf};

use super::{Event, World, duke::Duke};
use crate::{
    disk::MASTER,
    mutant::Mutation,
    options::{Group, Options},
    queue::{MILLI, Micros},
    server::Witness,
};

/// Between two attempts of a disk that writes nothing.
const RETRY: Micros = 200 * MILLI;

/// What a broken driver forgets of a file.
const VOTES: [&str; 2] = ["sentinel current-epoch", "sentinel leader-epoch"];

impl World {
    /// The file somebody wrote for a Duke that never ran.
    pub(super) fn first_file(options: &Options) -> String {
        let master = Self::node_address(0);
        let password = if options.password {
            format!("sentinel auth-pass {MASTER} data\n")
        } else {
            String::new()
        };
        format!(
            "# Written by hand.\nport 26379\nsentinel monitor {MASTER} {} {} {}\n\
             sentinel down-after-milliseconds {MASTER} {}\nsentinel failover-timeout {MASTER} {}\n\
             sentinel parallel-syncs {MASTER} {}\n{password}",
            master.ip(),
            master.port(),
            options.quorum,
            options.down_after,
            options.failover_timeout,
            options.parallel_syncs
        )
    }

    /// An engine that starts from its Duke's file.
    pub(super) fn open_engine(&self, duke: usize, seed: u64, now: Time) -> Engine {
        let text = self.dukes[duke].disk.text().unwrap_or_default();
        let forgets = self.options.mutation == Some(Mutation::ForgetEpochs);
        let lines = text
            .lines()
            .filter(|line| !forgets || !VOTES.iter().any(|votes| line.starts_with(votes)));
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        let conf = Conf::read(&text, &[]).expect("the engine reads what it wrote");
        Engine::open(conf, seed, now)
    }

    /// The servers of an open group: the first is master of the others from the beginning.
    pub(super) fn open_servers(&mut self) {
        let master = self.nodes[0].address;
        for server in &mut self.nodes {
            server.open(master);
        }
        self.oracle.begins_with(master);
    }

    pub(super) fn is_open(&self) -> bool {
        self.options.group == Group::Open
    }

    /// Shows the oracle what a Duke of an open group holds true now, before anything of it is said.
    pub(super) fn observe_open(&mut self, duke: usize) {
        let now = self.now;
        let one = &self.dukes[duke];
        let view = one
            .engine
            .as_ref()
            .and_then(|engine| engine.view_of(MASTER));
        let (Some(view), Some(kept)) = (view, one.disk.kept()) else {
            return;
        };
        self.oracle
            .observe_open(duke, now, &view, kept, &self.nodes, &mut self.history);
    }

    /// Whether the group has not settled, or some Duke is about to replace its master.
    pub(super) fn is_replacing(&self) -> bool {
        let busy = |duke: &Duke| {
            let view = duke
                .engine
                .as_ref()
                .and_then(|engine| engine.view_of(MASTER));
            view.is_some_and(|view| view.replaces)
        };
        self.dukes.iter().any(busy) || self.unsettled().is_some()
    }

    /// A server's INFO came to a Duke; it was asked for in an election if `asked` says when.
    pub(super) fn informed(&mut self, duke: usize, witness: &Witness, asked: Option<u64>) {
        if self.is_open() {
            self.oracle.informed_open(duke, witness, asked);
        } else {
            self.oracle.informed(duke, witness, asked);
        }
    }

    /// A disk wrote nothing, and tries again as Duke's shell does.
    pub(super) fn write_again(&mut self, duke: usize) {
        let Some(sequence) = self.dukes[duke].disk.sequence() else {
            return;
        };
        let life = self.dukes[duke].life;
        self.queue
            .push(self.now + RETRY, Event::Written { duke, life });
        if !self.frozen[duke] {
            self.give(duke, Input::PersistFailed { sequence });
            self.oracle.disk_fails(duke, true);
        }
    }

    /// Why a Duke of an open group does not know everybody yet, or does not remember them.
    pub(super) fn unacquainted(&self, duke: usize) -> Option<String> {
        let one = &self.dukes[duke];
        let view = one.engine.as_ref()?.view_of(MASTER)?;
        let (dukes, nodes) = (self.options.dukes, self.options.nodes);
        let name = duke + 1;
        if view.sentinels != dukes || view.replicas + 1 != nodes {
            let (dukes, nodes) = (view.sentinels, view.replicas + 1);
            return Some(format!("d{name} knows {dukes} Dukes and {nodes} nodes"));
        }
        let kept = one.disk.kept()?;
        if kept.dukes != dukes || kept.master != view.belief.master {
            return Some(format!("d{name} has not written down what it knows"));
        }
        None
    }
}
