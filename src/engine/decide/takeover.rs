//! What follows when the worker that carried a run was found dead.

use super::{Decision, after};
use crate::engine::{
    definition::Step,
    error::{ErrorKind, StepError},
    event::Event,
    retry,
    run::Activity,
};

/// Takeovers that find the same attempt open before its step is given up.
const MOST_TAKEOVERS: u32 = 10;

impl Decision<'_> {
    /// A takeover uses up no attempt. One that follows another without a result between makes the run wait; a step that
    /// was open in ten of them ends; and an attempt that must not be repeated unasked is `Ambiguous`.
    pub(super) fn taken_over(&mut self) {
        let hold = retry::hold(self.run.origin.run.as_bytes(), self.run.takeovers.saturating_add(1));
        self.emit(Event::TakenOver {
            hold_until: hold.map(|hold| after(self.now, hold)),
        });
        // A hold that ends with this, since a result lay between, may have kept back what became ready in it.
        if self.run.started_at.is_some() {
            self.consider_all();
        }
        let def = self.def;
        for open in self.open_where(|activity, _| activity == Activity::Attempt) {
            let Some(step) = def.step(&open.step) else { continue };
            let Some(work) = step.work(open.deed) else { continue };
            let takeovers = self.run.open_step(&open.step).map_or(0, |open| open.takeovers);
            if takeovers >= MOST_TAKEOVERS {
                let message = format!("{takeovers} workers in a row died while they performed this step");
                let error = StepError::new(ErrorKind::WorkerLost, "WorkerLost", message);
                self.fail_for_good(step, open.deed, error);
            } else if !work.action.is_repeatable() {
                self.attempt_failed(step, open.deed, open.attempt, ambiguous(step));
            }
        }
        self.settle();
    }
}

fn ambiguous(step: &Step) -> StepError {
    let message = format!(
        "the worker died while `{}` was under way, so its effect may have happened; set `idempotent: true` if the server honours Idempotency-Key",
        step.name
    );
    StepError::new(ErrorKind::Ambiguous, "Ambiguous", message)
}
