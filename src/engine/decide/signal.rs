//! How a signal and the step that waits for it find each other, whichever comes first.
//!
//! A run never has both an open wait and a kept signal of the same name: a signal that comes goes to the wait that began
//! first, and a wait that begins takes the signal that came first.

use std::sync::Arc;

use super::{Decision, after};
use crate::engine::{
    definition::{Action, Definition, Step, Wait},
    error::{ErrorKind, StepError},
    event::Event,
    key::Deed,
    run::{Activity, Run},
    signal::{MAX_BUFFERED, MAX_BUFFERED_BYTES, Rejection, Signal, result, unfit, weight},
};

impl Decision<'_> {
    /// A signal came. One that the run knows already, by its id, changes nothing.
    pub(super) fn signal(&mut self, signal: Signal) {
        if self.run.signals.contains_key(&signal.id) || self.run.consumed.contains(&signal.id) {
            return;
        }
        if let Some(reason) = unfit(&signal.payload) {
            return self.emit(Event::SignalRejected { id: signal.id, reason });
        }
        if let Some(step) = waiting_for(self.run, self.def, &signal.name) {
            return self.consume(step, &signal);
        }
        let full = self.run.signals.len() >= MAX_BUFFERED
            || self.run.buffered.saturating_add(weight(&signal)) > MAX_BUFFERED_BYTES;
        self.emit(if full {
            let reason = Rejection::BufferFull;
            Event::SignalRejected { id: signal.id, reason }
        } else {
            Event::SignalBuffered { signal }
        });
    }

    /// A step that waits for a signal has become ready.
    pub(super) fn await_signal(&mut self, step: &Step, wait: &Wait) {
        match self.run.first_signal(&wait.signal).cloned() {
            Some(signal) => self.consume(step, &signal),
            None => self.emit(Event::SignalAwaited {
                step: step.name.clone(),
                signal: Arc::clone(&wait.signal),
                until: wait.timeout.map(|timeout| after(self.now, timeout)),
            }),
        }
    }

    /// The wait's time has come, and no signal.
    pub(super) fn time_out(&mut self, step: &Step, wait: &Wait) {
        if wait.may_time_out {
            self.emit(Event::StepTimedOut {
                step: step.name.clone(),
            });
            return self.consider_dependants(step);
        }
        let message = format!("no signal `{}` came within the `timeout` of the wait", wait.signal);
        let error = StepError::new(ErrorKind::Timeout, "SignalTimeout", message);
        self.fail_for_good(step, Deed::Do, error);
    }

    fn consume(&mut self, step: &Step, signal: &Signal) {
        self.emit(Event::SignalConsumed {
            step: step.name.clone(),
            id: signal.id,
        });
        self.succeed(step, Deed::Do, result(signal));
    }
}

/// The step that has waited longest for a signal of this name.
fn waiting_for<'a>(run: &Run, def: &'a Definition, name: &str) -> Option<&'a Step> {
    let mut waiting = run.open.iter().filter_map(|open| match open.activity {
        Activity::Signal(_) => def.step(&open.step),
        Activity::Attempt | Activity::Retry(_) | Activity::Timer(_) => None,
    });
    waiting.find(|step| matches!(&step.does.action, Action::WaitForSignal(wait) if &*wait.signal == name))
}
