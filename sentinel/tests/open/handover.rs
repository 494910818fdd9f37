//! `SENTINEL FAILOVER` of a master that is alive: no write is lost.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::thread::{JoinHandle, spawn};

use crate::world::{Kind, World, ask, wait_for};

use Kind::Duke;

const PLAIN: &[&str] = &["SENTINEL", "FAILOVER", "lake"];
const COORDINATED: &[&str] = &["SENTINEL", "FAILOVER", "lake", "COORDINATED"];

/// Somebody who writes one key after the other to whoever a Duke says is master.
struct Writer {
    stop: Arc<AtomicBool>,
    /// Gives back how many writes were tried, and which were acknowledged.
    thread: JoinHandle<Vec<u64>>,
}

impl Writer {
    fn start(sentinel: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = spawn(move || {
            let mut acknowledged = Vec::new();
            for number in 0_u64.. {
                if seen.load(Ordering::Relaxed) {
                    break;
                }
                let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "lake"];
                let port = ask(sentinel, &words).ok().and_then(|reply| {
                    let port = reply.as_array()?.get(1)?.as_text()?;
                    std::str::from_utf8(port).ok()?.parse().ok()
                });
                let key = format!("key{number}");
                if port.is_some_and(|port| ask(port, &["SET", &key, "x"]).is_ok()) {
                    acknowledged.push(number);
                }
            }
            acknowledged
        });
        Self { stop, thread }
    }

    fn end(self) -> Vec<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn loses_nothing(name: &str, order: &[&str]) {
    let world = World::new(name, &[Duke, Duke, Duke]);
    let mut master = world.settled();
    world.calm();
    let writer = Writer::start(world.sentinels[2].port);
    for sentinel in &world.sentinels {
        sentinel.ask(order).unwrap();
        master = world.next_master(master);
        world.follows(master);
        world.calm();
    }
    let acknowledged = writer.end();
    assert!(!acknowledged.is_empty());
    let lost: Vec<u64> = acknowledged
        .iter()
        .copied()
        .filter(|number| {
            let held = ask(master, &["EXISTS", &format!("key{number}")]).unwrap();
            held.as_integer() != Some(1)
        })
        .collect();
    assert_eq!(lost, [0_u64; 0], "of {} acknowledged", acknowledged.len());
    let told = |event: &str| -> usize {
        let all = world.sentinels.iter();
        all.map(|sentinel| sentinel.logged(event)).sum()
    };
    assert_eq!(told("+promoted-slave"), 3, "one failover for every order");
    assert_eq!(told("+sdown master"), 0, "nobody noticed the pause");
}

#[test]
fn a_plain_order_loses_no_write() {
    loses_nothing("plain", PLAIN);
}

#[test]
fn a_coordinated_order_loses_no_write() {
    loses_nothing("coordinated", COORDINATED);
}

#[test]
fn without_the_masters_help_a_plain_order_goes_on_and_a_coordinated_one_is_called_off() {
    let mut world = World::new("helpless", &[Duke, Duke, Duke]);
    let old = world.settled();
    world.calm();
    for sentinel in &world.sentinels {
        let set = [
            "SENTINEL",
            "SET",
            "lake",
            "down-after-milliseconds",
            "60000",
        ];
        sentinel.ask(&set).unwrap();
    }
    let first = &world.sentinels[0];
    first
        .ask(&["SENTINEL", "SET", "lake", "failover-timeout", "500"])
        .unwrap();
    world.servers[0].process.signal("STOP");
    first.ask(COORDINATED).unwrap();
    wait_for("the order to be called off", || {
        first.logged("-failover-abort-master-timeout") == 1
    });
    assert_eq!(first.master_port(), Some(old));
    wait_for("the order to be taken", || first.ask(PLAIN).is_ok());
    let new = world.next_master(old);
    world.server(old).process.signal("CONT");
    world.follows(new);
}
