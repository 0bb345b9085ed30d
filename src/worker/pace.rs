//! When to look into the database again without having been rung: polling is the truth, the doorbell only makes it fast.

use std::time::{Duration, Instant};

/// Between two looks for a while after something happened.
const QUICK: Duration = Duration::from_millis(20);

/// How long that while is.
const QUICK_FOR: Duration = Duration::from_secs(1);

/// Between two looks when nothing happens for long.
const SLOW: Duration = Duration::from_secs(1);

/// The pace of polling.
#[derive(Debug)]
pub(super) struct Pace {
    quick_until: Instant,
    pause: Duration,
    next: Instant,
}

impl Pace {
    /// Due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            quick_until: now + QUICK_FOR,
            pause: QUICK,
            next: now,
        }
    }

    /// When to look next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Something happened: more may follow.
    pub(super) fn woken(&mut self, now: Instant) {
        self.quick_until = now + QUICK_FOR;
        self.pause = QUICK;
        self.next = self.next.min(now + QUICK);
    }

    /// A look is over.
    pub(super) fn looked(&mut self, now: Instant) {
        if now >= self.quick_until {
            self.pause = (self.pause * 2).min(SLOW);
        }
        self.next = now + self.pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_for_a_second_after_a_wake_then_slower_up_to_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut now = start;
        let mut pauses = Vec::new();
        for _ in 0..64 {
            pace.looked(now);
            pauses.push(pace.next() - now);
            now = pace.next();
        }
        assert_eq!(pauses[..50], [QUICK; 50]);
        assert_eq!(pauses[50], QUICK * 2);
        assert_eq!(pauses[63], SLOW);

        pace.looked(now);
        pace.woken(now);
        assert_eq!(pace.next(), now + QUICK);
    }
}
