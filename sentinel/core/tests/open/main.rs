//! An open group's Duke by hand: one engine, fed with what happens, in virtual time.
//!
//! What needs a whole group is told with real processes (`sentinel/tests/open`); here stand the
//! promises that only show when the disk is slow or fails.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and looks at the outputs it is about"
)]

mod directory;
mod disk;
mod handover;
mod pace;
mod promotion;
mod role;
mod stage;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use duke_core::{ClientId, Input, Output};
use duke_resp::{Bytes, Frame};

use crate::stage::{CLIENT, Stage};

const LAKE: &str = "port 26379\nsentinel myid 1111111111111111111111111111111111111111\n\
                    sentinel monitor lake 10.0.0.1 6379 2\n\
                    sentinel known-sentinel lake 10.0.1.2 26379 2222222222222222222222222222222222222222\n";
const OTHER: &str = "2222222222222222222222222222222222222222";

#[test]
fn a_vote_leaves_only_when_it_is_on_disk_and_is_given_once() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    stage.ask(&format!(
        "SENTINEL IS-MASTER-DOWN-BY-ADDR 10.0.0.1 6379 5 {OTHER}"
    ));
    assert_eq!(stage.answers(), [], "nothing is said before it is written");
    let (_, text) = stage.file().unwrap();
    assert!(text.contains("sentinel leader-epoch lake 5"), "{text}");
    stage.written();
    let vote = |leader: &str| {
        Frame::Array(vec![
            Frame::Integer(0),
            Frame::bulk(leader.to_owned()),
            Frame::Integer(5),
        ])
    };
    assert_eq!(stage.answers(), [vote(OTHER)]);
    let third = "3".repeat(40);
    stage.ask(&format!(
        "SENTINEL IS-MASTER-DOWN-BY-ADDR 10.0.0.1 6379 5 {third}"
    ));
    stage.written();
    assert_eq!(stage.answers(), [vote(OTHER)], "once in an epoch");
}

#[test]
fn watching_goes_on_while_the_disk_is_slow() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    stage.ask(&format!(
        "SENTINEL IS-MASTER-DOWN-BY-ADDR 10.0.0.1 6379 5 {OTHER}"
    ));
    stage.ask("PING");
    assert_eq!(stage.answers(), [], "a client's answers keep their order");
    let other = ClientId(2);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 2));
    stage.tell(Input::Joined {
        client: other,
        address,
    });
    stage.tell(Input::Asked {
        client: other,
        words: vec![Bytes::from_static(b"PING")],
    });
    assert_eq!(stage.answers(), [Frame::simple("PONG")]);
}

#[test]
fn a_setting_is_confirmed_when_it_is_written_and_refused_when_it_cannot_be() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    stage.ask("SENTINEL SET lake quorum 3");
    stage.ask("SENTINEL MYID");
    assert_eq!(stage.answers(), [], "later commands wait for earlier ones");
    let (sequence, text) = stage.file().unwrap();
    assert!(
        text.contains("sentinel monitor lake 10.0.0.1 6379 3"),
        "{text}"
    );
    stage.tell(Input::PersistFailed { sequence });
    let failed = "ERR Failed to save config file. Check server logs.";
    let id = Frame::bulk("1".repeat(40));
    assert_eq!(stage.answers(), [Frame::error(failed), id]);
    stage.written();
    stage.ask("SENTINEL FLUSHCONFIG");
    stage.written();
    assert_eq!(stage.answers(), [Frame::ok()]);
}

