//! A client that writes all the time, as an application with a Sentinel library does, and notes the
//! longest time it could not.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::wire::{Wire, text};
use crate::world::wait_for;

/// Patience of a single request: short, so that a frozen master is left soon.
const PATIENCE: Duration = Duration::from_millis(200);

/// A writer in a thread of its own.
#[derive(Debug)]
pub(crate) struct Prober {
    stop: Arc<AtomicBool>,
    writes: Arc<AtomicU64>,
    thread: JoinHandle<Gap>,
}

/// What the writer saw.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Gap {
    /// The longest time between two acknowledged writes.
    pub(crate) longest: Duration,
    /// Acknowledged writes in all.
    pub(crate) writes: u64,
}

impl Prober {
    /// Starts to write to whomever the Dukes at `dukes` name.
    pub(crate) fn start(dukes: Vec<SocketAddr>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let writes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&writes);
        let thread = std::thread::spawn(move || run(&dukes, &stopped, &counted));
        Self {
            stop,
            writes,
            thread,
        }
    }

    /// Waits until it writes steadily.
    pub(crate) fn warm(&self) {
        wait_for("the first writes", || {
            let writes = self.writes.load(Ordering::Relaxed);
            ensure!(writes >= 20, "{writes} writes");
            Ok(())
        });
    }

    /// Ends it after one more acknowledged write.
    pub(crate) fn finish(self) -> Gap {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn run(dukes: &[SocketAddr], stopped: &AtomicBool, writes: &AtomicU64) -> Gap {
    let mut gap = Gap::default();
    let mut last: Option<Instant> = None;
    let mut master: Option<Wire> = None;
    for duke in dukes.iter().cycle() {
        loop {
            let ending = stopped.load(Ordering::Relaxed);
            if write(&mut master, *duke).is_err() {
                master = None;
                std::thread::sleep(Duration::from_millis(1));
                break;
            }
            let now = Instant::now();
            gap.longest = gap
                .longest
                .max(last.map_or(Duration::ZERO, |last| now - last));
            gap.writes = writes.fetch_add(1, Ordering::Relaxed) + 1;
            last = Some(now);
            if ending {
                return gap;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    gap
}

fn write(master: &mut Option<Wire>, duke: SocketAddr) -> Result<()> {
    if master.is_none() {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster"];
        let reply = Wire::connect(duke, PATIENCE)?.ask(&words)?;
        let address = reply.as_array().context("no master")?;
        let address = format!("{}:{}", text(&address[0]), text(&address[1])).parse()?;
        *master = Some(Wire::connect(address, PATIENCE)?);
    }
    master
        .as_mut()
        .context("no connection")?
        .ask(&["INCR", "probe"])?;
    Ok(())
}
