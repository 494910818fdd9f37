//! Where logs go, and how much of them.
//!
//! Standard output: lines for people at a terminal, JSON for everything else. A `logfile` gets lines.
//! A thread of its own writes them: whoever does not read our output, or a disk that hangs, holds up
//! the log and nothing else. What piles up is bounded; lines beyond are dropped and counted.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write, stdout};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use duke_core::LogLevel;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer, Registry, fmt, reload};

/// Lines that may wait to be written.
const LINES_MAX: usize = 4096;
/// How long the end of the process waits for the last lines.
const END_PATIENCE: Duration = Duration::from_secs(1);

static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();
static QUEUE: OnceLock<Queue> = OnceLock::new();

fn filter(level: Option<LogLevel>) -> EnvFilter {
    let word = match level {
        Some(LogLevel::Debug) => "debug",
        None | Some(LogLevel::Verbose | LogLevel::Notice) => "info",
        Some(LogLevel::Warning) => "warn",
        Some(LogLevel::Nothing) => "off",
    };
    // Who sets the environment wants to see more than the file says.
    EnvFilter::try_from_env("DUKE_LOG").unwrap_or_else(|_| EnvFilter::new(word))
}

/// Begins to log; to standard output if there is no file.
pub(crate) fn start(file: Option<File>, level: Option<LogLevel>) {
    let (filter, handle) = reload::Layer::new(filter(level));
    let (is_file, for_people) = (file.is_some(), stdout().is_terminal());
    let queue = match file {
        Some(file) => Queue::start(file),
        None => Queue::start(stdout()),
    };
    // Without a thread nothing can be logged; Duke runs all the same.
    let Ok(queue) = queue else {
        return;
    };
    let lines: Box<dyn Layer<_> + Send + Sync> = if is_file {
        fmt::layer()
            .with_ansi(false)
            .with_writer(queue.clone())
            .boxed()
    } else if for_people {
        fmt::layer().with_writer(queue.clone()).boxed()
    } else {
        fmt::layer()
            .with_writer(queue.clone())
            .json()
            .flatten_event(true)
            .boxed()
    };
    let begun = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    // Only tests start twice in one process; the first logger stays.
    if begun.is_ok() {
        drop(LEVEL.set(handle));
        drop(QUEUE.set(queue));
    }
}

/// Logs this much from now on.
pub(crate) fn set(level: LogLevel) {
    if let Some(handle) = LEVEL.get() {
        drop(handle.reload(filter(Some(level))));
    }
}

/// Waits, a second at most, until everything logged so far is written. To be called before the process
/// ends: what still waits then is lost.
pub fn finish() {
    if let Some(queue) = QUEUE.get() {
        queue.finish(END_PATIENCE);
    }
}

enum Piece {
    Line(Vec<u8>),
    /// Everything before is to be written; then the sender is dropped.
    Mark(SyncSender<()>),
}

/// The lines on their way to the thread that writes them.
#[derive(Clone, Debug)]
struct Queue {
    lines: SyncSender<Piece>,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    fn start(into: impl Write + Send + 'static) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = Arc::clone(&dropped);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(into, &waiting, &lost))?;
        Ok(Self { lines, dropped })
    }

    fn finish(&self, patience: Duration) {
        let (mark, reached) = sync_channel(0);
        // A full queue means a writer that hangs: there is nothing to wait for.
        if self.lines.try_send(Piece::Mark(mark)).is_ok() {
            let _in_time = reached.recv_timeout(patience);
        }
    }
}

impl Write for Queue {
    /// Takes one whole line, which is how they come.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.lines.try_send(Piece::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Writes until nobody can log any more. A log that cannot be written is nobody's business.
fn write(mut into: impl Write, waiting: &Receiver<Piece>, lost: &AtomicU64) {
    for piece in waiting {
        match piece {
            Piece::Line(line) => drop(into.write_all(&line)),
            Piece::Mark(_reached) => drop(into.flush()),
        }
        let lines = lost.swap(0, Ordering::Relaxed);
        if lines > 0 {
            let told = format!("{lines} lines were not logged: the log is slow\n");
            drop(into.write_all(told.as_bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Sender;

    use super::*;

    /// A disk that writes a line each time it is told to.
    struct Slow {
        allowed: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.allowed.recv().map_err(io::Error::other)?;
            let text = String::from_utf8_lossy(line).into_owned();
            self.written.send(text).map_err(io::Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_hangs_holds_up_nobody_and_says_what_it_lost() {
        let (allow, allowed) = sync_channel(LINES_MAX * 2);
        let (sender, written) = std::sync::mpsc::channel();
        let mut queue = Queue::start(Slow {
            allowed,
            written: sender,
        })
        .unwrap();
        let all = LINES_MAX + 100;
        for line in 0..all {
            queue.write_all(format!("{line}").as_bytes()).unwrap();
        }
        assert!(queue.dropped.load(Ordering::Relaxed) > 0);
        for _ in 0..LINES_MAX * 2 {
            allow.send(()).unwrap();
        }
        drop(queue);
        let text: Vec<String> = written.into_iter().collect();
        assert_eq!(text.first().map(String::as_str), Some("0"));
        assert!(text.concat().contains("lines were not logged"));
    }

    #[test]
    fn the_end_waits_for_the_last_line() {
        let (allow, allowed) = sync_channel(8);
        let (sender, written) = std::sync::mpsc::channel();
        let mut queue = Queue::start(Slow {
            allowed,
            written: sender,
        })
        .unwrap();
        queue.write_all(b"last").unwrap();
        allow.send(()).unwrap();
        queue.finish(Duration::from_mins(1));
        assert_eq!(written.try_recv().as_deref(), Ok("last"));
    }
}
