//! Signals whose outcome their objects do not show yet: fed by the wake-ups, emptied by the reconciles.
//!
//! The database lists such a signal until it is marked; here each is news once. An outcome is final, so there is nothing
//! newer to wait for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ids of signals by the UID of their object.
#[derive(Debug, Default)]
pub(crate) struct Unshown {
    signals: Mutex<HashMap<String, i64>>,
}

impl Unshown {
    /// Takes note of a signal with an outcome; whether that is news.
    pub(crate) fn add(&self, uid: &str, id: i64) -> bool {
        self.lock().insert(uid.to_owned(), id).is_none()
    }

    /// The signal of the object that is to be marked once the object shows its outcome.
    pub(crate) fn of(&self, uid: &str) -> Option<i64> {
        self.lock().get(uid).copied()
    }

    /// It was marked.
    pub(crate) fn remove(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, i64>> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcome_is_news_once_until_it_is_marked() {
        let all = Unshown::default();
        assert!(all.add("a", 1));
        assert!(!all.add("a", 1));
        assert_eq!((all.of("a"), all.of("b")), (Some(1), None));
        all.remove("a");
        assert!(all.add("a", 1), "the mark was lost: the database says so again");
    }
}
