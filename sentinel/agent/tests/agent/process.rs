//! Real processes on loopback: servers, and the agent beside one of them.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use duke_resp::{Bytes, BytesMut, Frame, Protocol, ReplyDecoder, ReplyLimit, encode};
use socket2::{Domain, Socket, Type};

/// Longer than anything here takes on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);
/// Where the agent's kubelet is: nobody else asks from there.
const KUBELET: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Waits until `condition` holds; panics with `what` if it never does.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(PAUSE);
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A child that cannot outlive its test, in a folder that goes with it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
}

impl Process {
    fn start(name: &str, port: u16, program: &str, arguments: &[&str]) -> Self {
        let folder = folder(name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", program])
            .args(arguments)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("setpriv (Debian package util-linux) must be installed to run this test");
        Self {
            child,
            folder,
            port,
        }
    }

    /// A data server with further lines of configuration, which lets the agent in.
    pub(crate) fn server(name: &str, port: u16, lines: &str) -> Self {
        let path = folder(name).join("it.conf");
        let user = "user agent on >secret resetkeys resetchannels -@all +ping +role";
        let conf = format!(
            "port {port}\nbind 127.0.0.1\nsave \"\"\nrepl-diskless-sync-delay 0\n{user}\n{lines}"
        );
        fs::write(&path, conf).unwrap();
        Self::start(name, port, "redis-server", &[path.to_str().unwrap()])
    }

    /// The agent beside the server on `server`, with Dukes on `dukes`.
    pub(crate) fn agent(name: &str, server: u16, dukes: u16, grace_seconds: u32) -> Self {
        let port = free_port();
        let users = folder(name);
        let [port_text, grace] = [port.to_string(), grace_seconds.to_string()];
        let [server, dukes] = [server, dukes].map(|port| format!("127.0.0.1:{port}"));
        let arguments = [
            "--announce-ip",
            "127.0.0.1",
            "--dukes",
            &dukes,
            "--grace-period",
            &grace,
            "--port",
            &port_text,
            "--server",
            &server,
            "--users",
            users.to_str().unwrap(),
        ];
        fs::write(users.join("agent"), "secret\n").unwrap();
        let agent = Self::start(name, port, env!("CARGO_BIN_EXE_duke-agent"), &arguments);
        wait_for("the agent to listen", || {
            TcpStream::connect(agent.address()).is_ok()
        });
        agent
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Sends `signal`, for example `TERM`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{signal} {pid}")])
            .status();
        assert!(sent.unwrap().success(), "could not send {signal} to {pid}");
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it has ended by itself, and well; panics if it ended otherwise.
    pub(crate) fn is_over(&mut self) -> bool {
        let status = self.child.try_wait().unwrap();
        assert!(
            status.is_none_or(|status| status.success()),
            "{status:?}: {}",
            self.log()
        );
        status.is_some()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    /// A line of its `/proc/PID/status` that holds KiB.
    pub(crate) fn memory_kib(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let found = status.lines().find_map(|found| found.strip_prefix(line));
        let word = found.and_then(|rest| rest.split_whitespace().nth(1));
        word.unwrap().parse().unwrap()
    }

    /// What a server answers; nothing if it cannot be reached.
    pub(crate) fn ask(&self, words: &[&str]) -> Option<Frame> {
        let mut stream = TcpStream::connect(self.address()).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let words = words
            .iter()
            .map(|word| Bytes::copy_from_slice(word.as_bytes()));
        let mut bytes = BytesMut::new();
        encode(&Frame::command(words), Protocol::Resp2, &mut bytes);
        stream.write_all(&bytes).ok()?;
        let mut decoder = ReplyDecoder::new(ReplyLimit::default());
        let mut buffer = BytesMut::new();
        loop {
            if let Some(reply) = decoder.decode(&mut buffer).ok()? {
                return Some(reply);
            }
            let mut chunk = [0; 4096];
            let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
            buffer.extend_from_slice(chunk.get(..read)?);
        }
    }

    /// What an agent answers to the kubelet: status and body.
    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = self.called_by_kubelet();
        let request = format!("GET {path} HTTP/1.1\r\nHost: pod\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let status = said.split(' ').nth(1).and_then(|word| word.parse().ok());
        let body = said.split_once("\r\n\r\n").map(|(_, body)| body.trim());
        (status.unwrap(), body.unwrap().to_owned())
    }

    fn called_by_kubelet(&self) -> TcpStream {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((KUBELET, 0)).into()).unwrap();
        socket
            .connect_timeout(&self.address().into(), PATIENCE)
            .unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Waits until `/ready` is answered with this status and a body that begins like this.
    pub(crate) fn becomes(&self, status: u16, body: &str) {
        let mut last = None;
        wait_for(&format!("{status} {body}"), || {
            let said = self.get("/ready");
            let is_it = said.0 == status && said.1.starts_with(body);
            last = Some(said);
            is_it
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is just as well.
        drop(self.child.kill());
        drop(self.child.wait());
        if !std::thread::panicking() {
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

fn folder(name: &str) -> PathBuf {
    let name = format!("duke-agent-{name}-{}", std::process::id());
    let folder = Path::new(&std::env::temp_dir()).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}
