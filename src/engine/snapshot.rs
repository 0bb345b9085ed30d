//! A run as it is stored while nobody carries it: its state, less the outputs that no later expression reads.
//!
//! Fields are only ever added, and every added one has a default: a snapshot is read by later releases, and during an
//! update by earlier ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    definition::{Definition, List, Work},
    error::StepError,
    event::{RunError, StepName},
    formula::Reads,
    origin::Origin,
    phase::Parking,
    run::{Ending, OpenStep, Round, Run, StepState, step_view},
    signal::{self, Signal},
};
use crate::expression::Segment;

/// The stored snapshot cannot be read: it is damaged, or written by a release that this one does not know.
#[derive(Debug, thiserror::Error)]
#[error("the snapshot of run {run} cannot be read")]
pub struct Corrupt {
    run: uuid::Uuid,
    source: serde_json::Error,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Stored {
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    open: Vec<OpenStep>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ended: BTreeMap<StepName, EndedStep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<RunError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    terminated: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    paused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parked: Option<Parking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    still_since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending: Option<Ending>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    undo: Vec<StepName>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    undoing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    undo_failure: Option<RunError>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rounds: Vec<Round>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signals: Vec<Signal>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    consumed: BTreeSet<i64>,
    takeovers: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_until: Option<Timestamp>,
    last_attempts: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct EndedStep {
    state: StepState,
    attempts: u32,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    output: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<StepError>,
}

impl Run {
    /// The run's state, with of each output only what a later expression of the definition reads.
    ///
    /// [`restore`](Self::restore) of it decides and wants what the run does.
    pub fn snapshot(&self, def: &Definition) -> Value {
        let reads = later_reads(self, def);
        let ended = self.states.iter().filter(|(_, state)| **state != StepState::Open);
        let stored = Stored {
            started_at: self.started_at,
            finished_at: self.finished_at,
            deadline: self.deadline,
            open: self.open.clone(),
            ended: ended
                .map(|(step, state)| (step.clone(), ended_step(self, step, *state, &reads)))
                .collect(),
            failure: self.failure.clone(),
            cancel: self.cancel.clone(),
            terminated: self.terminated,
            paused: self.paused,
            generation: self.generation,
            parked: self.parked,
            still_since: self.still_since,
            ending: self.ending.clone(),
            undo: self.undo.clone(),
            undoing: self.undoing,
            undo_failure: self.undo_failure.clone(),
            rounds: self.rounds.clone(),
            signals: self.signals.values().cloned().collect(),
            consumed: self.consumed.clone(),
            takeovers: self.takeovers,
            hold_until: self.hold_until,
            last_attempts: self.last_attempts,
        };
        serde_json::to_value(stored).expect("keys are strings and numbers are finite")
    }

    /// The run of a stored snapshot.
    ///
    /// # Errors
    /// The value is no snapshot.
    pub fn restore(origin: Arc<Origin>, snapshot: &Value) -> Result<Self, Corrupt> {
        let stored = Stored::deserialize(snapshot).map_err(|source| Corrupt {
            run: origin.run,
            source,
        })?;
        let mut run = Self::new(origin);
        let mut steps = Map::new();
        for (step, ended) in stored.ended {
            run.states.insert(step.clone(), ended.state);
            steps.insert(
                step.to_string(),
                step_view(ended.state, ended.attempts, ended.output, ended.error.as_ref()),
            );
        }
        let begun = stored.open.iter().filter(|open| open.deed.is_do());
        run.states
            .extend(begun.map(|open| (open.step.clone(), StepState::Open)));
        Ok(Self {
            started_at: stored.started_at,
            finished_at: stored.finished_at,
            deadline: stored.deadline,
            open: stored.open,
            steps: Value::Object(steps),
            failure: stored.failure,
            cancel: stored.cancel,
            terminated: stored.terminated,
            paused: stored.paused,
            generation: stored.generation,
            parked: stored.parked,
            still_since: stored.still_since,
            ending: stored.ending,
            undo: stored.undo,
            undoing: stored.undoing,
            undo_failure: stored.undo_failure,
            rounds: stored.rounds,
            buffered: stored.signals.iter().map(signal::weight).sum(),
            signals: stored.signals.into_iter().map(|signal| (signal.id, signal)).collect(),
            consumed: stored.consumed,
            takeovers: stored.takeovers,
            hold_until: stored.hold_until,
            last_attempts: stored.last_attempts,
            ..run
        })
    }
}

/// What is below a step in an expression: `output.x` of `steps.a.output.x`.
type Path<'a> = &'a [Segment];

/// What expressions that may still be evaluated read of each step.
fn later_reads<'a>(run: &Run, def: &'a Definition) -> BTreeMap<&'a str, Vec<Path<'a>>> {
    let mut reads: BTreeMap<&str, Vec<Path<'_>>> = BTreeMap::new();
    let mut add = |found: &'a Reads| {
        for (step, path) in &found.steps {
            reads.entry(step).or_default().push(path);
        }
    };
    if run.is_terminal() {
        return reads;
    }
    let main_is_over = run.ending.is_some();
    if !main_is_over {
        def.output().into_iter().for_each(|output| add(&output.reads));
    }
    for step in def.steps() {
        let over = match run.states.get(&step.name) {
            None => main_is_over && step.list == List::Main,
            Some(StepState::Open) => false,
            // A retry begins it again.
            Some(StepState::Failed) => main_is_over,
            Some(
                StepState::Succeeded
                | StepState::Skipped
                | StepState::Tolerated
                | StepState::TimedOut
                | StepState::Cancelled,
            ) => true,
        };
        if !over {
            let around = step.when.iter().map(|when| &when.reads);
            let around = around.chain(step.output.iter().map(|output| &output.reads));
            around.chain(work_reads(&step.does)).for_each(&mut add);
        }
        if let Some(undo) = &step.undo
            && (!main_is_over || run.undo.contains(&step.name))
        {
            work_reads(undo).for_each(&mut add);
        }
    }
    reads
}

