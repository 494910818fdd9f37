//! What a human orders by the annotation `kubernetes.lol/accept-data-loss: <pod>`, and the answer. Pure.
//!
//! | the group | the named pod | what is done |
//! |---|---|---|
//! | has a master that takes writes | is that master | a loss of data counts as accepted; the annotation is removed |
//! | has a master that takes writes | is another | refused: nothing is to be accepted; the annotation is removed |
//! | has none | is no data pod of it | refused; the annotation is removed |
//! | has none | does not answer, or is loading | waits for it |
//! | has none, but the Dukes do not find it lost | answers | waits for the Dukes |
//! | is being given one by evidence that is enough | is another | nothing; it is refused when the group has its master |
//! | has none | answers | is made master under a new generation |
//!
//! An order never outlives its answer: one that was left behind would choose a master years later.

use super::super::situation::Situation;
use crate::{
    api::condition::{ConditionType, Reason, Truth, Verdict},
    controller::observe::DataPod,
};

/// A human's order and what comes of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Order<'a> {
    /// There is none.
    None,
    /// This pod is to become master.
    Seed(&'a DataPod),
    /// It will be followed when something has happened; a sentence.
    Waiting(String),
    /// It is answered and taken off the Pipeline.
    Answered(Answer),
}

impl Order<'_> {
    /// The answer, if the order can be answered now.
    #[must_use]
    pub fn answer(self) -> Option<Answer> {
        match self {
            Self::Answered(answer) => Some(answer),
            Self::None | Self::Seed(_) | Self::Waiting(_) => None,
        }
    }
}

/// The answer to an order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The order as it was written.
    pub order: String,
    /// Whether it was followed.
    pub granted: bool,
    /// A sentence for an event.
    pub note: String,
}

/// Reads the order of this moment.
#[must_use]
pub fn read<'a>(now: &Situation<'a>) -> Order<'a> {
    let Some(name) = now.seen.order.as_deref() else {
        return Order::None;
    };
    let answered = |granted: bool, note: String| {
        let order = name.to_owned();
        Order::Answered(Answer {
            order,
            granted,
            note,
        })
    };
    if let Some(master) = serving(now) {
        let master = &master.facts.name;
        return if master == name {
            answered(true, format!("{name} is master, with the data it has"))
        } else {
            let note = format!(
                "{name} is not made master: {master} takes writes. To accept that data was lost, name {master}"
            );
            answered(false, note)
        };
    }
    let ordinal = now.wanted.names.ordinal(name);
    if ordinal.is_none_or(|ordinal| ordinal >= now.wanted.data) {
        let note = format!("{name:?} is not made master: it is no data pod of this Pipeline");
        return answered(false, note);
    }
    let pod = now.seen.data.iter().find(|pod| {
        let answers = pod.answer.given().is_some_and(|report| !report.loading);
        pod.facts.name == name && pod.facts.is_living() && answers
    });
    let Some(pod) = pod else {
        return Order::Waiting(format!("{name} was chosen and does not answer yet"));
    };
    if now.has_brain() && now.master.is_some() && !now.master_is_down() && !now.master_answers() {
        return Order::Waiting(format!(
            "{name} was chosen; the Dukes do not find the master lost yet"
        ));
    }
    Order::Seed(pod)
}

/// The master of a group that needs nobody to choose one.
fn serving<'a>(now: &Situation<'a>) -> Option<&'a DataPod> {
    now.master
        .filter(|_| now.has_brain() && now.master_answers() && !now.master_is_down())
}

/// What the condition `DataLost` says; nothing for a group that never lost any. Once true it stays so
/// until a human has accepted the loss.
#[must_use]
pub fn loss(now: &Situation<'_>, order: &Order<'_>) -> Option<Verdict> {
    let kind = ConditionType::DataLost;
    let mut conditions = now.seen.status.conditions.iter();
    let known = conditions.find(|known| known.type_ == kind.as_str() && known.status == "True")?;
    let (truth, reason, message) = match order {
        Order::Answered(answer) if answer.granted => {
            let message = format!("accepted: {}", answer.note);
            (Truth::False, Reason::Accepted, message)
        }
        Order::Answered(_) | Order::None | Order::Seed(_) | Order::Waiting(_) => {
            (Truth::True, Reason::SeededWithLess, known.message.clone())
        }
    };
    Some(Verdict {
        kind,
        truth,
        reason,
        message,
    })
}
