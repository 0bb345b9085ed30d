//! Looks for stuck runs, beside the controller that leads, and keeps what it saw for the metrics. Of what it finds it mends
//! only what nothing moves any more, which no sweep would ever meet again. The rest has a sweep, or waits for a person.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::Health;
use crate::leading::Leading;
use crate::store::{Error, Store, Stuck, StuckReason};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(10);
/// Runs that nothing moves are looked for, and put back, with every so many looks: that reads every live run.
const UNMOVED_EVERY: u64 = 30;

/// What the last look saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sight {
    /// When it was, by the database's clock; none: there was none yet, or this process does not lead.
    pub at: Option<Timestamp>,
    /// Stuck runs by reason.
    pub stuck: Vec<Stuck>,
}

/// The last look, for whoever asks.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Sight>);

impl Seen {
    /// What the last look saw.
    #[must_use]
    pub fn last(&self) -> Sight {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, sight: Sight) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = sight;
    }
}

/// Looks while this process leads, until `shutdown`.
pub async fn run(store: Store, seen: Arc<Seen>, mut leading: Leading, shutdown: CancellationToken) {
    let mut health = Health::of("stuck runs");
    let mut ending = leading.clone();
    let terms = async {
        loop {
            leading.begins().await;
            tokio::select! {
                () = looks(&store, &seen, &mut health) => {}
                () = ending.ends() => {}
            }
            // Who does not lead has nothing to say of what another one sees.
            seen.set(Sight::default());
        }
    };
    shutdown.run_until_cancelled(terms).await;
}

/// Looks for ever, at everything at first.
async fn looks(store: &Store, seen: &Seen, health: &mut Health) {
    let mut looks = 0_u64;
    let mut unmoved = None;
    loop {
        // While some remain, another repair follows at once.
        let all = unmoved.is_some() || looks.is_multiple_of(UNMOVED_EVERY);
        match once(store, all, &mut unmoved).await {
            Ok(stuck) => {
                looks += 1;
                health.worked();
                say(&seen.last().stuck, &stuck);
                let at = Some(store.now());
                seen.set(Sight { at, stuck });
            }
            Err(error) => health.failed(&error),
        }
        tokio::time::sleep(PERIOD).await;
    }
}

/// One look; `unmoved` is what was left when runs that nothing moves were put back last.
async fn once(store: &Store, all: bool, unmoved: &mut Option<Stuck>) -> Result<Vec<Stuck>, Error> {
    if all {
        *unmoved = put_back(store).await?;
    }
    let mut stuck = store.stuck().await?;
    stuck.extend(*unmoved);
    Ok(stuck)
}

/// Puts back what nothing moves; answers what is left, which is more than one repair takes.
async fn put_back(store: &Store) -> Result<Option<Stuck>, Error> {
    let runs = store.repair().await?;
    if runs == 0 {
        return Ok(None);
    }
    tracing::warn!(
        runs,
        "runs that nothing moved any more were put back; their rows of `active` or `timers` were lost"
    );
    store.unmoved().await
}

/// Says once that runs are stuck for a reason, and once that none are any more.
fn say(before: &[Stuck], now: &[Stuck]) {
    for reason in StuckReason::ALL {
        let of = |all: &[Stuck]| all.iter().find(|stuck| stuck.reason == reason).copied();
        match (of(before), of(now)) {
            (None, Some(stuck)) => tracing::warn!(
                reason = reason.as_str(),
                runs = stuck.runs,
                oldest = ?stuck.oldest,
                "runs are stuck"
            ),
            (Some(_), None) => tracing::info!(reason = reason.as_str(), "no run is stuck any more"),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }
}
