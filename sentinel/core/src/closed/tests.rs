//! One engine, fed by hand: what no story shows.

mod login;

use super::*;
use crate::link::Wire;

/// The only Duke of a group, with a master at port 1 and a replica at port 2, both connected.
fn only_duke() -> (Closed, LinkId) {
    let address = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
    let durable = Durable {
        id: "d".repeat(40),
        memory: true,
        size: 1,
        quorum: 1,
        master: Some(address(1)),
        nodes: [address(1), address(2)].into(),
        ..Durable::default()
    };
    let settings = config::parse("duke group mymaster\nduke state /state\n").unwrap();
    let mut duke = Closed::new(
        settings,
        Secrets::default(),
        Some(durable),
        1,
        Time::default(),
    );
    let links: Vec<LinkId> = duke
        .nodes
        .values()
        .filter_map(|node| node.wire.link())
        .collect();
    for &link in &links {
        duke.handle(Time::default(), Input::LinkUp { link });
    }
    let replica = duke.nodes.get(&address(2)).map(|node| &node.wire);
    let replica = replica.and_then(Wire::up).unwrap();
    (duke, replica)
}

fn drain(duke: &mut Closed) -> Vec<Output> {
    std::iter::from_fn(|| duke.poll()).collect()
}

/// Answers everything that is asked of the replica.
fn serve(duke: &mut Closed, now: Time, outputs: &[Output], replica: LinkId) {
    let info = "run_id:b\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:1\r\nmaster_link_status:up\r\n";
    for output in outputs {
        if let Output::Request {
            link,
            request,
            words,
        } = output
            && *link == replica
        {
            let reply = match &words[0][..] {
                b"PING" => Frame::simple("PONG"),
                b"INFO" => Frame::bulk(info),
                _ => Frame::ok(),
            };
            let (link, request) = (*link, *request);
            duke.handle(
                now,
                Input::Replied {
                    link,
                    request,
                    reply,
                },
            );
        }
    }
}

#[test]
fn whoever_is_elected_asks_each_node_once() {
    let (mut duke, replica) = only_duke();
    let mut now = Time::default();
    let own = loop {
        let outputs = drain(&mut duke);
        let saved = outputs.iter().find_map(|output| {
            if let Output::Persist { sequence, .. } = output {
                Some(*sequence)
            } else {
                None
            }
        });
        serve(&mut duke, now, &outputs, replica);
        if let Some(sequence) = saved {
            break sequence;
        }
        now = duke.deadline().unwrap();
        duke.tick(now);
    };
    drain(&mut duke);
    // All nodes are to be looked at anyway when its vote is on disk.
    for node in duke.nodes.values_mut() {
        node.next_info = now;
    }
    duke.handle(now, Input::Persisted { sequence: own });
    assert!(matches!(duke.failover, Failover::Selecting { .. }));
    let questions = drain(&mut duke);
    let asked = questions.iter().filter(|output| {
        matches!(output, Output::Request { link, words, .. } if *link == replica && words[0] == "INFO")
    });
    assert_eq!(asked.count(), 1, "only the last question's answer counts");
}

#[test]
fn the_directory_names_a_master_that_is_on_disk() {
    let mut duke = only_duke().0;
    let entries = |duke: &mut Closed| -> Vec<Option<Frame>> {
        let outputs = drain(duke).into_iter();
        let reply = |output| {
            if let Output::Directory { reply, .. } = output {
                Some(reply)
            } else {
                None
            }
        };
        outputs.filter_map(reply).collect()
    };
    let at = |port: u16| command::address_reply(Some(SocketAddr::from(([10, 0, 0, 1], port))));
    assert_eq!(entries(&mut duke), [Some(at(1))]);
    duke.adopt(SocketAddr::from(([10, 0, 0, 1], 2)));
    duke.tick(Time::default());
    let sequence = duke.switch_saved;
    assert_eq!(entries(&mut duke), [None]);
    duke.handle(Time::default(), Input::Persisted { sequence });
    assert_eq!(entries(&mut duke), [Some(at(2))]);
    duke.agreed_down = true;
    duke.list();
    assert_eq!(entries(&mut duke), [Some(Frame::NullArray)]);
}

#[test]
fn only_who_may_ask_is_trusted() {
    let mut duke = only_duke().0;
    let (client, now) = (ClientId(7), Time::default());
    let address = SocketAddr::from(([10, 0, 0, 9], 9));
    drain(&mut duke);
    let trusted = |duke: &mut Closed| drain(duke).contains(&Output::Trust { client });
    duke.handle(now, Input::Joined { client, address });
    assert!(trusted(&mut duke));
    let mut after = |line: &str| {
        let words = line
            .split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()));
        let words = words.collect();
        duke.handle(now, Input::Asked { client, words });
        trusted(&mut duke)
    };
    assert!(after("PING"));
    assert!(!after("SUBSCRIBE +switch-master"));
    assert!(!after("PING"), "it may only listen");
    assert!(after("UNSUBSCRIBE"));
    assert!(after("SENTINEL GET-MASTER-ADDR-BY-NAME mymaster"));
}
