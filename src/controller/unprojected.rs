//! Runs whose newest summary no status shows yet: fed by the wake-ups, emptied by the reconciles.
//!
//! The database lists such a run until it is marked, so a wake-up would feed the same one many times a second while
//! its status waits for its turn. Here each is news once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use uuid::Uuid;

use super::key::Key;

/// Changed runs by object.
#[derive(Debug, Default)]
pub(crate) struct Unprojected {
    runs: Mutex<Runs>,
}

type Runs = HashMap<Key, HashMap<Uuid, News>>;

/// A summary that no status shows.
#[derive(Debug, Clone, Copy)]
struct News {
    seq: i32,
    /// When we heard of it, or of an earlier one that was not shown either.
    since: Instant,
}

impl Unprojected {
    /// Takes note of a changed run; whether that is news.
    pub(crate) fn add(&self, key: &Key, run: Uuid, seq: i32) -> bool {
        let mut all = self.lock();
        let runs = all.entry(key.clone()).or_default();
        let known = runs.get(&run).copied();
        let since = known.map_or_else(Instant::now, |known| known.since);
        runs.insert(run, News { seq, since });
        known.is_none_or(|known| known.seq < seq)
    }

    /// What is to be marked once the object's status shows facts that are read from now on.
    pub(crate) fn of(&self, key: &Key) -> Vec<(Uuid, i32)> {
        self.lock()
            .get(key)
            .map(|runs| runs.iter().map(|(run, news)| (*run, news.seq)).collect())
            .unwrap_or_default()
    }

    /// These were marked; what changed meanwhile stays.
    pub(crate) fn remove(&self, key: &Key, marked: &[(Uuid, i32)]) {
        let mut all = self.lock();
        let Some(runs) = all.get_mut(key) else { return };
        for (run, seq) in marked {
            match runs.get_mut(run) {
                Some(known) if known.seq <= *seq => {
                    runs.remove(run);
                }
                // What was not shown yet came while the status was written.
                Some(later) => later.since = Instant::now(),
                None => {}
            }
        }
        if runs.is_empty() {
            all.remove(key);
        }
    }

    /// The object is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Showing them is nobody's business here any more.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Since when the oldest of all has waited.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let all = self.lock();
        all.values().flat_map(HashMap::values).map(|news| news.since).min()
    }

    fn lock(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Kind;
    use super::*;

    #[test]
    fn run_is_news_once_for_each_summary() {
        let all = Unprojected::default();
        let (key, run) = (Key::new(Kind::Workflow, "n", "a"), Uuid::from_u128(1));
        assert!(all.add(&key, run, 3));
        assert!(!all.add(&key, run, 3));
        assert!(all.add(&key, run, 4));
        all.remove(&key, &[(run, 4)]);
        assert!(all.of(&key).is_empty());
        assert!(all.add(&key, run, 4), "the mark was lost: the database says so again");
    }

    #[test]
    fn oldest_news_are_those_that_waited_longest_and_what_was_shown_waits_no_more() {
        let all = Unprojected::default();
        let [a, b] = ["a", "b"].map(|name| Key::new(Kind::Workflow, "n", name));
        assert_eq!(all.oldest(), None);
        all.add(&a, Uuid::from_u128(1), 3);
        let first = all.oldest();
        all.add(&b, Uuid::from_u128(2), 1);
        all.add(&a, Uuid::from_u128(1), 4);
        assert_eq!(
            all.oldest(),
            first,
            "a later summary has waited as long as the one that it replaces"
        );
        all.remove(&a, &[(Uuid::from_u128(1), 4)]);
        assert!(all.oldest() > first);
        all.remove(&b, &[(Uuid::from_u128(2), 1)]);
        assert_eq!(all.oldest(), None);
    }

    #[test]
    fn summary_that_came_while_the_status_was_written_stays() {
        let all = Unprojected::default();
        let (key, run) = (Key::new(Kind::Workflow, "n", "a"), Uuid::from_u128(1));
        all.add(&key, run, 3);
        let shown = all.of(&key);
        all.add(&key, run, 5);
        all.remove(&key, &shown);
        assert_eq!(all.of(&key), [(run, 5)]);
    }
}
