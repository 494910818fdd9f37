//! How long a failover takes, stage by stage: three sentinels of one kind, a master with two replicas,
//! a fault; Duke and stock in turns.

mod witness;

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;

use self::witness::{Sight, Witness};
use crate::{
    Failover as Wanted,
    group::Group,
    program::{Kind, Programs},
    say,
    table::{Table, spread},
};

/// How much longer than down-after a failover may take before it counts as never.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long is looked on afterwards, for a second failover after the same fault.
const AFTERMATH: Duration = Duration::from_secs(3);

/// The longest time between two looks of a sentinel at its master.
const LOOK: Duration = Duration::from_secs(1);

/// What happens to the master.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Fault {
    /// `kill -9`
    Killed,
    /// `SIGSTOP`, and `SIGCONT` when another one is master.
    Frozen,
    /// `kill -9`, and back at once in the same place, empty, as a replica of nothing.
    Restarted,
}

impl Fault {
    const ALL: [Self; 3] = [Self::Killed, Self::Frozen, Self::Restarted];

    /// Whether it is measured with this down-after, unless asked for by name.
    fn belongs(self, down_after: u64) -> bool {
        self != Self::Restarted || down_after == 1_000
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Killed => "kill −9",
            Self::Frozen => "SIGSTOP",
            Self::Restarted => "back in place as a replica",
        }
    }
}

/// When what was first seen, from the fault on; none if it never was.
#[derive(Clone, Copy, Debug, Default)]
struct Stages {
    down: Option<Duration>,
    agreed: Option<Duration>,
    elected: Option<Duration>,
    writable: Option<Duration>,
    first_answer: Option<Duration>,
    last_answer: Option<Duration>,
    /// Changes of master that were announced.
    failovers: usize,
}

/// Measures every case and prints the table.
///
/// # Errors
/// When a group does not come up.
pub(crate) async fn run(programs: &Programs, wanted: &Wanted) -> Result<()> {
    let rounds = wanted.rounds;
    let title = format!(
        "Three sentinels, a master and two replicas on loopback; {rounds} rounds in turns; milliseconds from the \
         fault, median and (greatest)."
    );
    let head = [
        "fault",
        "down-after",
        "sentinels",
        "down",
        "agreed",
        "elected",
        "takes writes",
        "first right answer",
        "last right answer",
        "agreed → first answer",
        "failovers",
    ];
    let table = Table::new(&title, &head);
    for fault in Fault::ALL {
        for down_after in chosen(&wanted.down_after, &[200, 500, 1_000, 5_000]) {
            let asked = wanted.fault.contains(&fault);
            if asked || (wanted.fault.is_empty() && fault.belongs(down_after)) {
                measure(programs, wanted, &table, fault, down_after).await?;
            }
        }
    }
    say("");
    Ok(())
}

/// Those asked for, or all.
fn chosen(asked: &[u64], all: &[u64]) -> Vec<u64> {
    let chosen = if asked.is_empty() { all } else { asked };
    chosen.to_vec()
}

async fn measure(
    programs: &Programs,
    wanted: &Wanted,
    table: &Table,
    fault: Fault,
    down_after: u64,
) -> Result<()> {
    let kinds = Kind::BOTH.iter();
    let mut seen: Vec<(Kind, Vec<Stages>)> = kinds
        .filter(|kind| wanted.only.is_none_or(|only| only == **kind))
        .map(|kind| (*kind, Vec::new()))
        .collect();
    for number in 0..wanted.rounds {
        for (kind, stages) in &mut seen {
            let name = format!("{fault:?}-{down_after}-{}-{number}", kind.name());
            let keep = wanted.keep.as_ref().map(|folder| folder.join(name));
            let span = Duration::from_millis(down_after);
            let group = Group::start(programs, *kind, span, keep).await?;
            stages.push(round(group, fault, span).await?);
        }
    }
    for (kind, stages) in seen {
        let of = |field: fn(&Stages) -> Option<Duration>| {
            spread(&stages.iter().map(field).collect::<Vec<_>>())
        };
        let failovers = stages.iter().map(|stages| stages.failovers);
        table.row(&[
            fault.name().to_owned(),
            down_after.to_string(),
            kind.name().to_owned(),
            of(|stages| stages.down),
            of(|stages| stages.agreed),
            of(|stages| stages.elected),
            of(|stages| stages.writable),
            of(|stages| stages.first_answer),
            of(|stages| stages.last_answer),
            of(|stages| stages.first_answer?.checked_sub(stages.agreed?)),
            range(failovers),
        ]);
    }
    Ok(())
}

/// `1`, or `1–9`.
fn range(all: impl Iterator<Item = usize> + Clone) -> String {
    let (least, most) = (all.clone().min().unwrap_or(0), all.max().unwrap_or(0));
    if least == most {
        format!("{least}")
    } else {
        format!("{least}–{most}")
    }
}

async fn round(mut group: Group, fault: Fault, down_after: Duration) -> Result<Stages> {
    let old = group.servers[0].port;
    let others: Vec<u16> = group.servers[1..]
        .iter()
        .map(|server| server.port)
        .collect();
    let mut witness = Witness::start(&group.sentinels, &others).await?;
    // A group is found settled right after a sentinel looked: faults come at any time.
    let until = Instant::now() + LOOK.mul_f64(rand::random());
    witness.look_on(until).await;
    let begin = Instant::now();
    let server = group.server(old)?;
    match fault {
        Fault::Killed => server.process.kill()?,
        Fault::Frozen => server.process.freeze()?,
        Fault::Restarted => server.restart_as_replica()?,
    }
    let limit = begin + down_after + PATIENCE;
    witness.until_all_name_another(old, limit).await;
    if fault == Fault::Frozen {
        group.server(old)?.process.thaw()?;
    }
    witness
        .look_on(Instant::now() + AFTERMATH + down_after)
        .await;
    Ok(stages(&witness, begin, old))
}

fn stages(witness: &Witness, begin: Instant, old: u16) -> Stages {
    let since = |at: Instant| at.checked_duration_since(begin);
    let event = |wanted: &str| {
        witness.sights().find_map(|(at, sight)| match sight {
            Sight::Event { channel, payload } if channel == wanted => {
                let of_master = payload.starts_with("master ");
                since(*at).filter(|_| of_master)
            }
            Sight::Event { .. } | Sight::Answer { .. } | Sight::Written => None,
        })
    };
    let first_answer = witness.sights().find_map(|(at, sight)| {
        let right = matches!(sight, Sight::Answer { port: Some(port), .. } if *port != old);
        since(*at).filter(|_| right)
    });
    let writable = witness.sights().find_map(|(at, sight)| {
        let written = matches!(sight, Sight::Written);
        since(*at).filter(|_| written)
    });
    Stages {
        down: event("+sdown"),
        agreed: event("+odown"),
        elected: event("+elected-leader"),
        writable,
        first_answer,
        last_answer: witness.all_right().and_then(since),
        failovers: witness.switches(),
    }
}
