//! How a list ends: the main list with a result, what was done undone, and `finally` with the end of the run.

use super::{Decision, Opened, attempt::fitting};
use crate::engine::{
    definition::OnFailure,
    error::{ErrorKind, StepError},
    event::{Event, RunError},
    phase::{Parking, RunResult},
    scope::{self, Answer},
};

impl Decision<'_> {
    /// Nothing is open and nothing is ready: the list is over.
    pub(super) fn end_list(&mut self) {
        if self.run.undoing {
            return self.undo_next();
        }
        if self.run.ending.is_some() {
            self.emit(Event::RunFinished { at: self.now });
            return;
        }
        let failure = self.run.failure.clone();
        match (failure, self.run.cancel.as_deref()) {
            (Some(error), _) => self.end_main(RunResult::Failed, Some(error), None),
            (None, Some(reason)) => {
                let error = cancelled(reason, self.run.terminated);
                self.end_main(RunResult::Cancelled, Some(error), None);
            }
            (None, None) => match self.output() {
                Ok(output) => self.end_main(RunResult::Succeeded, None, output),
                Err(error) => {
                    let error = Some(RunError { step: None, error });
                    if self.waits_for_a_fix() {
                        self.park(Parking::Failure, error);
                    } else {
                        self.end_main(RunResult::Failed, error, None);
                    }
                }
            },
        }
    }

    /// A failure of the main list leaves the run to people, instead of ending it.
    pub(super) fn waits_for_a_fix(&self) -> bool {
        match self.def.on_failure() {
            OnFailure::Compensate => false,
            OnFailure::Pause => self.run.ending.is_none() && self.run.cancel.is_none(),
        }
    }

    pub(super) fn park(&mut self, reason: Parking, error: Option<RunError>) {
        if self.run.parked.is_none() {
            let at = self.now;
            self.emit(Event::RunParked { reason, error, at });
        }
    }

    /// Gives up the main list at once: open attempts are aborted. A failure that came first stays the result.
    pub(super) fn abort(&mut self, result: RunResult) {
        self.cancel_open();
        self.candidates.clear();
        if result == RunResult::TimedOut && self.run.failure.is_none() {
            let message = "the run did not end within its `timeout`";
            let error = StepError::new(ErrorKind::Timeout, "RunTimeout", message);
            self.end_main(RunResult::TimedOut, Some(RunError { step: None, error }), None);
        }
    }

    /// Gives up whatever is open; attempts that run are aborted.
    pub(super) fn cancel_open(&mut self) {
        for Opened { step, deed, .. } in self.open_where(|_, _| true) {
            self.emit(Event::StepCancelled { step, deed });
        }
    }

    /// The main list is over. Unless it went well, or somebody forbade it, what was done is undone before `finally`.
    pub(super) fn end_main(&mut self, result: RunResult, error: Option<RunError>, output: Option<serde_json::Value>) {
        let undo = result != RunResult::Succeeded && !self.run.terminated && !self.run.undo.is_empty();
        self.emit(Event::RunEnding {
            result,
            error,
            output,
            undo,
        });
        self.candidates.clear();
        self.consider_all();
    }

    /// An output that is null is none: JSON cannot tell an absent field from one that is null.
    fn output(&self) -> Result<Option<serde_json::Value>, StepError> {
        let Some(output) = self.def.output() else {
            return Ok(None);
        };
        let output = fitting(scope::value(self.run, output, Answer::None)?)?;
        Ok(Some(output).filter(|output| !output.is_null()))
    }
}

fn cancelled(reason: &str, terminated: bool) -> RunError {
    let (code, otherwise) = match terminated {
        false => ("Cancelled", "the run was cancelled"),
        true => ("Terminated", "the run was terminated"),
    };
    let message = if reason.is_empty() { otherwise } else { reason };
    RunError {
        step: None,
        error: StepError::new(ErrorKind::Refused, code, message),
    }
}
