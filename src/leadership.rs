//! Which replica of the operator works: a Lease, held by one.
//!
//! [`Election`] is pure and judges by *local observation*: a lease has expired when its record has
//! not changed for its duration as this process measured it. Times written by others are never
//! compared with our clock, so a skewed clock can neither steal nor keep the lead. Every write
//! carries the resourceVersion it was decided on, and creation is create-only; two replicas
//! therefore cannot both win. [`Leader`] drives it. A holder that could not renew in time has lost
//! and the process ends: whatever it had in mind must not reach the API after somebody else began.

use std::time::{Duration, Instant};

pub use self::driver::{Leader, Lost};

mod driver;

/// The times of the lease.
///
/// At rest the holder writes once per `renew`, a standby reads once per `renew`; a standby takes
/// over at most `lease + renew` after the holder died, at once when it left properly.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Terms {
    /// How long an unchanged lease stays valid.
    pub lease: Duration,
    /// How long the holder goes on without a successful renewal; shorter than `lease`.
    pub give_up: Duration,
    /// Pause between two renewals, or between two looks of a standby.
    pub renew: Duration,
}

impl Terms {
    /// Six seconds: Sentinel clients fail over without the operator, so only Services and labels
    /// wait for a takeover, and one write every two seconds is all the API server sees at rest.
    pub const DEFAULT: Self = Self {
        lease: Duration::from_secs(6),
        give_up: Duration::from_secs(4),
        renew: Duration::from_secs(2),
    };
}

/// The lease as it was read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The version any write must carry.
    pub resource_version: String,
    /// Who holds it, empty if it was given back.
    pub holder: String,
    /// How long it is valid after its last change.
    pub lease: Duration,
    /// How often it went from one holder to another.
    pub transitions: i32,
}

/// What to do next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Move {
    /// There is no lease: create it, failing if somebody is quicker.
    Create,
    /// It is ours: renew it over this version.
    Renew {
        /// The version to replace.
        resource_version: String,
        /// Stays as it is.
        transitions: i32,
    },
    /// It has expired or was given back: take it over this version.
    Take {
        /// The version to replace.
        resource_version: String,
        /// One more than before.
        transitions: i32,
    },
    /// Somebody else holds it; look again after this time.
    Wait(Duration),
}

/// One candidate's view of the lease.
#[derive(Debug)]
pub struct Election {
    identity: String,
    terms: Terms,
    seen: Option<(String, Instant)>,
    confirmed: Option<Instant>,
}

impl Election {
    /// A candidate under a name that no other process ever had.
    ///
    /// # Panics
    /// If the terms would let a holder go on after its lease may have been taken.
    #[must_use]
    pub fn new(identity: String, terms: Terms) -> Self {
        assert!(
            terms.give_up < terms.lease,
            "a holder must stop before its lease can be taken"
        );
        assert!(
            terms.renew < terms.give_up,
            "a holder must renew before it has to stop"
        );
        Self {
            identity,
            terms,
            seen: None,
            confirmed: None,
        }
    }

    /// Our name in the lease.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The times we agreed on.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// Decides on the lease as read at `now`.
    pub fn judge(&mut self, now: Instant, record: Option<&Record>) -> Move {
        let Some(record) = record else {
            self.seen = None;
            return Move::Create;
        };
        let resource_version = record.resource_version.clone();
        if record.holder == self.identity {
            return Move::Renew {
                resource_version,
                transitions: record.transitions,
            };
        }
        let take = Move::Take {
            resource_version: resource_version.clone(),
            transitions: record.transitions.saturating_add(1),
        };
        if record.holder.is_empty() {
            return take;
        }
        let since = match &self.seen {
            Some((version, since)) if *version == resource_version => *since,
            Some(_) | None => {
                self.seen = Some((resource_version, now));
                now
            }
        };
        // A holder with longer terms than ours is given its own time.
        let valid = record.lease.max(self.terms.lease);
        let age = now.saturating_duration_since(since);
        match valid.checked_sub(age) {
            Some(left) if !left.is_zero() => Move::Wait(self.terms.renew.min(left)),
            Some(_) | None => take,
        }
    }

