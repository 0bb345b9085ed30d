//! The mail sweep: whoever has untaken mail is woken or told. The writer of mail wakes nobody, for its transaction may
//! stay open for minutes; only a sweep, which reads in a statement of its own, sees what was really committed.

use std::time::{Duration, Instant};

use tracing::debug;

use super::{Beside, Health};
use crate::store::{Bell, Error, Store};

/// Between two sweeps for a while after something was found: answers to signals come close together.
const QUICK: Duration = Duration::from_millis(20);

/// How long that while is.
const QUICK_FOR: Duration = Duration::from_secs(1);

/// Between two sweeps when nothing comes: the most that mail lies unseen when the doorbell is lost.
const SLOW: Duration = Duration::from_secs(1);

/// Sweeps on the doorbell and on its own pace, for ever.
pub(super) async fn run(store: &Store, beside: &Beside) {
    let mut bell = store.listen(Bell::Mail);
    let mut health = Health::of("mail");
    let mut busy = Instant::now();
    let mut pause = QUICK;
    loop {
        // The wake-up is armed before the look: what comes during the sweep wakes the next one.
        let began = Instant::now();
        match once(store, beside).await {
            Ok(found) => {
                health.worked();
                if found {
                    busy = Instant::now();
                }
            }
            Err(error) => health.failed(&error),
        }
        tokio::time::sleep(rest(began.elapsed())).await;
        pause = next_pause(pause, busy.elapsed());
        tokio::select! {
            () = bell.rung() => busy = Instant::now(),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One sweep; true when it found something.
async fn once(store: &Store, beside: &Beside) -> Result<bool, Error> {
    let worker = (beside.steady)().map(|(worker, _)| worker);
    let began = (beside.moment)();
    let sweep = store.mail_sweep(worker).await?;
    let found = !sweep.told.is_empty() || sweep.woken > 0;
    if sweep.woken > 0 {
        store.ring(Bell::Work);
    }
    if found || sweep.undelivered > 0 {
        debug!(
            told = sweep.told.len(),
            woken = sweep.woken,
            undelivered = sweep.undelivered,
            "mail"
        );
    }
    if !sweep.told.is_empty() {
        (beside.tell)(began, sweep.told).await;
    }
    Ok(found)
}

/// As long as the sweep took, whoever rings meanwhile: with much mail on its way a sweep is work for the server, which is
/// to do the appends that take it.
fn rest(took: Duration) -> Duration {
    took.min(SLOW)
}

fn next_pause(last: Duration, quiet: Duration) -> Duration {
    if quiet < QUICK_FOR { QUICK } else { (last * 2).min(SLOW) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sweeps_leave_the_server_half_of_the_time_at_least() {
        assert_eq!(rest(Duration::from_millis(3)), Duration::from_millis(3));
        assert_eq!(rest(Duration::from_secs(9)), SLOW);
    }

    #[test]
    fn sweeps_are_quick_after_mail_and_slow_down_to_a_second() {
        assert_eq!(next_pause(SLOW, Duration::ZERO), QUICK);
        assert_eq!(next_pause(QUICK, QUICK_FOR), QUICK * 2);
        assert_eq!(next_pause(Duration::from_millis(900), QUICK_FOR), SLOW);
    }
}
