//! What a run is: rebuilt at any time by applying its journal. Not how it moves: that is `decide`; nor how it is
//! stored: that is `snapshot`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    apply::apply,
    error::StepError,
    event::{Event, RunError, StepName},
    key::Deed,
    origin::Origin,
    phase::{Parking, Phase, RunResult},
    signal::Signal,
    snapshot::Corrupt,
};

/// A run's state: small, and independent of how long the run has lived.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub(super) origin: Arc<Origin>,
    pub(super) started_at: Option<Timestamp>,
    pub(super) finished_at: Option<Timestamp>,
    pub(super) deadline: Option<Timestamp>,
    /// Every step that has begun or was decided; nothing for the others.
    pub(super) states: BTreeMap<StepName, StepState>,
    /// Steps that are open, in the order in which they began. Few: decisions look through them.
    pub(super) open: Vec<OpenStep>,
    /// What expressions see as `steps`: an entry for each step that ended.
    pub(super) steps: Value,
    /// The first step of the main list that failed for good.
    pub(super) failure: Option<RunError>,
    /// Why somebody asked for the end.
    pub(super) cancel: Option<String>,
    /// The end was asked for without a compensation.
    pub(super) terminated: bool,
    /// A command says that nothing begins.
    pub(super) paused: bool,
    /// The highest generation of a pause or a resume.
    pub(super) generation: Option<i64>,
    /// The run stands still by itself.
    pub(super) parked: Option<Parking>,
    /// Since when it stands still, for either reason.
    pub(super) still_since: Option<Timestamp>,
    /// The main list is over.
    pub(super) ending: Option<Ending>,
    /// Steps that have succeeded and can be undone, in the order of their success; the last one is undone first.
    pub(super) undo: Vec<StepName>,
    /// What is in `undo` is being undone.
    pub(super) undoing: bool,
    /// The compensation that failed for good.
    pub(super) undo_failure: Option<RunError>,
    /// What was retried by hand, and how often; nothing for the rest.
    pub(super) rounds: Vec<Round>,
    /// Signals that no step has consumed, by inbox id: first in, first out.
    pub(super) signals: BTreeMap<i64, Signal>,
    /// Bytes that these take.
    pub(super) buffered: usize,
    /// Ids of signals that were consumed: at most one for each wait of each round.
    pub(super) consumed: BTreeSet<i64>,
    /// Takeovers in a row, without a result between.
    pub(super) takeovers: u32,
    /// Nothing begins or is performed until then.
    pub(super) hold_until: Option<Timestamp>,
    /// Attempts of the step that ended last.
    pub(super) last_attempts: u32,
}

/// Where a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum StepState {
    Open,
    Succeeded,
    Skipped,
    Failed,
    /// Failed, and `continueOnError` lets the run go on.
    Tolerated,
    /// Its signal did not come, and `onTimeout: Continue` lets the run go on.
    TimedOut,
    Cancelled,
}

impl StepState {
    /// What expressions see as `steps.<name>.status`; nothing while the step is open.
    pub(super) fn status(self) -> Option<&'static str> {
        match self {
            Self::Open => None,
            Self::Succeeded => Some("Succeeded"),
            Self::Skipped => Some("Skipped"),
            Self::Failed | Self::Tolerated => Some("Failed"),
            Self::TimedOut => Some("TimedOut"),
            Self::Cancelled => Some("Cancelled"),
        }
    }

    /// Steps that need this one may begin.
    pub(super) fn lets_dependants_run(self) -> bool {
        match self {
            Self::Succeeded | Self::Skipped | Self::Tolerated | Self::TimedOut => true,
            Self::Open | Self::Failed | Self::Cancelled => false,
        }
    }
}

