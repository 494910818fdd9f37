//! Many masters fall silent at once: when the sentinels find them down, when they agree on it, and when
//! all of them name another master for every one.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use super::{
    model::{Fleet, address, index},
    watch::{Setup, Watch, name},
};
use crate::{
    Scale,
    program::{Kind, Programs},
    table::{Table, millis},
    wire::{Wire, command, local, text},
};

/// Of three sentinels two must agree.
pub(super) const SENTINELS: usize = 3;
/// So many share what is measured of all.
const OF_THEM: f64 = 3.0;
/// What the start needed is over by then: the first answers to INFO, the first hellos.
const CALM: Duration = Duration::from_secs(5);
/// Between two rounds of questions.
const PERIOD: Duration = Duration::from_millis(10);

/// A master that dies, and where it is then.
type Dying = (usize, IpAddr);
/// When this was first said of each master.
type Firsts = BTreeMap<String, Instant>;

/// Measures and prints the table.
///
/// # Errors
/// When the sentinels do not come up.
pub(super) async fn many_deaths(programs: &Programs, wanted: &Scale) -> Result<()> {
    let Scale { watched, dying, .. } = *wanted;
    let title = format!(
        "{dying} of {watched} masters fall silent at once; three sentinels, down-after {} ms. Milliseconds from then \
         until the last of them is found down by a sentinel, until it is agreed to be down, and until all three \
         sentinels name a new master for half and for all of them. Before it: commands the servers are sent in a \
         second, the share of one core that a sentinel takes, and masters it replaced although they lived. Waited for {} s.",
        wanted.down_after, wanted.patience
    );
    let head = [
        "sentinels",
        "commands/s",
        "CPU (%)",
        "replaced before",
        "found down",
        "agreed down",
        "half replaced",
        "all replaced",
    ];
    let table = Table::new(&title, &head);
    for _ in 0..wanted.rounds {
        for kind in super::kinds(wanted) {
            table.row(&one(programs, wanted, kind).await?);
        }
    }
    Ok(())
}

async fn one(programs: &Programs, wanted: &Scale, kind: Kind) -> Result<Vec<String>> {
    let fleet = Fleet::start(wanted.watched, wanted.replicas)?;
    let setup = Setup {
        masters: wanted.watched,
        sentinels: SENTINELS,
        down_after: Duration::from_millis(wanted.down_after),
    };
    let watch = Watch::start(programs, wanted, kind, &fleet, setup).await?;
    sleep(CALM / 2).await;
    let (before, used, begin) = (fleet.commands(), watch.used()?, Instant::now());
    sleep(CALM / 2).await;
    let seconds = begin.elapsed().as_secs_f64();
    let share = watch.used()?.saturating_sub(used).as_secs_f64() / seconds * 100.0 / OF_THEM;
    let rested = u64::try_from(begin.elapsed().as_millis())?;
    let commands = (fleet.commands() - before) * 1_000 / rested.max(1);
    let masters = named(&watch, wanted.watched).await?;
    let first = |master: usize| Some(address(fleet.of(master, 0)).into());
    let mut all = masters.iter().enumerate();
    let before = all.by_ref().filter(|(master, ip)| **ip != first(*master));
    let before = before.count();
    let step = (wanted.watched / wanted.dying).max(1);
    let dying = masters.into_iter().enumerate().step_by(step);
    let dying: Vec<Dying> = dying
        .filter_map(|(master, ip)| Some((master, ip?)))
        .take(wanted.dying)
        .collect();
    let mut witness = Witness::start(&watch.ports).await?;
    let begin = Instant::now();
    for (_, ip) in &dying {
        fleet.kill(index(*ip).context("masters are modelled servers")?);
    }
    let patience = Duration::from_secs(wanted.patience);
    let (half, all, count) = replaced(&watch, &dying, begin, patience).await?;
    let not = |count: usize| format!("not in time: {count} of {}", dying.len());
    let or_not = |span: Option<Duration>| span.map_or_else(|| not(count), millis);
    witness.look();
    let last = |firsts: &Firsts| {
        let whole = firsts.len() >= dying.len();
        let last = firsts.values().max().filter(|_| whole);
        last.map_or_else(|| not(firsts.len()), |at| millis(at.duration_since(begin)))
    };
    Ok(vec![
        kind.name().to_owned(),
        commands.to_string(),
        format!("{share:.0}"),
        before.to_string(),
        last(&witness.found),
        last(&witness.agreed),
        or_not(half),
        or_not(all),
    ])
}