fn work_reads(work: &Work) -> impl Iterator<Item = &Reads> {
    let conditions = [work.action.success_when(), work.retry.when.as_deref()];
    let formulas = work.action.formulas().into_iter();
    conditions
        .into_iter()
        .flatten()
        .map(|condition| &condition.reads)
        .chain(formulas.map(|formula| &formula.reads))
}

fn ended_step(run: &Run, step: &StepName, state: StepState, reads: &BTreeMap<&str, Vec<Path<'_>>>) -> EndedStep {
    let view = run.steps.get(&**step);
    let field = |name: &str| view.and_then(|view| view.get(name));
    let paths = reads.get(&**step).map(Vec::as_slice).unwrap_or_default();
    let below: Vec<Path<'_>> = paths.iter().filter_map(|path| below_field(path, "output")).collect();
    EndedStep {
        state,
        attempts: field("attempts")
            .and_then(Value::as_u64)
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(0),
        output: field("output").map_or(Value::Null, |output| pruned(output, &below)),
        error: field("error").and_then(|error| StepError::deserialize(error).ok()),
    }
}

/// What a path reads below a field, if it reads there at all; a path that ends before it reads the whole field.
fn below_field<'a>(path: Path<'a>, field: &str) -> Option<Path<'a>> {
    match path {
        [] => Some(&[]),
        [Segment::Key(key), below @ ..] if key == field => Some(below),
        [_, ..] => None,
    }
}

/// The parts of a value that the paths read; null when they read nothing.
///
/// A path that goes into something else than an object keeps it whole: so it fails for the same reason as before.
fn pruned(value: &Value, paths: &[Path<'_>]) -> Value {
    if paths.is_empty() {
        return Value::Null;
    }
    let Value::Object(fields) = value else {
        return value.clone();
    };
    if paths.iter().any(|path| !matches!(path, [Segment::Key(_), ..])) {
        return value.clone();
    }
    let mut kept = Map::new();
    for (key, value) in fields {
        let below: Vec<Path<'_>> = paths
            .iter()
            .filter(|path| !path.is_empty())
            .filter_map(|path| below_field(path, key))
            .collect();
        if !below.is_empty() {
            kept.insert(key.clone(), pruned(value, &below));
        }
    }
    Value::Object(kept)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pruning_keeps_what_paths_read_and_nothing_else() {
        let value = json!({"a": {"b": 1, "c": 2}, "d": [1, 2], "e": "x"});
        let prune = |paths: &[&[&str]]| {
            let paths: Vec<Vec<Segment>> = paths
                .iter()
                .map(|path| path.iter().map(|key| Segment::Key((*key).to_owned())).collect())
                .collect();
            pruned(&value, &paths.iter().map(Vec::as_slice).collect::<Vec<_>>())
        };
        assert_eq!(prune(&[]), json!(null));
        assert_eq!(prune(&[&[]]), value);
        assert_eq!(prune(&[&["a", "b"]]), json!({"a": {"b": 1}}));
        assert_eq!(prune(&[&["a", "b"], &["a"]]), json!({"a": {"b": 1, "c": 2}}));
        assert_eq!(prune(&[&["d", "x"], &["e", "y"]]), json!({"d": [1, 2], "e": "x"}));
        assert_eq!(prune(&[&["absent"]]), json!({}));
        let index = [Segment::Key("d".to_owned()), Segment::Index(0)];
        assert_eq!(pruned(&value, &[&index]), json!({"d": [1, 2]}));
        assert_eq!(pruned(&value, &[&index[1..]]), value);
    }
}
