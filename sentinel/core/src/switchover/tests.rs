//! The steps in their order, what stops them, and that nobody is promoted who lacks anything.

use proptest::prelude::*;

use super::*;
use crate::info;

const HOLD: Duration = Duration::from_millis(500);

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn master(offset: u64) -> Info {
    let text = format!(
        "run_id:m\r\nrole:master\r\nmaster_replid:h\r\nmaster_repl_offset:{offset}\r\n\
         master_failover_state:no-failover\r\n"
    );
    info::read(text.as_bytes())
}

/// The master, once it follows nothing.
fn away(offset: u64) -> Info {
    let text = format!(
        "run_id:m\r\nrole:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:1\r\nmaster_replid:h\r\n\
         slave_repl_offset:{offset}\r\n"
    );
    info::read(text.as_bytes())
}

fn replica(offset: u64, link: &str) -> Info {
    let text = format!(
        "run_id:r\r\nrole:slave\r\nmaster_host:10.0.0.1\r\nmaster_port:6379\r\nmaster_link_status:{link}\r\n\
         master_replid:h\r\nslave_repl_offset:{offset}\r\n"
    );
    info::read(text.as_bytes())
}

fn begun(cause: Cause) -> Switchover {
    let both = [&master(9), &replica(9, "up")];
    Switchover::begin(at(0), cause, Some(HOLD), ORDER_PATIENCE, both)
}

fn advance(plan: &mut Switchover, now: u64, old: Option<&Info>, new: &Info) -> Next {
    let sight = Sight {
        master: old,
        master_down: false,
        target: Some(new),
        careless: false,
    };
    plan.advance(at(now), sight)
}

/// As far as the pause; the master's stream ends at 10 then.
fn holding(cause: Cause) -> Switchover {
    let mut plan = begun(cause);
    let near = replica(9, "up");
    assert_eq!(advance(&mut plan, 0, None, &near), Next::Wait);
    assert_eq!(
        advance(&mut plan, 1, Some(&master(9)), &near),
        Next::Hold(HOLD)
    );
    assert_eq!(advance(&mut plan, 1, None, &near), Next::Wait);
    assert_eq!(advance(&mut plan, 2, Some(&master(10)), &near), Next::Wait);
    plan
}

/// As far as the order to follow nothing.
fn demoting() -> Switchover {
    let mut plan = holding(Cause::Order);
    let next = advance(&mut plan, 3, Some(&master(10)), &replica(10, "up"));
    let demote = Next::Demote {
        held: true,
        unpause: false,
    };
    assert_eq!(next, demote);
    assert_eq!(
        advance(&mut plan, 3, None, &replica(10, "up")),
        Next::Wait,
        "it has not said what it is now"
    );
    plan
}

#[test]
fn whoever_has_everything_is_promoted_behind_the_old_master() {
    let mut plan = demoting();
    let next = advance(&mut plan, 4, Some(&away(10)), &replica(10, "down"));
    assert_eq!(next, Next::Promote);
    assert!(plan.has_demoted() && plan.may_hold());
}

#[test]
fn whoever_lacks_something_at_the_end_is_not_promoted() {
    let mut plan = demoting();
    let near = replica(10, "down");
    assert_eq!(advance(&mut plan, 4, Some(&away(11)), &near), Next::Wait);
    assert_eq!(advance(&mut plan, 103, Some(&away(11)), &near), Next::Wait);
    assert_eq!(
        advance(&mut plan, 104, Some(&away(11)), &near),
        Next::GiveBack
    );
    let mut plan = demoting();
    assert_eq!(advance(&mut plan, 4, Some(&away(11)), &near), Next::Wait);
    let next = advance(&mut plan, 50, Some(&away(11)), &replica(11, "down"));
    assert_eq!(next, Next::Promote);
}

#[test]
fn another_process_in_the_targets_place_is_not_promoted() {
    let mut plan = demoting();
    let mut other = replica(99, "down");
    other.run_id = "s".to_owned();
    assert_eq!(
        advance(&mut plan, 4, Some(&away(10)), &other),
        Next::GiveBack
    );
}

