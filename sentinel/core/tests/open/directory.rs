//! What the shell may answer by itself, and to whom.

use std::net::{Ipv4Addr, SocketAddr};

use duke_core::{ClientId, Input, Output, Time};
use duke_resp::{Bytes, Frame};

use crate::{
    LAKE, OTHER,
    stage::{CLIENT, Stage},
};

const SECOND: ClientId = ClientId(2);
const QUESTION: &str = "SENTINEL GET-MASTER-ADDR-BY-NAME lake";

/// What the directory was told since the last look.
fn entries(stage: &mut Stage) -> Vec<(String, Option<Frame>)> {
    let entry = |output: &Output| match output {
        Output::Directory { name, reply } => Some((name.clone(), reply.clone())),
        _ => None,
    };
    let entries = stage.wanted.iter().filter_map(entry).collect();
    stage.wanted.retain(|output| entry(output).is_none());
    entries
}

fn at(ip: &'static str) -> Frame {
    Frame::Array(vec![Frame::bulk(ip), Frame::bulk("6379")])
}

/// Whether a client may be answered from the directory once all it asked was.
fn is_trusted(stage: &Stage, wanted: ClientId) -> bool {
    let last = stage.wanted.iter().rev().find_map(|output| match output {
        Output::Trust { client } if *client == wanted => Some(true),
        Output::Answer { client, .. } if *client == wanted => Some(false),
        Output::Distrust => Some(false),
        _ => None,
    });
    last == Some(true)
}

/// Whether a client is trusted after it asked for this.
fn trusted_after(stage: &mut Stage, line: &str) -> bool {
    stage
        .wanted
        .retain(|output| !matches!(output, Output::Trust { .. }));
    stage.ask(line);
    is_trusted(stage, CLIENT)
}

fn ask(stage: &mut Stage, client: ClientId, line: &str) {
    let words = line
        .split(' ')
        .map(|word| Bytes::copy_from_slice(word.as_bytes()));
    let words = words.collect();
    stage.tell(Input::Asked { client, words });
}

#[test]
fn a_master_is_listed_when_it_is_on_disk() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    assert_eq!(
        entries(&mut stage),
        [("lake".to_owned(), Some(at("10.0.0.1")))]
    );
    stage.ask(&format!(
        "PUBLISH __sentinel__:hello 10.0.1.2,26379,{OTHER},5,lake,10.0.0.9,6379,5"
    ));
    assert_eq!(
        entries(&mut stage),
        [("lake".to_owned(), None)],
        "while it is written nobody is told of either"
    );
    stage.written();
    assert_eq!(
        entries(&mut stage),
        [("lake".to_owned(), Some(at("10.0.0.9")))]
    );
    stage.ask("SENTINEL REMOVE lake");
    assert_eq!(entries(&mut stage), [("lake".to_owned(), None)]);
}

#[test]
fn an_entry_reads_as_the_answer_does() {
    let named = LAKE.replace("10.0.0.1", "lake.example");
    let mut stage = Stage::new(&format!("sentinel resolve-hostnames yes\n{named}"));
    let host = "lake.example".to_owned();
    let address = Some(Ipv4Addr::new(10, 0, 0, 7).into());
    stage.tell(Input::Resolved { host, address });
    stage.written();
    for set in ["yes", "no"] {
        stage.ask(&format!("SENTINEL CONFIG SET announce-hostnames {set}"));
        stage.written();
        stage.answers();
        let listed = entries(&mut stage).pop().and_then(|(_, reply)| reply);
        stage.ask(QUESTION);
        assert_eq!(stage.answers().pop(), listed, "with {set}");
    }
}

#[test]
fn a_client_is_trusted_when_all_it_asked_was_answered() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    assert!(is_trusted(&stage, CLIENT), "from the beginning");
    assert!(trusted_after(&mut stage, "PING"));
    assert!(trusted_after(&mut stage, QUESTION));
    stage.answers();
    assert!(!trusted_after(&mut stage, "SENTINEL FLUSHCONFIG"));
    assert!(!trusted_after(&mut stage, QUESTION), "it waits behind that");
    stage.written();
    assert_eq!(stage.answers().len(), 2);
    assert!(trusted_after(&mut stage, QUESTION));
    // A vote waits for the disk.
    let vote = format!("SENTINEL IS-MASTER-DOWN-BY-ADDR 10.0.0.1 6379 5 {OTHER}");
    assert!(!trusted_after(&mut stage, &vote));
    assert!(!trusted_after(&mut stage, "PING"), "it waits behind that");
}

#[test]
fn who_is_not_answered_as_usual_is_not_trusted() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    assert!(!trusted_after(&mut stage, "CLIENT REPLY OFF"));
    assert!(!trusted_after(&mut stage, QUESTION));
    assert!(trusted_after(&mut stage, "CLIENT REPLY ON"));
    assert!(!trusted_after(&mut stage, "CLIENT REPLY SKIP"));
    assert!(trusted_after(&mut stage, QUESTION), "that one was skipped");
    assert!(!trusted_after(&mut stage, "SUBSCRIBE +sdown"));
    assert!(!trusted_after(&mut stage, QUESTION), "it may only listen");
    assert!(trusted_after(&mut stage, "UNSUBSCRIBE"));
    assert!(trusted_after(&mut stage, "HELLO 3"));
    assert!(trusted_after(&mut stage, "SUBSCRIBE +sdown"), "RESP3");
}

#[test]
fn changed_users_take_the_trust_from_everybody() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 2));
    stage.tell(Input::Joined {
        client: SECOND,
        address,
    });
    assert!(is_trusted(&stage, SECOND));
    stage.ask("ACL SETUSER default -sentinel|get-primary-addr-by-name");
    assert!(!is_trusted(&stage, SECOND));
    stage.wanted.clear();
    ask(&mut stage, SECOND, QUESTION);
    assert_eq!(stage.answers(), [at("10.0.0.1")]);
    assert!(!is_trusted(&stage, SECOND), "it may not ask both questions");
    stage.ask("ACL SETUSER default +@all");
    ask(&mut stage, SECOND, QUESTION);
    assert!(is_trusted(&stage, SECOND));
    stage.ask("ACL SETUSER other on nopass");
    assert!(!is_trusted(&stage, SECOND));
    ask(&mut stage, SECOND, QUESTION);
    stage.ask("ACL DELUSER other");
    assert!(!is_trusted(&stage, SECOND));
}

#[test]
fn what_the_shell_answered_counts() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    stage.ask("PING");
    stage.pass(5_000);
    stage.tell(Input::Served {
        client: CLIENT,
        count: 7,
        at: Time::from_millis(2_000),
    });
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 2));
    stage.tell(Input::Joined {
        client: SECOND,
        address,
    });
    stage.answers();
    ask(&mut stage, SECOND, "CLIENT LIST ID 1");
    let line = format!("{:?}", stage.answers());
    assert!(
        line.contains(" idle=3 ") && line.contains(" cmd=sentinel "),
        "{line}"
    );
    ask(&mut stage, SECOND, "INFO stats");
    let stats = format!("{:?}", stage.answers());
    assert!(stats.contains("total_commands_processed:10\\r"), "{stats}");
}
