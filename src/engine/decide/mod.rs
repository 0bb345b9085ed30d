//! How a run moves: one input, and everything that follows from it until the run waits for the world again.
//!
//! A decision applies each event as soon as it is decided, so that the next one is decided from the state it leads to.
//! Work is proportional to what changed: a step that ended leads to its dependants, never to a look at all steps.

mod attempt;
mod begin;
mod command;
mod end;
mod signal;
mod takeover;
#[cfg(test)]
mod tests;
mod undo;

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use super::{
    apply::apply,
    definition::{Action, Definition, List},
    error::{ErrorKind, StepError},
    event::{Event, RunError, StepName},
    input::{Input, Mail},
    key::Deed,
    phase::RunResult,
    run::{Activity, OpenStep, Run, StepState},
};

/// The input cannot belong to this run: a defect of the caller, or a definition that is not the run's. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The definition has no such step.
    #[error("the definition has no step `{step}`")]
    UnknownStep {
        /// The step.
        step: StepName,
    },
    /// Nobody was asked to perform this attempt.
    #[error("attempt {attempt} of step `{step}` has never begun")]
    NeverBegan {
        /// The step.
        step: StepName,
        /// The attempt.
        attempt: u32,
    },
}

/// What follows from an input, without changing the run. [`advance`] is the same without the copy.
///
/// # Errors
/// See [`Refused`].
pub fn decide(run: &Run, def: &Definition, input: Input, now: Timestamp) -> Result<Vec<Event>, Refused> {
    advance(&mut run.clone(), def, input, now)
}

/// Decides what follows from an input and applies it. The events are to be appended to the journal as one row; until
/// that is acknowledged nobody may act on the run.
///
/// `now` is the database's clock; timers fire late, never early. A terminal run decides nothing.
///
/// # Errors
/// See [`Refused`]; the run is unchanged then.
pub fn advance(run: &mut Run, def: &Definition, input: Input, now: Timestamp) -> Result<Vec<Event>, Refused> {
    let mut decision = Decision {
        run,
        def,
        now,
        events: Vec::new(),
        candidates: VecDeque::new(),
    };
    if decision.run.is_terminal() {
        return Ok(Vec::new());
    }
    match input {
        Input::Claimed => {
            // A decision leaves nothing ready; a look at all of them costs little here, and nothing stays behind for ever.
            decision.consider_all();
            decision.go_on();
        }
        Input::StepEnded { step, attempt, outcome } => {
            decision.step_ended(&step, attempt, outcome)?;
            decision.settle();
        }
        Input::TimersDue => decision.timers_due(),
        Input::Mail(mail) => decision.mail(mail),
        Input::TakenOver => decision.taken_over(),
    }
    Ok(decision.events)
}

/// A decision in the making.
struct Decision<'a> {
    run: &'a mut Run,
    def: &'a Definition,
    now: Timestamp,
    events: Vec<Event>,
    /// Positions of steps that may have become ready.
    candidates: VecDeque<usize>,
}

