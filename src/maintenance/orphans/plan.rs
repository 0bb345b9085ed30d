//! What an orphan pass may do. Pure: no step of it is evidence by itself, and the brake has the last word.
//!
//! Two kinds of absence: somebody **deleted** an object before our eyes, or it is **missing** and nobody knows why. Both
//! share the allowance of a period. Deletions that do not fit wait for the next one; too many missing objects at once
//! are nothing that was meant, and the brake holds.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::store::{DeletionPolicy, LiveOwner};

/// Within a period so many runs may always be cancelled.
const ALWAYS: i64 = 20;
/// Or one in so many of the live object-owned runs.
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
    /// Suspects whose Delete event was seen, by this pass or by one that has proven it before, with runs to cancel: to
    /// be proven one by one.
    pub deleted: Vec<LiveOwner>,
    /// Suspects that have been so for long enough, with runs to cancel: to be proven one by one.
    pub missing: Vec<LiveOwner>,
    /// Objects that no watch shows and whose live runs go on without them: there is nothing to cancel.
    pub outlived: Vec<LiveOwner>,
}

/// What may be cancelled now of what a pass found, if it is proven.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Share<'a> {
    /// All of these, whose runs fit together.
    pub missing: Vec<&'a LiveOwner>,
    /// These, oldest runs first, until `runs` are cancelled.
    pub deleted: Vec<&'a LiveOwner>,
    /// How many runs of `deleted`.
    pub runs: i64,
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
            DeletionPolicy::Orphan => {
                if owner.gone_at.is_none() {
                    plan.outlived.push(owner.clone());
                }
                continue;
            }
            DeletionPolicy::Background | DeletionPolicy::Foreground => plan.suspects.push(owner.uid.clone()),
        }
        if owner.uncancelled_runs == 0 {
            continue;
        }
        if owner.gone_at.is_some() || deleted.contains(&owner.uid) {
            plan.deleted.push(owner.clone());
        } else if owner.suspected_at.is_some_and(|since| owner.read_at >= since + period) {
            plan.missing.push(owner.clone());
        }
    }
    plan
}

/// The same for objects without a live run, or outlived by theirs: nothing is to be cancelled, so all that are proven gone
/// are `missing`, and what is to happen to runs does not matter. At most `most` are proven by one pass.
pub fn plan_idle(owners: &[LiveOwner], seen: impl Fn(&str) -> bool, period: Duration, most: usize) -> Plan {
    let mut plan = Plan::default();
    for owner in owners {
        if seen(&owner.uid) {
            if owner.suspected_at.is_some() {
                plan.alive.push(owner.uid.clone());
            }
            continue;
        }
        plan.suspects.push(owner.uid.clone());
        if owner.suspected_at.is_some_and(|since| owner.read_at >= since + period) && plan.missing.len() < most {
            plan.missing.push(owner.clone());
        }
    }
    plan
}

/// How many of `live` object-owned runs may be cancelled within a period, by all passes together.
pub fn allowance(live: i64) -> i64 {
    ALWAYS.max(live / ONE_IN)
}

