//! What a run is like: sizes, timings and faults, all drawn from one seed.
//!
//! Each run has some kinds of faults and not others, so that rare combinations are not drowned by
//! the usual ones.

use std::fmt;

use rand::{Rng, RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};

use crate::{
    fault::Kind,
    mutant::Mutation,
    queue::{MILLI, Micros, SECOND},
    server::Persistence,
};

/// Which of Duke's two sets of rules a group goes by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Group {
    /// An operator tells the Dukes who belongs to it.
    #[default]
    Closed,
    /// The Dukes find each other and the servers, as stock Sentinels do.
    Open,
}

/// Everything a run is made from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// Of all randomness.
    pub seed: u64,
    /// What kind of group it is.
    pub group: Group,
    /// Dukes of the group.
    pub dukes: usize,
    /// Data nodes.
    pub nodes: usize,
    /// How many Dukes must find the master down.
    pub quorum: usize,
    /// Milliseconds.
    pub down_after: u64,
    /// Milliseconds.
    pub failover_timeout: u64,
    /// Replicas that are re-pointed at a time.
    pub parallel_syncs: u32,
    /// The shortest and longest way of a packet.
    pub delay: (Micros, Micros),
    /// Lost packets among a thousand.
    pub loss: u32,
    /// The shortest and longest time a Duke's disk takes.
    pub disk: (Micros, Micros),
    /// How much faster or slower Dukes' clocks may be, among a thousand.
    pub drift: i64,
    /// Clients, and the pause between two writes of one.
    pub clients: usize,
    /// Between two writes of a client.
    pub write_pause: Micros,
    /// Replicas that must be good for a write to be taken, and how late they may be, in seconds.
    pub min_replicas: (usize, u64),
    /// How long a whole copy takes.
    pub copying: Micros,
    /// How long a server reads its data in.
    pub loading: Micros,
    /// After which silence master and replica give each other up.
    pub replication_timeout: Micros,
    /// How servers keep their data.
    pub persistence: Persistence,
    /// Whether servers can hold their clients' writes, as they can since Redis 6.2, and let Dukes have them do so.
    pub hands_over: bool,
    /// Whether servers want a password of the Dukes of an open group.
    pub password: bool,
    /// Kinds of faults that happen.
    pub faults: Vec<Kind>,
    /// The mean pause between two faults.
    pub fault_pause: Micros,
    /// Percentage of the faults that are aimed at the master.
    pub aim: u32,
    /// How long faults go on happening.
    pub chaos: Micros,
    /// Whether some hosts stay lost when the faults end.
    pub core: bool,
    /// A rule that is broken on purpose.
    pub mutation: Option<Mutation>,
}

/// Seeds of closed groups in which only Dukes have trouble, by what is left of them: none of those that showed a bug
/// before there were such runs.
const CALM: [u64; 3] = [7, 14, 17];
/// What may go wrong there, besides orders.
const CALM_FAULTS: [Kind; 5] = [
    Kind::KillDuke,
    Kind::FreezeDuke,
    Kind::JumpClock,
    Kind::SlowDisk,
    Kind::Disobey,
];

impl Options {
    /// What `seed` stands for.
    #[must_use]
    pub fn swarm(seed: u64) -> Self {
        let base = Self::base(seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xca1f);
        let hands_over = rng.random_bool(0.85);
        if !CALM.contains(&(seed % 30)) {
            return Self { hands_over, ..base };
        }
        let mut faults = vec![Kind::Order];
        faults.extend(CALM_FAULTS.into_iter().filter(|_| rng.random_bool(0.4)));
        Self {
            hands_over,
            faults,
            loss: 0,
            ..base
        }
    }

