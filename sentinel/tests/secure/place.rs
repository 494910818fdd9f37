//! Processes that speak TLS, and a client for them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use duke_resp::{Bytes, BytesMut, Frame, Protocol, ReplyDecoder, ReplyLimit, encode};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, StreamOwned};

use crate::authority::{Authority, Identity, NAME};
use crate::process::Process;

/// Longer than anything here takes on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);
/// For one answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Waits until `condition` holds; panics with `what` if it never does.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(PAUSE);
    }
}

/// A folder that goes with the test, unless the test failed.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("duke-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // What cannot be removed is only a little rubbish.
            drop(fs::remove_dir_all(&self.0));
        }
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

pub(crate) fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Writes a configuration and runs a program with it.
pub(crate) fn start(program: &str, folder: &Path, name: &str, conf: &str) -> Process {
    let path = folder.join(format!("{name}.conf"));
    fs::write(&path, conf).unwrap();
    Process::start(
        program,
        &[path.to_str().unwrap()],
        &folder.join(format!("{name}.log")),
    )
}

/// The directives of a server that presents `identity` and trusts `authority`.
pub(crate) fn directives(authority: &Authority, identity: &Identity) -> String {
    format!(
        "tls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\n",
        identity.certificate.display(),
        identity.key.display(),
        authority.certificate().display()
    )
}

/// Asks one question by TLS; says which version was spoken, too.
pub(crate) fn converse(
    port: u16,
    client: &Arc<ClientConfig>,
    words: &[&str],
) -> Result<(Frame, Option<ProtocolVersion>)> {
    let socket = TcpStream::connect_timeout(&address(port), ANSWER)?;
    socket.set_read_timeout(Some(ANSWER))?;
    let name = NAME.try_into()?;
    let session = ClientConnection::new(Arc::clone(client), name)?;
    let mut stream = StreamOwned::new(session, socket);
    let mut request = BytesMut::new();
    let words = words
        .iter()
        .map(|word| Bytes::copy_from_slice(word.as_bytes()));
    encode(&Frame::command(words), Protocol::Resp2, &mut request);
    stream.write_all(&request)?;
    let mut decoder = ReplyDecoder::new(ReplyLimit::default());
    let mut buffer = BytesMut::new();
    loop {
        if let Some(reply) = decoder.decode(&mut buffer)? {
            return Ok((reply, stream.conn.protocol_version()));
        }
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk)?;
        ensure!(read > 0, "the connection was closed");
        buffer.extend_from_slice(&chunk[..read]);
    }
}

/// Asks one question by TLS; a refusal is an error.
pub(crate) fn ask(port: u16, client: &Arc<ClientConfig>, words: &[&str]) -> Result<Frame> {
    let (reply, _) = converse(port, client, words)?;
    ensure!(reply.as_error().is_none(), "{reply:?}");
    Ok(reply)
}

/// All the text in a reply, in order.
pub(crate) fn texts(reply: &Frame) -> Vec<String> {
    if let Some(rows) = reply.as_array() {
        return rows.iter().flat_map(texts).collect();
    }
    let text = reply.as_text();
    text.into_iter()
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect()
}

/// The value after a field's name.
pub(crate) fn field(texts: &[String], name: &str) -> Option<String> {
    let at = texts.iter().position(|text| text == name)?;
    texts.get(at + 1).cloned()
}
