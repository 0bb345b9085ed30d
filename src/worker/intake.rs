//! Takes runs into memory: claim, then read what is mine and not held, and rebuild each. Not when to look: see `drive`.

use std::{collections::HashMap, sync::Arc, time::Instant};

use futures::StreamExt;
use tracing::{debug, error, warn};
use uuid::Uuid;

use super::{aside, carried::Carried, definitions::Definitions, lease::Registration};
use crate::{
    engine::{Definition, Run},
    store::{DefinitionId, Error, InboxRow, Loaded, Store},
};

/// Definitions read at once: enough to hide the round trip, few enough to leave connections to the settler.
const READS_AT_ONCE: usize = 4;

/// What one look needs.
pub(super) struct Look {
    pub(super) store: Store,
    pub(super) me: Arc<Registration>,
    pub(super) namespaces: Option<Arc<[String]>>,
    /// Runs in memory, and those that were set aside.
    pub(super) held: Vec<Uuid>,
    /// How many more fit.
    pub(super) free: usize,
    pub(super) definitions: Definitions,
}

/// What one look found.
pub(super) struct Found {
    pub(super) worker: Uuid,
    /// How many runs the claim says it got; a hint (P1).
    pub(super) claimed: usize,
    pub(super) arrivals: Vec<Arrival>,
    /// The claim got all it asked for: there may be more.
    pub(super) all: bool,
    /// Runs that are mine and that this release cannot carry.
    pub(super) aside: Vec<Uuid>,
    /// The database gave no answer; what is mine is still to be read.
    pub(super) failed: Option<Error>,
    /// Handed back for the next look.
    pub(super) definitions: Definitions,
}

/// A run that was loaded, with the mail that was read with it.
pub(super) struct Arrival {
    pub(super) run: Uuid,
    pub(super) carried: Carried,
    pub(super) mail: Vec<InboxRow>,
}

impl Look {
    /// Looks once. The load follows the claim whatever came of it: a claim whose answer was lost may have been made.
    pub(super) async fn look(self) -> Found {
        let mut found = Found {
            worker: self.me.worker,
            claimed: 0,
            all: false,
            arrivals: Vec::new(),
            aside: Vec::new(),
            failed: None,
            definitions: self.definitions,
        };
        let free = i64::try_from(self.free).unwrap_or(i64::MAX);
        match self.store.claim(self.me.worker, free, self.namespaces.as_deref()).await {
            Ok(claimed) => {
                found.claimed = usize::try_from(claimed).unwrap_or(usize::MAX);
                found.all = found.claimed >= self.free;
            }
            Err(error) => found.failed = Some(error),
        }
        match self.store.load(self.me.worker, &self.held, free).await {
            Ok(loads) => {
                for unreadable in loads.unreadable {
                    error!(run = %unreadable.run, why = unreadable.why, "a run cannot be read and is left alone");
                    found.aside.push(unreadable.run);
                }
                found.take_in(&self.store, loads.runs).await;
            }
            Err(error) => found.failed = Some(error),
        }
        aside::say(&self.store, &self.me, &found.aside).await;
        found
    }
}

impl Found {
    async fn take_in(&mut self, store: &Store, loaded: Vec<Loaded>) {
        let (terminal, live): (Vec<_>, Vec<_>) = loaded.into_iter().partition(Loaded::is_terminal);
        if !terminal.is_empty() {
            // P4: whoever meets them clears them away.
            let ids: Vec<Uuid> = terminal.iter().map(|loaded| loaded.run).collect();
            match store.discard(&ids).await {
                Ok(discarded) => debug!(discarded, "cleared away what was left of finished runs"),
                Err(error) => self.failed = Some(error),
            }
        }
        let compiled = match self.definitions_of(store, &live).await {
            Ok(compiled) => compiled,
            Err(error) => {
                self.failed = Some(error);
                return;
            }
        };
        let instant = Instant::now();
        for loaded in live {
            let run = loaded.run;
            let rebuilt = match compiled.get(&loaded.definition) {
                Some(Ok(definition)) => rebuild(loaded, definition, instant),
                Some(Err(why)) => Err(why.clone()),
                None => Err("its definition is not there".to_owned()),
            };
            match rebuilt {
                Ok(arrival) => self.arrivals.push(arrival),
                Err(why) => {
                    warn!(%run, why, "this release cannot carry a run, and leaves it alone");
                    self.aside.push(run);
                }
            }
        }
    }

    /// The definitions of these runs, compiled; a text where one cannot be.
    async fn definitions_of(&mut self, store: &Store, runs: &[Loaded]) -> Result<Compiled, Error> {
        let mut compiled = Compiled::new();
        let mut missing = Vec::new();
        for run in runs {
            if compiled.contains_key(&run.definition) || missing.contains(&run.definition) {
                continue;
            }
            match self.definitions.get(run.definition) {
                Some(definition) => drop(compiled.insert(run.definition, Ok(definition))),
                None => missing.push(run.definition),
            }
        }
        let mut bodies = futures::stream::iter(missing)
            .map(|id| async move { (id, store.definition(id).await) })
            .buffer_unordered(READS_AT_ONCE);
        while let Some((id, body)) = bodies.next().await {
            let definition = match body {
                Ok(body) => compile(&body),
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => Err(error.to_string()),
            };
            if let Ok(definition) = &definition {
                self.definitions.put(id, Arc::clone(definition));
            }
            compiled.insert(id, definition);
        }
        Ok(compiled)
    }
}

type Compiled = HashMap<DefinitionId, Result<Arc<Definition>, String>>;

fn compile(body: &serde_json::Value) -> Result<Arc<Definition>, String> {
    Definition::compile(body).map(Arc::new).map_err(|violations| {
        let first = violations.first().map_or_else(String::new, ToString::to_string);
        format!("its definition does not compile under this release: {first}")
    })
}

fn rebuild(loaded: Loaded, definition: &Arc<Definition>, instant: Instant) -> Result<Arrival, String> {
    let origin = Arc::new(loaded.origin);
    let snapshot = loaded.snapshot.as_ref().map(|snapshot| &snapshot.state);
    let tail = loaded.tail.iter().flat_map(|decision| &decision.events);
    let run = Run::rebuild(origin, snapshot, tail).map_err(|error| error.to_string())?;
    let carried = Carried::new(run, Arc::clone(definition), loaded.seq, loaded.summary_seq, instant);
    Ok(Arrival {
        run: loaded.run,
        carried,
        mail: loaded.mail,
    })
}
