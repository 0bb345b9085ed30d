//! Which CRDs the objects are of, and when others are taken for them. Pure: a clock's time comes in, and nothing is asked.
//!
//! Objects that a CRD took with it were deleted by nobody, though a Delete event tells of each. With another CRD in its
//! place, nothing that was seen before proves anything; and an event may be slow. So others must have stayed for a while,
//! and then the passes begin anew, as in a controller that has just been started.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// How long others must have stayed: as long as a brake holds.
const SETTLE: SignedDuration = SignedDuration::from_mins(15);

/// The CRDs that a server has: UIDs by plural.
pub(super) type Uids = BTreeMap<&'static str, String>;

/// The CRDs that are known from before.
#[derive(Debug, Default)]
pub(super) struct Crds {
    known: Option<Uids>,
    /// The others that were seen last, and since when.
    others: Option<(Uids, Timestamp)>,
}

/// What the CRDs are that were seen.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Those that are known, or the first ones.
    Known,
    /// Others: the objects of the known ones vanished with them.
    Others,
    /// Others, which have stayed, and are known from now on: what was seen of objects before is to be forgotten.
    Settled,
}

impl Crds {
    /// These are there at `now`.
    pub(super) fn see(&mut self, here: Uids, now: Timestamp) -> Seen {
        if *self.known.get_or_insert_with(|| here.clone()) == here {
            return Seen::Known;
        }
        let since = match &self.others {
            Some((others, since)) if *others == here => *since,
            Some(_) | None => now,
        };
        if now < since + SETTLE {
            self.others = Some((here, since));
            return Seen::Others;
        }
        *self = Self {
            known: Some(here),
            others: None,
        };
        Seen::Settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_known_when_they_have_stayed_for_a_quarter_of_an_hour() {
        let crds =
            |workflows: &str| Uids::from([("workflows", workflows.to_owned()), ("workflowruns", "r".to_owned())]);
        let mut seen = Crds::default();
        let steps = [
            ("a", 0, Seen::Known),
            ("a", 10, Seen::Known),
            ("b", 20, Seen::Others),
            ("b", 919, Seen::Others),
            ("c", 920, Seen::Others),
            ("c", 1819, Seen::Others),
            ("c", 1820, Seen::Settled),
            ("c", 1821, Seen::Known),
            ("a", 1822, Seen::Others),
        ];
        for (workflows, second, expected) in steps {
            let now = Timestamp::from_second(second).unwrap();
            assert_eq!(seen.see(crds(workflows), now), expected, "{workflows} at {second}");
        }
    }
}
