//! The queue of reconciles: which key is due next, each key at most once, and never twice at the same time.
//!
//! It knows nothing of objects. Wishes for one key are merged and the earliest wins; a wish for a key that is being
//! worked on waits until that ends. One consumer takes from it; anybody may add.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Keys and when they are due.
pub(crate) struct Queue<K> {
    state: Mutex<State<K>>,
    /// Rung when the earliest time may have changed.
    earlier: Notify,
}

struct State<K> {
    /// Waiting keys by time. A key here is also in `at`, and not in `running`.
    order: BTreeSet<(Instant, K)>,
    at: HashMap<K, Instant>,
    running: HashSet<K>,
    /// Wishes for keys that are running.
    again: HashMap<K, Instant>,
}

impl<K: Clone + Ord + Hash> Queue<K> {
    pub(crate) fn new() -> Self {
        let state = State {
            order: BTreeSet::new(),
            at: HashMap::new(),
            running: HashSet::new(),
            again: HashMap::new(),
        };
        Self {
            state: Mutex::new(state),
            earlier: Notify::new(),
        }
    }

    /// Wants `key` at `at`, or earlier when an earlier wish is there already.
    pub(crate) fn add(&self, key: K, at: Instant) {
        self.lock().add(key, at);
        self.earlier.notify_one();
    }

    /// Wants `key` now.
    pub(crate) fn add_now(&self, key: K) {
        self.add(key, Instant::now());
    }

    /// The next key that is due; it counts as running until [`done`](Self::done). Cancel safe. For one consumer.
    pub(crate) async fn next(&self) -> K {
        loop {
            // Armed before looking, so that an `add` in between is not missed.
            let earlier = self.earlier.notified();
            let first = match self.lock().take(Instant::now()) {
                Ok(key) => return key,
                Err(first) => first,
            };
            match first {
                Some(at) => tokio::select! { () = earlier => {}, () = sleep_until(at) => {} },
                None => earlier.await,
            }
        }
    }

    /// `key` is not running any more; what was wished meanwhile is due as wished.
    pub(crate) fn done(&self, key: &K) {
        let mut state = self.lock();
        state.running.remove(key);
        if let Some(at) = state.again.remove(key) {
            state.add(key.clone(), at);
            drop(state);
            self.earlier.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<K>> {
        // Nothing in here panics half-way, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Ord + Hash> State<K> {
    fn add(&mut self, key: K, at: Instant) {
        if self.running.contains(&key) {
            let again = self.again.entry(key).or_insert(at);
            *again = at.min(*again);
            return;
        }
        match self.at.get(&key) {
            Some(&earlier) if earlier <= at => return,
            Some(&later) => {
                self.order.remove(&(later, key.clone()));
            }
            None => {}
        }
        self.at.insert(key.clone(), at);
        self.order.insert((at, key));
    }

    /// A key that is due at `now`, or else when the first one will be.
    fn take(&mut self, now: Instant) -> Result<K, Option<Instant>> {
        let Some((at, key)) = self.order.pop_first() else {
            return Err(None);
        };
        if at > now {
            self.order.insert((at, key));
            return Err(Some(at));
        }
        self.at.remove(&key);
        self.running.insert(key.clone());
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn state() -> (State<&'static str>, Instant) {
        (Queue::new().state.into_inner().unwrap(), Instant::now())
    }

    #[test]
    fn earliest_wish_for_a_key_wins_and_it_is_given_once() {
        let (mut state, start) = state();
        state.add("a", start + 9 * SECOND);
        state.add("a", start + 3 * SECOND);
        state.add("a", start + 6 * SECOND);
        state.add("b", start + 4 * SECOND);
        assert_eq!(state.take(start), Err(Some(start + 3 * SECOND)));
        assert_eq!(state.take(start + 3 * SECOND), Ok("a"));
        assert_eq!(state.take(start + 100 * SECOND), Ok("b"));
        assert_eq!(state.take(start + 100 * SECOND), Err(None));
    }

    #[tokio::test]
    async fn key_that_is_running_is_not_given_a_second_time() {
        let queue = Queue::new();
        queue.add_now("a");
        assert_eq!(queue.next().await, "a");
        queue.add_now("a");
        queue.add("a", Instant::now() + SECOND);
        assert_eq!(queue.lock().take(Instant::now() + 2 * SECOND), Err(None));
        queue.done(&"a");
        assert_eq!(queue.next().await, "a");
        queue.done(&"a");
        assert_eq!(
            queue.lock().take(Instant::now() + 2 * SECOND),
            Err(None),
            "the later wish was merged"
        );
    }

    #[tokio::test]
    async fn consumer_that_waits_for_a_later_key_is_woken_by_an_earlier_one() {
        let queue = Arc::new(Queue::new());
        queue.add("late", Instant::now() + 3600 * SECOND);
        let consumer = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        });
        tokio::task::yield_now().await;
        queue.add_now("early");
        let taken = tokio::time::timeout(60 * SECOND, consumer).await;
        assert_eq!(taken.expect("it was woken").unwrap(), "early");
    }
}
