//! What a run takes over from an earlier one that it does again from a step on: the events that its journal begins with,
//! or why it cannot be done. Pure; nothing is executed, and nothing of the earlier run changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::Value;

use super::{
    definition::{Definition, List, json_bytes},
    error::StepError,
    event::{Event, Reused, StepName},
    key::Deed,
    origin::Origin,
    phase::{Phase, RunResult},
    run::{Run, StepState},
    signature::step_signatures,
};

/// The most that outputs may take as JSON, in bytes, all together: they become one row of the journal.
const MAX_OUTPUTS: usize = 4 * 1024 * 1024;

/// A run that was.
#[derive(Debug)]
pub struct Earlier<'a> {
    run: Run,
    /// The definition that it executed, as it was written.
    body: &'a Value,
    /// Steps that went through, in the order in which they did: what is undone is undone in that order, backwards.
    through: Vec<StepName>,
    /// Steps that succeeded and have a compensation.
    undoable: BTreeSet<StepName>,
    /// Steps whose compensation has begun, however it ended.
    undone: BTreeSet<StepName>,
}

/// Why a run cannot be done again from that step on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoReuse {
    /// It may still do anything.
    #[error("the run is {}, and has not ended: {}", .0.as_str(), ending(*.0))]
    NotEnded(Phase),
    /// It succeeded, and nobody said from where to do it again.
    #[error("the run has succeeded, so there is no failed step to begin with: name one in `fromStep`")]
    Succeeded,
    /// There is no such step.
    #[error("there is no step `{0}` in the list `steps` itself: name one of {1}")]
    UnknownStep(String, String),
    /// A step above has no result.
    #[error(
        "step `{step}` comes before `{from}` and is {status} in the run: only what went through is reused. Begin with `{step}`"
    )]
    NotThrough {
        /// The step without a result.
        step: StepName,
        /// The step to begin with.
        from: String,
        /// What it is instead.
        status: &'static str,
    },
    /// A step above was undone.
    #[error(
        "step `{step}` comes before `{from}`, and its compensation has begun: what it did does not stand. Begin with `{step}`"
    )]
    Undone {
        /// The step that was undone.
        step: StepName,
        /// The step to begin with.
        from: String,
    },
    /// A step above is another one in the new definition.
    #[error("step `{step}` comes before `{from}` and is not what the run executed: {how}")]
    Changed {
        /// The step.
        step: StepName,
        /// The step to begin with.
        from: String,
        /// What is different.
        how: &'static str,
    },
    /// A step above follows one that is executed again.
    #[error(
        "step `{step}` comes before `{from}` and needs `{needs}`, which is done again: begin with a step above both"
    )]
    NeedsLater {
        /// The step.
        step: StepName,
        /// What it needs.
        needs: StepName,
        /// The step to begin with.
        from: String,
    },
    /// The outputs are too large.
    #[error(
        "the outputs of the steps before `{from}` take {bytes} bytes of JSON, and at most {MAX_OUTPUTS} are taken over: begin with a step further up"
    )]
    TooLarge {
        /// The step to begin with.
        from: String,
        /// How large.
        bytes: usize,
    },
}

impl NoReuse {
    /// A CamelCase constant.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotEnded(_) => "RunNotEnded",
            Self::Succeeded => "NothingToRetry",
            Self::UnknownStep(..) => "StepUnknown",
            Self::NotThrough { .. } => "StepNotDone",
            Self::Undone { .. } => "StepUndone",
            Self::Changed { .. } => "StepChanged",
            Self::NeedsLater { .. } => "StepNeedsLater",
            Self::TooLarge { .. } => "OutputsTooLarge",
        }
    }
}

impl<'a> Earlier<'a> {
    /// A run with this journal, all of it and oldest first, of a definition with this body.
    pub fn new(origin: Arc<Origin>, body: &'a Value, journal: &[Event]) -> Self {
        let mut run = Run::new(origin);
        let (mut through, mut undoable, mut undone) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for event in journal {
            super::apply(&mut run, event);
            match event {
                Event::StepSucceeded {
                    step, deed: Deed::Undo, ..
                }
                | Event::StepStarted {
                    step, deed: Deed::Undo, ..
                }
                | Event::StepFailed {
                    step, deed: Deed::Undo, ..
                } => {
                    undone.insert(step.clone());
                }
                Event::StepSucceeded {
                    step, undoable: yes, ..
                }
                | Event::StepReused {
                    step, undoable: yes, ..
                } => {
                    through.push(step.clone());
                    if *yes {
                        undoable.insert(step.clone());
                    }
                }
                Event::StepSkipped { step }
                | Event::StepTimedOut { step }
                | Event::StepFailed {
                    step, tolerated: true, ..
                } => {
                    through.push(step.clone());
                }
                _ => {}
            }
        }
        Self {
            run,
            body,
            through,
            undoable,
            undone,
        }
    }

