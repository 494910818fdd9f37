//! Encrypted connections: who may connect, and a whole group that speaks nothing else.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::process::Process;
use crate::world::{free_port, stock, wait_for};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("duke-tls-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    /// An authority, with one certificate for everybody.
    fn issue(&self, authority: &str) {
        let named = |params: &mut CertificateParams, name: &str| {
            params.distinguished_name.push(DnType::CommonName, name);
        };
        let mut params = CertificateParams::default();
        named(&mut params, authority);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let own = KeyPair::generate().unwrap();
        // A name that nobody connects to.
        let mut params = CertificateParams::new(vec!["server.invalid".to_owned()]).unwrap();
        named(&mut params, "somebody");
        let signed = params.signed_by(&own, &issuer).unwrap();
        fs::write(self.at(&format!("{authority}-ca.crt")), issuer.pem()).unwrap();
        fs::write(self.at(&format!("{authority}.crt")), signed.pem()).unwrap();
        fs::write(self.at(&format!("{authority}.key")), own.serialize_pem()).unwrap();
    }

    /// The directives that name them.
    fn directives(&self) -> String {
        format!(
            "tls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\n",
            self.at("ours.crt"),
            self.at("ours.key"),
            self.at("ours-ca.crt")
        )
    }

    /// What a client is answered that shows this authority's certificate, or none.
    fn ask(&self, port: u16, certificate: Option<&str>, words: &[&str]) -> Option<String> {
        let mut command = Command::new("timeout");
        let authority = self.at("ours-ca.crt");
        command
            .args(["5", &stock("cli"), "--tls", "--cacert", &authority, "-p"])
            .arg(port.to_string());
        if let Some(name) = certificate {
            let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
            command.args(["--cert", &self.at(&cert), "--key", &self.at(&key)]);
        }
        let output = command.args(words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        (output.status.success() && !text.starts_with("Error")).then_some(text)
    }

    fn start(&self, program: &str, name: &str, text: &str, more: &[&str]) -> Process {
        let conf = self.at(name);
        fs::write(&conf, text).unwrap();
        let arguments = [&[conf.as_str()][..], more].concat();
        Process::start(program, &arguments, Path::new(&format!("{conf}.log")))
    }

    fn duke(&self, text: &str) -> Process {
        self.start(env!("CARGO_BIN_EXE_duke"), "duke.conf", text, &[])
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

#[test]
fn clients_show_certificates_as_the_directive_says() {
    for (word, stranger, nobody) in [
        ("yes", false, false),
        ("optional", false, true),
        ("no", true, true),
    ] {
        let folder = Folder::new(word);
        folder.issue("ours");
        folder.issue("theirs");
        let port = free_port();
        let text = format!(
            "port 0\ntls-port {port}\nbind 127.0.0.1\ntls-auth-clients {word}\n{}",
            folder.directives()
        );
        let _duke = folder.duke(&text);
        wait_for("Duke to answer", || {
            folder.ask(port, Some("ours"), &["PING"]).as_deref() == Some("PONG")
        });
        // Whoever does not encrypt keeps nobody waiting.
        let _plain = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let served = |name| folder.ask(port, name, &["PING"]).is_some();
        assert_eq!(served(Some("theirs")), stranger, "{word}");
        assert_eq!(served(None), nobody, "{word}");
        let long = "x".repeat(40_000);
        let echoed = folder.ask(port, Some("ours"), &["PING", &long]);
        assert!(echoed == Some(long), "{word}: many records");
    }
}

#[test]
fn a_group_that_encrypts_everything_replaces_a_killed_master() {
    let folder = Folder::new("group");
    folder.issue("ours");
    let everything = format!(
        "{}tls-replication yes\nbind 127.0.0.1\nport 0\n",
        folder.directives()
    );
    let ports: Vec<u16> = (0..6).map(|_| free_port()).collect();
    let (servers, sentinels) = ports.split_at(3);
    let mut processes: Vec<Process> = servers
        .iter()
        .map(|port| {
            let dir = folder.at(&format!("data-{port}"));
            fs::create_dir_all(&dir).unwrap();
            let follows = match servers[0] {
                master if master == *port => String::new(),
                master => format!("replicaof 127.0.0.1 {master}\n"),
            };
            let text = format!(
                "{everything}tls-port {port}\ndir {dir}\nsave \"\"\nrepl-diskless-sync-delay 0\n{follows}"
            );
            folder.start(&stock("server"), &format!("server-{port}.conf"), &text, &[])
        })
        .collect();
    let ask = |port: u16, words: &[&str]| folder.ask(port, Some("ours"), words).unwrap_or_default();
    wait_for("the replicas to follow", || {
        ask(servers[0], &["INFO", "replication"]).contains("connected_slaves:2")
    });
    let master = servers[0];
    for (number, port) in sentinels.iter().enumerate() {
        let text = format!(
            "{everything}tls-port {port}\ndir {}\nsentinel monitor lake 127.0.0.1 {master} 2\n\
             sentinel down-after-milliseconds lake 1000\n",
            folder.at("")
        );
        let conf = format!("sentinel-{port}.conf");
        let (program, more): (String, &[&str]) = if number == 2 {
            (stock("sentinel"), &["--sentinel"])
        } else {
            (env!("CARGO_BIN_EXE_duke").to_owned(), &[])
        };
        processes.push(folder.start(&program, &conf, &text, more));
    }
    for port in sentinels {
        wait_for("a sentinel to know everybody", || {
            let shown = ask(*port, &["INFO", "sentinel"]);
            shown.contains("status=ok") && shown.contains("slaves=2,sentinels=3")
        });
    }
    processes[0].kill();
    let named = |port: &u16| ask(*port, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "lake"]);
    wait_for("all to name another master", || {
        let first = named(&sentinels[0]);
        let other = first.starts_with("127.0.0.1") && !first.contains(&master.to_string());
        other && sentinels.iter().all(|port| named(port) == first)
    });
}

#[test]
fn what_cannot_be_used_ends_the_start_with_what_to_do() {
    let folder = Folder::new("unusable");
    folder.issue("ours");
    let port = free_port();
    for (lines, says) in [
        (String::new(), "No tls-cert-file configured!"),
        (
            format!("{}tls-key-file-pass secret\n", folder.directives()),
            "openssl pkey",
        ),
        (
            format!("{}tls-cert-file /nonexistent\n", folder.directives()),
            "/nonexistent",
        ),
        (
            format!("{}tls-protocols TLSv1.1\n", folder.directives()),
            "only TLSv1.2 and TLSv1.3",
        ),
        (
            format!("{}tls-auth-clients maybe\n", folder.directives()),
            "'optional'",
        ),
    ] {
        let text = format!("port 0\ntls-port {port}\nbind 127.0.0.1\n{lines}");
        let mut duke = folder.duke(&text);
        assert_eq!(duke.wait().code(), Some(1), "{says}");
        let log = fs::read_to_string(folder.at("duke.conf.log")).unwrap();
        assert!(log.contains(says), "{says}: {log}");
    }
}