/// Subscribers to all sentinels.
#[derive(Debug)]
struct Witness {
    found: Firsts,
    agreed: Firsts,
    seeing: mpsc::UnboundedReceiver<(Instant, [String; 3])>,
    _tasks: JoinSet<()>,
}

impl Witness {
    async fn start(sentinels: &[u16]) -> Result<Self> {
        let (seen, seeing) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for port in sentinels {
            let mut ears = Wire::connect(local(*port)).await?;
            for channel in ["+sdown", "+odown"] {
                ears.ask(&["SUBSCRIBE", channel]).await?;
            }
            let seen = seen.clone();
            tasks.spawn(async move {
                while let Ok(message) = ears.receive().await {
                    let words = message.as_array().unwrap_or_default().iter().map(text);
                    let Ok(words) = <[String; 3]>::try_from(words.collect::<Vec<_>>()) else {
                        continue;
                    };
                    if seen.send((Instant::now(), words)).is_err() {
                        return;
                    }
                }
            });
        }
        Ok(Self {
            found: Firsts::new(),
            agreed: Firsts::new(),
            seeing,
            _tasks: tasks,
        })
    }

    /// Takes everything that was said until now.
    fn look(&mut self) {
        while let Ok((at, [_, channel, payload])) = self.seeing.try_recv() {
            // Of a server or a sentinel nothing is counted here.
            let Some(master) = payload.strip_prefix("master ") else {
                continue;
            };
            let name = master.split(' ').next().unwrap_or_default().to_owned();
            let firsts = match channel.as_str() {
                "+odown" => &mut self.agreed,
                _ => &mut self.found,
            };
            firsts.entry(name).or_insert(at);
        }
    }
}

/// Whom the first sentinel names as masters.
async fn named(watch: &Watch, masters: usize) -> Result<Vec<Option<IpAddr>>> {
    let port = watch.ports.first().context("there is one")?;
    let mut wire = Wire::connect(local(*port)).await?;
    ask_for(&mut wire, 0..masters).await
}

/// When half of the dying and when all were replaced in everybody's eyes; and how many were in the end.
async fn replaced(
    watch: &Watch,
    dying: &[Dying],
    begin: Instant,
    patience: Duration,
) -> Result<(Option<Duration>, Option<Duration>, usize)> {
    let mut wires = Vec::new();
    for port in &watch.ports {
        // Only those it names the old address for are asked for again: asking must not become the load.
        wires.push((Wire::connect(local(*port)).await?, dying.to_vec()));
    }
    let (mut half, mut count) = (None, 0);
    while begin.elapsed() < patience {
        for (wire, left) in &mut wires {
            let names = ask_for(wire, left.iter().map(|(master, _)| *master)).await?;
            let mut names = names.into_iter();
            left.retain(|(_, old)| names.next().flatten().is_none_or(|now| now == *old));
        }
        let most = wires.iter().map(|(_, left)| left.len()).max().unwrap_or(0);
        count = dying.len() - most;
        if half.is_none() && count * 2 >= dying.len() {
            half = Some(begin.elapsed());
        }
        if count == dying.len() {
            return Ok((half, Some(begin.elapsed()), count));
        }
        sleep(PERIOD).await;
    }
    Ok((half, None, count))
}

/// Where a sentinel says that these masters are.
async fn ask_for(
    wire: &mut Wire,
    masters: impl Iterator<Item = usize> + Clone,
) -> Result<Vec<Option<IpAddr>>> {
    let mut questions = Vec::new();
    for master in masters.clone() {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &name(master)];
        questions.extend_from_slice(&command(&words));
    }
    wire.send(&questions).await?;
    let mut places = Vec::new();
    for _ in masters {
        let answer = wire.receive().await?;
        let host = answer.as_array().and_then(|place| place.first()).map(text);
        places.push(host.and_then(|host| host.parse().ok()));
    }
    Ok(places)
}