    /// Our write that was sent at `sent` has succeeded: we hold the lease from then on.
    pub fn confirm(&mut self, sent: Instant) {
        self.confirmed = Some(self.confirmed.map_or(sent, |before| before.max(sent)));
    }

    /// Whether we hold the lease at `now` beyond doubt.
    #[must_use]
    pub fn leads(&self, now: Instant) -> bool {
        self.confirmed
            .is_some_and(|sent| now.saturating_duration_since(sent) < self.terms.give_up)
    }

    /// When we stop leading unless another renewal succeeds.
    #[must_use]
    pub fn leads_until(&self) -> Option<Instant> {
        self.confirmed.map(|sent| sent + self.terms.give_up)
    }

    /// Somebody else's name is in the lease: whatever was confirmed is over.
    pub fn depose(&mut self) {
        self.confirmed = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str) -> Election {
        Election::new(name.to_owned(), Terms::DEFAULT)
    }

    fn held(by: &str, version: &str) -> Record {
        Record {
            resource_version: version.into(),
            holder: by.into(),
            lease: Terms::DEFAULT.lease,
            transitions: 3,
        }
    }

    #[test]
    fn no_lease_is_created_and_an_empty_one_taken() {
        let now = Instant::now();
        let mut me = candidate("me");
        assert_eq!(me.judge(now, None), Move::Create);
        assert_eq!(
            me.judge(now, Some(&held("", "5"))),
            Move::Take {
                resource_version: "5".into(),
                transitions: 4
            }
        );
    }

    #[test]
    fn a_lease_expires_by_our_own_watch_only() {
        let start = Instant::now();
        let mut me = candidate("me");
        let other = held("other", "5");
        assert_eq!(
            me.judge(start, Some(&other)),
            Move::Wait(Terms::DEFAULT.renew)
        );
        let later = start + Duration::from_millis(5_900);
        assert_eq!(
            me.judge(later, Some(&other)),
            Move::Wait(Duration::from_millis(100))
        );
        assert!(matches!(
            me.judge(start + Terms::DEFAULT.lease, Some(&other)),
            Move::Take { .. }
        ));
    }

    #[test]
    fn a_renewal_by_the_other_starts_the_watch_again() {
        let start = Instant::now();
        let mut me = candidate("me");
        me.judge(start, Some(&held("other", "5")));
        let later = start + Duration::from_secs(5);
        me.judge(later, Some(&held("other", "6")));
        let latest = later + Duration::from_secs(5);
        assert!(matches!(
            me.judge(latest, Some(&held("other", "6"))),
            Move::Wait(_)
        ));
    }

    #[test]
    fn a_holder_with_longer_terms_keeps_them() {
        let start = Instant::now();
        let mut me = candidate("me");
        let patient = Record {
            lease: Duration::from_mins(1),
            ..held("other", "5")
        };
        me.judge(start, Some(&patient));
        let later = start + Duration::from_secs(30);
        assert!(matches!(me.judge(later, Some(&patient)), Move::Wait(_)));
    }

    #[test]
    fn leading_ends_before_anybody_may_take_over() {
        let start = Instant::now();
        let mut me = candidate("me");
        assert!(!me.leads(start));
        me.confirm(start);
        assert!(me.leads(start + Duration::from_millis(3_999)));
        assert!(!me.leads(start + Terms::DEFAULT.give_up));
        assert_eq!(me.leads_until(), Some(start + Terms::DEFAULT.give_up));
        me.depose();
        assert!(!me.leads(start));
    }

    #[test]
    fn a_late_reply_to_an_early_renewal_does_not_shorten_the_lead() {
        let start = Instant::now();
        let mut me = candidate("me");
        me.confirm(start + Duration::from_secs(2));
        me.confirm(start);
        assert!(me.leads(start + Duration::from_secs(5)));
    }

    #[test]
    fn our_own_lease_is_renewed_over_its_version() {
        let mut me = candidate("me");
        assert_eq!(
            me.judge(Instant::now(), Some(&held("me", "9"))),
            Move::Renew {
                resource_version: "9".into(),
                transitions: 3
            }
        );
    }
}
