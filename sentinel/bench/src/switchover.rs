//! Planned moves of the master, one after the other, while clients write: how long they cannot, and whether a write
//! that was acknowledged is there afterwards.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    Switchover,
    closed::{Closed, log_in, master_of},
    group::wait_for,
    program::{Kind, Programs, version},
    say,
    table::{Table, millis, share},
    wire::Wire,
};

/// Between two writes of a client, and between two attempts.
const PAUSE: Duration = Duration::from_millis(1);
/// How long a client waits for one answer: longer than writes are ever held.
const PATIENCE: Duration = Duration::from_secs(3);
/// Keys that are looked for with one question.
const BATCH: usize = 200;

/// What one client was told.
#[derive(Debug, Default)]
struct Account {
    /// When its writes were acknowledged, the first one first; their keys are counted.
    acknowledged: Vec<(Instant, usize)>,
}

/// What all of them noticed.
#[derive(Debug, Default)]
struct Seen {
    /// How often a Duke named no master.
    nobody: AtomicUsize,
    stop: AtomicBool,
}

/// Moves the master again and again, with each server, and prints the table.
///
/// # Errors
/// When a group does not come up, or a move does not end.
pub(crate) async fn run(programs: &Programs, wanted: &Switchover) -> Result<()> {
    let (rounds, writers) = (wanted.rounds, wanted.writers);
    let title = format!(
        "Planned moves in a closed group on loopback: three servers, three Dukes, {writers} clients that write about \
         every millisecond, asking a Duke anew when they are cut off; {rounds} moves in a row, asked of the Dukes in \
         turn. A gap is the longest time a client was without an acknowledged write in one move, in milliseconds."
    );
    let head = [
        "server",
        "moves",
        "acknowledged writes",
        "lost",
        "gap p50",
        "gap p99",
        "longest gap",
        "answers without a master",
    ];
    let table = Table::new(&title, &head);
    let own = [programs.server().to_owned()];
    for server in own.iter().chain(&wanted.server) {
        measure(programs, wanted, &table, server).await?;
    }
    say("");
    Ok(())
}

async fn measure(
    programs: &Programs,
    wanted: &Switchover,
    table: &Table,
    server: &Path,
) -> Result<()> {
    let group = Closed::start(programs.sentinel(Kind::Duke), server).await?;
    let seen = Arc::new(Seen::default());
    let clients: Vec<JoinHandle<Account>> = (0..wanted.writers)
        .map(|number| tokio::spawn(write(number, group.dukes.clone(), Arc::clone(&seen))))
        .collect();
    let mut moves = Vec::with_capacity(wanted.rounds);
    for number in 0..wanted.rounds {
        sleep(10 * PAUSE).await;
        let begin = Instant::now();
        move_on(&group, group.dukes[number % group.dukes.len()]).await?;
        sleep(10 * PAUSE).await;
        moves.push((begin, Instant::now()));
    }
    seen.stop.store(true, Ordering::Relaxed);
    let mut accounts = Vec::new();
    for client in clients {
        accounts.push(client.await?);
    }
    let gaps: Vec<Duration> = moves
        .iter()
        .flat_map(|span| accounts.iter().map(|account| gap(account, *span)))
        .collect();
    let (all, lost) = lost(&group, &accounts).await?;
    let shown = |percent| share(&gaps, percent).map_or_else(String::new, millis);
    table.row(&[
        name(server)?,
        moves.len().to_string(),
        all.to_string(),
        lost.to_string(),
        shown(50),
        shown(99),
        shown(100),
        seen.nobody.load(Ordering::Relaxed).to_string(),
    ]);
    Ok(())
}

/// `Redis 7.0.15`
fn name(server: &Path) -> Result<String> {
    let text = version(server)?;
    let number = text
        .split_whitespace()
        .find_map(|word| word.strip_prefix("v="));
    let kind = text.split_whitespace().next().unwrap_or_default();
    Ok(format!("{kind} {}", number.unwrap_or_default()))
}

