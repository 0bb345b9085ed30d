//! Turns of attempts: so many at once in a process, and none of the endpoints that they go to can take them all.
//!
//! An endpoint may hold at most twice as many turns as are free. Alone it gets two thirds of them; of two that want all, each
//! gets two fifths; and some are always left for an endpoint that has none yet, however long the others keep theirs. Nobody
//! has to say in advance how many endpoints there will be. (A dynamic threshold, as switches share a buffer among ports:
//! Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998.)

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// How many turns an endpoint may hold for each that is free.
const SHARE: usize = 2;

/// Where an attempt goes: namespace, and Connection or origin.
pub(super) type Endpoint = (String, String);

/// The turns of one kind of attempt; clones share them.
#[derive(Clone)]
pub(super) struct Turns(Arc<Mutex<State>>);

struct State {
    free: usize,
    /// Those that hold a turn or wait for one.
    endpoints: HashMap<Endpoint, Queue>,
}

#[derive(Default)]
struct Queue {
    held: usize,
    /// First come, first served.
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// The right to perform one attempt, until it is dropped.
pub(super) struct Turn {
    turns: Turns,
    endpoint: Endpoint,
}

impl Turns {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: most,
            endpoints: HashMap::new(),
        })))
    }

    /// Waits for a turn. Cancel-safe. None never comes: whoever waits keeps the turns alive.
    pub(super) async fn take(&self, endpoint: Endpoint) -> Option<Turn> {
        let coming = {
            let mut state = self.state();
            let queue = state.endpoints.entry(endpoint.clone()).or_default();
            let (turn, coming) = oneshot::channel();
            queue.waiting.push_back(turn);
            coming
        };
        self.hand_out();
        coming.await.ok()
    }

    /// Gives free turns to those who may have one: of several the endpoint that holds least.
    fn hand_out(&self) {
        while let Some((endpoint, waiting)) = self.next() {
            let turn = Turn {
                turns: self.clone(),
                endpoint,
            };
            // Not taken, it is dropped here, and free again.
            waiting.send(turn).ok();
        }
    }

    /// Takes a free turn out for the next one who waits.
    fn next(&self) -> Option<(Endpoint, oneshot::Sender<Turn>)> {
        let mut state = self.state();
        let free = state.free;
        let may = |queue: &Queue| !queue.waiting.is_empty() && queue.held < SHARE * free;
        let candidates = state.endpoints.iter_mut().filter(|(_, queue)| may(queue));
        let (endpoint, queue) = candidates.min_by_key(|(_, queue)| queue.held)?;
        let waiting = queue.waiting.pop_front()?;
        queue.held += 1;
        let endpoint = endpoint.clone();
        state.free -= 1;
        Some((endpoint, waiting))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut state = self.turns.state();
            state.free += 1;
            if let Some(queue) = state.endpoints.get_mut(&self.endpoint) {
                queue.held -= 1;
                if queue.held == 0 && queue.waiting.is_empty() {
                    state.endpoints.remove(&self.endpoint);
                }
            }
        }
        self.turns.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn endpoint(name: &str) -> Endpoint {
        ("shop".to_owned(), name.to_owned())
    }

    /// All turns that an endpoint gets without waiting.
    fn all(turns: &Turns, name: &str) -> Vec<Turn> {
        std::iter::from_fn(|| turns.take(endpoint(name)).now_or_never().flatten()).collect()
    }

    #[test]
    fn something_is_left_for_an_endpoint_that_comes_new() {
        let turns = Turns::new(512);
        let first = all(&turns, "a");
        assert_eq!(first.len(), 342, "two thirds");
        let second = all(&turns, "b");
        assert_eq!(second.len(), 114, "two thirds of what was left");
        for number in 0..50 {
            let new = turns.take(endpoint(&format!("new-{number}"))).now_or_never();
            assert!(new.flatten().is_some(), "{number}");
        }
        drop((first, second));
        let state = turns.state();
        assert_eq!(
            (state.free, state.endpoints.len()),
            (512, 0),
            "nothing is kept of who has gone"
        );
    }

    #[tokio::test]
    async fn a_turn_that_ends_goes_to_who_waits_and_to_each_in_order() {
        let turns = Turns::new(3);
        let mut held = all(&turns, "a");
        assert_eq!(held.len(), 2);
        let (mut early, mut late) = (Box::pin(turns.take(endpoint("a"))), Box::pin(turns.take(endpoint("a"))));
        assert!((&mut early).now_or_never().is_none());
        assert!((&mut late).now_or_never().is_none());
        held.pop();
        assert!((&mut late).now_or_never().is_none(), "the other was first");
        let turn = early.await.unwrap();
        drop(turn);
        assert!(late.await.is_some());
    }

    #[tokio::test]
    async fn a_turn_for_somebody_who_waits_no_longer_is_free() {
        let turns = Turns::new(1);
        let held = all(&turns, "a");
        assert_eq!(held.len(), 1);
        let (mut gone, mut waits) = (Box::pin(turns.take(endpoint("a"))), Box::pin(turns.take(endpoint("b"))));
        assert!((&mut gone).now_or_never().is_none());
        assert!((&mut waits).now_or_never().is_none());
        drop(gone);
        drop(held);
        drop(waits.await.unwrap());
        let state = turns.state();
        assert_eq!((state.free, state.endpoints.len()), (1, 0));
    }
}