#[test]
fn half_of_the_pause_is_for_the_order_to_arrive() {
    let mut plan = holding(Cause::Order);
    let next = advance(&mut plan, 252, Some(&master(10)), &replica(10, "up"));
    assert_eq!(next, Next::Release, "it has everything, but too late");
    let rested = |plan: &mut Switchover, now| advance(plan, now, None, &replica(10, "up"));
    assert_eq!(rested(&mut plan, 700), Next::Wait);
    assert_eq!(rested(&mut plan, 752), Next::AskMaster);
    let next = advance(&mut plan, 753, Some(&master(10)), &replica(10, "up"));
    assert_eq!(next, Next::Hold(HOLD));
}

#[test]
fn a_target_that_lags_is_waited_for_while_writes_flow() {
    let mut plan = begun(Cause::Order);
    let far = replica(5, "up");
    assert_eq!(advance(&mut plan, 1, Some(&master(9)), &far), Next::Wait);
    assert!(!plan.may_hold());
    // It has by now what the master had long ago.
    let next = advance(&mut plan, 400, Some(&master(9)), &replica(9, "up"));
    assert_eq!(next, Next::AskMaster);
    assert_eq!(
        advance(&mut plan, 5_000, None, &far),
        Next::Abandon(Why::Master)
    );
}

#[test]
fn a_master_that_does_not_hold_writes_is_demoted_first_all_the_same() {
    let mut plan = holding(Cause::Order);
    let near = replica(9, "up");
    let demote = Next::Demote {
        held: false,
        unpause: false,
    };
    assert_eq!(plan.refused_to_hold(at(2), Some(&near)), demote);
    assert!(!plan.may_hold());
    assert_eq!(advance(&mut plan, 3, Some(&away(12)), &near), Next::Wait);
    let next = advance(&mut plan, 4, Some(&away(12)), &replica(11, "down"));
    assert_eq!(next, Next::Promote, "it has read everything there was");
    let mut plan = holding(Cause::Coordination);
    assert_eq!(
        plan.refused_to_hold(at(2), Some(&near)),
        Next::Abandon(Why::Master)
    );
}

#[test]
fn a_master_that_is_none_any_more_is_left_alone() {
    let mut plan = holding(Cause::Order);
    let next = advance(&mut plan, 3, Some(&away(10)), &replica(10, "up"));
    assert_eq!(
        next,
        Next::Abandon(Why::Master),
        "another Duke had it make way"
    );
    let mut plan = demoting();
    let next = advance(&mut plan, 4, Some(&master(10)), &replica(10, "up"));
    assert_eq!(next, Next::Abandon(Why::Master), "it did not obey");
}

#[test]
fn who_slept_does_nothing_more() {
    for mut plan in [holding(Cause::Order), demoting()] {
        let next = advance(&mut plan, 2_000, Some(&away(10)), &replica(10, "down"));
        assert_eq!(next, Next::Abandon(Why::Lapse));
    }
}

#[test]
fn an_order_that_insists_goes_on_without_the_master() {
    let mut plan = holding(Cause::Order).insist();
    let down = Sight {
        master: None,
        master_down: true,
        target: None,
        careless: false,
    };
    assert_eq!(plan.advance(at(3), down), Next::Promote);
    let mut plan = holding(Cause::Coordination).insist();
    assert_eq!(plan.advance(at(3), down), Next::Abandon(Why::Master));
}

proptest! {
    #[test]
    fn nobody_is_promoted_who_lacks_what_the_old_master_held(
        steps in proptest::collection::vec((0_u64..60, 0_u64..4, 0_u64..4, any::<bool>()), 1..60)
    ) {
        let mut plan = begun(Cause::Order);
        let (mut now, mut end, mut has, mut made_way) = (0, 9, 9, false);
        for (pause, more, read, answers) in steps {
            now += pause;
            end += if made_way { 0 } else { more };
            has = (has + read).min(end);
            let old = if made_way { away(end) } else { master(end) };
            let old = answers.then_some(&old);
            let new = replica(has, if made_way { "down" } else { "up" });
            match advance(&mut plan, now, old, &new) {
                Next::Demote { held, .. } => {
                    prop_assert!(held);
                    made_way = true;
                }
                Next::Promote => {
                    prop_assert!(made_way && has == end, "{has} of {end}");
                    break;
                }
                Next::GiveBack => {
                    prop_assert!(made_way);
                    break;
                }
                Next::Abandon(_) => break,
                Next::AskMaster | Next::Hold(_) | Next::Release | Next::Wait => {}
            }
        }
    }
}
