//! The steps of a run, from its history: what became of each, its attempts, what was undone.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    Cell, Paint, Palette, Table,
    event::{parse, reason},
    runs::{object, problem},
    span,
};
use crate::{
    engine::{Deed, Event, StepError},
    store::{HistoryRow, RunRow},
};

/// A run and its steps.
#[derive(Debug, Clone, Serialize)]
pub struct Tree {
    /// The run.
    pub run: RunRow,
    /// Steps that have begun or were skipped, in the order in which they did.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What it did.
    #[serde(flatten)]
    pub does: Work,
    /// How it was undone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<Work>,
}

/// A step itself, or its compensation.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// `Running`, `Retrying`, `Waiting`, `Sleeping`, or how it ended.
    pub status: &'static str,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// What it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// The WorkflowRun that did it, of which this run took it over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<String>,
    /// Why it failed, or why its last attempt did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
    /// Its attempts, oldest first.
    pub attempts: Vec<Attempt>,
}

/// One attempt.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// Its number; numbers never repeat in a run's step.
    pub number: u32,
    /// When it could begin.
    pub started_at: Timestamp,
    /// When its outcome was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<StepError>,
}

impl Tree {
    /// The tree of a run with this history, which is complete and in order.
    pub fn of(run: RunRow, history: &[HistoryRow]) -> Self {
        let mut steps = Steps::default();
        for row in history {
            if let Some(event) = parse(row) {
                steps.apply(&event, row.at);
            }
        }
        Self { run, steps: steps.list }
    }
}

/// Steps by name, in the order of their beginning.
#[derive(Default)]
struct Steps {
    list: Vec<Step>,
    places: HashMap<String, usize>,
}

impl Steps {
    fn apply(&mut self, event: &Event, at: Timestamp) {
        match event {
            Event::StepReused {
                step,
                name,
                status,
                error,
                ..
            } => {
                let work = self.work(step, Deed::Do, at);
                work.end(status.as_str(), at, error.as_ref());
                work.reused_from = Some(name.clone());
            }
            Event::StepStarted {
                step,
                attempt,
                at: started_at,
                deed,
            } => {
                let work = self.work(step, *deed, at);
                work.go_on("Running", None);
                work.attempts.push(Attempt {
                    number: *attempt,
                    started_at: *started_at,
                    ended_at: None,
                    error: None,
                });
            }
            Event::AttemptFailed {
                step,
                error,
                retry_at,
                deed,
                ..
            } => {
                let work = self.work(step, *deed, at);
                work.attempt_ended(at, Some(error));
                work.go_on("Retrying", Some(format!("retry at {}", clock(*retry_at))));
                work.error = Some(error.clone());
            }
            Event::TimerArmed { step, fire_at } => {
                let waiting = format!("timer until {}", clock(*fire_at));
                self.work(step, Deed::Do, at).go_on("Sleeping", Some(waiting));
            }
            Event::SignalAwaited { step, signal, until } => {
                let until = until.map_or_else(String::new, |until| format!(" until {}", clock(until)));
                let waiting = format!("signal {signal}{until}");
                self.work(step, Deed::Do, at).go_on("Waiting", Some(waiting));
            }
            Event::StepSucceeded { step, deed, .. } => self.work(step, *deed, at).end("Succeeded", at, None),
            Event::StepTimedOut { step } => self.work(step, Deed::Do, at).end("TimedOut", at, None),
            Event::StepFailed { step, error, deed, .. } => {
                self.work(step, *deed, at).end("Failed", at, Some(error));
            }
            Event::StepSkipped { step } => self.work(step, Deed::Do, at).end("Skipped", at, None),
            Event::StepCancelled { step, deed } => self.work(step, *deed, at).end("Cancelled", at, None),
            Event::RunRetried { steps, deed, .. } => {
                for step in steps {
                    self.work(step, *deed, at).go_on("Retrying", None);
                }
            }
            // Of the run, and of signals that no step has.
            Event::RunStarted { .. }
            | Event::SignalBuffered { .. }
            | Event::SignalConsumed { .. }
            | Event::SignalRejected { .. }
            | Event::CancelRequested { .. }
            | Event::TerminateRequested { .. }
            | Event::RunPaused { .. }
            | Event::RunResumed { .. }
            | Event::RunParked { .. }
            | Event::RetryRefused { .. }
            | Event::RunEnding { .. }
            | Event::CompensationEnded
            | Event::TakenOver { .. }
            | Event::HoldEnded
            | Event::RunFinished { .. } => {}
        }
    }

