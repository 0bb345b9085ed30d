//! The loop that takes keys from the queue, reconciles many at once, and says when each comes back.

use std::hash::RandomState;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::{Class, Failures, jitter};
use super::batch::is_outage;
use super::counters::count;
use super::key::{Key, Kind};
use super::{Error, Next, Shared, connection, signal, workflow, workflow_run};
use crate::leading::Leading;

/// How long running reconciles may take to end at shutdown.
const DRAIN: Duration = Duration::from_secs(10);

/// Reconciles while this process leads, until `shutdown`; then waits for those that run.
pub(super) async fn carry(shared: &Arc<Shared>, shutdown: &CancellationToken) {
    let slots = Arc::new(Semaphore::new(shared.options.concurrency.max(1)));
    let failures = Arc::new(Mutex::new(Failures::default()));
    let mut running = JoinSet::new();
    let mut leading = shared.leading.clone();
    loop {
        let key = tokio::select! {
            () = shutdown.cancelled() => break,
            key = next(shared, &mut leading) => key,
        };
        // The semaphore is never closed.
        let Ok(slot) = slots.clone().acquire_owned().await else {
            break;
        };
        let (shared, failures) = (shared.clone(), failures.clone());
        running.spawn(async move {
            let result = caught(&shared, &key).await;
            let pause = settle(&shared, &key, result, &failures);
            shared.queue.done(&key);
            if let Some(pause) = pause {
                shared.queue.add(key, Instant::now() + pause);
            }
            drop(slot);
        });
        // Ended ones are taken out, so that the set stays as small as the semaphore.
        while running.try_join_next().is_some() {}
    }
    // What is cut off here is done again by the next process: every step of a reconcile may be repeated.
    let _ = tokio::time::timeout(DRAIN, async { while running.join_next().await.is_some() {} }).await;
}

/// The next key that is due while this process leads. What is due meanwhile waits in the queue. Cancel safe.
async fn next(shared: &Shared, leading: &mut Leading) -> Key {
    let mut ending = leading.clone();
    loop {
        leading.begins().await;
        tokio::select! {
            key = shared.queue.next() => return key,
            () = ending.ends() => {}
        }
    }
}

/// One object must not end the process.
async fn caught(shared: &Shared, key: &Key) -> Result<Next, Error> {
    let reconcile = async {
        match key.kind {
            Kind::Workflow => workflow::reconcile(shared, key).await,
            Kind::WorkflowRun => workflow_run::reconcile(shared, key).await,
            Kind::Signal => signal::reconcile(shared, key).await,
            Kind::Connection => connection::reconcile(shared, key).await,
        }
    };
    AssertUnwindSafe(reconcile)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(ToString::to_string);
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(Error::Panicked(text.unwrap_or_default()))
        })
}

/// When the object comes back by itself.
fn settle(shared: &Shared, key: &Key, result: Result<Next, Error>, failures: &Mutex<Failures>) -> Option<Duration> {
    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
    count(match result.as_ref().map_err(class) {
        Ok(_) => &shared.counters.reconciled,
        Err(Class::Outage) => &shared.counters.failed_by_outage,
        Err(Class::Object) => &shared.counters.failed_by_object,
    });
    match result {
        Ok(Next::Resync) => {
            failures.succeeded(key);
            Some(
                shared
                    .options
                    .resync
                    .mul_f64(0.8 + 0.4 * jitter(&RandomState::new(), key)),
            )
        }
        Ok(Next::After(pause)) => {
            failures.succeeded(key);
            Some(pause)
        }
        // The watch is behind; when it stays so, this object is not worth a busy loop.
        Ok(Next::Soon) => Some(failures.failed(key, Class::Object)),
        Ok(Next::Forget) => {
            failures.succeeded(key);
            shared.forget(key);
            None
        }
        Err(error) => {
            let class = class(&error);
            let pause = failures.failed(key, class);
            match class {
                Class::Outage => tracing::debug!(object = %key, %error, ?pause, "reconcile postponed"),
                Class::Object => tracing::warn!(object = %key, %error, ?pause, "reconcile failed"),
            }
            Some(pause)
        }
    }
}

fn class(error: &Error) -> Class {
    let outage = match error {
        Error::Store(error) => is_outage(error),
        Error::Call(error) => error.is_outage(),
        Error::Panicked(_) => false,
    };
    if outage { Class::Outage } else { Class::Object }
}
