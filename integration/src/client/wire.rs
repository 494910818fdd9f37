//! A connection that speaks just enough of the servers' protocol for the programs beside it.
//!
//! Speaks it itself, so that no library's patience or buffering is in what they measure.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// The longest a single attempt may take: connection, answer.
const ATTEMPT: Duration = Duration::from_millis(250);

/// A connection that speaks just enough.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
    /// Where it leads, `host:port`.
    pub(crate) address: String,
}

/// A command as it is sent.
pub(crate) fn encode(words: &[&str]) -> Result<String> {
    let mut command = format!("*{}\r\n", words.len());
    for word in words {
        write!(command, "${}\r\n{word}\r\n", word.len())?;
    }
    Ok(command)
}

impl Wire {
    /// Connects, within [`ATTEMPT`].
    pub(crate) async fn open(address: &str) -> Result<Self> {
        timeout(ATTEMPT, Self::open_patiently(address)).await?
    }

    /// Connects, however long it takes.
    pub(crate) async fn open_patiently(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            address: address.to_owned(),
        })
    }

    /// Sends a command and reads its answer: a line, a bulk string, or an array of these.
    pub(crate) async fn ask(&mut self, words: &[&str]) -> Result<Vec<String>> {
        timeout(ATTEMPT, async {
            self.send(&encode(words)?).await?;
            self.next().await
        })
        .await?
    }

    /// Sends [`encode`]d commands, without waiting for their answers.
    pub(crate) async fn send(&mut self, commands: &str) -> Result<()> {
        self.stream.write_all(commands.as_bytes()).await?;
        Ok(())
    }

    /// Reads the next answer or message, however long it takes to come.
    pub(crate) async fn next(&mut self) -> Result<Vec<String>> {
        let head = self.line().await?;
        let Some(count) = head.strip_prefix('*') else {
            return Ok(vec![self.value(&head).await?]);
        };
        let count: i64 = count.parse().context("an array has a length")?;
        ensure!(count >= 0, "null");
        let mut items = Vec::new();
        for _ in 0..count {
            let head = self.line().await?;
            items.push(self.value(&head).await?);
        }
        Ok(items)
    }

    async fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(
            self.stream.read_line(&mut line).await? > 0,
            "the connection was closed"
        );
        Ok(line.trim_end().to_owned())
    }

    async fn value(&mut self, head: &str) -> Result<String> {
        if let Some(length) = head.strip_prefix('$') {
            let length: i64 = length.parse().context("a string has a length")?;
            let Ok(length) = usize::try_from(length) else {
                return Ok(String::new());
            };
            let mut bytes = vec![0; length.saturating_add(2)];
            self.stream.read_exact(&mut bytes).await?;
            bytes.truncate(length);
            return Ok(String::from_utf8(bytes)?);
        }
        if let Some(error) = head.strip_prefix('-') {
            bail!("{error}");
        }
        Ok(head.get(1..).unwrap_or_default().to_owned())
    }
}