impl Decision<'_> {
    /// Records what was decided and goes on from there.
    fn emit(&mut self, event: Event) {
        apply(self.run, &event);
        self.events.push(event);
    }

    fn is_held(&self) -> bool {
        self.run.hold_until.is_some()
    }

    /// Nothing begins: a takeover holds the run, or it stands still.
    fn is_halted(&self) -> bool {
        self.is_held() || self.run.is_still()
    }

    /// Ends a hold whose time has come, begins a run that has not begun, and whatever is ready.
    fn go_on(&mut self) {
        if self.run.hold_until.is_some_and(|until| until <= self.now) {
            self.emit(Event::HoldEnded);
            self.consider_all();
        }
        if !self.is_halted() {
            self.start();
            self.settle();
        }
    }

    /// Begins a run that has not begun. An input that contradicts `params` is its end: not everybody who starts a run
    /// can check it before.
    fn start(&mut self) {
        if self.run.started_at.is_some() {
            return;
        }
        let deadline = self.def.timeout().map(|timeout| after(self.now, timeout));
        self.emit(Event::RunStarted { at: self.now, deadline });
        let violations = self.def.check_input(&self.run.origin.input);
        if violations.is_empty() {
            return self.consider_all();
        }
        let violations: Vec<String> = violations.iter().map(ToString::to_string).collect();
        let error = StepError::new(ErrorKind::Expectation, "InvalidInput", violations.join("; "));
        self.end_main(RunResult::Failed, Some(RunError { step: None, error }), None);
    }

    fn timers_due(&mut self) {
        self.go_on();
        if self.is_halted() {
            return;
        }
        self.end_waits();
        self.settle();
        // A wait that failed may have parked the run: its deadline stands still with it.
        if self.is_halted() {
            return;
        }
        if self.run.deadline.is_some_and(|deadline| deadline <= self.now) && self.run.ending.is_none() {
            self.abort(RunResult::TimedOut);
        }
        self.begin_retries();
        self.settle();
    }

    /// Commands first: a cancel and a signal that come together are a cancel.
    fn mail(&mut self, mail: Vec<Mail>) {
        let mut signals = Vec::new();
        for mail in mail {
            match mail {
                Mail::Cancel { reason } => self.cancel(reason),
                Mail::Terminate { reason } => self.terminate(reason),
                Mail::Pause { generation } => self.pause(generation),
                Mail::Resume { generation } => self.resume(generation),
                Mail::Retry { from } => self.retry(from.as_deref()),
                Mail::Signal(signal) => signals.push(signal),
            }
        }
        for signal in signals {
            self.signal(signal);
        }
        self.go_on();
    }

    /// Goes on until the run waits for the world: begins what is ready, and ends the list that has nothing open.
    fn settle(&mut self) {
        while !self.is_halted() && !self.run.is_terminal() {
            if let Some(position) = self.candidates.pop_front() {
                self.consider(position);
            } else if self.run.open.is_empty() && self.run.started_at.is_some() {
                self.end_list();
            } else {
                return;
            }
        }
    }

    /// Looks at every step of the list that is being run: at a start and after a halt, when no change leads the way.
    fn consider_all(&mut self) {
        let range = self.def.range(self.list());
        self.candidates.extend(range);
    }

    /// The list that is being run.
    fn list(&self) -> List {
        if self.run.ending.is_some() {
            List::Finally
        } else {
            List::Main
        }
    }

    /// The main list is being given up: nothing new begins. One that is parked by its failure is not: it may go on.
    fn is_failing(&self) -> bool {
        let failed = self.run.failure.is_some() && self.run.parked.is_none();
        self.run.ending.is_none() && (failed || self.run.cancel.is_some())
    }

    /// Begins the step if it has not begun and all that it needs lets it.
    fn consider(&mut self, position: usize) {
        let def = self.def;
        let step = &def.steps()[position];
        let ready = step.list == self.list()
            && !self.run.undoing
            && !self.is_failing()
            && !self.run.states.contains_key(&step.name)
            && step.needs.iter().all(|&need| {
                let state = self.run.states.get(&def.steps()[need].name);
                state.is_some_and(|state| state.lets_dependants_run())
            });
        if ready {
            self.begin(step);
        }
    }

    /// Ends sleeps, and waits for signals, whose time has come, in the order in which they began.
    fn end_waits(&mut self) {
        let due = self.open_where(|activity, now| match activity {
            Activity::Timer(at) | Activity::Signal(Some(at)) => at <= now,
            Activity::Signal(None) | Activity::Attempt | Activity::Retry(_) => false,
        });
        let def = self.def;
        for open in due {
            let Some(step) = def.step(&open.step) else { continue };
            // One that ended before it may have failed the run: then this one is cancelled, or stays open in a parked run.
            if self.run.is_still() || self.run.states.get(&open.step) != Some(&StepState::Open) {
                continue;
            }
            match &step.does.action {
                Action::WaitForSignal(wait) => self.time_out(step, wait),
                _ => self.succeed(step, Deed::Do, serde_json::Value::Object(serde_json::Map::new())),
            }
        }
    }

    /// Begins the next attempt of steps whose wait is over.
    fn begin_retries(&mut self) {
        let due = self.open_where(|activity, now| matches!(activity, Activity::Retry(at) if at <= now));
        for open in due {
            self.emit(Event::StepStarted {
                step: open.step,
                attempt: open.attempt.saturating_add(1),
                at: self.now,
                deed: open.deed,
            });
        }
    }

    fn open_where(&self, wanted: impl Fn(Activity, Timestamp) -> bool) -> Vec<Opened> {
        let open = self.run.open.iter().filter(|open| wanted(open.activity, self.now));
        open.map(Opened::of).collect()
    }
}

/// What is open, apart from the run that a decision changes.
struct Opened {
    step: StepName,
    attempt: u32,
    deed: Deed,
}

impl Opened {
    fn of(open: &OpenStep) -> Self {
        Self {
            step: open.step.clone(),
            attempt: open.attempt,
            deed: open.deed,
        }
    }
}

/// An instant later, at most the end of time.
fn after(now: Timestamp, duration: std::time::Duration) -> Timestamp {
    whole_micros(now.checked_add(duration).unwrap_or(Timestamp::MAX))
}

/// The next whole microsecond: what the database's clock can show. A timer between two of them would look due and not be.
fn whole_micros(at: Timestamp) -> Timestamp {
    match at.subsec_nanosecond().rem_euclid(1_000) {
        0 => at,
        beyond => at
            .checked_add(SignedDuration::from_nanos(i64::from(1_000 - beyond)))
            .unwrap_or(at),
    }
}
