//! A promotion: its connection lost before the answer came, and how soon others hear of it.

use std::net::{Ipv4Addr, SocketAddr};

use duke_core::{ClientId, Input, LinkError, LinkId};
use duke_resp::{Bytes, Frame};

use crate::stage::Stage;

const POND: &str = "port 26379\nsentinel myid 1111111111111111111111111111111111111111\n\
                    sentinel monitor pond 10.0.0.1 6379 1\n\
                    sentinel down-after-milliseconds pond 1000\n\
                    sentinel known-replica pond 10.0.0.2 6380\n";

pub(crate) fn replica(run_id: &str) -> Frame {
    Frame::bulk(format!(
        "run_id:{run_id}\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\n\
         master_link_status:up\r\nslave_repl_offset:7\r\nslave_priority:100\r\n"
    ))
}

pub(crate) fn master(run_id: &str) -> Frame {
    Frame::bulk(format!("run_id:{run_id}\r\nrole:master\r\n"))
}

fn order(stage: &Stage, link: LinkId) -> bool {
    !stage.requests(link, "SLAVEOF").is_empty()
}

/// A Duke that has just told the only replica to become master; and the connection it did so on.
fn ordered() -> (Stage, LinkId) {
    let mut stage = Stage::new(POND);
    stage.written();
    let link = stage.connections(6380)[0];
    stage.connect(link);
    assert_eq!(stage.reply(link, "INFO", &replica("a")), 1);
    let channel = stage.connections(6380)[0];
    stage.connect(channel);
    stage.ask("SUBSCRIBE +switch-master");
    stage.answers();
    // The master never answers.
    for _ in 0..200 {
        stage.pass(10);
        stage.written();
        stage.reply(link, "PING", &Frame::simple("PONG"));
        stage.reply(link, "INFO", &replica("a"));
        stage.written();
        if order(&stage, link) {
            return (stage, link);
        }
    }
    panic!("nobody was told to become master");
}

#[test]
fn an_elected_one_gives_its_order_while_news_of_others_are_written() {
    let mut stage = Stage::new(POND);
    stage.written();
    let link = stage.connections(6380)[0];
    stage.connect(link);
    stage.reply(link, "INFO", &replica("a"));
    // The master never answers.
    let voted = |stage: &Stage| {
        let file = stage.file();
        file.is_some_and(|(_, text)| text.contains("leader-epoch pond 1"))
    };
    for _ in 0..200 {
        stage.pass(10);
        stage.reply(link, "PING", &Frame::simple("PONG"));
        stage.reply(link, "INFO", &replica("a"));
        if voted(&stage) {
            break;
        }
        stage.written();
    }
    assert!(voted(&stage));
    assert!(
        stage.requests(link, "INFO").is_empty(),
        "its vote counts when it is on disk"
    );
    stage.written();
    // From now on the disk hangs.
    stage.ask("SENTINEL FLUSHCONFIG");
    assert!(stage.file().is_some());
    stage.reply(link, "INFO", &replica("a"));
    assert!(order(&stage, link));
    assert_eq!(stage.requests(link, "EXEC").len(), 1);
}

/// The connection is lost and made again; the server says this of itself.
fn lost_and_found(stage: &mut Stage, link: LinkId, says: &Frame) -> LinkId {
    stage.tell(Input::LinkDown {
        link,
        error: LinkError::Reset,
    });
    stage.pass(1);
    let link = stage.connections(6380)[0];
    stage.connect(link);
    stage.reply(link, "INFO", says);
    stage.written();
    link
}

#[test]
fn who_obeyed_is_master() {
    let (mut stage, link) = ordered();
    lost_and_found(&mut stage, link, &master("a"));
    let told = format!("{:?}", stage.answers());
    assert!(told.contains("pond 10.0.0.1 6379 10.0.0.2 6380"), "{told}");
}

#[test]
fn who_never_heard_is_told_again() {
    let (mut stage, link) = ordered();
    let link = lost_and_found(&mut stage, link, &replica("a"));
    assert!(order(&stage, link));
    assert_eq!(stage.answers(), [], "nothing has changed yet");
}

#[test]
fn who_restarted_meanwhile_is_not_taken() {
    let (mut stage, link) = ordered();
    let link = lost_and_found(&mut stage, link, &master("b"));
    assert_eq!(stage.answers(), [], "it may be empty");
    assert!(!order(&stage, link));
}

