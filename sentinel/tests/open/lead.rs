//! Mixed groups: whoever leads, and whatever happens to the master, there is one new master that all
//! agree on, and one failover was enough.

use crate::world::{Kind, Sentinel, World, wait_for};

use Kind::{Duke, Stock};

/// What happens to the master.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Its process is killed.
    Killed,
    /// Its process stands still.
    Frozen,
    /// Nothing: somebody says `SENTINEL FAILOVER`.
    Ordered,
}

fn set(sentinel: &Sentinel, option: &str, value: &str) {
    let words = ["SENTINEL", "SET", "lake", option, value];
    wait_for("a setting to be taken", || sentinel.ask(&words).is_ok());
}

fn elections(world: &World) -> Vec<usize> {
    let led = |sentinel: &Sentinel| sentinel.logged("+elected-leader");
    world.sentinels.iter().map(led).collect()
}

/// Has the first sentinel of kind `lead` replace the master because of `fault`; says who is master then.
fn replace(world: &mut World, lead: Kind, fault: Fault, old: u16) -> u16 {
    let leader = world
        .sentinels
        .iter()
        .position(|sentinel| sentinel.kind == lead)
        .unwrap();
    // Only the leader notices anything; the others vote.
    for (index, sentinel) in world.sentinels.iter().enumerate() {
        let (quorum, down_after) = if index == leader {
            ("1", "500")
        } else {
            ("2", "60000")
        };
        set(sentinel, "down-after-milliseconds", down_after);
        set(sentinel, "quorum", quorum);
    }
    let before = elections(world);
    match fault {
        Fault::Killed => world.server(old).process.kill(),
        Fault::Frozen => world.server(old).process.signal("STOP"),
        Fault::Ordered => {
            let order = ["SENTINEL", "FAILOVER", "lake"];
            world.sentinels[leader].ask(&order).unwrap();
        }
    }
    let new = world.next_master(old);
    match fault {
        Fault::Killed => world.server(old).restart(),
        Fault::Frozen => world.server(old).process.signal("CONT"),
        Fault::Ordered => {}
    }
    world.follows(new);
    world.calm();
    let mut after = elections(world);
    after[leader] -= 1;
    assert_eq!(
        after, before,
        "{fault:?}: one election, won by sentinel {leader}"
    );
    new
}

fn whoever_leads(name: &str, kinds: &[Kind]) {
    let mut world = World::new(name, kinds);
    world.hurry_stock();
    let mut master = world.settled();
    world.calm();
    for lead in [Duke, Stock] {
        for fault in [Fault::Killed, Fault::Frozen, Fault::Ordered] {
            master = replace(&mut world, lead, fault, master);
        }
    }
}

#[test]
fn two_dukes_and_a_stock_sentinel_replace_a_master_whoever_leads() {
    whoever_leads("two-dukes", &[Duke, Duke, Stock]);
}

#[test]
fn a_duke_and_two_stock_sentinels_replace_a_master_whoever_leads() {
    whoever_leads("one-duke", &[Duke, Stock, Stock]);
}
