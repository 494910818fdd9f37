//! The master is moved because somebody asked for it, while clients write: every write that was acknowledged is there
//! afterwards, and no Duke is without an answer meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::wire::{Wire, text};
use crate::world::{Duke, World, wait_for};

/// How often the master is moved.
const MOVES: usize = 9;
/// How long an order may take before it is given again.
const AGAIN: Duration = Duration::from_secs(6);
/// Somebody whose writes are held waits, and does not turn away.
const PATIENCE: Duration = Duration::from_secs(2);

/// Somebody who writes one key after the other, and remembers which were acknowledged.
struct Writer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Account>,
}

/// What a writer was told.
#[derive(Default)]
struct Account {
    acknowledged: Vec<String>,
    /// How often a Duke named no master.
    nobody: usize,
    /// The longest time between two acknowledged writes.
    gap: Duration,
}

impl Writer {
    fn start(number: usize, dukes: Vec<SocketAddr>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || write(number, &dukes, &stopped));
        Self { stop, thread }
    }

    fn end(self) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn write(number: usize, dukes: &[SocketAddr], stopped: &AtomicBool) -> Account {
    let mut account = Account::default();
    let mut master: Option<Wire> = None;
    let mut last = Instant::now();
    let mut asked = dukes.iter().cycle();
    for count in 0_u64.. {
        if stopped.load(Ordering::Relaxed) {
            break;
        }
        if master.is_none() {
            let duke = asked.next().copied();
            master = duke.and_then(|duke| discover(duke, &mut account).ok());
        }
        let key = format!("writer{number}:{count}");
        let done = master.as_mut().map(|wire| wire.ask(&["SET", &key, "x"]));
        if matches!(done, Some(Ok(_))) {
            let now = Instant::now();
            account.gap = account.gap.max(now - last);
            last = now;
            account.acknowledged.push(key);
        } else {
            master = None;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    account
}

fn discover(duke: SocketAddr, account: &mut Account) -> Result<Wire> {
    let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"];
    let reply = Wire::connect(duke, PATIENCE)?.ask(&words)?;
    let Some([ip, port]) = reply.as_array() else {
        account.nobody += 1;
        anyhow::bail!("nobody is master");
    };
    Wire::connect(format!("{}:{}", text(ip), text(port)).parse()?, PATIENCE)
}

/// Moves the master as often as that, each time by another Duke; says where it is in the end.
fn move_about(world: &World, mut order: impl FnMut(&Duke, SocketAddr) -> Result<()>) -> SocketAddr {
    let mut master = world.nodes[0].address();
    for number in 0..MOVES {
        let duke = &world.dukes[number % world.dukes.len()];
        let mut ordered = None;
        master = wait_for("another master", || {
            // Who asks asks again: an order may be called off.
            let begun = ordered.is_some_and(|at: Instant| at.elapsed() < AGAIN);
            if !begun {
                order(duke, master)?;
                ordered = Some(Instant::now());
            }
            let named = duke.master()?.context("no master is named")?;
            ensure!(named != master, "{named}");
            Ok(named)
        });
        world.settled(master);
    }
    master
}

fn loses_nothing(name: &str, order: impl FnMut(&Duke, SocketAddr) -> Result<()>) {
    let world = World::seeded(name);
    let dukes: Vec<SocketAddr> = world.dukes.iter().map(Duke::address).collect();
    let clients: Vec<Writer> = (0..3)
        .map(|number| Writer::start(number, dukes.clone()))
        .collect();
    let master = move_about(&world, order);
    let accounts: Vec<Account> = clients.into_iter().map(Writer::end).collect();
    let node = world.nodes.iter().find(|node| node.address() == master);
    let mut wire = node.unwrap().login().unwrap();
    let mut gap = Duration::ZERO;
    for account in &accounts {
        assert!(account.acknowledged.len() > MOVES, "it wrote all the time");
        assert_eq!(
            account.nobody, 0,
            "there always is a master in a planned move"
        );
        for key in &account.acknowledged {
            let held = wire.ask(&["EXISTS", key]).unwrap().as_integer();
            assert_eq!(held, Some(1), "{key} was acknowledged and is lost");
        }
        gap = gap.max(account.gap);
    }
    let writes: usize = accounts
        .iter()
        .map(|account| account.acknowledged.len())
        .sum();
    println!("{MOVES} planned moves: longest write gap {gap:?}, {writes} writes, 0 lost");
}

#[test]
fn what_the_operator_orders_loses_no_write() {
    loses_nothing("ordered", |duke, _| {
        duke.ask(&["SENTINEL", "FAILOVER", "mymaster"])?;
        Ok(())
    });
}

#[test]
fn what_an_agent_asks_for_loses_no_write() {
    loses_nothing("agent", |duke, master| {
        let (ip, port) = (master.ip().to_string(), master.port().to_string());
        let words = ["DUKE", "HANDOVER", &ip, &port];
        duke.agent()?.ask(&words)?;
        // Again, because the first answer may have been lost.
        let again = duke.agent()?.raw(&words)?;
        let refused = again.as_error();
        let known = refused.is_none_or(|text| text.starts_with(b"NOTMASTER"));
        ensure!(known, "{again:?}");
        Ok(())
    });
}

#[test]
fn without_the_right_to_hold_writes_the_master_is_moved_all_the_same() {
    let world = World::seeded("unheld");
    for node in &world.nodes {
        node.forbid_pause().unwrap();
    }
    let old = world.nodes[0].address();
    let coordinated = ["SENTINEL", "FAILOVER", "mymaster", "COORDINATED"];
    world.dukes[0].ask(&coordinated).unwrap();
    wait_for("the coordinated order to be called off", || {
        let log = world.dukes[0].log();
        ensure!(log.contains("-failover-abort-master-timeout"), "not yet");
        Ok(())
    });
    assert_eq!(world.dukes[0].master().unwrap(), Some(old));
    world.nodes[0]
        .follows(old)
        .context("it takes writes")
        .unwrap();
    let plain = ["SENTINEL", "FAILOVER", "mymaster"];
    wait_for("the plain order to be taken", || world.dukes[0].ask(&plain));
    let new = world.next_master(old);
    world.settled(new);
}
