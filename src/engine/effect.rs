//! What a run wants from the world now: computed from its state, never stored.
//!
//! Effects are a level, not an edge: an attempt that runs and is no longer among them is to be aborted.

use std::sync::Arc;

use jiff::Timestamp;

use super::{
    definition::{Action, Definition},
    event::StepName,
    key::StepKey,
    run::{Activity, Run},
};

/// One want.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Perform this attempt; [`request`](super::request()) says what it is.
    Perform {
        /// The step.
        step: StepName,
        /// Which attempt. 1 is the first, and no number comes twice for a step, in whatever round, done or undone.
        attempt: u32,
        /// The same for every attempt of one round of the step, or of its undo, and for a start repeated after a lost
        /// failover. A retry of a parked run begins another round.
        key: StepKey,
    },
    /// A step waits for a signal: nothing to perform, the run's inbox has it or will.
    AwaitSignal {
        /// The step.
        step: StepName,
        /// The signal's name.
        signal: Arc<str>,
        /// When the wait ends without one.
        until: Option<Timestamp>,
    },
    /// Tell the run [`TimersDue`](super::Input::TimersDue) at this instant: its earliest timer.
    WakeAt {
        /// When, by the database's clock.
        at: Timestamp,
    },
}

/// Everything that the run wants now: attempts and waits in the order in which their steps began, then its earliest timer.
///
/// A terminal run wants nothing, and neither does one that has not begun: it is moved by [`Claimed`](super::Input::Claimed).
/// A run that stands still (`Paused`) wants the attempts that are open, and what its open waits wait for; its timers take
/// effect when it goes on. Every other run wants at least one thing.
pub fn effects(run: &Run, def: &Definition) -> Vec<Effect> {
    if run.is_terminal() {
        return Vec::new();
    }
    if let Some(at) = run.hold_until {
        return vec![Effect::WakeAt { at }];
    }
    let mut effects = Vec::with_capacity(run.open.len() + 1);
    // The result is known already in `finally`, so its deadline has no say any more.
    let mut earliest = if run.ending.is_none() { run.deadline } else { None };
    let mut sooner = |at: Timestamp| earliest = Some(earliest.map_or(at, |earliest| earliest.min(at)));
    for open in &run.open {
        match open.activity {
            Activity::Attempt => effects.push(Effect::Perform {
                step: open.step.clone(),
                attempt: open.attempt,
                key: StepKey::new(&run.origin, &open.step, 0, open.deed, run.round(&open.step, open.deed)),
            }),
            Activity::Retry(at) | Activity::Timer(at) => sooner(at),
            Activity::Signal(until) => {
                until.into_iter().for_each(&mut sooner);
                if let Some(Action::WaitForSignal(wait)) = def.step(&open.step).map(|step| &step.does.action) {
                    effects.push(Effect::AwaitSignal {
                        step: open.step.clone(),
                        signal: Arc::clone(&wait.signal),
                        until,
                    });
                }
            }
        }
    }
    if run.is_still() {
        return effects;
    }
    effects.extend(earliest.map(|at| Effect::WakeAt { at }));
    effects
}
