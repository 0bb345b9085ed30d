//! What a run wants from the world now: computed from its state, never stored.
//!
//! Effects are a level, not an edge: an attempt that runs and is no longer among them is to be aborted.

use jiff::Timestamp;

use super::{
    definition::Definition,
    event::StepName,
    key::{Deed, StepKey},
    run::{Activity, Run},
};

/// One want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Perform this attempt; [`request`](super::request()) says what it is.
    Perform {
        /// The step.
        step: StepName,
        /// Which attempt; 1 is the first.
        attempt: u32,
        /// The same for every attempt of the step, and for a start repeated after a lost failover.
        key: StepKey,
    },
    /// Tell the run [`TimersDue`](super::Input::TimersDue) at this instant: its earliest timer.
    WakeAt {
        /// When, by the database's clock.
        at: Timestamp,
    },
}

/// Everything that the run wants now: attempts in the order in which their steps began, then its earliest timer.
///
/// A terminal run wants nothing, and neither does one that has not begun: it is moved by [`Claimed`](super::Input::Claimed).
/// Every other run wants at least one thing.
pub fn effects(run: &Run, _def: &Definition) -> Vec<Effect> {
    if run.is_terminal() {
        return Vec::new();
    }
    if let Some(at) = run.hold_until {
        return vec![Effect::WakeAt { at }];
    }
    let mut effects = Vec::with_capacity(run.open.len() + 1);
    // The result is known already in `finally`, so its deadline has no say any more.
    let mut earliest = if run.ending.is_none() { run.deadline } else { None };
    for open in &run.open {
        match open.activity {
            Activity::Attempt => effects.push(Effect::Perform {
                step: open.step.clone(),
                attempt: open.attempt,
                key: StepKey::new(&run.origin, &open.step, 0, Deed::Do, 0),
            }),
            Activity::Retry(at) | Activity::Timer(at) => {
                earliest = Some(earliest.map_or(at, |earliest| earliest.min(at)));
            }
        }
    }
    effects.extend(earliest.map(|at| Effect::WakeAt { at }));
    effects
}
