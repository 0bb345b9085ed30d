//! The model: a run is a log, and it changes in exactly one way.
//!
//! [`Definition::compile`] turns what a user wrote into a definition, or into all that is wrong with it. A [`Run`] is the
//! state that its journal of [`Event`]s leads to. The world tells it [`Input`]s; [`advance`] decides what follows, and
//! [`apply()`] alone changes the run; [`effects`] says what the run wants from the world now, and [`request()`] what an
//! attempt is to perform. Everything here is a function from values to values: no clock, no randomness, no I/O.
//!
//! ```text
//!              Claimed                  nothing open,              nothing open
//!   ┌─────────┐       ┌─ main list ─┐   nothing ready  ┌─ finally ─┐            ┌──────────┐
//!   │ Pending │──────▶│   Running   │─────────────────▶│  Running  │───────────▶│ terminal │
//!   └─────────┘       │   Sleeping  │   RunEnding      │ Cancelling│ RunFinished└──────────┘
//!                     └─────────────┘                  └───────────┘
//!                      │ cancel, timeout: open steps are Cancelled ▲
//!                      └───────────────────────────────────────────┘
//!
//!                  when is false                         an attempt failed and is retried
//!   not begun ────────────────────────▶ Skipped         ┌────────────┐
//!       │                                               ▼            │
//!       ├──────────── attempt ───────────────────▶ Open: Attempt ──▶ Open: Retry ┐
//!       ├──────────── sleep ─────────────────────▶ Open: Timer                   │
//!       │ set, fail, a value without result             │                        │ cancel, timeout,
//!       ▼                                               ▼                        ▼ a failing run
//!   Succeeded, Failed                 Succeeded, Failed, Tolerated           Cancelled
//! ```
//!
//! **Order.** A step begins when all that it needs Succeeded, was Skipped, or failed under `continueOnError`. One
//! decision goes on until the run waits for the world: skipped steps, `set`, `fail` and the ends of lists are events of
//! the decision that leads to them.
//!
//! **Failure.** When a step of the main list has failed for good, no new step and no new attempt begins. Attempts that
//! run finish, for their effects must be known; what only waits for time (a sleep, a retry) is cancelled. Then comes
//! `finally`. The first failure is the run's, also when a cancel or the timeout comes later. In `finally` a failure stops only
//! what depends on it, and does not change the result.
//!
//! **Cancel and timeout** abort what is open, and `finally` runs; a run that never began is no exception. Both have no
//! effect once the result is known.
//!
//! **Takeover.** The first of several in a row changes nothing; later ones hold the run for a while, in which it takes
//! results and mail but begins nothing and wants nothing but its end.

mod apply;
mod decide;
mod definition;
mod effect;
mod error;
mod event;
mod formula;
mod input;
mod key;
mod origin;
mod phase;
mod render;
mod request;
mod retry;
mod run;
mod scope;
mod signal;
mod signature;
mod snapshot;
mod summary;
#[cfg(test)]
mod testing;

pub use apply::apply;
pub use decide::{Refused, advance, decide};
pub use definition::{Definition, Violation, parse_duration};
pub use effect::{Effect, effects};
pub use error::{ErrorKind, StepError};
pub use event::{Event, RunError, StepName};
pub use input::{Input, Mail};
pub use key::{Deed, StepKey};
pub use origin::Origin;
pub use phase::{Parking, Phase, RunResult};
pub use render::{attempt_timeout, request};
pub use request::{Expect, HttpRequest, HttpTarget, Outcome, Request, SqlRequest};
pub use run::Run;
pub use signal::{
    MAX_BUFFERED, MAX_BUFFERED_BYTES, MAX_PAYLOAD_BYTES, Rejection, Signal, consumed, rejected, unconsumed,
};
pub use signature::{BODY_FIELDS, revision, step_signatures};
pub use snapshot::Corrupt;
pub use summary::{Summary, SummaryError, summary};