    /// The events with which the journal of a run begins that does this one again under `def`, which is `body`, from that
    /// step on; of no step, from the first one that did not go through or was undone. No events: from the very first.
    ///
    /// # Errors
    /// See [`NoReuse`].
    pub fn reuse(&self, def: &Definition, body: &Value, from: Option<&str>) -> Result<Vec<Event>, NoReuse> {
        if !self.run.is_terminal() {
            return Err(NoReuse::NotEnded(self.run.phase()));
        }
        let place = self.place(def, from)?;
        let main = &def.steps()[def.range(List::Main)];
        let from = main.get(place).map_or("the end", |step| &*step.name).to_owned();
        let (before, after) = (step_signatures(self.body), step_signatures(body));
        let changed = |step: &StepName, how| NoReuse::Changed {
            step: step.clone(),
            from: from.clone(),
            how,
        };
        for step in &main[..place] {
            let state = self.run.states.get(&step.name).copied();
            if !state.is_some_and(StepState::lets_dependants_run) {
                return Err(NoReuse::NotThrough {
                    step: step.name.clone(),
                    from,
                    status: state.and_then(StepState::status).unwrap_or(super::run::NOT_RUN),
                });
            }
            if self.undone.contains(&step.name) {
                return Err(NoReuse::Undone {
                    step: step.name.clone(),
                    from,
                });
            }
            if before.get(&*step.name) != after.get(&*step.name) {
                return Err(changed(
                    &step.name,
                    "its text has changed. Restore it, or begin with it",
                ));
            }
            if let Some(&needs) = step.needs.iter().find(|&&need| need >= place) {
                return Err(NoReuse::NeedsLater {
                    step: step.name.clone(),
                    needs: main[needs].name.clone(),
                    from,
                });
            }
        }
        // Work that stands, and that nobody would do again or undo any more.
        let mut above = self.listed().into_iter().take_while(|step| *step != from);
        if let Some(step) = above.find(|step| self.stands(step) && main.iter().all(|there| *there.name != **step)) {
            return Err(changed(
                &step.into(),
                "it is not in the definition any more. Restore it",
            ));
        }
        let reused: BTreeSet<&str> = main[..place].iter().map(|step| &*step.name).collect();
        self.events(&reused, from)
    }

    /// The place in the main list that the run is done again from.
    fn place(&self, def: &Definition, from: Option<&str>) -> Result<usize, NoReuse> {
        let main = &def.steps()[def.range(List::Main)];
        let named = from.or_else(|| self.listed().into_iter().find(|step| !self.stands(step)));
        let Some(named) = named else {
            return match self.run.result() {
                Some(RunResult::Succeeded) | None => Err(NoReuse::Succeeded),
                // All steps went through and the run failed: by its output, or by a cancel at its very end.
                Some(RunResult::Failed | RunResult::Cancelled | RunResult::TimedOut) => Ok(main.len()),
            };
        };
        main.iter().position(|step| *step.name == *named).ok_or_else(|| {
            let names: Vec<String> = main.iter().map(|step| format!("`{}`", step.name)).collect();
            NoReuse::UnknownStep(named.to_owned(), names.join(", "))
        })
    }

    /// Names of the main list as it was.
    fn listed(&self) -> Vec<&'a str> {
        let steps = self.body.get("steps").and_then(Value::as_array);
        let names = steps
            .into_iter()
            .flatten()
            .filter_map(|step| step.get("name")?.as_str());
        names.collect()
    }

    /// The step went through, and nothing has touched what it did.
    fn stands(&self, step: &str) -> bool {
        let state = self.run.states.get(step).copied();
        state.is_some_and(StepState::lets_dependants_run) && !self.undone.contains(step)
    }

    fn events(&self, reused: &BTreeSet<&str>, from: String) -> Result<Vec<Event>, NoReuse> {
        // Of a step that was begun afresh by hand only the last time counts.
        let last: BTreeMap<&StepName, usize> = self.through.iter().enumerate().map(|(i, step)| (step, i)).collect();
        let order = self.through.iter().enumerate();
        let steps = order.filter(|(i, step)| last[step] == *i && reused.contains(&***step));
        let events: Vec<Event> = steps.map(|(_, step)| self.event(step)).collect();
        let outputs = events.iter().map(|event| match event {
            Event::StepReused { output, .. } => json_bytes(output),
            _ => 0,
        });
        match outputs.sum() {
            bytes if bytes > MAX_OUTPUTS => Err(NoReuse::TooLarge { from, bytes }),
            _ => Ok(events),
        }
    }

    fn event(&self, step: &StepName) -> Event {
        let view = self.run.steps.get(&**step);
        let field = |name: &str| view.and_then(|view| view.get(name)).cloned().unwrap_or_default();
        let status = match self.run.states.get(step) {
            Some(StepState::Skipped) => Reused::Skipped,
            Some(StepState::TimedOut) => Reused::TimedOut,
            Some(StepState::Tolerated) => Reused::Failed,
            // The others did not go through, and are not asked for.
            Some(StepState::Succeeded | StepState::Open | StepState::Failed | StepState::Cancelled) | None => {
                Reused::Succeeded
            }
        };
        Event::StepReused {
            step: step.clone(),
            from: self.run.origin().run,
            name: self.run.origin().name.clone(),
            status,
            attempts: self.run.attempts_of(step),
            output: field("output"),
            error: StepError::deserialize(field("error")).ok(),
            undoable: self.undoable.contains(step),
        }
    }
}

/// How a run comes to its end, for people.
fn ending(phase: Phase) -> &'static str {
    match phase {
        Phase::Paused => "retry it itself (`everstep retry`), resume it, or terminate it",
        _ => "wait for its end, or cancel or terminate it",
    }
}

#[cfg(test)]
mod tests;
