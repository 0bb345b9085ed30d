//! What an orphan pass may do. Pure: no step of it is evidence by itself, and the brake has the last word.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::store::{DeletionPolicy, LiveOwner};

/// A pass may always cancel so many runs.
const ALWAYS: i64 = 20;
/// And one in so many of the live object-owned runs.
const ONE_IN: i64 = 10;
/// How long a brake holds at least.
const HOLD: SignedDuration = SignedDuration::from_mins(15);

/// The first half of a pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// UIDs under suspicion, or cancelled, whose object is there.
    pub alive: Vec<String>,
    /// UIDs that no watch shows: suspects, again or for the first time.
    pub suspects: Vec<String>,
    /// Suspects that have been so for long enough, with runs to cancel: to be proven one by one.
    pub to_prove: Vec<LiveOwner>,
}

/// Sorts the owners of live runs. `seen`: whether the watches, all complete since `owners` was read or before, show
/// that UID. `deleted`: UIDs whose Delete event was seen. A suspicion counts when it is at least `period` old.
pub fn plan(owners: &[LiveOwner], seen: impl Fn(&str) -> bool, deleted: &HashSet<String>, period: Duration) -> Plan {
    let mut plan = Plan::default();
    for owner in owners {
        if seen(&owner.uid) {
            if owner.suspected_at.is_some() || owner.gone_at.is_some() {
                plan.alive.push(owner.uid.clone());
            }
            continue;
        }
        match owner.deletion_policy {
            DeletionPolicy::Orphan => continue,
            DeletionPolicy::Background | DeletionPolicy::Foreground => plan.suspects.push(owner.uid.clone()),
        }
        let old_enough = owner.suspected_at.is_some_and(|since| owner.read_at >= since + period);
        if owner.uncancelled_runs > 0 && (old_enough || deleted.contains(&owner.uid)) {
            plan.to_prove.push(owner.clone());
        }
    }
    plan
}

/// Whether cancelling `runs` of `live` object-owned runs is more than one pass may do.
pub fn is_too_much(runs: i64, live: i64) -> bool {
    runs > ALWAYS.max(live / ONE_IN)
}

/// Stops passes that would cancel too much: a deleted CRD, another API server, an etcd restored from a backup.
#[derive(Debug, Default)]
pub struct Brake {
    held_since: Option<Timestamp>,
}

impl Brake {
    /// Weighs a pass, anew each time. True: nothing may be cancelled. The first time that is so, and until it has
    /// passed `HOLD` with what is left being little enough.
    pub fn holds(&mut self, runs: i64, live: i64, now: Timestamp) -> bool {
        if is_too_much(runs, live) {
            self.held_since.get_or_insert(now);
            return true;
        }
        match self.held_since {
            Some(since) if now < since + HOLD => true,
            Some(_) | None => {
                self.held_since = None;
                false
            }
        }
    }

    /// Whether the last pass was stopped.
    pub fn is_held(&self) -> bool {
        self.held_since.is_some()
    }

    /// Since when passes are stopped.
    pub fn held_since(&self) -> Option<Timestamp> {
        self.held_since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(60);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn owner(uid: &str, suspected_at: Option<i64>) -> LiveOwner {
        LiveOwner {
            uid: uid.to_owned(),
            kind: "Workflow".to_owned(),
            namespace: "shop".to_owned(),
            name: format!("order-{uid}"),
            deletion_policy: DeletionPolicy::Background,
            live_runs: 1,
            uncancelled_runs: 1,
            suspected_at: suspected_at.map(at),
            gone_at: None,
            read_at: at(1000),
        }
    }

    fn none() -> HashSet<String> {
        HashSet::new()
    }

    fn proving(owner: &LiveOwner, deleted: &HashSet<String>) -> bool {
        let plan = plan(std::slice::from_ref(owner), |_| false, deleted, PERIOD);
        !plan.to_prove.is_empty()
    }

    #[test]
    fn suspicion_is_proven_after_two_passes_a_period_apart_or_a_delete_event() {
        let table = [
            ("first pass", None, false, false),
            ("second pass, too early", Some(941), false, false),
            ("second pass", Some(940), false, true),
            ("deleted before our eyes", None, true, true),
        ];
        for (name, suspected_at, deleted, expected) in table {
            let deleted = if deleted {
                HashSet::from(["u".to_owned()])
            } else {
                none()
            };
            let owner = owner("u", suspected_at);
            assert_eq!(proving(&owner, &deleted), expected, "{name}");
            let plan = plan(&[owner], |_| false, &deleted, PERIOD);
            assert_eq!(plan.suspects, ["u"], "{name}");
        }
    }

    #[test]
    fn object_that_is_there_is_never_a_suspect_whatever_was_said_of_it() {
        let mut came_back = owner("u", Some(1));
        came_back.gone_at = Some(at(2));
        let deleted = HashSet::from(["u".to_owned()]);
        let plan = plan(&[came_back, owner("v", None)], |_| true, &deleted, PERIOD);
        assert_eq!(
            plan,
            Plan {
                alive: vec!["u".to_owned()],
                ..Plan::default()
            }
        );
    }

    #[test]
    fn runs_that_may_outlive_their_object_and_runs_cancelled_before_are_left_alone() {
        let orphan = LiveOwner {
            deletion_policy: DeletionPolicy::Orphan,
            ..owner("u", Some(1))
        };
        let cancelled = LiveOwner {
            uncancelled_runs: 0,
            ..owner("u", Some(1))
        };
        assert!(!proving(&orphan, &none()) && !proving(&cancelled, &none()));
    }

    #[test]
    fn one_pass_cancels_at_most_twenty_runs_or_a_tenth() {
        for (runs, live, expected) in [
            (20, 20, false),
            (21, 21, true),
            (21, 209, true),
            (21, 210, false),
            (50, 500, false),
            (51, 500, true),
        ] {
            assert_eq!(is_too_much(runs, live), expected, "{runs} of {live}");
        }
    }

    #[test]
    fn brake_holds_when_500_objects_vanish_at_once_and_releases_what_came_back() {
        let owners: Vec<LiveOwner> = (0..500).map(|n| owner(&n.to_string(), Some(1))).collect();
        let gone = plan(&owners, |_| false, &none(), PERIOD);
        let runs = gone.to_prove.iter().map(|owner| owner.uncancelled_runs).sum();
        let mut brake = Brake::default();
        assert!(brake.holds(runs, 500, at(0)) && brake.is_held());
        assert!(
            brake.holds(runs, 500, at(3600)),
            "as long as it is too much, whatever the time"
        );

        let back = plan(&owners, |uid| uid != "7", &none(), PERIOD);
        assert_eq!((back.alive.len(), back.to_prove.len()), (499, 1));
        assert!(!brake.holds(1, 500, at(3601)));
        assert!(!brake.is_held());
    }

    #[test]
    fn brake_holds_for_a_quarter_of_an_hour_even_when_little_is_left() {
        let mut brake = Brake::default();
        assert!(brake.holds(500, 500, at(0)));
        assert!(brake.holds(1, 500, at(899)));
        assert!(!brake.holds(1, 500, at(900)));
    }
}
