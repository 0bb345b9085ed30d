//! Attempts as tasks: started, bounded by kind, awaited. Not what an attempt does: see `action`.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt;
use tokio::task::{AbortHandle, JoinSet};
use tracing::error;
use uuid::Uuid;

use super::{
    action::{Actions, Attempt},
    counters::{Attempted, Counters},
    lease::Registration,
    turns::{Endpoint, Turns},
};
use crate::engine::{ErrorKind, HttpTarget, Outcome, Request, StepError, StepName};

/// SQL attempts at once: each holds a session of a database that is not ours, and databases have about a hundred.
/// A Connection's own limit is lower as a rule; this bounds the process.
const SQL: usize = 128;

/// HTTP attempts at once: each holds a socket, and a process has about a thousand by default.
const HTTP: usize = 512;

/// The attempts of one registration; dropping it aborts them all.
pub(super) struct Attempts {
    actions: Actions,
    me: Arc<Registration>,
    counters: Arc<Counters>,
    sql: Turns,
    http: Turns,
    tasks: JoinSet<Ended>,
}

/// An attempt that ended by itself.
pub(super) struct Ended {
    /// The run, and which of its stays in memory.
    pub(super) run: Uuid,
    pub(super) life: u64,
    pub(super) step: StepName,
    pub(super) attempt: u32,
    /// None when the fence fell before it began: there is nothing to tell.
    pub(super) outcome: Option<Outcome>,
}

impl Attempts {
    pub(super) fn new(actions: Actions, me: Arc<Registration>, counters: Arc<Counters>) -> Self {
        Self {
            actions,
            me,
            counters,
            sql: Turns::new(SQL),
            http: Turns::new(HTTP),
            tasks: JoinSet::new(),
        }
    }

    /// Starts one. It waits for its turn, looks at the fence, and performs; a panic in it is its failure.
    pub(super) fn start(
        &mut self,
        life: u64,
        number: u32,
        attempt: Attempt,
        step: StepName,
        request: Request,
    ) -> AbortHandle {
        let turns = match &request {
            Request::Sql(_) => Some(&self.sql),
            Request::Http(_) => Some(&self.http),
            #[cfg(feature = "bench")]
            Request::Noop => None,
        };
        let turns = turns.map(|turns| (turns.clone(), endpoint(&attempt.namespace, &request)));
        let (actions, me, counters) = (self.actions.clone(), Arc::clone(&self.me), Arc::clone(&self.counters));
        let mut under_way = UnderWay(Some(self.attempted(&request)));
        self.tasks.spawn(async move {
            let _turn = match turns {
                Some((turns, endpoint)) => turns.take(endpoint).await,
                None => None,
            };
            let outcome = if me.fence.holds() {
                counters.attempts_started.add(1);
                let began = Instant::now();
                let outcome = perform(&actions, &attempt, request).await;
                under_way.ended(began.elapsed());
                Some(outcome)
            } else {
                None
            };
            Ended {
                run: attempt.run,
                life,
                step,
                attempt: number,
                outcome,
            }
        })
    }

    /// Where an attempt at this counts.
    pub(super) fn attempted(&self, request: &Request) -> Arc<Attempted> {
        Arc::clone(self.counters.of(request))
    }

    /// Waits for the next one that ends by itself. Cancel-safe. Never returns while there is none.
    pub(super) async fn next(&mut self) -> Ended {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(ended)) => return ended,
                // Aborted, and whoever did it knows.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// One that has ended by now.
    pub(super) fn try_next(&mut self) -> Option<Ended> {
        loop {
            // The others were aborted, and whoever did it knows.
            if let Ok(ended) = self.tasks.try_join_next()? {
                return Some(ended);
            }
        }
    }

    /// Aborts all and waits until they are gone.
    pub(super) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

/// An attempt that has not ended by itself: dropped as it is, it was aborted.
struct UnderWay(Option<Arc<Attempted>>);

impl UnderWay {
    fn ended(&mut self, took: Duration) {
        if let Some(attempted) = self.0.take() {
            attempted.time.add(took);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if let Some(attempted) = &self.0 {
            attempted.aborted.add(1);
        }
    }
}

/// Whose turns the attempt takes: its Connection's, or those of the URL's origin, which holds no place.
fn endpoint(namespace: &str, request: &Request) -> Endpoint {
    let place = match request {
        Request::Sql(sql) => sql.connection.as_str(),
        Request::Http(http) => match &http.target {
            HttpTarget::Connection { name, .. } => name.as_str(),
            HttpTarget::Url(url) => url.split('/').nth(2).unwrap_or(url),
        },
        #[cfg(feature = "bench")]
        Request::Noop => "",
    };
    (namespace.to_owned(), place.to_owned())
}

async fn perform(actions: &Actions, attempt: &Attempt, request: Request) -> Outcome {
    match AssertUnwindSafe(actions.perform(attempt, request)).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(_) => {
            error!(run = %attempt.run, step = attempt.step, "an attempt panicked: this is a defect of ours");
            let message = "the worker failed while it performed the step; whether the effect happened is not known";
            Err(StepError::new(ErrorKind::Ambiguous, "WorkerPanicked", message))
        }
    }
}
