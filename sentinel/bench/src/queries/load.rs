//! Many clients in one process: each asks, waits for its answers, and asks again.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use duke_resp::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
    time::sleep,
};

use crate::{
    group::NAME,
    wire::{Wire, command},
};

/// How many connections are made at once; more would be refused by the backlog.
const AT_ONCE: usize = 100;
/// Of so many answers one is timed.
const SAMPLE: u64 = 8;

/// Connections that ask nothing yet.
#[derive(Debug)]
pub(super) struct Clients {
    streams: Vec<TcpStream>,
    depth: usize,
    /// How long the one answer there is is, in bytes.
    answer: usize,
}

/// What came of asking.
#[derive(Debug)]
pub(super) struct Answered {
    /// Answers each second.
    pub(super) rate: u64,
    /// Times to an answer, a sample of them.
    pub(super) times: Vec<Duration>,
}

fn question() -> BytesMut {
    command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME])
}

async fn connect_all(address: SocketAddr, count: usize) -> Result<Vec<TcpStream>> {
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let mut batch = JoinSet::new();
        for _ in 0..AT_ONCE.min(count - streams.len()) {
            batch.spawn(TcpStream::connect(address));
        }
        for connected in batch.join_all().await {
            let stream = connected?;
            stream.set_nodelay(true)?;
            streams.push(stream);
        }
    }
    Ok(streams)
}

impl Clients {
    /// Connects so many, each with `depth` questions under way when it asks. Returns when all are served.
    pub(super) async fn connect(address: SocketAddr, count: usize, depth: usize) -> Result<Self> {
        let mut streams = connect_all(address, count).await?;
        // The last one is served behind all others; its answer says how long one is.
        let last = streams.last_mut().context("there is a client")?;
        last.write_all(&question()).await?;
        let mut buffer = [0; 256];
        let answer = last.read(&mut buffer).await?;
        if !buffer.starts_with(b"*2\r\n") {
            let text = String::from_utf8_lossy(&buffer[..answer]).into_owned();
            bail!("a client was answered {text:?}");
        }
        Ok(Self {
            streams,
            depth,
            answer,
        })
    }

    /// Has all of them ask for so long.
    pub(super) async fn ask_for(self, span: Duration) -> Result<Answered> {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for stream in self.streams {
            tasks.spawn(ask(
                stream,
                self.depth,
                self.answer,
                Arc::clone(&stop),
                Arc::clone(&count),
            ));
        }
        // The first moments are not counted.
        sleep(span / 10).await;
        let (begin, before) = (Instant::now(), count.load(Ordering::Relaxed));
        sleep(span).await;
        let answered = count.load(Ordering::Relaxed) - before;
        let rate = u128::from(answered) * 1_000_000 / begin.elapsed().as_micros().max(1);
        stop.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        while let Some(done) = tasks.join_next().await {
            times.extend(done??);
        }
        Ok(Answered {
            rate: u64::try_from(rate)?,
            times,
        })
    }
}

async fn ask(
    mut stream: TcpStream,
    depth: usize,
    answer: usize,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> Result<Vec<Duration>> {
    let questions = question().repeat(depth);
    let wanted = answer * depth;
    let mut buffer = vec![0; 16 * 1024];
    let mut times = Vec::new();
    let mut round = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        stream.write_all(&questions).await?;
        let mut read = 0;
        while read < wanted {
            match stream.read(&mut buffer).await? {
                0 => bail!("a client was closed"),
                some => read += some,
            }
        }
        if round.is_multiple_of(SAMPLE) {
            times.push(begin.elapsed());
        }
        round += 1;
        count.fetch_add(u64::try_from(depth)?, Ordering::Relaxed);
    }
    Ok(times)
}

/// So many subscribers; the moments at which each of them hears something come out.
pub(super) async fn subscribe(
    address: SocketAddr,
    count: usize,
) -> Result<mpsc::UnboundedReceiver<Instant>> {
    let (heard, moments) = mpsc::unbounded_channel();
    for _ in 0..count {
        let mut wire = Wire::connect(address).await?;
        wire.ask(&["SUBSCRIBE", "+reset-master"]).await?;
        let heard = heard.clone();
        tokio::spawn(async move {
            while wire.receive().await.is_ok() {
                if heard.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
    }
    Ok(moments)
}
