//! How a run moves: one input, and everything that follows from it until the run waits for the world again.
//!
//! A decision applies each event as soon as it is decided, so that the next one is decided from the state it leads to.
//! Work is proportional to what changed: a step that ended leads to its dependants, never to a look at all steps.

mod attempt;
mod begin;
mod end;
mod takeover;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};

use super::{
    apply::apply,
    definition::{Definition, List},
    event::{Event, StepName},
    input::{Input, Mail},
    phase::RunResult,
    run::{Activity, Run, StepState},
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

    /// Ends a hold whose time has come, begins a run that has not begun, and whatever is ready.
    fn go_on(&mut self) {
        if self.run.hold_until.is_some_and(|until| until <= self.now) {
            self.emit(Event::HoldEnded);
            self.consider_all();
        }
        if !self.is_held() {
            self.start();
            self.settle();
        }
    }

    fn start(&mut self) {
        if self.run.started_at.is_none() {
            let deadline = self.def.timeout().map(|timeout| after(self.now, timeout));
            self.emit(Event::RunStarted { at: self.now, deadline });
            self.consider_all();
        }
    }

    fn timers_due(&mut self) {
        self.go_on();
        if self.is_held() {
            return;
        }
        self.end_sleeps();
        self.settle();
        if self.run.deadline.is_some_and(|deadline| deadline <= self.now) && self.run.ending.is_none() {
            self.abort(RunResult::TimedOut);
        }
        self.begin_retries();
        self.settle();
    }

    fn mail(&mut self, mail: Vec<Mail>) {
        // A run that never began is cancelled like any other: its `finally` runs.
        self.start();
        for mail in mail {
            match mail {
                Mail::Cancel { reason } => self.cancel(reason),
            }
        }
        self.go_on();
    }

    /// The second cancel changes nothing; neither does one that comes after the result, but it is remembered.
    fn cancel(&mut self, reason: String) {
        if self.run.cancel.is_some() {
            return;
        }
        self.emit(Event::CancelRequested { reason });
        if self.run.ending.is_none() {
            self.abort(RunResult::Cancelled);
        }
    }

    /// Goes on until the run waits for the world: begins what is ready, and ends the list that has nothing open.
    fn settle(&mut self) {
        while !self.is_held() && !self.run.is_terminal() {
            if let Some(position) = self.candidates.pop_front() {
                self.consider(position);
            } else if self.run.open.is_empty() && self.run.started_at.is_some() {
                self.end_list();
            } else {
                return;
            }
        }
    }

    /// Looks at every step of the list that is being run: at a start and after a hold, when no change leads the way.
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

    /// The main list is being given up: nothing new begins.
    fn is_failing(&self) -> bool {
        self.run.ending.is_none() && (self.run.failure.is_some() || self.run.cancel.is_some())
    }

    /// Begins the step if it has not begun and all that it needs lets it.
    fn consider(&mut self, position: usize) {
        let def = self.def;
        let step = &def.steps()[position];
        let ready = step.list == self.list()
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

    /// Ends sleeps whose time has come, in the order in which they began.
    fn end_sleeps(&mut self) {
        let due = self.open_where(|activity, now| matches!(activity, Activity::Timer(at) if at <= now));
        for (name, _) in due {
            // A sleep that ended before it may have failed the run and cancelled this one.
            if self.run.states.get(&name) == Some(&StepState::Open)
                && let Some(step) = self.def.step(&name)
            {
                self.succeed(step, serde_json::Value::Object(serde_json::Map::new()));
            }
        }
    }

    /// Begins the next attempt of steps whose wait is over.
    fn begin_retries(&mut self) {
        let due = self.open_where(|activity, now| matches!(activity, Activity::Retry(at) if at <= now));
        for (step, attempt) in due {
            self.emit(Event::StepStarted {
                step,
                attempt: attempt.saturating_add(1),
                at: self.now,
            });
        }
    }

    fn open_where(&self, wanted: impl Fn(Activity, Timestamp) -> bool) -> Vec<(StepName, u32)> {
        let open = self.run.open.iter().filter(|open| wanted(open.activity, self.now));
        open.map(|open| (open.step.clone(), open.attempt)).collect()
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
