//! What real servers say of their data, and whom the operator makes master: the facts that a seeding
//! relies on. Needs `/usr/bin/redis-server`; every server listens on a loopback address of this process.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use pipeline_operator::{
    redis::{
        Connection, Credentials, Error,
        node::{self, Expected, NodeReport, Role},
    },
    render::{self, Passwords, RANDOM_BYTES, user::Identity},
};
use redis::cmd;

const PROGRAM: &str = "/usr/bin/redis-server";
/// Longest wait for one answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest wait for a condition; far beyond what is needed even on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server with the product's users, started as the product starts it: as a replica of nothing.
struct Server {
    folder: PathBuf,
    address: SocketAddr,
    arguments: Vec<String>,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is just as well.
        drop(self.process.kill());
        drop(self.process.wait());
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn passwords() -> Passwords {
    Passwords::complete(None, None, &[7; RANDOM_BYTES])
}

fn operator() -> Credentials {
    let identity = Identity::Operator;
    Credentials {
        user: identity.key().to_owned(),
        password: passwords().of(identity).to_owned(),
    }
}

/// Somebody who may write, and order what Dukes order.
fn anybody() -> Credentials {
    Credentials {
        user: "anybody".to_owned(),
        password: "anybody".to_owned(),
    }
}

impl Server {
    async fn start(name: &str, persistence: &[&str]) -> Self {
        static SERVERS: AtomicU16 = AtomicU16::new(0);
        assert!(
            Path::new(PROGRAM).exists(),
            "install the Debian package redis-server"
        );
        let port = SERVERS
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(7_000);
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 211, high, low.max(1))), port);
        let folder =
            std::env::temp_dir().join(format!("servers-{}-{name}-{port}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder can be made");
        let replica = Identity::Replica;
        let users = render::user::users_acl(&passwords());
        let users = format!("{users}user anybody on >anybody ~* &* +@all\n");
        fs::write(folder.join("users.acl"), users).expect("the users can be written");
        let mut arguments: Vec<String> = [
            ("port", port.to_string()),
            ("bind", address.ip().to_string()),
            ("dir", folder.display().to_string()),
            ("replicaof", "127.0.0.1 1".to_owned()),
            ("aclfile", folder.join("users.acl").display().to_string()),
            ("masteruser", replica.key().to_owned()),
            ("masterauth", passwords().of(replica).to_owned()),
            ("repl-diskless-sync-delay", "0".to_owned()),
            ("repl-ping-replica-period", "1".to_owned()),
        ]
        .into_iter()
        .flat_map(|(key, value)| {
            [
                vec![format!("--{key}")],
                value.split(' ').map(str::to_owned).collect(),
            ]
        })
        .flatten()
        .collect();
        arguments.extend(persistence.iter().map(|word| (*word).to_owned()));
        let process = spawn(&arguments);
        let server = Self {
            folder,
            address,
            arguments,
            process,
        };
        server.until("it answers", |report| !report.loading).await;
        server
    }

    fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it is ours");
    }

    async fn start_again(&mut self) {
        self.process = spawn(&self.arguments);
        self.until("it answers again", |report| !report.loading)
            .await;
    }

    async fn look(&self) -> Result<NodeReport, Error> {
        node::look(self.address, &operator(), &BTreeSet::new(), ANSWER).await
    }

    async fn until(&self, what: &str, holds: impl Fn(&NodeReport) -> bool) -> NodeReport {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = self.look().await;
            match &seen {
                Ok(report) if holds(report) => return report.clone(),
                Ok(_) | Err(_) => {}
            }
            assert!(Instant::now() < deadline, "{what}: not yet: {seen:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn order(&self, words: &[&str]) {
        let mut connection = Connection::open(self.address, &anybody(), ANSWER)
            .await
            .expect("it lets us in");
        let mut command = cmd(words[0]);
        command.arg(&words[1..]);
        connection
            .ask::<()>(&command)
            .await
            .expect("it does as it is told");
    }

    async fn write(&self, keys: usize) {
        for key in 0..keys {
            self.order(&["SET", &format!("key{key}"), "value"]).await;
        }
    }

    async fn follow(&self, master: &Self) {
        let (ip, port) = (
            master.address.ip().to_string(),
            master.address.port().to_string(),
        );
        self.order(&["REPLICAOF", &ip, &port]).await;
        self.until("it is in sync", |report| {
            report.is_in_sync_with(master.address.ip())
        })
        .await;
    }

    /// Waits until it has everything that `master` has at this moment.
    async fn catch_up(&self, master: &Self) -> NodeReport {
        let there = master.look().await.expect("it answers").offset;
        self.until("it has caught up", |report| report.offset >= there)
            .await
    }

    async fn promote(&self, expected: &Expected) -> Result<(), Error> {
        node::promote(self.address, &operator(), expected, ANSWER).await
    }
}

