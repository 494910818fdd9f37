//! A Duke to be attacked, and what can be seen of it from outside.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::wire::Wire;

/// Longer than anything here takes on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);

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

/// A process that ends with the test, in a folder that goes with it.
pub(crate) struct Victim {
    pub(crate) port: u16,
    child: Child,
    folder: PathBuf,
}

impl Victim {
    /// A Duke with further lines of configuration.
    pub(crate) fn duke(name: &str, lines: &str) -> Self {
        Self::duke_below(name, lines, &[])
    }

    /// The same, with `prlimit --nofile` set to these, in its own notation.
    pub(crate) fn duke_with_files(name: &str, lines: &str, files: &str) -> Self {
        let files = format!("--nofile={files}");
        Self::duke_below(name, lines, &["prlimit", &files])
    }

    fn duke_below(name: &str, lines: &str, wrapper: &[&str]) -> Self {
        let port = free_port();
        let program = [wrapper, &[env!("CARGO_BIN_EXE_duke")]].concat();
        let conf = format!("port {port}\nbind 127.0.0.1\n{lines}");
        let victim = Self::start(&program, name, port, &conf);
        wait_for("Duke to answer", || victim.answers());
        victim
    }

    /// A data server.
    pub(crate) fn server(name: &str, port: u16, lines: &str) -> Self {
        let conf = format!("port {port}\nbind 127.0.0.1\nsave \"\"\n{lines}");
        let server = Self::start(&["redis-server"], name, port, &conf);
        wait_for("the server to answer", || server.answers());
        server
    }

    fn start(program: &[&str], name: &str, port: u16, conf: &str) -> Self {
        let folder =
            std::env::temp_dir().join(format!("duke-attack-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("it.conf");
        fs::write(&path, format!("{conf}dir {}\n", folder.display())).unwrap();
        let log = fs::File::create(folder.join("log")).unwrap();
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .args(program)
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("setpriv (Debian package util-linux) must be installed to run this test");
        Self {
            port,
            child,
            folder,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub(crate) fn wire(&self) -> Wire {
        Wire::connect(self.address(), PATIENCE).unwrap()
    }

    pub(crate) fn answers(&self) -> bool {
        Wire::connect(self.address(), PATIENCE).is_ok_and(|mut wire| wire.ask(&["PING"]).is_ok())
    }

    /// A connection on which these bytes were sent, as many as were taken.
    pub(crate) fn send(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        // It may be closed before all is sent, which is the point.
        drop(stream.write_all(bytes));
        stream
    }

    /// The most memory it ever held, in KiB.
    pub(crate) fn peak_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let word = line.and_then(|line| line.split_whitespace().next());
        word.unwrap().parse().unwrap()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sets how many files it may have open, in the notation of `prlimit`.
    pub(crate) fn limit_files(&self, files: &str) {
        let pid = self.child.id().to_string();
        let set = Command::new("prlimit")
            .args(["--pid", &pid, &format!("--nofile={files}")])
            .status();
        assert!(set.unwrap().success(), "could not limit the files of {pid}");
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -TERM {pid}")])
            .status();
        assert!(sent.unwrap().success(), "could not signal {pid}");
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Already gone is just as well.
        drop(self.child.kill());
        drop(self.child.wait());
        if !std::thread::panicking() {
            drop(fs::remove_dir_all(&self.folder));
        }
    }
}

/// Takes places until none is left.
pub(crate) fn take_all(duke: &Victim) -> Vec<TcpStream> {
    let mut held = Vec::new();
    wait_for("all places to be taken", || {
        let mut stream = duke.send(b"PING\r\n");
        let mut first = [0; 1];
        stream.read_exact(&mut first).unwrap();
        let served = first == *b"+";
        if served {
            held.push(stream);
        }
        !served
    });
    held
}
