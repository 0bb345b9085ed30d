//! How a list ends: the main list with a result, and `finally` with the end of the run.

use super::{Decision, attempt::fitting};
use crate::engine::{
    error::{ErrorKind, StepError},
    event::{Event, RunError},
    phase::RunResult,
    scope::{self, Answer},
};

impl Decision<'_> {
    /// Nothing is open and nothing is ready: the list is over.
    pub(super) fn end_list(&mut self) {
        if self.run.ending.is_some() {
            self.emit(Event::RunFinished { at: self.now });
            return;
        }
        let failure = self.run.failure.clone();
        match (failure, self.run.cancel.as_deref()) {
            (Some(error), _) => self.end_main(RunResult::Failed, Some(error), None),
            (None, Some(reason)) => {
                let error = cancelled(reason);
                self.end_main(RunResult::Cancelled, Some(error), None);
            }
            (None, None) => match self.output() {
                Ok(output) => self.end_main(RunResult::Succeeded, None, output),
                Err(error) => self.end_main(RunResult::Failed, Some(RunError { step: None, error }), None),
            },
        }
    }

    /// Gives up the main list at once: open attempts are aborted. A failure that came first stays the result.
    pub(super) fn abort(&mut self, result: RunResult) {
        let open: Vec<_> = self.run.open.iter().map(|open| open.step.clone()).collect();
        for step in open {
            self.emit(Event::StepCancelled { step });
        }
        self.candidates.clear();
        if result == RunResult::TimedOut && self.run.failure.is_none() {
            let message = "the run did not end within its `timeout`";
            let error = StepError::new(ErrorKind::Timeout, "RunTimeout", message);
            self.end_main(RunResult::TimedOut, Some(RunError { step: None, error }), None);
        }
    }

    fn end_main(&mut self, result: RunResult, error: Option<RunError>, output: Option<serde_json::Value>) {
        self.emit(Event::RunEnding { result, error, output });
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

fn cancelled(reason: &str) -> RunError {
    let message = if reason.is_empty() {
        "the run was cancelled"
    } else {
        reason
    };
    RunError {
        step: None,
        error: StepError::new(ErrorKind::Refused, "Cancelled", message),
    }
}
