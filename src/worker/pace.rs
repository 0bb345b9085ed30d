//! When to look into the database again: polling is the truth, the doorbell only makes it fast.

use std::time::{Duration, Instant};

/// Between two looks for a while after something happened.
const QUICK: Duration = Duration::from_millis(20);

/// How long that while is.
const QUICK_FOR: Duration = Duration::from_secs(1);

/// Between two looks when nothing happens for long.
const SLOW: Duration = Duration::from_secs(1);

/// With a backlog, claim when this share of the slots is free: a claim costs a commit, whatever it gets.
const CLAIM_SHARE: usize = 8;

/// The pace of polling.
#[derive(Debug)]
pub(super) struct Pace {
    quick_until: Instant,
    pause: Duration,
    next: Instant,
    /// The bell rang since the last look began.
    rung: bool,
    /// The last claim got all it asked for.
    backlog: bool,
}

impl Pace {
    /// Due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            quick_until: now + QUICK_FOR,
            pause: QUICK,
            next: now,
            rung: false,
            backlog: false,
        }
    }

    /// When to look next.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Whether to look now, with so many slots of `max` free. With a backlog a ring is no news, and a look at each would
    /// claim a few runs at a time.
    pub(super) fn is_due(&self, now: Instant, free: usize, max: usize) -> bool {
        let something = if self.backlog {
            free >= max.div_ceil(CLAIM_SHARE)
        } else {
            self.rung
        };
        something || self.next <= now
    }

    /// The bell: there is something.
    pub(super) fn rung(&mut self, now: Instant) {
        self.woken(now);
        self.rung = true;
    }

    /// A look begins: it finds what was rung for.
    pub(super) fn looks(&mut self) {
        self.rung = false;
        self.backlog = false;
    }

    /// There is no room to look for, or no more than was filled.
    pub(super) fn filled(&mut self) {
        self.rung = false;
        self.backlog = true;
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
    fn a_ring_is_looked_after_at_once_and_with_a_backlog_when_a_share_is_free_or_soon() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        // Long without work.
        for _ in 0..64 {
            pace.looked(now);
            now = pace.next();
        }
        pace.looked(now);
        assert!(!pace.is_due(now, 1000, 1000));
        pace.rung(now);
        assert!(pace.is_due(now, 1, 1000));
        pace.looks();
        // Rung while the look goes on, which claims all it asked for.
        pace.rung(now);
        pace.filled();
        pace.looked(now);
        assert!(!pace.is_due(now, 1, 1000));
        assert!(pace.is_due(now, 125, 1000));
        assert!(pace.is_due(now, 1, 1));
        pace.rung(now);
        assert!(!pace.is_due(now, 124, 1000));
        assert!(pace.is_due(now + QUICK, 1, 1000));
        // The next look finds less than there is room for.
        pace.looks();
        pace.looked(now);
        assert!(!pace.is_due(now, 1000, 1000));
        pace.rung(now);
        assert!(pace.is_due(now, 1, 1000));
    }

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
