//! Whoever did not accept our login is asked nothing, and whoever has to accept it must be the one meant.

use super::*;

const NODE: u16 = 1;

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn id(letter: &str) -> String {
    letter.repeat(40)
}

/// One of two Dukes, with passwords and one node, the master; nobody is connected yet.
fn guarded() -> Closed {
    let durable = Durable {
        id: id("a"),
        memory: true,
        size: 2,
        quorum: 1,
        members: [(id("a"), address(26379)), (id("b"), address(26380))].into(),
        master: Some(address(NODE)),
        nodes: [address(NODE)].into(),
        ..Durable::default()
    };
    let settings = config::parse("duke group mymaster\nduke state /state\n").unwrap();
    let secrets = Secrets {
        data: "open sesame".into(),
        peer: "mellon".into(),
        admin: "speak".into(),
        ..Secrets::default()
    };
    Closed::new(settings, secrets, Some(durable), 1, Time::default())
}

/// What is said on a connection, as text, each with its number.
fn said(outputs: &[Output], on: LinkId) -> Vec<(RequestId, String)> {
    let request = |output: &Output| {
        let Output::Request {
            link,
            request,
            words,
        } = output
        else {
            return None;
        };
        let words: Vec<_> = words
            .iter()
            .map(|word| String::from_utf8_lossy(word))
            .collect();
        (*link == on).then(|| (*request, words.join(" ")))
    };
    outputs.iter().filter_map(request).collect()
}

fn reply(duke: &mut Closed, at: u64, link: LinkId, request: RequestId, reply: Frame) {
    let now = Time::from_millis(at);
    duke.handle(
        now,
        Input::Replied {
            link,
            request,
            reply,
        },
    );
}

fn node(duke: &Closed) -> &Node {
    &duke.nodes[&address(NODE)]
}

/// The connection to the node stands: the login said on it, and the questions behind it.
fn greeted(duke: &mut Closed, at: u64) -> (LinkId, RequestId, [RequestId; 2]) {
    let link = node(duke).wire.link().unwrap();
    drain(duke);
    duke.handle(Time::from_millis(at), Input::LinkUp { link });
    let said = said(&drain(duke), link);
    let words: Vec<&str> = said.iter().map(|(_, words)| words.as_str()).collect();
    let name = "CLIENT SETNAME sentinel-aaaaaaaa-cmd";
    assert_eq!(words, ["AUTH duke open sesame", name, "PING", "INFO"]);
    (link, said[0].0, [said[2].0, said[3].0])
}

/// The answers to PING and INFO of somebody who is well.
fn answer(duke: &mut Closed, at: u64, link: LinkId, [ping, info]: [RequestId; 2]) {
    reply(duke, at, link, ping, Frame::simple("PONG"));
    let text = "run_id:x\r\nrole:master\r\nmaster_repl_offset:1\r\n";
    reply(duke, at, link, info, Frame::bulk(text));
}

#[test]
fn what_a_node_says_counts_once_it_let_us_in() {
    for accepts in [false, true] {
        let mut duke = guarded();
        let (link, login, questions) = greeted(&mut duke, 0);
        assert!(node(&duke).wire.up().is_none());
        if accepts {
            reply(&mut duke, 900, link, login, Frame::ok());
        }
        answer(&mut duke, 900, link, questions);
        let answered = node(&duke).wire.answered == Time::from_millis(900);
        assert_eq!((node(&duke).is_known(), answered), (accepts, accepts));
    }
}