    /// What the event is about; it begins with its first event.
    fn work(&mut self, name: &str, deed: Deed, at: Timestamp) -> &mut Work {
        let place = *self.places.entry(name.to_owned()).or_insert_with(|| {
            self.list.push(Step {
                name: name.to_owned(),
                does: Work::begun(at),
                undo: None,
            });
            self.list.len() - 1
        });
        let step = &mut self.list[place];
        match deed {
            Deed::Do => &mut step.does,
            Deed::Undo => step.undo.get_or_insert_with(|| Work::begun(at)),
        }
    }
}

impl Work {
    fn begun(at: Timestamp) -> Self {
        Self {
            status: "Running",
            began_at: at,
            ended_at: None,
            waiting_for: None,
            reused_from: None,
            error: None,
            attempts: Vec::new(),
        }
    }

    fn go_on(&mut self, status: &'static str, waiting_for: Option<String>) {
        self.status = status;
        self.waiting_for = waiting_for;
        self.ended_at = None;
    }

    fn end(&mut self, status: &'static str, at: Timestamp, error: Option<&StepError>) {
        self.attempt_ended(at, error);
        self.status = status;
        self.waiting_for = None;
        self.ended_at = Some(at);
        self.error = error.cloned();
    }

    fn attempt_ended(&mut self, at: Timestamp, error: Option<&StepError>) {
        if let Some(attempt) = self.attempts.last_mut()
            && attempt.ended_at.is_none()
        {
            attempt.ended_at = Some(at);
            attempt.error = error.cloned();
        }
    }

