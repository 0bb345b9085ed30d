//! Runs whose newest summary no status shows yet: fed by the wake-ups, emptied by the reconciles.
//!
//! The database lists such a run until it is marked, so a wake-up would feed the same one many times a second while
//! its status waits for its turn. Here each is news once.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::key::Key;

/// (run, `summary_seq`) by object.
#[derive(Debug, Default)]
pub(crate) struct Unprojected {
    runs: Mutex<HashMap<Key, HashMap<Uuid, i32>>>,
}

impl Unprojected {
    /// Takes note of a changed run; whether that is news.
    pub(crate) fn add(&self, key: &Key, run: Uuid, seq: i32) -> bool {
        let mut all = self.lock();
        let runs = all.entry(key.clone()).or_default();
        let known = runs.insert(run, seq);
        known.is_none_or(|known| known < seq)
    }

    /// What is to be marked once the object's status shows facts that are read from now on.
    pub(crate) fn of(&self, key: &Key) -> Vec<(Uuid, i32)> {
        self.lock()
            .get(key)
            .map(|runs| runs.iter().map(|(run, seq)| (*run, *seq)).collect())
            .unwrap_or_default()
    }

    /// These were marked; what changed meanwhile stays.
    pub(crate) fn remove(&self, key: &Key, marked: &[(Uuid, i32)]) {
        let mut all = self.lock();
        let Some(runs) = all.get_mut(key) else { return };
        for (run, seq) in marked {
            if runs.get(run).is_some_and(|known| known <= seq) {
                runs.remove(run);
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

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, HashMap<Uuid, i32>>> {
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
