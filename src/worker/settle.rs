//! Appends a batch of decisions, however long it takes to know what became of them. Not what the answers mean.
//!
//! A commit has three outcomes. After an ambiguous one the identical batch is sent again until it is answered, and the
//! memory of its runs is kept meanwhile (P11): the nonce tells whose row is there. While PostgreSQL is away the batch
//! waits; only the fence ends the waiting, for then somebody else may own these runs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tracing::warn;
use uuid::Uuid;

use super::{aside, counters::Counters, lease::Registration};
use crate::store::{Append, AppendError, Appended, Store};

/// Between two attempts at first: PostgreSQL may be back at once after a cut connection.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// Between two attempts at most: a restarted PostgreSQL is noticed within this.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// What became of a batch.
pub(super) struct Settled {
    /// The worker id under which it was sent.
    pub(super) worker: Uuid,
    /// For each decision its run and the answer. Empty when the fence fell first: nothing is known, memory is dropped.
    pub(super) answers: Vec<(Uuid, Appended)>,
}

/// Sends a batch until it is answered or the fence is down.
pub(super) async fn settle(
    store: Store,
    batch: Vec<Append>,
    me: Arc<Registration>,
    counters: Arc<Counters>,
) -> Settled {
    let began = Instant::now();
    let mut ambiguous = false;
    let mut pause = FIRST_PAUSE;
    let mut said = false;
    while me.fence.holds() {
        let answer = if ambiguous {
            store.append_again(&batch).await
        } else {
            store.append(&batch).await
        };
        let error = match answer {
            Ok(answers) => {
                counters.settle_size.add(batch.len());
                counters.settle_time.add(began.elapsed());
                let answers: Vec<_> = batch.iter().map(|append| append.run).zip(answers).collect();
                aside::say(&store, &me, &poisoned(&answers)).await;
                return Settled {
                    worker: me.worker,
                    answers,
                };
            }
            Err(error) => error,
        };
        match &error {
            AppendError::Ambiguous(_) => ambiguous = true,
            AppendError::Failed(_) => {}
        }
        if !said {
            warn!(%error, runs = batch.len(), ambiguous, "a batch of decisions was not answered; sending it again");
            said = true;
        }
        counters.settle_retries.add(1);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Settled {
        worker: me.worker,
        answers: Vec::new(),
    }
}

fn poisoned(answers: &[(Uuid, Appended)]) -> Vec<Uuid> {
    let poisoned = answers
        .iter()
        .filter(|(_, answer)| matches!(answer, Appended::Poison(_)));
    poisoned.map(|(run, _)| *run).collect()
}
