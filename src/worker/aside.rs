//! Runs that this worker holds and cannot carry: its release does not understand them, or the database cannot store what was
//! decided. They stay claimed, for nobody releases a run without an append, and are looked at again from time to time.

use std::time::Duration;

use tracing::warn;
use uuid::Uuid;

use super::lease::Registration;
use crate::store::Store;

/// Such a run is looked at again after this: its rows may have been repaired.
pub(super) const ASIDE_FOR: Duration = Duration::from_secs(60);

/// What was said of a run holds for this long: while a worker is full it looks at nothing, and says nothing anew.
const SAID_FOR: Duration = Duration::from_secs(300);

/// Says so in the database, where the detector sees it. When that fails, it is said with the next look at the run.
pub(super) async fn say(store: &Store, me: &Registration, runs: &[Uuid]) {
    if runs.is_empty() {
        return;
    }
    if let Err(error) = store.set_aside(me.worker, runs, SAID_FOR).await {
        warn!(%error, runs = runs.len(), "cannot note that runs are set aside");
    }
}