#[test]
fn a_hello_with_a_newer_config_epoch_moves_the_master() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    stage.ask("SUBSCRIBE +switch-master");
    stage.answers();
    let third = "3".repeat(40);
    let hello = |at: &str, epoch: u64| {
        format!("PUBLISH __sentinel__:hello 10.0.1.3,26379,{third},{epoch},lake,{at},6379,{epoch}")
    };
    let publisher = ClientId(2);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 2));
    stage.tell(Input::Joined {
        client: publisher,
        address,
    });
    let say = |stage: &mut Stage, line: String| {
        let words = line
            .split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()));
        let words = words.collect();
        stage.tell(Input::Asked {
            client: publisher,
            words,
        });
        stage.written();
        stage.answers()
    };
    stage.ask("SENTINEL GET-MASTER-ADDR-BY-NAME lake");
    assert_eq!(stage.answers().len(), 1, "what is known is told at once");
    let told = say(&mut stage, hello("10.0.0.2", 3));
    let moved = [
        "message",
        "+switch-master",
        "lake 10.0.0.1 6379 10.0.0.2 6379",
    ];
    assert!(
        told.contains(&Frame::Push(moved.map(Frame::bulk).to_vec())),
        "{told:?}"
    );
    let told = say(&mut stage, hello("10.0.0.3", 3));
    assert_eq!(told, [Frame::Integer(1)], "an equal epoch moves nothing");
    let told = say(&mut stage, hello("10.0.0.4", 1 << 60));
    assert_eq!(
        told,
        [Frame::Integer(1)],
        "an epoch beyond reason moves nothing"
    );
}

#[test]
fn a_silent_master_is_down_after_its_time_and_the_others_are_asked() {
    let text = format!("{LAKE}sentinel down-after-milliseconds lake 1000\n");
    let mut stage = Stage::new(&text);
    stage.written();
    let local = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1));
    let peer = stage.connections(26379);
    let servers = stage.connections(6379);
    for link in peer.iter().chain(&servers).copied() {
        stage.tell(Input::LinkLocal { link, local });
        stage.tell(Input::LinkUp { link });
    }
    let channels = stage.connections(6379);
    assert_eq!(
        (peer.len(), servers.len(), channels.len()),
        (1, 1, 1),
        "two connections to a server, one to a sentinel"
    );
    stage.connect(channels[0]);
    stage.pass(900);
    assert!(stage.requests(peer[0], "SENTINEL").is_empty());
    // The other sentinel answers, the master does not.
    for (request, _) in stage.requests(peer[0], "PING") {
        stage.tell(Input::Replied {
            link: peer[0],
            request,
            reply: Frame::simple("PONG"),
        });
    }
    stage.pass(200);
    let asked = stage.requests(peer[0], "SENTINEL");
    let words: Vec<&[u8]> = asked[0].1.iter().map(|word| &word[..]).collect();
    let expected: [&[u8]; 6] = [
        b"SENTINEL",
        b"is-master-down-by-addr",
        b"10.0.0.1",
        b"6379",
        b"0",
        b"*",
    ];
    assert_eq!(words, expected);
    stage.ask("SENTINEL CKQUORUM lake");
    let usable = "OK 2 usable Sentinels. Quorum and failover authorization can be reached";
    assert_eq!(stage.answers().last(), Some(&Frame::simple(usable)));
}

#[test]
fn whoever_is_asked_about_a_silent_master_asks_again_at_once() {
    let text = format!("{LAKE}sentinel down-after-milliseconds lake 1000\n");
    let mut stage = Stage::new(&text);
    stage.written();
    let peer = stage.connections(26379)[0];
    stage.connect(peer);
    for _ in 0..105 {
        stage.pass(10);
        stage.reply(peer, "PING", &Frame::simple("PONG"));
    }
    let well = Frame::Array(vec![Frame::Integer(0), Frame::bulk("*"), Frame::Integer(0)]);
    assert_eq!(stage.reply(peer, "SENTINEL", &well), 1, "it is down");
    stage.ask("SENTINEL IS-MASTER-DOWN-BY-ADDR 10.0.0.1 6379 0 *");
    let asked = |stage: &Stage| stage.requests(peer, "SENTINEL").len();
    assert_eq!(asked(&stage), 1, "the other has come to find it down, too");
    let down = Frame::Array(vec![Frame::Integer(1), Frame::bulk("*"), Frame::Integer(0)]);
    stage.reply(peer, "SENTINEL", &down);
    stage.ask("SENTINEL IS-MASTER-DOWN-BY-ADDR 10.0.0.1 6379 0 *");
    assert_eq!(asked(&stage), 0, "both know of each other now");
}

