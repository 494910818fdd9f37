//! A master that says it is a replica: at once believed of another process, after a while of the same one.

use duke_core::{Input, LinkError, LinkId};
use duke_resp::Frame;

use crate::{
    promotion::{master, replica},
    stage::Stage,
};

/// A Duke that has just heard from its master that it is one; and the connection it did so on. So many must
/// find it down together.
fn watching(quorum: u32) -> (Stage, LinkId) {
    let mut stage = Stage::new(&format!(
        "port 26379\nsentinel myid 1111111111111111111111111111111111111111\n\
         sentinel monitor pond 10.0.0.1 6379 {quorum}\n\
         sentinel down-after-milliseconds pond 1000\n"
    ));
    stage.written();
    let link = stage.command_link(6379, &master("a"));
    stage.ask("PSUBSCRIBE *sdown");
    stage.answers();
    (stage, link)
}

fn restarted(stage: &mut Stage, link: LinkId, says: &Frame) -> LinkId {
    stage.tell(Input::LinkDown {
        link,
        error: LinkError::Reset,
    });
    stage.pass(1);
    stage.command_link(6379, says)
}

/// Events, told while `link` answers for so long.
fn told_within(stage: &mut Stage, link: LinkId, says: &Frame, millis: u64) -> String {
    for _ in 0..millis / 10 {
        stage.reply(link, "PING", &Frame::simple("PONG"));
        stage.reply(link, "INFO", says);
        stage.pass(10);
    }
    format!("{:?}", stage.answers())
}

#[test]
fn another_process_that_is_a_replica_is_no_master_any_more() {
    let (mut stage, link) = watching(2);
    restarted(&mut stage, link, &replica("b"));
    let told = format!("{:?}", stage.answers());
    assert!(told.contains("+sdown"), "at once: {told}");
}

#[test]
fn the_same_process_may_be_a_replica_for_a_moment() {
    let (mut stage, link) = watching(2);
    let link = restarted(&mut stage, link, &replica("a"));
    let told = told_within(&mut stage, link, &replica("a"), 500);
    assert!(!told.contains("sdown"), "somebody may hand over: {told}");
    let told = told_within(&mut stage, link, &replica("a"), 1_500);
    assert!(told.contains("+sdown"), "nobody did: {told}");
}

#[test]
fn who_is_master_again_is_not_down() {
    let (mut stage, link) = watching(2);
    let link = restarted(&mut stage, link, &replica("b"));
    stage.answers();
    let told = told_within(&mut stage, link, &master("b"), 1_500);
    assert!(told.contains("-sdown"), "{told}");
}

#[test]
fn a_process_that_restarts_as_a_master_is_one() {
    let (mut stage, link) = watching(2);
    let link = restarted(&mut stage, link, &master("b"));
    let told = told_within(&mut stage, link, &master("b"), 1_500);
    assert!(!told.contains("sdown"), "{told}");
}

#[test]
fn a_master_that_became_a_replica_is_made_master_again_if_nobody_else_is_left() {
    let (mut stage, link) = watching(1);
    stage.ask("PSUBSCRIBE +switch-master");
    let link = restarted(&mut stage, link, &replica("b"));
    for _ in 0..200 {
        stage.pass(10);
        stage.written();
        if !stage.requests(link, "SLAVEOF").is_empty() {
            break;
        }
        stage.reply(link, "PING", &Frame::simple("PONG"));
        stage.reply(link, "INFO", &replica("b"));
    }
    stage.answers();
    let exec = Frame::Array(vec![Frame::ok(); 4]);
    assert_eq!(stage.reply(link, "EXEC", &exec), 1);
    stage.pass(100);
    stage.reply(link, "INFO", &master("b"));
    stage.written();
    let told = format!("{:?}", stage.answers());
    assert!(told.contains("pond 10.0.0.1 6379 10.0.0.1 6379"), "{told}");
    stage.ask("PUNSUBSCRIBE");
    stage.answers();
    stage.ask("SENTINEL MASTER pond");
    let shown = format!("{:?}", stage.answers());
    assert!(!shown.contains("down,"), "{shown}");
    stage.ask("SENTINEL REPLICAS pond");
    assert_eq!(stage.answers(), [Frame::Array(Vec::new())]);
}
