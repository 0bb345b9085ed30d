//! Database time without a round trip: the last answer plus the monotonic time since it was received.

use std::{sync::Mutex, time::Instant};

use jiff::Timestamp;

use super::Store;

/// Never ahead of the database's clock: an answer is older when it arrives than when it was made.
#[derive(Debug, Default)]
pub(super) struct Clock {
    /// What the database said, and when we received it.
    latest: Mutex<Option<(Timestamp, Instant)>>,
}

impl Store {
    /// The database's time, never ahead of it, in whole microseconds as the database stores them. Never goes back.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl Clock {
    /// Takes note of an answer that has just been received.
    pub(super) fn learn(&self, said: Timestamp) {
        let mut latest = self.latest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *latest = Some((said, Instant::now()));
    }

    fn now(&self) -> Timestamp {
        let latest = self.latest.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        latest.map_or(Timestamp::UNIX_EPOCH, |(said, at)| said + at.elapsed())
    }
}
