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

fn master(offset: u64) -> Frame {
    Frame::bulk(format!(
        "run_id:m\r\nrole:master\r\nmaster_replid:h\r\nmaster_repl_offset:{offset}\r\n\
         master_failover_state:no-failover\r\n"
    ))
}

/// The master, once it follows nothing.
fn made_way(offset: u64) -> Frame {
    Frame::bulk(format!(
        "run_id:m\r\nrole:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:1\r\nmaster_link_status:down\r\n\
         master_replid:h\r\nslave_repl_offset:{offset}\r\nmaster_failover_state:no-failover\r\n"
    ))
}

const AWAY: &str = "SLAVEOF 127.0.0.1 1";

/// A Duke with a master and its replica, which both answer, and the connections for commands to them.
struct Pool {
    stage: Stage,
    links: [LinkId; 2],
    /// Where the master's stream ends.
    end: u64,
    /// It goes on to there when the pause begins, in the last moment.
    last: u64,
    /// How much of it the replica has.
    offset: u64,
    /// What the master was told: of its clients' writes, and of its role.
    told: Vec<String>,
}

impl Pool {
    fn new(order: &str) -> Self {
        let mut stage = Stage::new(POOL);
        stage.written();
        let links = [(6379, master(9)), (6380, replica(0))];
        let links = links.map(|(port, info)| stage.command_link(port, &info));
        let mut pool = Self {
            stage,
            links,
            end: 9,
            last: 9,
            offset: 0,
            told: Vec::new(),
        };
        pool.pass(50);
        pool.stage.ask(order);
        pool.stage.ask("SUBSCRIBE -failover-abort-slave-timeout");
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
            self.listen();
            let [old, new] = self.links;
            let away = self.told.iter().any(|word| word == AWAY);
            let own = if away {
                made_way(self.end)
            } else {
                master(self.end)
            };
            for (name, reply) in [
                ("MULTI", Frame::ok()),
                ("SLAVEOF", Frame::ok()),
                ("CLIENT", Frame::ok()),
                ("EXEC", Frame::Array(vec![master(self.end), Frame::ok()])),
                ("PING", Frame::simple("PONG")),
                ("INFO", own),
            ] {
                self.stage.reply(old, name, &reply);
            }
            self.stage.reply(new, "PING", &Frame::simple("PONG"));
            self.stage.reply(new, "INFO", &replica(self.offset));
        }
    }

    /// Notes what the master is told.
    fn listen(&mut self) {
        let link = self.links[0];
        let roles = self.stage.requests(link, "SLAVEOF");
        let clients = self.stage.requests(link, "CLIENT");
        let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
        for (_, words) in roles {
            let words: Vec<String> = words.iter().map(|word| text(word)).collect();
            self.told.push(words.join(" "));
        }
        let told = clients.iter().map(|(_, words)| text(&words[1]));
        let meant = told.filter(|word| word == "PAUSE" || word == "UNPAUSE");
        self.told.extend(meant);
        if !self.told.is_empty() {
            self.end = self.last;
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
        pool.wait(60);
        assert_eq!(pool.told, ["PAUSE", AWAY], "{order}");
        assert!(pool.promotes(), "{order}: nothing waits for the disk now");
        let [old, new] = pool.links;
        let exec = Frame::Array(vec![Frame::ok(); 4]);
        assert_eq!(pool.stage.reply(new, "EXEC", &exec), 1);
        let promoted = Frame::bulk("run_id:r\r\nrole:master\r\n");
        pool.stage.pass(100);
        assert!(pool.stage.reply(new, "INFO", &promoted) > 0);
        pool.stage.pass(100);
        let told = pool.stage.requests(old, "SLAVEOF");
        assert_eq!(told.len(), 1, "{order}: before the new master is on disk");
        assert_eq!(&told[0].1[1][..], b"10.0.0.2");
        let clients = pool.stage.requests(old, "CLIENT");
        let cut: Vec<_> = clients.iter().map(|(_, words)| words[1].clone()).collect();
        assert_eq!(cut, ["KILL", "KILL", "UNPAUSE"], "{order}");
    }
}

#[test]
fn a_replica_that_lags_is_waited_for_while_writes_flow() {
    for order in [PLAIN, COORDINATED] {
        let mut pool = Pool::new(order);
        pool.pass(400);
        assert!(!pool.promotes(), "{order}: it lacks writes");
        assert_eq!(pool.told, [""; 0], "{order}");
        pool.offset = 9;
        pool.pass(100);
        assert_eq!(pool.told, ["PAUSE", AWAY], "{order}");
        assert!(pool.promotes(), "{order}: it has everything");
    }
}

#[test]
fn a_replica_that_has_not_everything_in_half_a_pause_gets_another_one() {
    for order in [PLAIN, COORDINATED] {
        let mut pool = Pool::new(order);
        (pool.offset, pool.last) = (9, 20);
        pool.pass(400);
        assert_eq!(pool.told, ["PAUSE", "UNPAUSE"], "{order}");
        pool.offset = 20;
        pool.pass(700);
        assert_eq!(pool.told, ["PAUSE", "UNPAUSE", "PAUSE", AWAY], "{order}");
        assert!(pool.promotes(), "{order}: it has everything");
    }
}

#[test]
fn a_replica_that_never_catches_up_is_promoted_only_by_the_plain_order() {
    for (order, promoted) in [(PLAIN, true), (COORDINATED, false)] {
        let mut pool = Pool::new(order);
        pool.pass(4_300);
        assert_eq!(pool.promotes(), promoted, "{order}");
        let told = format!("{:?}", pool.stage.answers());
        let called_off = told.contains("master pool 10.0.0.1 6379");
        assert_eq!(called_off, !promoted, "{order}");
        let told = if promoted {
            vec![AWAY, "UNPAUSE"]
        } else {
            vec![]
        };
        assert_eq!(
            pool.told, told,
            "{order}: writes did not stand still for it"
        );
    }
}
