//! Reconciles a Signal: stores it in the inbox of its run, and shows what became of it.
//!
//! Storing is done once, whatever happens: the object's UID is unique in the inbox. What is stored belongs to the run:
//! deleting the object takes nothing back.

pub(crate) mod intent;
mod status;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use self::intent::Intent;
use self::status::{Known, News};
use super::backoff::patience;
use super::counters::{Counters, count};
use super::events::Regarding;
use super::key::Key;
use super::run::pace::FIRST_LOOK;
use super::{Error, Next, Shared, expiry, seen};
use crate::api::v1alpha1::SignalStatus;
use crate::engine::Violation;
use crate::store::{self, Posted, SignalFacts};

type Seen = seen::Seen<SignalStatus>;

/// What the database answered.
enum Answer {
    /// It is in the inbox of its run.
    Facts(SignalFacts),
    /// It was, and is not any more.
    Forgotten,
    /// It is not.
    Refused(Posted),
}

/// Brings one Signal nearer to its end.
pub(super) async fn reconcile(shared: &Shared, key: &Key) -> Result<Next, Error> {
    let Some(seen) = shared.signals.get(key).and_then(Seen::of) else {
        return Ok(Next::Forget);
    };
    // Before the facts are read, so that they have the outcome that is to be shown.
    let told = shared.unshown.of(&seen.uid);
    let intent = seen
        .spec()
        .and_then(|spec| intent::of(&seen.uid, key, seen.generation, spec));
    let next = if status::ended_at(&seen.status).is_some() {
        // Nothing about it changes any more.
        Next::Resync
    } else {
        carry(shared, key, &seen, &intent).await?
    };
    if next == Next::Resync {
        if let Some(id) = told {
            shared.mark_shown.ask(id).await?;
            shared.unshown.remove(&seen.uid);
        }
        let ttl = seen.spec().ok().and_then(intent::ttl);
        return expire(shared, key, ttl).await;
    }
    Ok(next)
}

/// Stores it, unless it is stored, and shows what is known.
async fn carry(
    shared: &Shared,
    key: &Key,
    seen: &Seen,
    intent: &Result<Intent, Vec<Violation>>,
) -> Result<Next, Error> {
    let intent = match intent {
        Ok(intent) => intent,
        Err(violations) => return project(shared, key, seen, Known::Invalid(violations)).await,
    };
    let answer = match store(shared, seen, intent).await {
        Ok(answer) => answer,
        Err(error) => {
            project(shared, key, seen, Known::StoreUnavailable(&error.to_string())).await?;
            return Err(error.into());
        }
    };
    let posted = match answer {
        Answer::Facts(facts) => {
            let look = facts.stored_at + FIRST_LOOK;
            // A signal that is consumed soon is shown once, when it is.
            if facts.outcome.is_none()
                && !status::is_stored(&seen.status)
                && let Some(pause) = until(look, shared.store.now())
            {
                return Ok(Next::After(pause));
            }
            return project(shared, key, seen, Known::Stored(&facts)).await;
        }
        Answer::Forgotten => return project(shared, key, seen, Known::Forgotten).await,
        Answer::Refused(posted) => posted,
    };
    match posted {
        Posted::Stored { .. } => Ok(Next::After(FIRST_LOOK.unsigned_abs())),
        Posted::Duplicate { run, same_payload } => {
            project(shared, key, seen, Known::Duplicate { run, same_payload }).await
        }
        Posted::Rejected { run, phase } => project(shared, key, seen, Known::Rejected { run, phase }).await,
        Posted::Invalid(message) => {
            let path = "spec.payload".to_owned();
            project(shared, key, seen, Known::Invalid(&[Violation { path, message }])).await
        }
        Posted::TargetNotFound => await_target(shared, key, seen, intent).await,
    }
}

/// What is known of it in the database, after storing it there when it never was: one that went with its run would be
/// said a second time, perhaps to another run.
async fn store(shared: &Shared, seen: &Seen, intent: &Intent) -> Result<Answer, Arc<store::Error>> {
    if let Some(facts) = shared.signal_facts.ask(seen.uid.clone()).await? {
        return Ok(Answer::Facts(facts));
    }
    if status::is_stored(&seen.status) {
        return Ok(Answer::Forgotten);
    }
    let posted = shared.post.ask(intent.wish.clone()).await?;
    if let Posted::Stored { run, .. } = &posted {
        let (namespace, name) = (&intent.wish.namespace, &intent.wish.name);
        tracing::info!(namespace, name, uid = seen.uid, %run, signal = intent.wish.signal, "signal stored");
    }
    Ok(Answer::Refused(posted))
}

/// A run that may still come.
async fn await_target(shared: &Shared, key: &Key, seen: &Seen, intent: &Intent) -> Result<Next, Error> {
    let created = seen.object.metadata.creation_timestamp.as_ref().map(|at| at.0);
    let waited = created.map_or(SignedDuration::ZERO, |created| {
        shared.store.now().duration_since(created)
    });
    let waited = Duration::try_from(waited).unwrap_or_default();
    let Some(left) = intent.expires_after.checked_sub(waited).filter(|left| !left.is_zero()) else {
        return project(shared, key, seen, Known::Expired).await;
    };
    // Objects that were created together come in any order.
    if waited > FIRST_LOOK.unsigned_abs() {
        match project(shared, key, seen, Known::NotFound).await? {
            Next::Resync => {}
            next @ (Next::After(_) | Next::Soon | Next::Forget) => return Ok(next),
        }
    }
    Ok(Next::After(patience(waited).min(left)))
}

/// Writes the status that follows from what is known, and tells what is new in it.
async fn project(shared: &Shared, key: &Key, seen: &Seen, known: Known<'_>) -> Result<Next, Error> {
    let next = status::of(&seen.status, seen.generation, known, shared.store.now());
    if next == seen.status {
        return Ok(Next::Resync);
    }
    if let Err(next) = shared.write_over(key, &seen.object, &next).await? {
        return Ok(next);
    }
    for news in status::news(&seen.status, &next) {
        count(counter(&shared.counters, news));
    }
    if let Some(told) = status::announcement(&seen.status, &next) {
        shared.announce(&Regarding::object(key, &seen.uid), &told).await;
    }
    Ok(Next::Resync)
}

/// Of the object as it is now: its status may just have been written.
async fn expire(shared: &Shared, key: &Key, ttl: Option<Duration>) -> Result<Next, Error> {
    let Some(seen) = shared.signals.get(key).and_then(Seen::of) else {
        return Ok(Next::Forget);
    };
    let ended_at = status::ended_at(&seen.status);
    expiry::next(shared, key, &seen.object, ttl, ended_at).await
}

fn counter(counters: &Counters, news: News) -> &AtomicU64 {
    match news {
        News::Stored => &counters.signals_stored,
        News::Consumed => &counters.signals_consumed,
        News::Duplicate => &counters.signals_duplicate,
        News::Refused => &counters.signals_refused,
        News::Undelivered => &counters.signals_undelivered,
    }
}

fn until(at: Timestamp, now: Timestamp) -> Option<Duration> {
    let left = Duration::try_from(at.duration_since(now)).ok()?;
    (!left.is_zero()).then_some(left)
}
