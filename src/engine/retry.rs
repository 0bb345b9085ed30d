//! When a failed attempt is followed by another one, and how long that waits.

use std::{sync::Arc, time::Duration};

use super::{
    error::{ErrorKind, StepError},
    formula::Condition,
    key::StepKey,
};

/// How a step is tried: its own fields over those of the spec over the defaults.
#[derive(Debug, Clone)]
pub(super) struct Retry {
    pub(super) max_attempts: u32,
    pub(super) initial: Duration,
    pub(super) factor: f64,
    pub(super) max: Duration,
    pub(super) jitter: f64,
    pub(super) when: Option<Arc<Condition>>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            initial: Duration::from_secs(1),
            factor: 2.0,
            max: Duration::from_secs(60),
            jitter: 0.2,
            when: None,
        }
    }
}

impl Retry {
    /// The wait after this attempt: `initial · factor^(attempt - 1)`, at most `max`, give or take `jitter` of itself.
    pub(super) fn delay(&self, key: &StepKey, attempt: u32) -> Duration {
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let delay = (self.initial.as_secs_f64() * self.factor.powi(exponent)).min(self.max.as_secs_f64());
        jittered(delay, self.jitter, &[key.as_bytes(), &attempt.to_le_bytes()])
    }
}

/// Whether an error is worth another attempt when `retry.when` does not say so.
pub(super) fn is_transient(error: &StepError) -> bool {
    match error.kind {
        ErrorKind::Timeout | ErrorKind::Connect => true,
        ErrorKind::Status => matches!(error.status, 408 | 429 | 500..=599),
        // Connection exceptions, transaction rollbacks, insufficient resources, operator intervention.
        ErrorKind::Sql => ["08", "40", "53", "57"]
            .iter()
            .any(|class| error.code.len() == 5 && error.code.starts_with(class)),
        ErrorKind::Ambiguous
        | ErrorKind::Refused
        | ErrorKind::Expectation
        | ErrorKind::Expression
        | ErrorKind::WorkerLost => false,
    }
}

/// The wait before a run goes on after its `takeovers`-th takeover in a row: none after the first, then 1 s · 2ⁿ, at
/// most five minutes, give or take a fifth.
pub(super) fn hold(seed: &[u8], takeovers: u32) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(300);
    let doublings = takeovers.checked_sub(2)?;
    let seconds = 1u64
        .checked_shl(doublings)
        .filter(|_| doublings < 16)
        .map_or(LONGEST.as_secs(), |s| s.min(300));
    Some(jittered(seconds as f64, 0.2, &[seed, &takeovers.to_le_bytes()]).min(LONGEST))
}

/// `seconds` times a number from `1 - jitter` to `1 + jitter` that depends on nothing but the seed.
fn jittered(seconds: f64, jitter: f64, seed: &[&[u8]]) -> Duration {
    let mut hasher = blake3::Hasher::new();
    for part in seed {
        hasher.update(part);
    }
    let mut number = [0; 8];
    number.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    let unit = u64::from_le_bytes(number) as f64 / u64::MAX as f64;
    // At most ten years times 2 by the limits of a definition, so the duration exists.
    Duration::try_from_secs_f64(seconds * (1.0 + jitter * (2.0 * unit - 1.0))).unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing;

    fn key() -> StepKey {
        StepKey::new(&testing::origin(), "a", 0, crate::engine::Deed::Do, 0)
    }

    #[test]
    fn delays_grow_by_the_factor_up_to_the_maximum() {
        let retry = Retry {
            jitter: 0.0,
            ..Retry::default()
        };
        let delays: Vec<u64> = (1..=9).map(|attempt| retry.delay(&key(), attempt).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(retry.delay(&key(), u32::MAX).as_secs(), 60);
    }

    #[test]
    fn jitter_stays_within_its_share_differs_by_attempt_and_is_the_same_each_time() {
        let retry = Retry {
            factor: 1.0,
            jitter: 0.5,
            initial: Duration::from_secs(10),
            ..Retry::default()
        };
        let delays: Vec<Duration> = (1..=200).map(|attempt| retry.delay(&key(), attempt)).collect();
        assert!(delays.iter().all(|delay| (5.0..=15.0).contains(&delay.as_secs_f64())));
        assert!(delays.iter().any(|delay| delay.as_secs_f64() < 7.0));
        assert!(delays.iter().any(|delay| delay.as_secs_f64() > 13.0));
        assert_eq!(
            delays,
            (1..=200)
                .map(|attempt| retry.delay(&key(), attempt))
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_passes_by_itself_is_transient_and_the_rest_is_not() {
        let transient = |kind, code: &str, status| is_transient(&StepError::new(kind, code, "").with_status(status));
        for (kind, code, status, expected) in [
            (ErrorKind::Timeout, "Timeout", 0, true),
            (ErrorKind::Connect, "Refused", 0, true),
            (ErrorKind::Status, "UnexpectedStatus", 408, true),
            (ErrorKind::Status, "UnexpectedStatus", 429, true),
            (ErrorKind::Status, "UnexpectedStatus", 500, true),
            (ErrorKind::Status, "UnexpectedStatus", 599, true),
            (ErrorKind::Status, "UnexpectedStatus", 404, false),
            (ErrorKind::Status, "UnexpectedStatus", 200, false),
            (ErrorKind::Sql, "08006", 0, true),
            (ErrorKind::Sql, "40001", 0, true),
            (ErrorKind::Sql, "53300", 0, true),
            (ErrorKind::Sql, "57P01", 0, true),
            (ErrorKind::Sql, "23505", 0, false),
            (ErrorKind::Sql, "", 0, false),
            (ErrorKind::Ambiguous, "Ambiguous", 0, false),
            (ErrorKind::Refused, "EgressDenied", 0, false),
            (ErrorKind::Expectation, "OUT_OF_STOCK", 0, false),
            (ErrorKind::Expression, "ExpressionBudget", 0, false),
            (ErrorKind::WorkerLost, "WorkerLost", 0, false),
        ] {
            assert_eq!(transient(kind, code, status), expected, "{kind:?} {code} {status}");
        }
    }

    #[test]
    fn a_run_is_held_from_the_second_takeover_on_for_at_most_five_minutes() {
        assert_eq!(hold(b"run", 1), None);
        for (takeovers, seconds) in [(2, 1.0), (3, 2.0), (4, 4.0), (9, 128.0)] {
            let held = hold(b"run", takeovers).unwrap().as_secs_f64();
            assert!((seconds * 0.8..=seconds * 1.2).contains(&held), "{takeovers}: {held}");
        }
        for takeovers in [11, 17, 70, u32::MAX] {
            let held = hold(b"run", takeovers).unwrap().as_secs_f64();
            assert!((240.0..=300.0).contains(&held), "{takeovers}: {held}");
        }
    }
}
