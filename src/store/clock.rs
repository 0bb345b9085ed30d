//! Database time without a round trip: the last answer plus the monotonic time since it was received.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use jiff::{Timestamp, Unit};

use super::Store;

/// Never ahead of the database's clock, since an answer is older when it arrives than when it was made; and as close to
/// it as the quickest of the late answers.
#[derive(Debug, Default)]
pub(super) struct Clock {
    latest: Mutex<Option<Reading>>,
}

/// What the database said, and when we received it.
#[derive(Debug, Clone, Copy)]
struct Reading {
    said: Timestamp,
    received: Instant,
}

impl Store {
    /// The database's time, never ahead of it, in whole microseconds as the database stores them.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl Clock {
    /// Takes note of an answer that has just been received.
    pub(super) fn learn(&self, said: Timestamp) {
        self.learn_at(said, Instant::now());
    }

    fn learn_at(&self, said: Timestamp, received: Instant) {
        // Always the newest answer, though an older and quicker one may have been nearer: the database's clock may have
        // been set back since, and whoever keeps the larger of two readings would be ahead of it for ever.
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Reading { said, received });
    }

    fn now(&self) -> Timestamp {
        self.now_at(Instant::now())
    }

    fn now_at(&self, now: Instant) -> Timestamp {
        let latest = *self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Reading { said, received }) = latest else {
            return Timestamp::UNIX_EPOCH;
        };
        let now = said
            .checked_add(now.saturating_duration_since(received))
            .unwrap_or(said);
        // Cut, not rounded: half a microsecond ahead is ahead.
        let cut = jiff::TimestampRound::new()
            .smallest(Unit::Microsecond)
            .mode(jiff::RoundMode::Floor);
        now.round(cut).unwrap_or(said)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_goes_on_from_the_last_answer_and_is_cut_to_microseconds() {
        let (clock, start) = (Clock::default(), Instant::now());
        clock.learn_at("2026-01-01T00:00:00Z".parse().unwrap(), start);
        let now = clock.now_at(start + Duration::from_nanos(1_500_999));
        assert_eq!(now, "2026-01-01T00:00:00.0015Z".parse().unwrap());
    }

    #[test]
    fn a_clock_that_was_set_back_is_followed() {
        let (clock, start) = (Clock::default(), Instant::now());
        clock.learn_at("2026-01-01T00:00:10Z".parse().unwrap(), start);
        clock.learn_at("2026-01-01T00:00:05Z".parse().unwrap(), start);
        assert_eq!(clock.now_at(start), "2026-01-01T00:00:05Z".parse().unwrap());
    }
}
