//! The timer sweep: parked runs whose time has come go back to `active`. Timers of runs in a worker's memory are that
//! worker's own.

use std::time::Duration;

use jiff::Timestamp;
use tracing::debug;

use super::Health;
use crate::store::{Bell, Error, Store};

/// The longest sleep: a timer that somebody else set meanwhile is late by this much at most. A run that is due sooner
/// is not parked at all, so that a new timer is rarely late.
const LONGEST: Duration = Duration::from_secs(1);

/// The shortest sleep: bounds the sweeps when many timers are due one after another.
const SHORTEST: Duration = Duration::from_millis(10);

/// Sweeps whenever the next timer is due, for ever.
pub(super) async fn run(store: &Store) {
    let mut health = Health::of("timers");
    loop {
        let pause = match once(store).await {
            Ok(next) => {
                health.worked();
                pause(next, store.now())
            }
            Err(error) => {
                health.failed(&error);
                LONGEST
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// One sweep, if anything is due; answers when to sweep next.
async fn once(store: &Store) -> Result<Option<Timestamp>, Error> {
    let next = store.next_timer().await?;
    if next.is_none_or(|at| at > store.now()) {
        return Ok(next);
    }
    let woken = store.timer_sweep().await?;
    if woken > 0 {
        debug!(woken, "timers");
        store.ring(Bell::Work);
    }
    store.next_timer().await
}

fn pause(next: Option<Timestamp>, now: Timestamp) -> Duration {
    let until = next.map_or(LONGEST, |at| {
        Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
    });
    until.clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn sleeps_until_the_next_timer_and_a_second_at_most() {
        let now = Timestamp::from_second(1_000).unwrap();
        let at = |milliseconds| Some(now + SignedDuration::from_millis(milliseconds));
        assert_eq!(pause(at(300), now), Duration::from_millis(300));
        assert_eq!(pause(at(60_000), now), LONGEST);
        assert_eq!(pause(None, now), LONGEST);
        assert_eq!(
            pause(at(-5), now),
            SHORTEST,
            "overdue: another worker is at it, or the sweep was cut"
        );
    }
}
