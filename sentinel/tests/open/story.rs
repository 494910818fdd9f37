//! The story of a failover as it is told on the event channels, beside the stock sentinel's.

use std::collections::BTreeMap;

use crate::world::{Kind, World};

/// The old master found down as a replica.
const AGAIN: &str = "+sdown of the old master";

/// Events whose place in the story is another one, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "+switch-master",
        "told when the new master is confirmed, not when all replicas follow it",
    ),
    ("+slave", "follows +switch-master"),
    (
        AGAIN,
        "the same; it has been silent for long enough already",
    ),
    (
        "+slave-reconf-sent",
        "told in the new master's name, behind +switch-master",
    ),
    ("+slave-reconf-inprog", "the same"),
    ("+slave-reconf-done", "the same"),
    ("+failover-end", "the same"),
];

/// Events that only one of the two may tell, and why.
const ONLY_ONE: &[(&str, &str)] = &[
    (
        "-role-change",
        "stock compares with the role it last saw, Duke with the one it should have",
    ),
    ("+role-change", "the same"),
    (
        "-odown",
        "stock tells it of a master that is none any more, if its timer comes by",
    ),
];

/// What a sentinel tells of the failover of a killed master: `(channel, payload)`, ports by their part.
fn told_by(kind: Kind, name: &str) -> Vec<(String, String)> {
    let mut world = World::new(name, &[kind]);
    let old = world.settled();
    world.hurry_stock();
    world.calm();
    let id = world.sentinels[0].text(&["SENTINEL", "MYID"]).unwrap();
    let mut ears = world.sentinels[0].connect();
    ears.ask(&["PSUBSCRIBE", "*"]).unwrap();
    world.server(old).process.kill();
    let mut told = Vec::new();
    loop {
        let push = ears.receive().unwrap();
        let words: Vec<String> = push
            .as_array()
            .unwrap_or_default()
            .iter()
            .map(crate::wire::text)
            .collect();
        let [_, _, channel, payload] = words.try_into().unwrap();
        // The old master is a replica when it is found down again: another part of the story.
        let again = channel == "+sdown" && payload.starts_with("slave");
        told.push((if again { AGAIN.to_owned() } else { channel }, payload));
        let has = |wanted: &str| told.iter().any(|(channel, _)| channel == wanted);
        if has(AGAIN) && has("+failover-end") && has("+switch-master") {
            break;
        }
    }
    let new = world.sentinels[0].master_port().unwrap();
    let parts: BTreeMap<String, &str> = world
        .servers
        .iter()
        .map(|server| {
            let part = match server.port {
                port if port == old => "OLD",
                port if port == new => "NEW",
                _ => "OTHER",
            };
            (server.port.to_string(), part)
        })
        .collect();
    told.into_iter()
        .map(|(channel, payload)| {
            let mut payload = payload.replace(&id, "ID");
            for (port, part) in &parts {
                payload = payload.replace(port, part);
            }
            (channel, payload)
        })
        .collect()
}

fn listed(list: &[(&str, &str)], channel: &str) -> bool {
    list.iter().any(|(name, _)| *name == channel)
}

#[test]
fn a_failover_is_told_as_the_stock_sentinel_tells_it() {
    let duke = told_by(Kind::Duke, "story-duke");
    let stock = told_by(Kind::Stock, "story-stock");
    let line = |told: &[(String, String)], keep: &dyn Fn(&str) -> bool| -> Vec<String> {
        let kept = told.iter().filter(|(channel, _)| keep(channel));
        kept.map(|(channel, payload)| format!("{channel} {payload}"))
            .collect()
    };
    let in_order = |channel: &str| !listed(ELSEWHERE, channel) && !listed(ONLY_ONE, channel);
    assert_eq!(
        line(&duke, &in_order),
        line(&stock, &in_order),
        "in this order"
    );
    let names = |told: &[(String, String)]| {
        let mut names = line(told, &|channel| listed(ELSEWHERE, channel));
        for name in &mut names {
            // Whoever is told of after the switch is told of in the new master's name.
            *name = name.replace("@ lake 127.0.0.1 OLD", "@ lake 127.0.0.1 NEW");
            *name = name.replace("master lake 127.0.0.1 OLD", "master lake 127.0.0.1 NEW");
        }
        names.sort();
        names
    };
    assert_eq!(names(&duke), names(&stock), "in any order");
}
