//! The model: a run is a log, and it changes in exactly one way.
//!
//! [`Definition::compile`] turns what a user wrote into a definition, or into all that is wrong with it. A [`Run`] is the
//! state that its journal of [`Event`]s leads to. The world tells it [`Input`]s; [`advance`] decides what follows, and
//! [`apply()`] alone changes the run; [`effects`] says what the run wants from the world now, and [`request()`] what an
//! attempt is to perform. Everything here is a function from values to values: no clock, no randomness, no I/O.
//!
//! ```text
//!              Claimed                 nothing open,                     nothing            nothing
//!   ┌─────────┐       ┌─ main list ─┐  nothing ready ┌─ compensation ─┐ left to ┌─ finally ─┐ open ┌──────────┐
//!   │ Pending │──────▶│   Running   │───────────────▶│  Compensating  │──undo──▶│  Running  │─────▶│ terminal │
//!   └─────────┘       │   Waiting   │  RunEnding     └────────────────┘         │ Cancelling│      └──────────┘
//!                     │   Sleeping  │                 │ ▲        ▲              └───────────┘  RunFinished
//!                     └─────────────┘                 │ │ retry  │                    ▲
//!                      │   │    ▲ retry               ▼ │        │                    │ nothing to undo,
//!      onFailure:      │   ▼    │           an undo fails for good:    │              │ terminated
//!      Pause, a step   │  Paused: PausedOnFailure   Paused: CompensationFailed ───────┤
//!      has failed      │                                             │                │
//!                      └─ cancel, timeout: open steps are Cancelled ─┴────────────────┘
//!
//!   From every state that is not terminal: pause ──▶ Paused ──▶ resume, to where it was; a cancel ends a pause.
//!
//!                  when is false                         an attempt failed and is retried
//!   not begun ────────────────────────▶ Skipped         ┌────────────┐
//!       │                                               ▼            │
//!       ├──────────── attempt ───────────────────▶ Open: Attempt ──▶ Open: Retry ┐
//!       ├──────────── sleep ─────────────────────▶ Open: Timer                   │
//!       ├──────────── waitForSignal ─────────────▶ Open: Signal ─▶ TimedOut      │
//!       │ set, fail, a value without result,            │                        │ cancel, timeout,
//!       ▼ a signal that was kept                        ▼                        ▼ a failing run
//!   Succeeded, Failed                 Succeeded, Failed, Tolerated           Cancelled
//! ```
//!
//! **Order.** A step begins when all that it needs Succeeded, was Skipped, timed out under `onTimeout: Continue`, or
//! failed under `continueOnError`. One decision goes on until the run waits for the world: skipped steps, `set`, `fail`
//! and the ends of lists are events of the decision that leads to them.
//!
//! **Failure.** When a step of the main list has failed for good, no new step and no new attempt begins. Attempts that
//! run finish, for their effects must be known; what only waits (a sleep, a signal, a retry) is cancelled. Then what was
//! done is undone, and then comes `finally`. The first failure is the run's, also when a cancel, a termination or the
//! timeout comes later. In `finally` a failure stops only what depends on it, and does not change the result. An input
//! that contradicts `params` fails the run (`InvalidInput`) before its first step.
//!
//! **onFailure: Pause.** The failure parks the run instead: nothing is cancelled, and what waits goes on waiting. A retry
//! begins every failed step afresh; a cancel ends the run.
//!
//! **Cancel, terminate and timeout** abort what is open, and `finally` runs; a run that never began is no exception. Once
//! the result is known none of them changes it. A cancel and a timeout undo, a termination does not: it also gives up a
//! compensation that is under way, with its open attempt.
//!
//! **Signals** are consumed first in, first out per name, by the wait that began first. One that nobody waits for is kept:
//! at most [`MAX_BUFFERED`] signals and [`MAX_BUFFERED_BYTES`] a run. What comes beyond that, and a payload over
//! [`MAX_PAYLOAD_BYTES`] or nested too deeply, is rejected by an event that says why. A signal is known by its inbox id,
//! so the same one twice is one. In one decision the order is results, commands, signals, timeouts: a signal that is
//! decided on together with the timeout of its wait wins.
//!
//! **Compensation.** Steps of the main list that succeeded and have a `compensate` are undone one at a time, the one that
//! succeeded last first. Each is tried by its own policy, under the key of the undo; a takeover means what it means for a
//! step. One that fails for good parks the run as `CompensationFailed`: a retry undoes it again in a new round, under a
//! new key; terminating leaves it, and all that is older, as it is; a cancel is remembered and does not move it.
//!
//! **Standing still.** A run that is paused or parked begins nothing: no step, no attempt, no undo. Attempts that run
//! finish, and signals reach waits that are open. Timers take effect when the run goes on: a sleep, a retry or a wait whose
//! time has passed meanwhile ends then, and a signal that came meanwhile was before the timeout. The run's own `timeout`
//! does not count the time in which it stood still. Of pause and resume only one whose generation is not below the
//! highest one seen counts. A cancel or a termination ends a pause; a later pause stops what follows of it.
//!
//! **Attempt numbers** of a step never repeat: its compensation, and what is retried by hand, count on. So a late or
//! repeated answer is never taken for another attempt's.
//!
//! **Doing it again.** [`Earlier::reuse`] says what a new run takes over from one that has ended: its journal then begins
//! with [`Event::StepReused`], before anybody has carried it. Those steps have gone through, and are undone with the rest.
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
mod reuse;
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
pub use event::{Event, Reused, RunError, StepName, Verdict, verdict};
pub use input::{Input, Mail};
pub use key::{Deed, StepKey};
pub use origin::Origin;
pub use phase::{Parking, Phase, RunResult};
pub use render::{attempt_timeout, request};
pub use request::{Expect, HttpRequest, HttpTarget, Outcome, Request, SqlRequest};
pub use reuse::{Earlier, NoReuse};
pub use run::Run;
pub use signal::{
    MAX_BUFFERED, MAX_BUFFERED_BYTES, MAX_PAYLOAD_BYTES, Rejection, Signal, consumed, rejected, unconsumed,
};
pub use signature::{BODY_FIELDS, revision, step_signatures};
pub use snapshot::Corrupt;
pub use summary::{Summary, SummaryError, summary};