/// Asks this Duke to move the master away from where it is, as an agent does, until it is elsewhere and all follow.
async fn move_on(group: &Closed, duke: u16) -> Result<()> {
    let old = master_of(duke).await?.context("there is a master")?;
    let (ip, port) = (old.ip().to_string(), old.port().to_string());
    let mut new = None;
    wait_for("another master", async || {
        if let Ok(mut agent) = log_in(duke, "agent").await {
            // Refusals are for the next time.
            drop(agent.ask(&["DUKE", "HANDOVER", &ip, &port]).await);
        }
        new = group.master().await.filter(|master| *master != old);
        new.is_some()
    })
    .await?;
    group.settled(new.context("another master")?).await
}

async fn write(number: usize, dukes: Vec<u16>, seen: Arc<Seen>) -> Account {
    let mut account = Account::default();
    let mut master: Option<Wire> = None;
    let mut asked = dukes.iter().cycle().skip(number);
    for count in 0.. {
        if seen.stop.load(Ordering::Relaxed) {
            break;
        }
        if master.is_none() {
            master = discover(asked.next().copied(), &seen).await;
        }
        let key = key(number, count);
        let done = match &mut master {
            Some(wire) => timeout(PATIENCE, wire.ask(&["SET", &key, "x"])).await,
            None => Ok(Err(anyhow::anyhow!("no master"))),
        };
        if matches!(done, Ok(Ok(_))) {
            account.acknowledged.push((Instant::now(), count));
        } else {
            master = None;
        }
        sleep(PAUSE).await;
    }
    account
}

fn key(writer: usize, count: usize) -> String {
    format!("writer{writer}:{count}")
}

async fn discover(duke: Option<u16>, seen: &Seen) -> Option<Wire> {
    match master_of(duke?).await {
        Ok(Some(master)) => Wire::connect(master).await.ok(),
        Ok(None) => {
            seen.nobody.fetch_add(1, Ordering::Relaxed);
            None
        }
        Err(_) => None,
    }
}

/// The longest time between two acknowledged writes of one client, of those that reach into `span`.
fn gap(account: &Account, (begin, end): (Instant, Instant)) -> Duration {
    let pairs = account.acknowledged.windows(2);
    let spans = pairs.filter_map(|pair| {
        let ((one, _), (other, _)) = (pair.first()?, pair.last()?);
        (*other >= begin && *one <= end).then(|| *other - *one)
    });
    spans.max().unwrap_or_default()
}

/// Acknowledged writes, and those of them the master lacks.
async fn lost(group: &Closed, accounts: &[Account]) -> Result<(usize, usize)> {
    let master: SocketAddr = group.master().await.context("a master in the end")?;
    let mut wire = log_in(master.port(), "operator").await?;
    let (mut all, mut held) = (0, 0);
    for (writer, account) in accounts.iter().enumerate() {
        for batch in account.acknowledged.chunks(BATCH) {
            let keys: Vec<String> = batch.iter().map(|(_, count)| key(writer, *count)).collect();
            let words: Vec<&str> = ["EXISTS"]
                .into_iter()
                .chain(keys.iter().map(String::as_str))
                .collect();
            let found = wire
                .ask(&words)
                .await?
                .as_integer()
                .context("EXISTS counts")?;
            all += batch.len();
            held += usize::try_from(found)?;
        }
    }
    ensure!(held <= all, "keys are counted once");
    Ok((all, all - held))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_where_it_reaches_into_the_move() {
        let begin = Instant::now();
        let at = |millis| begin + Duration::from_millis(millis);
        let acknowledged = [0, 50, 52, 60, 61, 200].map(at).map(|at| (at, 0)).to_vec();
        let account = Account { acknowledged };
        assert_eq!(gap(&account, (at(51), at(61))), Duration::from_millis(139));
        assert_eq!(gap(&account, (at(51), at(59))), Duration::from_millis(8));
        assert_eq!(gap(&account, (at(10), at(59))), Duration::from_millis(50));
    }
}