/// A step that has begun and has not ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct OpenStep {
    pub(super) step: StepName,
    /// The attempt that runs, or ran last. Numbers of a step's attempts never repeat: its compensation, and what is
    /// retried by hand, count on, so that a late answer is never taken for another attempt's.
    pub(super) attempt: u32,
    /// Numbers that were used before: attempts are counted from here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) before: u32,
    pub(super) activity: Activity,
    /// The step itself, or its compensation.
    #[serde(default, skip_serializing_if = "Deed::is_do")]
    pub(super) deed: Deed,
    /// Why the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<StepError>,
    /// Takeovers that found an attempt of this step open, since its last result.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) takeovers: u32,
}

/// What an open step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Activity {
    /// A worker performs an attempt.
    Attempt,
    /// The next attempt begins then.
    Retry(Timestamp),
    /// The step sleeps until then.
    Timer(Timestamp),
    /// The step waits for a signal, at most until then.
    Signal(Option<Timestamp>),
}

impl OpenStep {
    /// How many attempts there were: what people and `retry` count.
    pub(super) fn attempts(&self) -> u32 {
        self.attempt.saturating_sub(self.before)
    }
}

/// How often a step, or its compensation, was retried by hand, and the numbers that its attempts have used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Round {
    pub(super) step: StepName,
    #[serde(default, skip_serializing_if = "Deed::is_do")]
    pub(super) deed: Deed,
    pub(super) round: u32,
    pub(super) attempts: u32,
}

/// How the main list ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Ending {
    pub(super) result: RunResult,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<RunError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<Value>,
    /// Steps of the main list that ended.
    pub(super) ended: usize,
}

impl Run {
    /// A run that nobody has carried yet.
    pub fn new(origin: Arc<Origin>) -> Self {
        Self {
            origin,
            started_at: None,
            finished_at: None,
            deadline: None,
            states: BTreeMap::new(),
            open: Vec::new(),
            steps: Value::Object(Map::new()),
            failure: None,
            cancel: None,
            terminated: false,
            paused: false,
            generation: None,
            parked: None,
            still_since: None,
            ending: None,
            undo: Vec::new(),
            undoing: false,
            undo_failure: None,
            rounds: Vec::new(),
            signals: BTreeMap::new(),
            buffered: 0,
            consumed: BTreeSet::new(),
            takeovers: 0,
            hold_until: None,
            last_attempts: 0,
        }
    }