#[test]
fn a_node_that_refuses_is_absent_and_tried_again_after_a_pause() {
    let mut duke = guarded();
    let (link, login, questions) = greeted(&mut duke, 0);
    let refusal = "WRONGPASS invalid username-password pair or user is disabled.";
    reply(&mut duke, 10, link, login, Frame::error(refusal));
    assert!(drain(&mut duke).contains(&Output::Disconnect { link }));
    answer(&mut duke, 10, link, questions);
    assert_eq!(node(&duke).wire.refusal.as_deref(), Some(refusal));
    assert!(!node(&duke).is_known(), "whoever the answers are from");
    let connects = |duke: &mut Closed, at: u64| {
        duke.tick(Time::from_millis(at));
        let connect = |output: &Output| matches!(output, Output::Connect { address, .. } if address.port() == NODE);
        drain(duke).iter().any(connect)
    };
    assert!(!connects(&mut duke, 509));
    assert!(connects(&mut duke, 510));
    let (link, login, questions) = greeted(&mut duke, 520);
    for at in (540..=1_010).step_by(10) {
        duke.tick(Time::from_millis(at));
    }
    assert!(node(&duke).down.is_some(), "refusals are no sign of life");
    reply(&mut duke, 1_010, link, login, Frame::ok());
    answer(&mut duke, 1_010, link, questions);
    assert_eq!(node(&duke).wire.refusal, None);
    assert!(node(&duke).is_known() && node(&duke).down.is_none());
}

#[test]
fn another_duke_than_the_one_meant_is_not_asked() {
    for (name, counts) in [(id("c"), false), (id("b"), true)] {
        let mut duke = guarded();
        let link = duke.peers[&id("b")].wire.link().unwrap();
        drain(&mut duke);
        let now = Time::from_millis(5);
        duke.handle(now, Input::LinkUp { link });
        let said = said(&drain(&mut duke), link);
        let [(login, one), (identity, other), ..] = &said[..] else {
            panic!("something else is said: {said:?}");
        };
        assert_eq!(
            (one.as_str(), other.as_str()),
            ("AUTH duke mellon", "SENTINEL MYID")
        );
        reply(&mut duke, 5, link, *login, Frame::ok());
        assert!(
            duke.peers[&id("b")].wire.up().is_none(),
            "who it is it has yet to say"
        );
        reply(&mut duke, 5, link, *identity, Frame::bulk(name));
        let peer = &duke.peers[&id("b")];
        assert_eq!(
            (peer.wire.up().is_some(), peer.wire.refusal.is_none()),
            (counts, counts)
        );
    }
}

#[test]
fn who_was_told_no_members_is_not_seeded() {
    let settings = config::parse("duke group mymaster\nduke state /state\n").unwrap();
    let secrets = Secrets {
        admin: "speak".into(),
        ..Secrets::default()
    };
    let mut duke = Closed::new(settings, secrets, None, 1, Time::default());
    let (client, now) = (ClientId(7), Time::default());
    duke.handle(
        now,
        Input::Joined {
            client,
            address: address(9),
        },
    );
    let mut asked = |line: &str| {
        let words = line
            .split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()));
        duke.handle(
            now,
            Input::Asked {
                client,
                words: words.collect(),
            },
        );
        let outputs = drain(&mut duke);
        let sequence = outputs.iter().find_map(|output| {
            let Output::Persist { sequence, .. } = output else {
                return None;
            };
            Some(*sequence)
        });
        let mut outputs = outputs;
        if let Some(sequence) = sequence {
            duke.handle(now, Input::Persisted { sequence });
            outputs.extend(drain(&mut duke));
        }
        outputs
            .into_iter()
            .find_map(|output| {
                if let Output::Answer { reply, .. } = output {
                    Some(reply)
                } else {
                    None
                }
            })
            .unwrap()
    };
    assert_eq!(asked("AUTH operator speak"), Frame::ok());
    let Frame::Error(refusal) = asked("DUKE SEED 1 10.0.0.1 6379 1") else {
        panic!("a majority of nobody is one");
    };
    assert!(refusal.ends_with(b"send DUKE MEMBERS first"));
    let own = duke_id(&mut asked);
    assert_eq!(
        asked(&format!("DUKE MEMBERS 1 1 {own}@10.0.0.1:26379")),
        Frame::ok()
    );
    assert_eq!(asked("DUKE SEED 1 10.0.0.1 6379 1"), Frame::ok());
}

fn duke_id(asked: &mut impl FnMut(&str) -> Frame) -> String {
    let reply = asked("SENTINEL MYID");
    String::from_utf8_lossy(reply.as_text().unwrap()).into_owned()
}
