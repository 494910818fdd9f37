//! Scaling in: who leaves the Dukes' lists when, and when the StatefulSet shrinks. Pure.
//!
//! Those who are to leave are taken off the Dukes' lists first, once everybody who stays has all
//! data: from then on none of them is promoted. Then the StatefulSet shrinks by one ordinal at a
//! time, each through the gate of [`super::may_lose`]. The master is moved away before, by
//! [`super::roll`].

use super::{
    may_lose::{may_leave, those_who_stay_hold},
    situation::Situation,
};

/// Below which ordinal data pods may be followed and promoted; the master may whatever its ordinal.
#[must_use]
pub fn of_record(now: &Situation<'_>) -> u16 {
    let wanted = now.wanted.data;
    match now.live_data() {
        // As long as somebody who stays lacks data, one who is to leave may have the only copy.
        Some(live) if live > wanted && those_who_stay_hold(now).is_err() => live,
        Some(_) | None => wanted,
    }
}

/// How many data pods the StatefulSet may have for the moment.
#[must_use]
pub fn data_now(now: &Situation<'_>) -> u16 {
    let wanted = now.wanted.data;
    match now.live_data() {
        Some(live) if live > wanted && waits(now).is_none() => live.saturating_sub(1),
        Some(live) if live > wanted => live,
        Some(_) | None => wanted,
    }
}

/// Why the highest ordinal does not leave yet, if one is to leave.
#[must_use]
pub fn waits(now: &Situation<'_>) -> Option<String> {
    let live = now.live_data().filter(|live| *live > now.wanted.data)?;
    let ordinal = live.saturating_sub(1);
    if let Err(why) = may_leave(now, ordinal) {
        return Some(why);
    }
    let pod = now.seen.data.iter().find(|pod| pod.ordinal == ordinal);
    let address = pod?.address()?;
    let mut answering = now.answering().filter(|(duke, _)| !duke.facts.terminating);
    let knows = answering.find(|(_, report)| {
        let mut nodes = report.nodes.iter();
        nodes.any(|node| node.address == address)
    })?;
    Some(format!("{} has it in its list", knows.0.facts.name))
}