    /// The same for every kind of group.
    fn base(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let dukes = pick(&mut rng, &[1, 2, 3, 3, 3, 3, 4, 5, 5]);
        let nodes = pick(&mut rng, &[1, 2, 2, 3, 3, 3, 4, 5]);
        let majority = dukes / 2 + 1;
        let quorum = if rng.random_bool(0.7) {
            majority
        } else {
            rng.random_range(1..=dukes)
        };
        let slowest = pick(&mut rng, &[MILLI / 2, MILLI, 5 * MILLI, 40 * MILLI]);
        let disk = pick(&mut rng, &[MILLI, 5 * MILLI, 50 * MILLI, 400 * MILLI]);
        // A group whose network is slower than its patience never rests.
        let down_after = pick(&mut rng, &[100, 250, 1_000, 1_000, 3_000]).max(6 * slowest / MILLI);
        let needed = if nodes > 2 && rng.random_bool(0.4) {
            (nodes - 1) / 2
        } else {
            0
        };
        let mut faults: Vec<Kind> = Kind::ALL
            .into_iter()
            .filter(|_| rng.random_bool(0.4))
            .collect();
        if faults.is_empty() {
            faults.push(Kind::KillNode);
        }
        // Of a generator of their own, so that all other seeds mean what they meant before these were thought of.
        let mut late = ChaCha8Rng::seed_from_u64(seed ^ 0x10c4);
        if late.random_bool(0.4) {
            let more = Kind::CLOSED.into_iter();
            faults.extend(more.filter(|_| late.random_bool(0.4)));
        }
        Self {
            seed,
            group: Group::Closed,
            dukes,
            nodes,
            quorum,
            down_after,
            failover_timeout: pick(&mut rng, &[1_000, 3_000, 10_000]),
            parallel_syncs: pick(&mut rng, &[1, 1, 2, 5]),
            delay: (slowest / 5, slowest),
            loss: pick(&mut rng, &[0, 0, 1, 20, 100]),
            disk: (disk / 10, disk),
            drift: pick(&mut rng, &[0, 0, 10, 100]),
            clients: rng.random_range(1..=3),
            write_pause: pick(&mut rng, &[20 * MILLI, 100 * MILLI, 500 * MILLI]),
            min_replicas: (needed, 2),
            copying: pick(&mut rng, &[20 * MILLI, 300 * MILLI, 2 * SECOND]),
            loading: pick(&mut rng, &[5 * MILLI, 100 * MILLI, 2 * SECOND]),
            replication_timeout: pick(&mut rng, &[3, 10, 60]) * SECOND,
            persistence: pick(
                &mut rng,
                &[
                    Persistence::Log,
                    Persistence::Log,
                    Persistence::Snapshot,
                    Persistence::Nothing,
                ],
            ),
            hands_over: true,
            password: false,
            faults,
            fault_pause: pick(&mut rng, &[200 * MILLI, 800 * MILLI, 3 * SECOND]),
            aim: pick(&mut rng, &[0, 30, 60]),
            chaos: pick(&mut rng, &[4, 8, 16]) * SECOND,
            core: rng.random_bool(0.4),
            mutation: None,
        }
    }

    /// What `seed` stands for with an open group. Nothing is tried of which stock Sentinel's protocol promises
    /// nothing: a sentinel that loses its file, and strangers that speak its language.
    #[must_use]
    pub fn open(seed: u64) -> Self {
        let base = Self::base(seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x0be4);
        let dukes = pick(&mut rng, &[3, 3, 3, 5]);
        let quorum = if rng.random_bool(0.7) {
            dukes / 2 + 1
        } else {
            rng.random_range(1..=dukes)
        };
        let slowest = base.delay.1;
        let down_after = pick(&mut rng, &[300, 1_000, 1_000, 3_000]).max(6 * slowest / MILLI);
        let mut faults = base.faults.clone();
        faults.retain(|kind| {
            !matches!(kind, Kind::WipeDuke | Kind::Stranger) && !Kind::CLOSED.contains(kind)
        });
        if ChaCha8Rng::seed_from_u64(seed ^ 0xd15c).random_bool(0.25) {
            faults.push(Kind::FailDisk);
        }
        let calm = rng.random_bool(0.1);
        if calm || faults.is_empty() {
            faults = vec![Kind::Order];
        }
        Self {
            group: Group::Open,
            dukes,
            nodes: base.nodes.max(2),
            quorum,
            down_after,
            loss: if calm { 0 } else { base.loss },
            hands_over: rng.random_bool(0.8),
            password: rng.random_bool(0.3),
            core: base.core && faults != [Kind::Order],
            faults,
            ..base
        }
    }