    /// The run as its rows say: its last snapshot, if there is one, and then the journal after it, oldest first.
    ///
    /// # Errors
    /// The snapshot cannot be read.
    pub fn rebuild<'a>(
        origin: Arc<Origin>,
        snapshot: Option<&Value>,
        tail: impl IntoIterator<Item = &'a Event>,
    ) -> Result<Self, Corrupt> {
        let mut run = match snapshot {
            Some(snapshot) => Self::restore(origin, snapshot)?,
            None => Self::new(origin),
        };
        for event in tail {
            apply(&mut run, event);
        }
        Ok(run)
    }

    /// What the run was born with.
    pub fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Where the run is, coarsely.
    pub fn phase(&self) -> Phase {
        match (&self.ending, self.finished_at) {
            (Some(ending), Some(_)) => ending.result.phase(),
            _ if self.is_still() => Phase::Paused,
            _ if self.undoing => Phase::Compensating,
            (
                Some(Ending {
                    result: RunResult::Cancelled,
                    ..
                }),
                None,
            ) => Phase::Cancelling,
            (None, _) if self.cancel.is_some() => Phase::Cancelling,
            _ if self.started_at.is_none() => Phase::Pending,
            _ => self.going_on(),
        }
    }

    /// The run has ended and never changes again.
    pub fn is_terminal(&self) -> bool {
        self.finished_at.is_some()
    }

    /// How the main list ended; known before `finally` has run.
    pub fn result(&self) -> Option<RunResult> {
        self.ending.as_ref().map(|ending| ending.result)
    }

    /// The output of a run that succeeded, if its definition has one.
    pub fn output(&self) -> Option<&Value> {
        self.ending.as_ref()?.output.as_ref()
    }

    /// Why the run does not succeed, as soon as that is known.
    pub fn error(&self) -> Option<&RunError> {
        match &self.ending {
            Some(ending) => ending.error.as_ref(),
            None => self.failure.as_ref(),
        }
    }

    /// Why the run stands still of itself, if it does: only a human moves it.
    pub fn parked(&self) -> Option<Parking> {
        self.parked
    }

    /// When a worker first carried it.
    pub fn started_at(&self) -> Option<Timestamp> {
        self.started_at
    }

    /// When it ended.
    pub fn finished_at(&self) -> Option<Timestamp> {
        self.finished_at
    }

    /// When it times out, if its definition has a timeout.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.deadline
    }

    /// By what is open: something to perform, or only waits.
    fn going_on(&self) -> Phase {
        let mut phase = if self.open.is_empty() {
            Phase::Running
        } else {
            Phase::Sleeping
        };
        for open in &self.open {
            match open.activity {
                Activity::Attempt | Activity::Retry(_) => return Phase::Running,
                Activity::Signal(_) => phase = Phase::Waiting,
                Activity::Timer(_) => {}
            }
        }
        phase
    }

    /// Nothing begins, and no timer takes effect, until somebody says so.
    pub(super) fn is_still(&self) -> bool {
        self.paused || self.parked.is_some()
    }

    /// How often this was retried by hand: part of its step key.
    pub(super) fn round(&self, step: &str, deed: Deed) -> u32 {
        let found = self
            .rounds
            .iter()
            .find(|round| &*round.step == step && round.deed == deed);
        found.map_or(0, |round| round.round)
    }

    /// The numbers that attempts have used before this deed begins.
    pub(super) fn attempts_before(&self, step: &str, deed: Deed) -> u32 {
        let used = self
            .rounds
            .iter()
            .find(|round| &*round.step == step && round.deed == deed);
        match (used, deed) {
            (Some(used), _) => used.attempts,
            (None, Deed::Do) => 0,
            (None, Deed::Undo) => self
                .attempts_before(step, Deed::Do)
                .saturating_add(self.attempts_of(step)),
        }
    }

    /// How many attempts the step had that ended.
    pub(super) fn attempts_of(&self, step: &str) -> u32 {
        let attempts = self.steps.get(step).and_then(|view| view.get("attempts")?.as_u64());
        attempts.and_then(|attempts| u32::try_from(attempts).ok()).unwrap_or(0)
    }

    /// The signal of this name that came first.
    pub(super) fn first_signal(&self, name: &str) -> Option<&Signal> {
        self.signals.values().find(|signal| signal.name == name)
    }

    pub(super) fn open_step(&self, step: &str) -> Option<&OpenStep> {
        self.open.iter().find(|open| &*open.step == step)
    }

    /// Steps that ended, of the list that is being run.
    pub(super) fn ended(&self) -> usize {
        let open = self.open.iter().filter(|open| open.deed.is_do()).count();
        self.states.len().saturating_sub(open)
    }
}

/// The entry of a step that ended in what expressions see as `steps`.
pub(super) fn step_view(state: StepState, attempts: u32, output: Value, error: Option<&StepError>) -> Value {
    let mut view = Map::new();
    view.insert("attempts".to_owned(), attempts.into());
    view.insert("error".to_owned(), error.map_or(Value::Null, error_view));
    view.insert("output".to_owned(), output);
    view.insert("status".to_owned(), state.status().unwrap_or(NOT_RUN).into());
    Value::Object(view)
}

/// The status of a step that never began.
pub(super) const NOT_RUN: &str = "NotRun";

/// The entry of a step that never began.
pub(super) fn not_run_view() -> Value {
    step_view(StepState::Open, 0, Value::Null, None)
}

/// What expressions see as `error`: all four fields, always.
pub(super) fn error_view(error: &StepError) -> Value {
    let mut view = Map::new();
    view.insert("code".to_owned(), error.code.as_str().into());
    view.insert("kind".to_owned(), error.kind.as_str().into());
    view.insert("message".to_owned(), error.message.as_str().into());
    view.insert("status".to_owned(), error.status.into());
    Value::Object(view)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
