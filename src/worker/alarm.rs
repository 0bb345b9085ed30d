//! The earliest instant at which some run in memory wants to be looked at. Not the timers of parked runs: those are rows.
//!
//! A run has one alarm at most and moves it freely: a superseded entry stays in the heap until it comes up and is then
//! passed over, so that moving an alarm costs no search.

use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

use uuid::Uuid;

/// A heap of alarms.
#[derive(Debug, Default)]
pub(super) struct Alarms(BinaryHeap<Reverse<(Instant, Uuid)>>);

impl Alarms {
    /// Remember that `run` wants to be looked at then.
    pub(super) fn set(&mut self, run: Uuid, at: Instant) {
        self.0.push(Reverse((at, run)));
    }

    /// When the first one goes off. It may belong to a run that has moved its alarm since: looking costs nothing.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// The next alarm that has gone off by `now`.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Uuid)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(alarm)| alarm)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn alarms_go_off_in_order_and_never_early() {
        let start = Instant::now();
        let (early, late) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut alarms = Alarms::default();
        alarms.set(late, start + Duration::from_secs(2));
        alarms.set(early, start + Duration::from_secs(1));

        assert_eq!(alarms.next(), Some(start + Duration::from_secs(1)));
        assert_eq!(alarms.pop(start), None);
        let now = start + Duration::from_secs(2);
        assert_eq!(alarms.pop(now).map(|(_, run)| run), Some(early));
        assert_eq!(alarms.pop(now).map(|(_, run)| run), Some(late));
        assert_eq!(alarms.pop(now), None);
    }
}