    /// What `seed` stands for with such a group.
    #[must_use]
    pub fn of(group: Group, seed: u64) -> Self {
        match group {
            Group::Closed => Self::swarm(seed),
            Group::Open => Self::open(seed),
        }
    }

    /// Whether nothing goes wrong but that a healthy master is to be replaced, by servers that can help and
    /// are near enough for the time writes may stand still.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let near = 24 * self.delay.1 < self.down_after * MILLI;
        self.faults == [Kind::Order] && self.loss == 0 && self.hands_over && near
    }

    /// A healthy group of three Dukes and three nodes in a fast network, where nothing goes wrong.
    #[must_use]
    pub fn at_rest(group: Group, writes_per_second: u64) -> Self {
        Self {
            group,
            dukes: 3,
            nodes: 3,
            quorum: 2,
            down_after: 1_000,
            failover_timeout: 10_000,
            parallel_syncs: 1,
            delay: (100, 500),
            loss: 0,
            disk: (MILLI, 2 * MILLI),
            drift: 0,
            clients: usize::from(writes_per_second > 0),
            write_pause: SECOND.checked_div(writes_per_second).unwrap_or(SECOND),
            min_replicas: (1, 2),
            faults: Vec::new(),
            chaos: 0,
            core: false,
            ..Self::swarm(1)
        }
    }

    /// A small group of which every schedule is run: whatever takes time takes the same each time, and nothing
    /// goes wrong by chance.
    #[must_use]
    pub(crate) fn small(seed: u64, dukes: usize, nodes: usize) -> Self {
        Self {
            seed,
            dukes,
            nodes,
            quorum: dukes / 2 + 1,
            down_after: 500,
            failover_timeout: 3_000,
            delay: (MILLI, MILLI),
            disk: (2 * MILLI, 2 * MILLI),
            write_pause: 200 * MILLI,
            min_replicas: (0, 2),
            copying: 20 * MILLI,
            loading: 20 * MILLI,
            replication_timeout: 3 * SECOND,
            persistence: Persistence::Log,
            chaos: 2_500 * MILLI,
            ..Self::at_rest(Group::Closed, 1)
        }
    }

    /// Votes needed to lead.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.dukes / 2 + 1
    }
}

fn pick<T: Copy>(rng: &mut impl Rng, choices: &[T]) -> T {
    choices[rng.random_range(0..choices.len())]
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |(least, most): (Micros, Micros)| format!("{least}-{most}us");
        write!(
            f,
            "seed={:#x} group={:?} dukes={} nodes={} quorum={} down-after={}ms failover-timeout={}ms parallel-syncs={} \
             delay={} loss={}/1000 disk={} drift={}/1000 clients={} write-pause={}ms min-replicas={} copying={}ms \
             loading={}ms replication-timeout={}s persistence={:?} hands-over={} password={} \
             faults={:?} fault-pause={}ms aim={}% chaos={}s core={}",
            self.seed,
            self.group,
            self.dukes,
            self.nodes,
            self.quorum,
            self.down_after,
            self.failover_timeout,
            self.parallel_syncs,
            millis(self.delay),
            self.loss,
            millis(self.disk),
            self.drift,
            self.clients,
            self.write_pause / MILLI,
            self.min_replicas.0,
            self.copying / MILLI,
            self.loading / MILLI,
            self.replication_timeout / SECOND,
            self.persistence,
            self.hands_over,
            self.password,
            self.faults,
            self.fault_pause / MILLI,
            self.aim,
            self.chaos / SECOND,
            self.core,
        )?;
        if let Some(mutation) = self.mutation {
            write!(f, " mutation={mutation}")?;
        }
        Ok(())
    }
}
