//! A master that hands over to a replica which has not everything at first.

use duke_core::LinkId;
use duke_resp::Frame;

use crate::stage::Stage;

const POOL: &str = "port 26379\nsentinel myid 1111111111111111111111111111111111111111\n\
                    sentinel monitor pool 10.0.0.1 6379 1\n\
                    sentinel down-after-milliseconds pool 1000\n\
                    sentinel failover-timeout pool 4000\n\
                    sentinel known-replica pool 10.0.0.2 6380\n";
const PLAIN: &str = "SENTINEL FAILOVER pool";
const COORDINATED: &str = "SENTINEL FAILOVER pool COORDINATED";

fn replica(offset: u64) -> Frame {
    Frame::bulk(format!(
        "run_id:r\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_link_status:up\r\n\
         master_replid:h\r\nslave_repl_offset:{offset}\r\nslave_priority:100\r\n"
    ))
}

fn master() -> Frame {
    Frame::bulk(
        "run_id:m\r\nrole:master\r\nmaster_replid:h\r\nmaster_repl_offset:9\r\n\
         master_failover_state:no-failover\r\n",
    )
}

/// A Duke with a master and its replica, which both answer, and the connections for commands to them.
struct Pool {
    stage: Stage,
    links: [LinkId; 2],
    /// How much the replica has; the master has nine.
    offset: u64,
    /// What the master was told of its clients' writes.
    told: Vec<String>,
}

impl Pool {
    fn new(order: &str) -> Self {
        let mut stage = Stage::new(POOL);
        stage.written();
        let links = [(6379, master()), (6380, replica(0))];
        let links = links.map(|(port, info)| stage.command_link(port, &info));
        let mut pool = Self {
            stage,
            links,
            offset: 0,
            told: Vec::new(),
        };
        pool.pass(50);
        pool.stage.ask(order);
        pool.stage.ask("SUBSCRIBE -failover-abort-master-timeout");
        pool
    }

    /// Lets time pass, in which everybody answers and the disk writes.
    fn pass(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.stage.written();
            self.wait(10);
            self.stage.written();
        }
    }

    /// Lets time pass, in which everybody answers but the disk writes nothing.
    fn wait(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.stage.pass(10);
            let clients = self.stage.requests(self.links[0], "CLIENT");
            let words = clients.iter().filter(|(_, words)| words[1] != "KILL");
            let told = words.map(|(_, words)| String::from_utf8_lossy(&words[1]).into_owned());
            self.told.extend(told.filter(|word| word != "SETNAME"));
            self.stage.reply(self.links[0], "CLIENT", &Frame::ok());
            for (link, info) in self.links.into_iter().zip([master(), replica(self.offset)]) {
                self.stage.reply(link, "PING", &Frame::simple("PONG"));
                self.stage.reply(link, "INFO", &info);
            }
        }
    }

    fn promotes(&self) -> bool {
        !self.stage.requests(self.links[1], "SLAVEOF").is_empty()
    }
}

#[test]
fn writes_do_not_stand_still_while_the_disk_is_slow() {
    for order in [PLAIN, COORDINATED] {
        let mut pool = Pool::new(order);
        pool.offset = 9;
        pool.wait(900);
        assert_eq!(pool.told, [""; 0], "{order}: it is not on disk");
        assert!(!pool.promotes());
        pool.stage.written();
        pool.wait(40);
        assert_eq!(pool.told, ["PAUSE"], "{order}");
        assert!(pool.promotes(), "{order}: nothing waits for the disk now");
        let [old, new] = pool.links;
        let exec = Frame::Array(vec![Frame::ok(); 4]);
        assert_eq!(pool.stage.reply(new, "EXEC", &exec), 1);
        let promoted = Frame::bulk("run_id:r\r\nrole:master\r\n");
        pool.stage.pass(100);
        assert!(pool.stage.reply(new, "INFO", &promoted) > 0);
        let told = pool.stage.requests(old, "SLAVEOF");
        assert_eq!(told.len(), 1, "{order}: before the new master is on disk");
        assert_eq!(&told[0].1[1][..], b"10.0.0.2");
    }
}

#[test]
fn a_replica_that_lags_is_given_another_chance() {
    for order in [PLAIN, COORDINATED] {
        let mut pool = Pool::new(order);
        pool.pass(400);
        assert!(!pool.promotes(), "{order}: it lacks writes");
        assert_eq!(pool.told, ["PAUSE", "UNPAUSE"], "{order}");
        pool.offset = 9;
        pool.pass(700);
        assert!(pool.promotes(), "{order}: it has everything");
        assert_eq!(pool.told, ["PAUSE", "UNPAUSE", "PAUSE"], "{order}");
    }
}

#[test]
fn a_replica_that_never_catches_up_is_promoted_only_by_the_plain_order() {
    for (order, promoted) in [(PLAIN, true), (COORDINATED, false)] {
        let mut pool = Pool::new(order);
        pool.pass(5_000);
        assert_eq!(pool.promotes(), promoted, "{order}");
        let told = format!("{:?}", pool.stage.answers());
        let called_off = told.contains("master pool 10.0.0.1 6379");
        assert_eq!(called_off, !promoted, "{order}");
        let pauses = pool.told.iter().filter(|word| *word == "PAUSE").count();
        assert!(pauses > 3, "{order}: {:?}", pool.told);
    }
}