    fn detail(&self) -> String {
        let reused = self.reused_from.as_ref().map(|run| format!("reused from {run}"));
        let parts = [reused, self.waiting_for.clone(), self.error.as_ref().map(reason)];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

/// The run and its steps as text, at `now`.
pub fn tree(tree: &Tree, now: Timestamp, palette: Palette) -> String {
    let mut text = head(&tree.run, now, palette);
    if tree.steps.is_empty() {
        text.push_str("\nNo step has begun.\n");
        return text;
    }
    let mut table = Table::new(&["STEP", "STATUS", "ATTEMPTS", "TOOK", "DETAIL"]);
    for (place, step) in tree.steps.iter().enumerate() {
        let last = place + 1 == tree.steps.len();
        let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        table.row(work(format!("{branch}{}", step.name), &step.does, now));
        let tries = tries(&step.does);
        for (place, attempt) in tries.iter().enumerate() {
            let last = place + 1 == tries.len() && step.undo.is_none();
            table.row(attempt_row(below, last, attempt, now));
        }
        if let Some(undo) = &step.undo {
            table.row(work(format!("{below}└─ undo"), undo, now));
            let (below, tries) = (format!("{below}   "), self::tries(undo));
            for (place, attempt) in tries.iter().enumerate() {
                table.row(attempt_row(&below, place + 1 == tries.len(), attempt, now));
            }
        }
    }
    text + "\n" + &table.text(palette)
}

fn head(run: &RunRow, now: Timestamp, palette: Palette) -> String {
    let took = run
        .started_at
        .map(|started| span(run.finished_at.unwrap_or(now).duration_since(started)));
    let phase = match (took, run.finished_at) {
        (Some(took), Some(_)) => format!("{} after {took}", run.phase),
        (Some(took), None) => format!("{} for {took}", run.phase),
        (None, _) => run.phase.clone(),
    };
    let lines = [
        ("Run", Some(run.id.to_string()), Paint::Plain),
        (
            "Workflow",
            Some(format!("{}/{}", run.namespace, run.workflow)),
            Paint::Plain,
        ),
        ("Object", Some(object(run)), Paint::Plain),
        ("Phase", Some(phase), Paint::of(&run.phase)),
        ("Progress", run.progress.clone(), Paint::Plain),
        ("Waiting for", run.waiting_for.clone(), Paint::Plain),
        ("Error", run.error.as_ref().map(problem), Paint::Bad),
        ("Output", run.output.as_ref().map(ToString::to_string), Paint::Plain),
    ];
    let mut table = Table::bare();
    for (name, value, paint) in lines {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            table.row(vec![format!("{name}:").into(), Cell::new(value, paint)]);
        }
    }
    table.text(palette)
}

fn work(name: String, work: &Work, now: Timestamp) -> Vec<Cell> {
    let attempts = match work.attempts.len() {
        0 => String::new(),
        count => count.to_string(),
    };
    let took = match (work.status, &work.reused_from) {
        ("Skipped", _) | (_, Some(_)) => String::new(),
        _ => span(work.ended_at.unwrap_or(now).duration_since(work.began_at)),
    };
    vec![
        name.into(),
        Cell::new(work.status, Paint::of(work.status)),
        attempts.into(),
        took.into(),
        work.detail().into(),
    ]
}

/// Attempts are shown where there is more than one: else the step says it all.
fn tries(work: &Work) -> &[Attempt] {
    if work.attempts.len() > 1 { &work.attempts } else { &[] }
}

fn attempt_row(below: &str, last: bool, attempt: &Attempt, now: Timestamp) -> Vec<Cell> {
    let branch = if last { "└─" } else { "├─" };
    let status = match (&attempt.error, attempt.ended_at) {
        (Some(_), _) => "Failed",
        (None, Some(_)) => "Ended",
        (None, None) => "Running",
    };
    let took = attempt.ended_at.unwrap_or(now).duration_since(attempt.started_at);
    vec![
        format!("{below}{branch} attempt {}", attempt.number).into(),
        Cell::new(status, Paint::of(status)),
        "".into(),
        span(took).into(),
        attempt.error.as_ref().map(reason).unwrap_or_default().into(),
    ]
}

fn clock(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn history(events: &[(&str, Value)]) -> Vec<HistoryRow> {
        let rows = events.iter().zip(1..).map(|((at, event), seq)| {
            let (name, detail) = match event {
                Value::String(name) => (name.clone(), None),
                other => {
                    let (name, detail) = other.as_object().unwrap().iter().next().unwrap();
                    (name.clone(), Some(detail.clone()))
                }
            };
            HistoryRow {
                seq,
                place: 1,
                at: format!("2026-11-21T11:55:{at}Z").parse().unwrap(),
                event: name,
                detail,
            }
        });
        rows.collect()
    }

    fn started(step: &str, attempt: u32, at: &str) -> Value {
        json!({"StepStarted": {"step": step, "attempt": attempt, "at": format!("2026-11-21T11:55:{at}Z")}})
    }

    fn failure() -> Value {
        json!({"kind": "Status", "code": "HTTP500", "message": "the server\nsaid no", "status": 500})
    }

    fn saga() -> Vec<HistoryRow> {
        history(&[
            ("01", json!({"RunStarted": {"at": "2026-11-21T11:55:01Z"}})),
            ("01", started("reserve", 1, "01")),
            (
                "02",
                json!({"StepSucceeded": {"step": "reserve", "output": null, "undoable": true}}),
            ),
            ("02", json!({"StepSkipped": {"step": "approval"}})),
            ("02", started("charge", 1, "02")),
            (
                "03",
                json!({"AttemptFailed": {"step": "charge", "attempt": 1, "error": failure(), "retry_at": "2026-11-21T11:55:04Z"}}),
            ),
            ("04", started("charge", 2, "04")),
            ("05", json!({"StepFailed": {"step": "charge", "error": failure()}})),
            ("05", json!({"RunEnding": {"result": "Failed", "undo": true}})),
            (
                "05",
                json!({"StepStarted": {"step": "reserve", "attempt": 2, "at": "2026-11-21T11:55:05Z", "deed": "Undo"}}),
            ),
            (
                "06",
                json!({"StepSucceeded": {"step": "reserve", "output": null, "deed": "Undo"}}),
            ),
            ("06", json!("CompensationEnded")),
            ("06", json!({"SomethingOfANewerRelease": {"step": "reserve"}})),
            ("06", json!({"RunFinished": {"at": "2026-11-21T11:55:06Z"}})),
        ])
    }

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn shown(run: RunRow, history: &[HistoryRow]) -> String {
        tree(&Tree::of(run, history), now(), Palette::Plain)
    }

    #[test]
    fn a_saga_shows_its_steps_attempts_and_what_was_undone() {
        let text = shown(super::super::runs::tests::row(), &saga());
        let expected = "\
Run:        0192f3c4-7d1e-7aaa-8000-000000000001
Workflow:   shop/order
Object:     erun/order-7
Phase:      Failed after 2.500s
Progress:   2/5
Error:      charge: DECLINED: no money

STEP              STATUS      ATTEMPTS   TOOK     DETAIL
├─ reserve        Succeeded   1          1.000s
│  └─ undo        Succeeded   1          1.000s
├─ approval       Skipped
└─ charge         Failed      2          3.000s   Status HTTP500: the server said no
   ├─ attempt 1   Failed                 1.000s   Status HTTP500: the server said no
   └─ attempt 2   Failed                 1.000s   Status HTTP500: the server said no
";
        assert_eq!(text, expected, "{text}");
    }

    #[test]
    fn what_is_open_says_what_it_waits_for_and_since_when() {
        let waiting = history(&[
            (
                "10",
                json!({"SignalAwaited": {"step": "approval", "signal": "approve", "until": "2026-11-23T09:00:03Z"}}),
            ),
            (
                "20",
                json!({"TimerArmed": {"step": "nap", "fire_at": "2026-11-21T12:00:10Z"}}),
            ),
            ("30", started("call", 1, "30")),
            (
                "31",
                json!({"AttemptFailed": {"step": "call", "attempt": 1, "error": failure(), "retry_at": "2026-11-21T12:00:04Z"}}),
            ),
        ]);
        let steps = Tree::of(super::super::runs::tests::row(), &waiting).steps;
        let seen: Vec<(&str, &str)> = steps
            .iter()
            .map(|step| (step.does.status, step.does.waiting_for.as_deref().unwrap()))
            .collect();
        assert_eq!(
            seen,
            [
                ("Waiting", "signal approve until 2026-11-23T09:00:03Z"),
                ("Sleeping", "timer until 2026-11-21T12:00:10Z"),
                ("Retrying", "retry at 2026-11-21T12:00:04Z"),
            ]
        );
        let text = shown(super::super::runs::tests::row(), &waiting);
        assert!(text.contains("├─ approval   Waiting               4m50s"), "{text}");
    }

    #[test]
    fn a_step_that_is_retried_by_hand_is_open_again() {
        let mut events = vec![
            ("10", started("s", 1, "10")),
            ("11", json!({"StepFailed": {"step": "s", "error": failure()}})),
            (
                "11",
                json!({"RunParked": {"reason": "Failure", "at": "2026-11-21T11:55:11Z"}}),
            ),
            ("20", json!({"RunRetried": {"steps": ["s"]}})),
        ];
        let of = |events: &[(&str, Value)]| {
            Tree::of(super::super::runs::tests::row(), &history(events))
                .steps
                .remove(0)
        };
        assert_eq!((of(&events).does.status, of(&events).does.ended_at), ("Retrying", None));
        events.push(("21", started("s", 2, "21")));
        events.push(("22", json!({"StepSucceeded": {"step": "s", "output": 1}})));
        let step = of(&events);
        assert_eq!((step.does.status, step.does.attempts.len()), ("Succeeded", 2));
        assert!(step.does.error.is_none(), "it did not fail in the end");
    }

    #[test]
    fn what_was_reused_says_of_which_run() {
        let reused = json!({"StepReused": {
            "step": "charge", "from": "0192f3c4-7d1e-7aaa-8000-000000000009", "name": "order-6", "status": "Succeeded",
            "attempts": 3, "output": {"id": "ch_1"}, "undoable": true
        }});
        let events = history(&[("10", reused), ("11", started("ship", 1, "11"))]);
        let text = shown(super::super::runs::tests::row(), &events);
        assert!(
            text.contains("├─ charge   Succeeded                      reused from order-6\n"),
            "{text}"
        );
        let value = serde_json::to_value(Tree::of(super::super::runs::tests::row(), &events)).unwrap();
        assert_eq!(value["steps"][0]["reusedFrom"], "order-6");
    }

    #[test]
    fn a_run_without_steps_says_so() {
        assert!(shown(super::super::runs::tests::row(), &[]).ends_with("\nNo step has begun.\n"));
    }

    #[test]
    fn for_programs_a_step_is_flat() {
        let tree = Tree::of(super::super::runs::tests::row(), &saga());
        let value = serde_json::to_value(&tree).unwrap();
        assert_eq!(value["run"]["ownerName"], "order-7");
        let reserve = &value["steps"][0];
        assert_eq!(
            (&reserve["name"], &reserve["status"]),
            (&json!("reserve"), &json!("Succeeded"))
        );
        assert_eq!(reserve["undo"]["attempts"][0]["number"], 2);
        assert_eq!(value["steps"][2]["attempts"][0]["error"]["code"], "HTTP500");
    }
}
