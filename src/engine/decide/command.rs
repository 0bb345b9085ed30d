//! What a person, or whoever speaks for one, can tell a run. Not the signals that steps wait for: `signal`.
//!
//! A run stands still while it is paused, and while it is parked by a failure: nothing begins and no timer takes effect,
//! while attempts that run finish, and signals reach the waits that are open. The time that it stands still does not count
//! for its `timeout`; what waits for a point in time finds that past when the run goes on.

use super::Decision;
use crate::engine::{
    event::{Event, StepName},
    key::Deed,
    phase::{Parking, RunResult},
    run::StepState,
};

impl Decision<'_> {
    /// The second cancel changes nothing; neither does one that comes after the result, but it is remembered. A run that
    /// never began is cancelled like any other: its `finally` runs. A cancel ends a pause.
    pub(super) fn cancel(&mut self, reason: String) {
        self.start();
        if self.run.cancel.is_some() && !self.run.paused {
            return;
        }
        self.emit(Event::CancelRequested { reason });
        if self.run.ending.is_none() {
            self.abort(RunResult::Cancelled);
        }
        self.consider_all();
    }

    /// A cancel without a compensation. A compensation that is under way is given up, its open attempt too; so is `finally`:
    /// nothing else ends a run that waits there for what never comes. The result stays.
    pub(super) fn terminate(&mut self, reason: String) {
        self.start();
        if self.run.terminated && !self.run.paused {
            return;
        }
        self.emit(Event::TerminateRequested { reason });
        if self.run.ending.is_none() {
            self.abort(RunResult::Cancelled);
        } else {
            self.cancel_open();
            if self.run.undoing {
                self.emit(Event::CompensationEnded);
            }
        }
        self.consider_all();
    }

    pub(super) fn pause(&mut self, generation: i64) {
        let newer = self.run.generation < Some(generation);
        let same = self.run.generation == Some(generation);
        if newer || (same && !self.run.paused) {
            self.emit(Event::RunPaused {
                generation,
                at: self.now,
            });
        }
    }

    pub(super) fn resume(&mut self, generation: i64) {
        let newer = self.run.generation < Some(generation);
        let same = self.run.generation == Some(generation);
        if newer || (same && self.run.paused) {
            let deadline = if self.run.parked.is_none() { self.later() } else { None };
            self.emit(Event::RunResumed { generation, deadline });
            self.consider_all();
        }
    }

    /// What failed begins afresh, in a new round: all of it, for a run has one list of steps and one compensation.
    pub(super) fn retry(&mut self, from: Option<&str>) {
        let (deed, steps) = match self.run.parked {
            None => return self.refuse_retry("the run is not parked: there is nothing to retry".to_owned()),
            Some(Parking::Failure) => (Deed::Do, self.failed_steps()),
            Some(Parking::CompensationFailed) => {
                let failed = self.run.undo_failure.as_ref().and_then(|failure| failure.step.clone());
                (Deed::Undo, failed.into_iter().collect())
            }
        };
        if let Some(from) = from
            && !steps.iter().any(|step| &**step == from)
        {
            let named: String = from.chars().take(64).collect();
            let failed: Vec<&str> = steps.iter().map(|step| &**step).collect();
            let what = if failed.is_empty() {
                "the run's output".to_owned()
            } else {
                failed.join(", ")
            };
            return self.refuse_retry(format!("`{named}` is not what failed; that is {what}"));
        }
        let deadline = if self.run.paused { None } else { self.later() };
        self.emit(Event::RunRetried { steps, deed, deadline });
        self.consider_all();
    }

    fn refuse_retry(&mut self, reason: String) {
        self.emit(Event::RetryRefused { reason });
    }

    /// In the order of the list.
    fn failed_steps(&self) -> Vec<StepName> {
        let failed = self.def.steps().iter().map(|step| &step.name);
        let failed = failed.filter(|step| self.run.states.get(*step) == Some(&StepState::Failed));
        failed.cloned().collect()
    }

    /// The deadline of a run that goes on now: so much later as it stood still.
    fn later(&self) -> Option<jiff::Timestamp> {
        let (deadline, since) = (self.run.deadline?, self.run.still_since?);
        // A deadline that passed before the run stood still stays passed.
        let still = self.now.duration_since(since).max(jiff::SignedDuration::ZERO);
        Some(deadline.checked_add(still).unwrap_or(jiff::Timestamp::MAX))
    }
}

#[cfg(test)]
mod table;
#[cfg(test)]
mod tests;