fn spawn(arguments: &[String]) -> Child {
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL", PROGRAM])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("setpriv (Debian package util-linux) must be installed to run this test")
}

fn expected(report: &NodeReport) -> Expected {
    Expected {
        run_id: report.run_id.clone(),
        history: report.history.id.clone(),
        offset: report.offset,
        may_be_linked: false,
    }
}

/// A master and a replica in sync.
async fn pair(name: &str, persistence: &[&str]) -> (Server, Server) {
    let master = Server::start(name, persistence).await;
    let replica = Server::start(name, persistence).await;
    master.order(&["REPLICAOF", "NO", "ONE"]).await;
    replica.follow(&master).await;
    (master, replica)
}

#[tokio::test]
async fn a_server_that_was_just_started_has_no_place_in_any_history() {
    let server = Server::start("fresh", &["--save", ""]).await;
    let report = server.look().await.unwrap();
    assert!(report.is_blank() && !report.was_in_touch);
    assert_eq!((report.keys, report.history.before.as_str()), (0, ""));
    assert!(report.offset <= 1, "{}", report.offset);
}

#[tokio::test]
async fn a_snapshot_read_back_names_the_history_and_how_far_it_went() {
    let (mut master, mut replica) = pair("snapshot", &["--save", "900 1"]).await;
    master.write(3).await;
    master.order(&["SAVE"]).await;
    let saved = master.look().await.unwrap();
    master.write(500).await;
    let newest = replica.catch_up(&master).await;
    replica.order(&["SAVE"]).await;
    // The master's snapshot is older than its replica's.
    for server in [&mut master, &mut replica] {
        server.kill();
        server.start_again().await;
    }
    let (old, new) = (master.look().await.unwrap(), replica.look().await.unwrap());
    assert!(old.is_blank() && new.is_blank());
    assert_eq!(
        (&old.history.id, &new.history.id),
        (&saved.history.id, &saved.history.id)
    );
    assert_eq!((old.keys, new.keys), (3, 500));
    assert!(
        old.offset >= saved.offset && old.offset < newest.offset,
        "{old:?}"
    );
    assert!(new.offset >= newest.offset, "{new:?}");
}

#[tokio::test]
async fn an_append_only_file_read_back_begins_a_history_of_its_own() {
    let persistence = ["--appendonly", "yes", "--appendfsync", "always"];
    let (mut master, replica) = pair("appended", &persistence).await;
    master.write(5).await;
    let before = replica.catch_up(&master).await;
    master.kill();
    master.start_again().await;
    let after = master.look().await.unwrap();
    assert_eq!(after.keys, 5);
    assert_ne!(after.history.id, before.history.id);
    assert!(after.offset <= 1 && after.is_blank(), "{after:?}");
}

#[tokio::test]
async fn a_promoted_replica_goes_on_from_the_history_of_its_lost_master() {
    let (mut master, replica) = pair("promoted", &["--save", ""]).await;
    master.write(5).await;
    replica.catch_up(&master).await;
    // Beside a master that it is in touch with nobody promotes it.
    let linked = replica.look().await.unwrap();
    let refused = replica.promote(&expected(&linked)).await.unwrap_err();
    assert_eq!(refused.reason(), "Changed");
    assert!(
        refused.to_string().contains("in touch with a master"),
        "{refused}"
    );

    let was = master.look().await.unwrap();
    master.kill();
    let is_down = |report: &NodeReport| matches!(report.role, Role::Replica { link_up: false, .. });
    let orphan = replica.until("its link is down", is_down).await;
    assert!(orphan.was_in_touch && !orphan.is_blank());
    replica.promote(&expected(&orphan)).await.unwrap();
    // Twice is as good as once.
    replica.promote(&expected(&orphan)).await.unwrap();
    let now = replica.look().await.unwrap();
    assert_eq!((&now.role, now.keys), (&Role::Master, 5));
    assert_eq!(now.history.left, orphan.offset);
    assert!(now.history.succeeds(&was.history));
}

#[tokio::test]
async fn a_server_that_is_not_what_was_chosen_is_left_alone() {
    let mut server = Server::start("another", &["--save", ""]).await;
    let chosen = expected(&server.look().await.unwrap());
    let more = Expected {
        offset: chosen.offset.saturating_add(1),
        ..chosen.clone()
    };
    assert_eq!(server.promote(&more).await.unwrap_err().reason(), "Changed");
    server.kill();
    server.start_again().await;
    let refused = server.promote(&chosen).await.unwrap_err();
    assert!(refused.to_string().contains("started anew"), "{refused}");
    assert!(server.look().await.unwrap().is_blank());
}