#[test]
fn a_script_is_set_only_if_it_can_be_run() {
    let text = format!("{LAKE}sentinel deny-scripts-reconfig no\n");
    let mut stage = Stage::new(&text);
    stage.written();
    stage.ask("SENTINEL SET lake notification-script /s/notify");
    assert_eq!(stage.answers(), [], "the file is looked at first");
    let path = "/s/notify".to_owned();
    let checks = |output: &Output| matches!(output, Output::Check { path } if path == "/s/notify");
    assert!(stage.wanted.iter().any(checks));
    stage.tell(Input::Checked {
        path: path.clone(),
        executable: false,
    });
    stage.written();
    let refused = "ERR Notification script seems non existing or non executable";
    assert_eq!(stage.answers(), [Frame::error(refused)]);
    stage.ask("SENTINEL SET lake notification-script /s/notify");
    stage.tell(Input::Checked {
        path,
        executable: true,
    });
    stage.written();
    assert_eq!(stage.answers(), [Frame::ok()]);
    let runs = |output: &Output| matches!(output, Output::RunScript { words, .. } if words[0] == "/s/notify");
    assert!(stage.wanted.iter().any(runs), "+set is a warning");
}

#[test]
fn nobody_is_sent_to_a_master_that_a_crash_could_make_us_forget() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    stage.ask(&format!(
        "PUBLISH __sentinel__:hello 10.0.1.2,26379,{OTHER},3,lake,10.0.0.2,6379,3"
    ));
    stage.ask("SENTINEL GET-MASTER-ADDR-BY-NAME lake");
    assert_eq!(stage.answers(), [Frame::Integer(1)], "of the hello alone");
    stage.written();
    let place = Frame::Array(["10.0.0.2", "6379"].map(Frame::bulk).to_vec());
    assert_eq!(stage.answers(), [place]);
}

#[test]
fn masters_are_not_listed_before_a_switch_is_written_either() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    stage.ask(&format!(
        "PUBLISH __sentinel__:hello 10.0.1.2,26379,{OTHER},3,lake,10.0.0.2,6379,3"
    ));
    stage.ask("SENTINEL MASTERS");
    assert_eq!(stage.answers(), [Frame::Integer(1)], "of the hello alone");
    stage.written();
    assert_eq!(stage.answers().len(), 1);
}

#[test]
fn a_hello_cannot_write_lines_into_the_file() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    let third = "3".repeat(40);
    for host in [
        "10.0.1.3\nsentinel client-reconfig-script lake /s/evil",
        "host.invalid",
        "",
    ] {
        let hello = format!("{host},26379,{third},9,lake,10.0.0.2,6379,9");
        let words = ["PUBLISH", "__sentinel__:hello", &hello];
        stage.tell(Input::Asked {
            client: CLIENT,
            words: words
                .map(|word| Bytes::copy_from_slice(word.as_bytes()))
                .to_vec(),
        });
        assert_eq!(stage.answers(), [Frame::Integer(1)], "{host}");
        assert!(stage.file().is_none(), "{host}: nothing changed");
    }
}

#[test]
fn two_scripts_are_set_at_once() {
    let text = format!("{LAKE}sentinel deny-scripts-reconfig no\n");
    let mut stage = Stage::new(&text);
    stage.written();
    stage.ask("SENTINEL SET lake notification-script /s/a client-reconfig-script /s/b");
    for path in ["/s/a", "/s/b"] {
        let path = path.to_owned();
        stage.tell(Input::Checked {
            path,
            executable: true,
        });
    }
    stage.written();
    assert_eq!(stage.answers(), [Frame::ok()]);
    let checks = |output: &&Output| matches!(output, Output::Check { .. });
    let count = stage.wanted.iter().filter(checks).count();
    assert!(count <= 3, "each file is looked at once, but {count} times");
}

