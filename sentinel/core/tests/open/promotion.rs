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

fn master(run_id: &str) -> Frame {
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
