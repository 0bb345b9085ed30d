//! The rescuer: runs whose worker is dead are freed, so that a live one claims them. Not how they go on.
//!
//! A worker may call others dead only after its own lease was renewed without a failure for a whole lease: during an
//! outage of PostgreSQL nobody can renew, and the first one that can again must not rescue from all the others.
//!
//! The takeover is an append like any other, decided on what was read together with the dead owner's name, and it clears
//! that name in the same statement (P3). Losing it means that somebody else was faster: the next pass sees what is.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tracing::{info, warn};
use uuid::Uuid;

use super::{Beside, Health};
use crate::{
    engine::{self, Definition, Input, Run},
    store::{Append, Appended, Bell, DefinitionId, Error, Loaded, Store, TakeOver, Then},
};

/// Runs freed in one statement: a dead worker's thousand take a few passes, and each pass has a bounded size.
const BATCH: i64 = 256;

/// Between two looks for the dead: lease + 2 s includes this, the takeover, and the claim.
const EVERY: Duration = Duration::from_millis(500);

/// A run that cannot be taken over by this release is said so at most this often.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Looks for the dead, for ever.
pub(super) async fn run(store: &Store, beside: &Beside) {
    let mut health = Health::of("rescuer");
    let mut said = Said::default();
    loop {
        let mut more = false;
        if let Some(me) = licence((beside.steady)(), beside.lease) {
            match once(store, me, &mut said).await {
                Ok(freed) => {
                    health.worked();
                    (beside.freed)(freed);
                    more = freed >= BATCH.unsigned_abs();
                }
                Err(error) => health.failed(&error),
            }
        }
        if !more {
            tokio::time::sleep(EVERY).await;
        }
    }
}

/// Who may call others dead.
fn licence(steady: Option<(Uuid, Duration)>, lease: Duration) -> Option<Uuid> {
    steady.filter(|(_, steady)| *steady >= lease).map(|(me, _)| me)
}

/// One pass; answers how many runs were freed.
async fn once(store: &Store, me: Uuid, said: &mut Said) -> Result<u64, Error> {
    let deaths = store.dead(me, BATCH).await?;
    for unreadable in deaths.unreadable {
        said.once(unreadable.run, &unreadable.why);
    }
    let (terminal, live): (Vec<_>, Vec<_>) = deaths.runs.into_iter().partition(|dead| dead.loaded.is_terminal());
    if !terminal.is_empty() {
        let ids: Vec<Uuid> = terminal.iter().map(|dead| dead.loaded.run).collect();
        store.discard(&ids).await?;
    }
    let mut definitions = HashMap::new();
    let mut batch = Vec::with_capacity(live.len());
    for dead in live {
        let run = dead.loaded.run;
        let definition = definition_of(store, &mut definitions, dead.loaded.definition).await?;
        match definition.and_then(|definition| plan(&dead.loaded, &definition, store.now())) {
            Ok(append) => batch.push(TakeOver {
                dead: dead.worker,
                append,
            }),
            Err(why) => said.once(run, &why),
        }
    }
    if batch.is_empty() {
        return Ok(0);
    }
    // An ambiguous end needs no care: the next pass sees what is.
    let answers = store.take_over(me, &batch).await?;
    let freed = answers.iter().filter(|answer| **answer == Appended::Mine).count() as u64;
    if freed > 0 {
        info!(runs = freed, "runs of dead workers were taken over");
        store.ring(Bell::Work);
    }
    Ok(freed)
}

/// The decision on a takeover, to be appended right after what was read. No I/O.
fn plan(loaded: &Loaded, definition: &Definition, now: Timestamp) -> Result<Append, String> {
    let mut run = rebuild(loaded)?;
    let events = engine::advance(&mut run, definition, Input::TakenOver, now).map_err(|refused| refused.to_string())?;
    Ok(Append {
        run: loaded.run,
        seq: loaded.seq + 1,
        at: now,
        nonce: nonce(loaded, now),
        events: serde_json::to_string(&events).map_err(|error| error.to_string())?,
        taken: Vec::new(),
        // A step that this ends may be followed by one that a kept signal ends.
        consumed: engine::consumed(&events),
        // A takeover takes no mail, so it rejects none.
        undelivered: Vec::new(),
        then: Then::Keep { told: None },
    })
}

fn rebuild(loaded: &Loaded) -> Result<Run, String> {
    let origin = Arc::new(loaded.origin.clone());
    let snapshot = loaded.snapshot.as_ref().map(|snapshot| &snapshot.state);
    let tail = loaded.tail.iter().flat_map(|decision| &decision.events);
    Run::rebuild(origin, snapshot, tail).map_err(|error| error.to_string())
}

/// A takeover is never sent again, so its nonce only has to differ from other writers'.
fn nonce(loaded: &Loaded, now: Timestamp) -> i64 {
    let run = loaded.run.as_u128();
    (run as u64 ^ (run >> 64) as u64).cast_signed() ^ now.as_microsecond()
}

/// Compiled once a pass: takeovers are rare, and the dead of one pass mostly share few definitions.
async fn definition_of(
    store: &Store,
    known: &mut HashMap<DefinitionId, Result<Arc<Definition>, String>>,
    id: DefinitionId,
) -> Result<Result<Arc<Definition>, String>, Error> {
    if let Some(definition) = known.get(&id) {
        return Ok(definition.clone());
    }
    let definition = match store.definition(id).await {
        Ok(body) => Definition::compile(&body).map(Arc::new).map_err(|violations| {
            let first = violations.first().map_or_else(String::new, ToString::to_string);
            format!("its definition does not compile under this release: {first}")
        }),
        Err(error) if error.is_transient() => return Err(error),
        Err(error) => Err(error.to_string()),
    };
    known.insert(id, definition.clone());
    Ok(definition)
}

/// Runs that were complained of lately.
#[derive(Default)]
struct Said(HashMap<Uuid, Instant>);

impl Said {
    fn once(&mut self, run: Uuid, why: &str) {
        let now = Instant::now();
        self.0.retain(|_, at| now.duration_since(*at) < SAY_AGAIN);
        self.0.entry(run).or_insert_with(|| {
            warn!(%run, why, "a run of a dead worker cannot be taken over by this release");
            now
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_worker_that_was_steady_for_a_whole_lease_calls_others_dead() {
        let lease = Duration::from_secs(30);
        let me = Uuid::from_u128(7);
        assert_eq!(licence(None, lease), None);
        assert_eq!(licence(Some((me, lease.mul_f32(0.9))), lease), None);
        assert_eq!(licence(Some((me, lease)), lease), Some(me));
    }
}