#[test]
fn a_hanging_disk_keeps_nobody_from_the_events() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    let voter = ClientId(2);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 2));
    stage.tell(Input::Joined {
        client: voter,
        address,
    });
    let line = format!("SENTINEL IS-MASTER-DOWN-BY-ADDR 10.0.0.1 6379 5 {OTHER}");
    stage.tell(Input::Asked {
        client: voter,
        words: line
            .split(' ')
            .map(|word| Bytes::copy_from_slice(word.as_bytes()))
            .collect(),
    });
    assert!(stage.file().is_some(), "the disk has something to do");
    stage.ask("HELLO 3");
    stage.ask("SUBSCRIBE +switch-master");
    assert_eq!(stage.answers().len(), 2);
}

#[test]
fn a_master_that_is_monitored_again_gets_no_second_vote_of_an_epoch() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    let ask = |stage: &mut Stage, leader: &str| {
        stage.ask(&format!(
            "SENTINEL IS-MASTER-DOWN-BY-ADDR 10.0.0.1 6379 7 {leader}"
        ));
        stage.written();
        let answers = stage.answers();
        answers[0].as_array().unwrap()[1].clone()
    };
    assert_eq!(ask(&mut stage, OTHER), Frame::bulk(OTHER));
    stage.ask("SENTINEL REMOVE lake");
    stage.written();
    stage.ask("SENTINEL MONITOR lake 10.0.0.1 6379 2");
    stage.written();
    assert_eq!(stage.answers(), [Frame::ok(), Frame::ok()]);
    let third = "3".repeat(40);
    let vote = ask(&mut stage, &third);
    assert_ne!(vote, Frame::bulk(third), "it gave its vote of epoch 7");
}

#[test]
fn of_masters_that_fail_at_once_each_has_a_vote_of_its_own() {
    let text = format!("{LAKE}sentinel monitor pond 10.0.0.9 6379 2\n");
    let mut stage = Stage::new(&text);
    stage.written();
    let ask = |stage: &mut Stage, host: &str, epoch: u64| {
        stage.ask(&format!(
            "SENTINEL IS-MASTER-DOWN-BY-ADDR {host} 6379 {epoch} {OTHER}"
        ));
        stage.written();
        stage.answers()[0].as_array().unwrap()[2].clone()
    };
    assert_eq!(ask(&mut stage, "10.0.0.1", 7), Frame::Integer(7));
    assert_eq!(
        ask(&mut stage, "10.0.0.9", 6),
        Frame::Integer(6),
        "an older epoch, but of another master"
    );
    assert_eq!(
        ask(&mut stage, "10.0.0.1", 6),
        Frame::Integer(7),
        "no vote in an epoch gone by"
    );
}

#[test]
fn who_wants_no_answers_gets_none() {
    let mut stage = Stage::new(LAKE);
    stage.written();
    for line in ["CLIENT REPLY SKIP", "PING", "PING one"] {
        stage.ask(line);
    }
    assert_eq!(stage.answers(), [Frame::bulk("one")], "but the next");
    for line in ["CLIENT REPLY OFF", "PING", "SENTINEL SET lake quorum 1"] {
        stage.ask(line);
    }
    stage.written();
    stage.ask("CLIENT REPLY ON");
    assert_eq!(stage.answers(), [Frame::ok()]);
}

#[test]
fn strangers_are_turned_away_in_protected_mode_unless_there_is_a_password() {
    let told = |more: &str, host: &str| {
        let mut stage = Stage::new(&format!("{LAKE}protected-mode yes\n{more}"));
        stage.written();
        let client = ClientId(2);
        let address = SocketAddr::new(host.parse().unwrap(), 7);
        stage.tell(Input::Joined { client, address });
        let told = format!("{:?}", stage.answers());
        let closed = stage.wanted.contains(&Output::Close { client });
        assert_eq!(told.contains("DENIED"), closed, "{told}");
        closed
    };
    assert!(told("", "10.0.9.9"));
    assert!(!told("", "127.0.0.1") && !told("", "::1") && !told("", "::ffff:127.0.0.1"));
    assert!(!told("requirepass secret\n", "10.0.9.9"));
    assert!(
        !told("protected-mode no\n", "10.0.9.9"),
        "the last one holds"
    );
}
