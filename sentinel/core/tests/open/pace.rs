//! How often who is pinged, and what is taken without being looked at.

use duke_core::{ClientId, Input, LinkId};
use duke_resp::{Bytes, Frame};

use crate::stage::{CLIENT, Stage};

const POND: &str = "port 26379\nsentinel myid 1111111111111111111111111111111111111111\n\
                    sentinel monitor pond 10.0.0.1 6379 2\n\
                    sentinel down-after-milliseconds pond 2000\n\
                    sentinel known-replica pond 10.0.0.2 6380\n\
                    sentinel known-sentinel pond 10.0.1.3 26380 3333333333333333333333333333333333333333\n";

/// A Duke that is connected to the master, a replica and another sentinel, in this order.
fn pond() -> (Stage, [LinkId; 3]) {
    let mut stage = Stage::new(POND);
    stage.written();
    let links = [6379, 6380, 26380].map(|port| stage.connections(port)[0]);
    for link in links {
        stage.connect(link);
    }
    stage.ask("SUBSCRIBE +sdown -sdown");
    stage.answers();
    (stage, links)
}

/// Lets time pass while these answer; says how often each of them was pinged.
fn pinged<const N: usize>(stage: &mut Stage, links: [LinkId; N], millis: u64) -> [usize; N] {
    let mut counts = [0; N];
    for _ in 0..millis {
        stage.pass(1);
        for (link, count) in links.iter().zip(&mut counts) {
            *count += stage.reply(*link, "PING", &Frame::simple("PONG"));
        }
    }
    counts
}

fn said(stage: &mut Stage, event: &str) -> bool {
    format!("{:?}", stage.answers()).contains(event)
}

#[test]
fn a_master_is_pinged_four_times_in_down_after_and_others_at_stocks_pace() {
    let (mut stage, links) = pond();
    pinged(&mut stage, links, 2_000);
    let [master, replica, sentinel] = pinged(&mut stage, links, 10_000);
    assert_eq!((master, replica, sentinel), (20, 10, 10));
    stage.ask("UNSUBSCRIBE");
    stage.ask("SENTINEL DEBUG PING-PERIOD 100");
    stage.answers();
    pinged(&mut stage, links, 100);
    let [master, replica, sentinel] = pinged(&mut stage, links, 2_000);
    assert_eq!((master, replica, sentinel), (20, 20, 20));
}

#[test]
fn a_frozen_master_is_noticed_a_quarter_of_down_after_late_at_most() {
    for frozen_at in [0, 130, 260, 390, 499] {
        let (mut stage, [master, replica, sentinel]) = pond();
        pinged(&mut stage, [master, replica, sentinel], 3_000 + frozen_at);
        pinged(&mut stage, [replica, sentinel], 1_999);
        assert!(!said(&mut stage, "+sdown"), "{frozen_at}: too early");
        pinged(&mut stage, [replica, sentinel], 510);
        assert!(said(&mut stage, "+sdown"), "{frozen_at}: too late");
    }
}

#[test]
fn whoever_is_in_doubt_is_pinged_more_often() {
    let (mut stage, [master, replica, sentinel]) = pond();
    pinged(&mut stage, [master, replica, sentinel], 3_000);
    // The replica owes an answer a second later, and is asked again after half a one.
    pinged(&mut stage, [master, sentinel], 2_000);
    assert_eq!(stage.requests(replica, "PING").len(), 3);
    // And while the master does, its replicas are.
    pinged(&mut stage, [master, replica, sentinel], 2_000);
    pinged(&mut stage, [replica, sentinel], 1_000);
    let [replica, sentinel] = pinged(&mut stage, [replica, sentinel], 2_000);
    assert_eq!((replica, sentinel), (4, 2));
}

#[test]
fn a_hello_counts_however_often_it_was_heard_and_another_one_is_read() {
    let (mut stage, links) = pond();
    let third = "3".repeat(40);
    let hello = |at: &str, epoch: u64| {
        format!("10.0.1.3,26380,{third},{epoch},pond,{at},{epoch}").replace(' ', ",")
    };
    let say = |stage: &mut Stage, text: &str| {
        let words = ["PUBLISH", "__sentinel__:hello", text];
        let words = words.map(|word| Bytes::copy_from_slice(word.as_bytes()));
        stage.tell(Input::Asked {
            client: ClientId(CLIENT.0 + 1),
            words: words.to_vec(),
        });
        stage.written();
        stage.answers();
    };
    let address = "127.0.0.1:2".parse().unwrap();
    stage.tell(Input::Joined {
        client: ClientId(CLIENT.0 + 1),
        address,
    });
    let mut stage = stage;
    let last = |stage: &mut Stage| {
        stage.ask("UNSUBSCRIBE");
        stage.answers();
        stage.ask("SENTINEL SENTINELS pond");
        let told = format!("{:?}", stage.answers());
        let (_, after) = told.split_once("last-hello-message").unwrap();
        let digits = after.chars().skip_while(|char| !char.is_ascii_digit());
        let digits: String = digits.take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap()
    };
    let old = hello("10.0.0.1 6379", 0);
    for _ in 0..3 {
        pinged(&mut stage, links, 1_500);
        say(&mut stage, &old);
        assert_eq!(last(&mut stage), 0);
    }
    say(&mut stage, &hello("10.0.0.2 6380", 4));
    stage.ask("SENTINEL GET-MASTER-ADDR-BY-NAME pond");
    let told = format!("{:?}", stage.answers());
    assert!(told.contains("10.0.0.2"), "{told}");
    // The same words are old news now: whoever still says them is told at once.
    pinged(&mut stage, links, 100);
    let hellos = |stage: &Stage| stage.requests(links[2], "PUBLISH").len();
    let before = hellos(&stage);
    pinged(&mut stage, links, 500);
    assert_eq!(hellos(&stage), before);
    say(&mut stage, &old);
    assert_eq!(hellos(&stage), before + 1);
}