#[test]
fn a_promotion_waits_for_its_own_epoch_and_for_nothing_else() {
    let mut stage = Stage::new(POND);
    stage.written();
    let link = stage.command_link(6380, &replica("a"));
    stage.ask("SENTINEL FAILOVER pond");
    stage.reply(link, "INFO", &replica("a"));
    assert!(!order(&stage, link), "a crash could make an epoch twice");
    stage.written();
    // The disk is busy with another epoch when the replica says how much it has.
    hear(&mut stage, 100, 0, "10.0.0.1 6379");
    stage.reply(link, "INFO", &replica("a"));
    stage.pass(200);
    assert!(order(&stage, link));
}

/// Another sentinel tells of an epoch, and of the master made in an epoch.
fn hear(stage: &mut Stage, epoch: u64, config_epoch: u64, master: &str) {
    let master = master.replace(' ', ",");
    let id = "3".repeat(40);
    let hello = format!("10.0.1.3,26379,{id},{epoch},pond,{master},{config_epoch}");
    stage.ask(&format!("PUBLISH __sentinel__:hello {hello}"));
}

#[test]
fn who_says_it_is_master_is_taken_if_nobody_else_is_left() {
    let mut stage = Stage::new(POND);
    stage.written();
    let links = stage.connections(6380);
    for link in &links {
        stage.connect(*link);
    }
    for _ in 0..200 {
        stage.pass(10);
        stage.written();
        for link in &links {
            stage.reply(*link, "PING", &Frame::simple("PONG"));
            stage.reply(*link, "INFO", &master("a"));
        }
        stage.written();
    }
    assert!(links.iter().any(|link| order(&stage, *link)));
}

#[test]
fn of_two_masters_of_one_epoch_the_majority_is_right() {
    let others = ["2", "3"].map(|digit| digit.repeat(40));
    let known = others.iter().zip(2..);
    let known =
        known.map(|(id, at)| format!("sentinel known-sentinel pond 10.0.1.{at} 26379 {id}\n"));
    let known: String = known.collect();
    let epochs = "sentinel config-epoch pond 5\nsentinel current-epoch 5\n";
    let mut stage = Stage::new(&format!("{POND}{known}{epochs}"));
    let hello = |stage: &mut Stage, at: u32, id: &str| {
        let hello = format!("10.0.1.{at},26379,{id},5,pond,10.0.0.2,6380,5");
        stage.ask(&format!("PUBLISH __sentinel__:hello {hello}"));
        stage.written();
    };
    let named = |stage: &mut Stage| {
        stage.ask("SENTINEL GET-MASTER-ADDR-BY-NAME pond");
        format!("{:?}", stage.answers().last())
    };
    for (id, at) in others.iter().zip(2..) {
        hello(&mut stage, at, id);
    }
    assert!(named(&mut stage).contains("10.0.0.1"), "it is not down");
    // Nobody answers.
    stage.pass(5_000);
    stage.written();
    hello(&mut stage, 2, &others[0]);
    assert!(named(&mut stage).contains("10.0.0.1"), "one is no majority");
    hello(&mut stage, 3, &others[1]);
    assert!(named(&mut stage).contains("10.0.0.2"));
}

#[test]
fn others_hear_of_a_new_master_as_soon_as_the_disk_has_caught_up() {
    let (mut stage, link) = ordered();
    let crowd = ClientId(2);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 2));
    stage.tell(Input::Joined {
        client: crowd,
        address,
    });
    // As when many masters fail at once: more waits for the disk than a hello is added to.
    let question = "SENTINEL IS-MASTER-DOWN-BY-ADDR 10.0.0.1 6379 50 somebody";
    for _ in 0..300 {
        let words = question
            .split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()));
        stage.tell(Input::Asked {
            client: crowd,
            words: words.collect(),
        });
    }
    let exec = Frame::Array(vec![Frame::ok(); 4]);
    assert_eq!(stage.reply(link, "EXEC", &exec), 1);
    stage.pass(100);
    stage.reply(link, "INFO", &master("a"));
    let hellos = |stage: &Stage| stage.requests(link, "PUBLISH").len();
    let before = hellos(&stage);
    stage.written();
    let told = format!("{:?}", stage.answers());
    assert!(told.contains("pond 10.0.0.1 6379 10.0.0.2 6380"), "{told}");
    stage.pass(50);
    stage.written();
    assert!(
        hellos(&stage) > before,
        "not only with the next round of hellos"
    );
}
