//! Writes what an object shows of its run, when it is time, and tells what is new in it.

use jiff::Timestamp;
use serde::Serialize;

use super::Look;
use super::announce;
use super::pace::{self, When};
use crate::controller::events::Regarding;
use crate::controller::key::Key;
use crate::controller::seen::Seen;
use crate::controller::{Error, Next, Shared};

/// Writes `next` over the status that was seen. `run_since`: when the run that goes on was started.
pub(crate) async fn show<S>(
    shared: &Shared,
    key: &Key,
    seen: &Seen<S>,
    next: &S,
    run_since: Option<Timestamp>,
    now: Timestamp,
) -> Result<Next, Error>
where
    S: Serialize,
    for<'a> &'a S: Into<Look<'a>>,
{
    let (before, after) = ((&seen.status).into(), next.into());
    match pace::when(before, after, run_since, shared.written_at(key), now) {
        When::At(at) => return Ok(Next::After(at.duration_since(now).unsigned_abs())),
        When::Now => {}
    }
    if let Err(next) = shared.write_over(key, &seen.object, next).await? {
        return Ok(next);
    }
    shared.note_written(key, now);
    for told in announce::transitions(before, after) {
        shared.announce(&Regarding::object(key, &seen.uid), &told).await;
    }
    Ok(Next::Resync)
}