/// Shares out `left`, what is left of the allowance. What is missing comes first: it must never pile up behind what
/// people delete, or it would look like too much. Deletions that are not on record yet are taken along beyond `left`:
/// proving them once records them, and that survives this process.
pub fn share<'a>(missing: &[&'a LiveOwner], deleted: &[&'a LiveOwner], left: i64) -> Share<'a> {
    let mut share = Share {
        runs: left.max(0),
        ..Share::default()
    };
    for owner in missing {
        if owner.uncancelled_runs <= share.runs {
            share.runs -= owner.uncancelled_runs;
            share.missing.push(owner);
        }
    }
    let mut rest = share.runs;
    for owner in deleted {
        if rest > 0 || owner.gone_at.is_none() {
            share.deleted.push(owner);
        }
        rest -= owner.uncancelled_runs;
    }
    share
}

/// Stops passes that miss too much: a deleted CRD, another API server, an etcd restored from a backup.
#[derive(Debug, Default)]
pub struct Brake {
    held_since: Option<Timestamp>,
}

impl Brake {
    /// Weighs a pass that misses the objects of so many runs, anew each time. True: nothing may be cancelled. The first
    /// time that is so, and until it has passed `HOLD` with what is left being little enough.
    pub fn holds(&mut self, missing: i64, live: i64, now: Timestamp) -> bool {
        if missing > allowance(live) {
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

    /// What is said of a suspect: `deleted`, `missing`, or nothing yet.
    fn said(owner: &LiveOwner, deleted: &HashSet<String>) -> &'static str {
        let plan = plan(std::slice::from_ref(owner), |_| false, deleted, PERIOD);
        match (&plan.deleted[..], &plan.missing[..]) {
            ([], []) => "",
            ([_], []) => "deleted",
            ([], [_]) => "missing",
            _ => panic!("{plan:?}"),
        }
    }

    #[test]
    fn suspicion_is_proven_after_two_passes_a_period_apart_or_a_delete_event() {
        let table = [
            ("first pass", None, false, ""),
            ("second pass, too early", Some(941), false, ""),
            ("second pass", Some(940), false, "missing"),
            ("deleted before our eyes", None, true, "deleted"),
            ("missed for long, and deleted", Some(1), true, "deleted"),
        ];
        for (name, suspected_at, deleted, expected) in table {
            let deleted = if deleted {
                HashSet::from(["u".to_owned()])
            } else {
                none()
            };
            let owner = owner("u", suspected_at);
            assert_eq!(said(&owner, &deleted), expected, "{name}");
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
        assert_eq!((said(&orphan, &none()), said(&cancelled, &none())), ("", ""));
        let known = LiveOwner {
            gone_at: Some(at(2)),
            ..orphan.clone()
        };
        let outlived = |owner: &LiveOwner, seen| plan(std::slice::from_ref(owner), |_| seen, &none(), PERIOD).outlived;
        assert_eq!(outlived(&orphan, false), std::slice::from_ref(&orphan));
        for (owner, seen) in [(&orphan, true), (&known, false), (&cancelled, false)] {
            assert_eq!(outlived(owner, seen), [], "{owner:?}");
        }
    }

    #[test]
    fn deletion_on_record_needs_no_event_and_no_second_pass() {
        let mut recorded = owner("u", None);
        recorded.gone_at = Some(at(2));
        assert_eq!(said(&recorded, &none()), "deleted");
    }

    #[test]
    fn idle_object_is_proven_gone_after_two_passes_whatever_its_policy() {
        let idle = |uid: &str, suspected_at| LiveOwner {
            deletion_policy: DeletionPolicy::Orphan,
            uncancelled_runs: 0,
            ..owner(uid, suspected_at)
        };
        let owners = [
            idle("new", None),
            idle("early", Some(941)),
            idle("old", Some(940)),
            idle("older", Some(1)),
        ];
        let plan = |seen: fn(&str) -> bool, most| plan_idle(&owners, seen, PERIOD, most);
        let missing = |plan: &Plan| plan.missing.iter().map(|owner| owner.uid.clone()).collect::<Vec<_>>();
        let nothing = plan(|_| false, 10);
        assert_eq!(
            (missing(&nothing), nothing.suspects.len()),
            (vec!["old".to_owned(), "older".to_owned()], 4)
        );
        assert_eq!(missing(&plan(|_| false, 1)), ["old"]);
        assert_eq!(plan(|_| true, 10).alive, ["early", "old", "older"]);
        assert!(plan(|_| true, 10).missing.is_empty());
    }

    /// I-11.
    #[test]
    fn one_period_cancels_at_most_twenty_runs_or_a_tenth() {
        for (live, expected) in [(0, 20), (20, 20), (209, 20), (210, 21), (500, 50), (509, 50)] {
            assert_eq!(allowance(live), expected, "of {live}");
        }
    }

    #[test]
    fn deletions_wait_for_what_is_left_and_what_is_missing_comes_first() {
        /// An owner with so many runs; on record or not.
        fn of(runs: i64, gone: bool) -> LiveOwner {
            LiveOwner {
                uncancelled_runs: runs,
                gone_at: gone.then(|| at(1)),
                ..owner("u", Some(1))
            }
        }
        // missing, deleted, left => missing that fit, deleted that are proven, runs of these
        type Case<'a> = (&'a str, &'a [i64], &'a [(i64, bool)], i64, (usize, usize, i64));
        let table: &[Case<'_>] = &[
            ("all fits", &[1, 2], &[(1, false), (1, true)], 20, (2, 2, 17)),
            ("spent", &[1], &[(1, true), (1, true)], 0, (0, 0, 0)),
            ("overspent", &[1], &[(1, true)], -5, (0, 0, 0)),
            ("missing first", &[15, 5], &[(1, true)], 20, (2, 0, 0)),
            (
                "one that does not fit does not stop others",
                &[15, 6, 5],
                &[],
                20,
                (2, 0, 0),
            ),
            (
                "a share",
                &[],
                &[(9, true), (9, true), (9, true), (9, true)],
                20,
                (0, 3, 20),
            ),
            (
                "more runs than ever fit",
                &[],
                &[(500, true), (1, true)],
                20,
                (0, 1, 20),
            ),
            ("put on record", &[], &[(1, true), (1, false), (1, true)], 0, (0, 1, 0)),
        ];
        for (name, missing, deleted, left, expected) in table {
            let missing: Vec<LiveOwner> = missing.iter().map(|&runs| of(runs, false)).collect();
            let deleted: Vec<LiveOwner> = deleted.iter().map(|&(runs, gone)| of(runs, gone)).collect();
            let (missing, deleted): (Vec<_>, Vec<_>) = (missing.iter().collect(), deleted.iter().collect());
            let share = share(&missing, &deleted, *left);
            let got = (share.missing.len(), share.deleted.len(), share.runs);
            assert_eq!(got, *expected, "{name}");
        }
    }

    /// I-11, over time: a trickle of deletions, and a flood, both with passes half a second apart.
    #[test]
    fn no_period_cancels_more_than_its_allowance_and_every_deletion_has_its_turn() {
        for per_pass in [1, 3, 100] {
            let (all, mut live) = (100_usize, 100_i64);
            let (mut waiting, mut came) = (0, 0);
            let mut cancelled: Vec<i64> = Vec::new();
            for tick in 0..1200_i64 {
                let coming = per_pass.min(all - came);
                (came, waiting) = (came + coming, waiting + coming);
                let recent = cancelled.iter().filter(|&&at| at > tick - 120).count() as i64;
                assert!(recent <= allowance(live), "{recent} of {live} with {per_pass} a pass");
                let owners: Vec<LiveOwner> = (0..waiting).map(|n| owner(&n.to_string(), None)).collect();
                let owners: Vec<&LiveOwner> = owners.iter().collect();
                let now = share(&[], &owners, allowance(live) - recent).runs.min(waiting as i64);
                cancelled.extend((0..now).map(|_| tick));
                waiting -= now as usize;
                live -= now;
            }
            assert_eq!((came, cancelled.len()), (all, all), "{per_pass} a pass");
        }
    }

    #[test]
    fn brake_holds_when_500_objects_vanish_at_once_and_releases_what_came_back() {
        let owners: Vec<LiveOwner> = (0..500).map(|n| owner(&n.to_string(), Some(1))).collect();
        let gone = plan(&owners, |_| false, &none(), PERIOD);
        let runs = gone.missing.iter().map(|owner| owner.uncancelled_runs).sum();
        let mut brake = Brake::default();
        assert!(brake.holds(runs, 500, at(0)) && brake.is_held());
        assert!(
            brake.holds(runs, 500, at(3600)),
            "as long as it is too much, whatever the time"
        );

        let back = plan(&owners, |uid| uid != "7", &none(), PERIOD);
        assert_eq!((back.alive.len(), back.missing.len()), (499, 1));
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
