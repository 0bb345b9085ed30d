//! How long an object waits after a reconcile that failed. Counted by us, per object, with a limit and jitter.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use super::key::Key;

/// The first pause.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause after a failure that another try may end: the database or the API server is away. Short, because
/// everything must go on within seconds of their return, and cheap, because tries of many objects share a statement.
const LONGEST_OUTAGE: Duration = Duration::from_secs(2);
/// The longest pause after a failure that belongs to the object.
const LONGEST: Duration = Duration::from_secs(300);

/// What a failure says about the next try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Something that everybody needs is away: it comes back for all at once.
    Outage,
    /// This object fails, and will probably fail again.
    Object,
}

/// Failures in a row, for each object that has any.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// The class of the last one, and how many of that class there have been in a row: what an outage of minutes
    /// counted up says nothing about how long to wait for the object itself, after it.
    rows: HashMap<Key, (Class, u32)>,
    random: RandomState,
}

impl Failures {
    /// One more failure of `key`: how long to wait before the next try.
    pub(crate) fn failed(&mut self, key: &Key, class: Class) -> Duration {
        let row = self.rows.entry(key.clone()).or_insert((class, 0));
        if row.0 != class {
            *row = (class, 0);
        }
        row.1 += 1;
        pause(class, row.1, jitter(&self.random, (key, row.1)))
    }

    /// `key` was reconciled.
    pub(crate) fn succeeded(&mut self, key: &Key) {
        self.rows.remove(key);
    }
}

/// The pause after the `failures`-th failure in a row: doubled each time up to the longest of its class, then
/// between half and the whole of that.
fn pause(class: Class, failures: u32, jitter: f64) -> Duration {
    let longest = match class {
        Class::Outage => LONGEST_OUTAGE,
        Class::Object => LONGEST,
    };
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(longest).mul_f64(0.5 + jitter / 2.0)
}

/// How long to wait for what an object refers to and is not there yet: longer the longer it was waited for.
pub(crate) fn patience(waited: Duration) -> Duration {
    (waited / 4).clamp(Duration::from_millis(500), Duration::from_secs(30))
}

/// A number in 0..1 that differs between processes, keys and tries.
pub(crate) fn jitter(random: &RandomState, of: impl Hash) -> f64 {
    // 53 bits are what an f64 holds exactly.
    (random.hash_one(of) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::super::key::Kind;
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit_of_their_class() {
        let whole = |class, failures| pause(class, failures, 1.0).as_millis();
        assert_eq!([1, 2, 3, 4].map(|n| whole(Class::Object, n)), [200, 400, 800, 1600]);
        assert_eq!(
            [11, 12, 40, u32::MAX].map(|n| whole(Class::Object, n)),
            [204_800, 300_000, 300_000, 300_000]
        );
        assert_eq!([4, 5, 6, 99].map(|n| whole(Class::Outage, n)), [1600, 2000, 2000, 2000]);
        assert_eq!(pause(Class::Object, 1, 0.0).as_millis(), 100, "half of it is random");
    }

    #[test]
    fn success_forgets_the_failures_of_that_object_only() {
        let (a, b) = (Key::new(Kind::Workflow, "n", "a"), Key::new(Kind::Workflow, "n", "b"));
        let mut failures = Failures::default();
        for _ in 0..8 {
            failures.failed(&a, Class::Object);
            failures.failed(&b, Class::Object);
        }
        failures.succeeded(&a);
        assert!(failures.failed(&a, Class::Object) <= FIRST);
        assert!(failures.failed(&b, Class::Object) > 64 * FIRST);
    }

    #[test]
    fn what_an_outage_counted_up_does_not_make_the_object_wait() {
        let key = Key::new(Kind::Workflow, "n", "a");
        let mut failures = Failures::default();
        for _ in 0..20 {
            failures.failed(&key, Class::Outage);
        }
        assert!(failures.failed(&key, Class::Object) <= FIRST);
        assert!(failures.failed(&key, Class::Object) <= 2 * FIRST);
        assert!(failures.failed(&key, Class::Outage) <= FIRST);
    }

    #[test]
    fn jitter_lies_between_nought_and_one() {
        let random = RandomState::new();
        for n in 0..1000 {
            assert!((0.0..1.0).contains(&jitter(&random, n)));
        }
    }
}
