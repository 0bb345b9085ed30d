//! Which findings about Connections the wake-ups have told of: each is news once.
//!
//! A finding has the time at which its statement began, and shows when that has committed. So one may come to light after
//! a later one; the looks go back a little, and what was told of before is passed over.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

/// How far looks go back. A commit that takes longer is found by the resync.
const LOOK_BACK: SignedDuration = SignedDuration::from_secs(5);

/// What was told of, by the database's clock.
#[derive(Debug)]
pub(super) struct Found {
    newest: Timestamp,
    /// By UID of the Connection.
    told: HashMap<String, Timestamp>,
}

impl Found {
    /// What was found long before `now` is seen by the first reconcile of each Connection.
    pub(super) fn since(now: Timestamp) -> Self {
        Self {
            newest: now,
            told: HashMap::new(),
        }
    }

    /// Where the next look begins.
    pub(super) fn from(&self) -> Timestamp {
        self.newest.saturating_sub(LOOK_BACK).unwrap_or(Timestamp::MIN)
    }

    /// Takes note of what was found of a Connection; whether that is news.
    pub(super) fn add(&mut self, uid: &str, checked_at: Timestamp) -> bool {
        self.newest = self.newest.max(checked_at);
        self.told.insert(uid.to_owned(), checked_at) != Some(checked_at)
    }

    /// What no look goes back to is not remembered.
    pub(super) fn forget(&mut self) {
        let from = self.from();
        self.told.retain(|_, checked_at| *checked_at >= from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn finding_is_news_once_also_when_its_time_is_earlier_than_one_that_was_told() {
        let mut found = Found::since(at(100));
        assert!(found.add("a", at(110)));
        assert!(!found.add("a", at(110)));
        assert!(found.add("a", at(120)));
        assert!(found.from() < at(117), "looks go back: {}", found.from());
        assert!(found.add("b", at(117)), "it was committed later");
        assert!(found.add("a", at(118)), "and so was this one, over the other");
        assert!(!found.add("a", at(118)) && !found.add("b", at(117)));
    }

    #[test]
    fn what_no_look_goes_back_to_is_forgotten_and_the_rest_is_not() {
        let mut found = Found::since(at(100));
        found.add("old", at(110));
        found.add("young", at(119));
        found.add("new", at(120));
        found.forget();
        assert_eq!(found.told.len(), 2);
        assert!(!found.add("young", at(119)));
    }
}
