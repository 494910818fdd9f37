//! Users in a file of their own: `ACL LOAD`, `SAVE`, selectors, and what `ACL LOG` tells.

use std::fs;

use crate::world::{Kind, World, wait_for};

/// A Duke with a file of users, which is written first.
fn world(name: &str, users: &str) -> World {
    let mut world = World::new(name, &[Kind::Duke]);
    world.settled();
    let file = world.folder().join("users.acl");
    fs::write(&file, users).unwrap();
    let line = format!("aclfile {}\n", file.display());
    world.sentinels[0].restart_without("user ", &line);
    wait_for("Duke to answer", || {
        world.sentinels[0].ask(&["PING"]).is_ok()
    });
    world
}

const OPEN: &str = "user default on nopass ~* &* +@all\n";

#[test]
fn users_are_loaded_and_saved_whole_or_not_at_all() {
    let world = world("users", OPEN);
    let file = world.folder().join("users.acl");
    let duke = &world.sentinels[0];
    fs::write(&file, format!("{OPEN}user ops on >pw +ping\n")).unwrap();
    assert_eq!(duke.text(&["ACL", "LOAD"]).unwrap(), "OK");
    let mut ops = duke.connect();
    ops.ask(&["AUTH", "ops", "pw"]).unwrap();
    fs::write(&file, format!("{OPEN}user ops on >pw +@nonsense\n")).unwrap();
    let refused = duke.ask(&["ACL", "LOAD"]).unwrap_err().to_string();
    assert!(
        refused.contains("users.acl:2:") && refused.contains("no change"),
        "{refused}"
    );
    ops.ask(&["PING"])
        .expect("nothing changed for those who are there");
    duke.ask(&["ACL", "SETUSER", "ops", "(+info", "&x*)"])
        .unwrap();
    duke.ask(&["ACL", "SAVE"]).unwrap();
    let saved = fs::read_to_string(&file).unwrap();
    assert!(saved.contains("(&x* -@all +info)"), "{saved}");
    fs::write(&file, OPEN).unwrap();
    duke.ask(&["ACL", "LOAD"]).unwrap();
    assert!(ops.ask(&["PING"]).is_err(), "who is gone is cut off");
    fs::remove_file(&file).unwrap();
    let refused = duke.ask(&["ACL", "LOAD"]).unwrap_err().to_string();
    assert!(refused.contains("users.acl"), "{refused}");
}

#[test]
fn refusals_are_told_of() {
    let users = format!("{OPEN}user ops on >pw &a* -@all +ping (+publish &b*)\n");
    let world = world("denied", &users);
    let duke = &world.sentinels[0];
    let mut ops = duke.connect();
    assert!(
        ops.raw(&["AUTH", "ops", "wrong"])
            .unwrap()
            .as_error()
            .is_some()
    );
    ops.ask(&["AUTH", "ops", "pw"]).unwrap();
    for words in [&["INFO"][..], &["INFO"], &["PUBLISH", "a1", "x"]] {
        let refusal = ops.raw(words).unwrap();
        let text = String::from_utf8_lossy(refusal.as_error().unwrap()).into_owned();
        assert!(text.starts_with("NOPERM"), "{text}");
    }
    let log = duke.ask(&["ACL", "LOG"]).unwrap();
    let told: Vec<Vec<String>> = log
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let fields = entry.as_array().unwrap().iter().map(crate::wire::text);
            fields.collect::<Vec<_>>()
        })
        .map(|fields| [1, 3, 7, 9].map(|at| fields[at].clone()).to_vec())
        .collect();
    let expected = [
        ["1", "channel", "a1", "ops"],
        ["2", "command", "info", "ops"],
        ["1", "auth", "auth", "ops"],
    ];
    assert_eq!(told, expected);
    duke.ask(&["ACL", "LOG", "RESET"]).unwrap();
    let log = duke.ask(&["ACL", "LOG"]).unwrap();
    assert_eq!(log.as_array().map(<[_]>::len), Some(0));
}
