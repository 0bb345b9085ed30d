//! The laws of the engine, for random definitions under random inputs. They are named where they are asserted.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

use std::{collections::HashSet, sync::Arc};

use everstep::engine::{
    Definition, Effect, ErrorKind, Event, Input, Mail, Origin, Outcome, Run, StepError, advance, apply, decide,
    effects, request, summary,
};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A step of a random definition: numbers that choose among a few of everything.
#[derive(Debug, Clone)]
struct Plan {
    action: u8,
    needs: Option<Vec<u8>>,
    when: u8,
    reads: u8,
    output: u8,
    retry: u8,
    tolerated: bool,
}

/// Something that happens to a run.
#[derive(Debug, Clone)]
enum Happening {
    Claimed,
    Ended { which: u8, late: bool, outcome: u8 },
    Time { seconds: u16 },
    Cancel,
    TakenOver,
}

fn plan() -> impl Strategy<Value = Plan> {
    let needs = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..3));
    (
        0..9u8,
        needs,
        0..6u8,
        any::<u8>(),
        0..4u8,
        0..4u8,
        proptest::bool::weighted(0.2),
    )
        .prop_map(|(action, needs, when, reads, output, retry, tolerated)| Plan {
            action,
            needs,
            when,
            reads,
            output,
            retry,
            tolerated,
        })
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        1 => Just(Happening::Claimed),
        12 => (any::<u8>(), proptest::bool::weighted(0.1), 0..8u8)
            .prop_map(|(which, late, outcome)| Happening::Ended { which, late, outcome }),
        5 => (0..400u16).prop_map(|seconds| Happening::Time { seconds }),
        1 => Just(Happening::Cancel),
        2 => Just(Happening::TakenOver),
    ]
}

fn list(prefix: &str, plans: &[Plan], visible: &[String]) -> Vec<Value> {
    plans
        .iter()
        .enumerate()
        .map(|(i, plan)| step(prefix, i, plan, visible))
        .collect()
}

fn step(prefix: &str, i: usize, plan: &Plan, visible: &[String]) -> Value {
    let name = format!("{prefix}{i}");
    let mut needs: Vec<String> = match &plan.needs {
        None => i
            .checked_sub(1)
            .map(|above| format!("{prefix}{above}"))
            .into_iter()
            .collect(),
        Some(_) if i == 0 => Vec::new(),
        Some(needs) => needs
            .iter()
            .map(|need| format!("{prefix}{}", usize::from(*need) % i))
            .collect(),
    };
    needs.sort();
    needs.dedup();
    let readable: Vec<&String> = needs.iter().chain(visible).collect();
    let read = readable.get(usize::from(plan.reads) % readable.len().max(1));
    let text = match (read, plan.reads % 5) {
        (None, _) => "=input.n + 1".to_owned(),
        (Some(step), 0) => format!("=steps.{step}.output"),
        (Some(step), 1) => format!("=steps.{step}.status"),
        (Some(step), 2) => format!("=steps.{step}.attempts"),
        (Some(step), 3) => format!("=steps.{step}.error"),
        (Some(step), _) => format!("=has(steps.{step}.output.a) ? steps.{step}.output.a : input.n"),
    };
    let mut step = json!({"name": name});
    let (action, body) = match plan.action {
        0 | 1 => ("set", json!({"a": text, "b": [1, {"c": "x"}]})),
        2 => ("sleep", json!({"for": format!("{}s", plan.reads % 90)})),
        3 => ("sleep", json!({"until": "=timestamp('2026-11-21T09:01:00Z')"})),
        4 => ("fail", json!({"code": "NO", "message": "='no ' + string(input.n)"})),
        5 => ("sql", json!({"connection": "db", "query": "SELECT $1", "args": [text]})),
        6 => (
            "http",
            json!({"connection": "c", "path": "/x", "method": "POST", "body": text}),
        ),
        7 => (
            "http",
            json!({"connection": "c", "path": "/x", "body": text, "successWhen": "result.status < 300"}),
        ),
        _ => ("http", json!({"connection": "c", "path": "/x", "query": {"q": text}})),
    };
    step[action] = body;
    if plan.needs.is_some() {
        step["needs"] = json!(needs);
    }
    match (plan.when, read) {
        (0, _) => step["when"] = json!("input.n > 5"),
        (1, _) => step["when"] = json!("input.absent"),
        (2, Some(read)) => step["when"] = json!(format!("steps.{read}.status == 'Succeeded'")),
        _ => {}
    }
    if action != "fail" {
        match plan.output {
            0 => step["output"] = json!({"a": "=result"}),
            1 => step["output"] = json!("=result.body.id"),
            _ => {}
        }
    }
    match plan.retry {
        0 => step["retry"] = json!({"maxAttempts": 2}),
        1 => step["retry"] = json!({"maxAttempts": 3, "when": "error.kind == 'Ambiguous' || error.status >= 500"}),
        2 => step["retry"] = json!({"maxAttempts": 1}),
        _ => {}
    }
    step["continueOnError"] = json!(plan.tolerated);
    step
}

fn body() -> impl Strategy<Value = Value> {
    let main = proptest::collection::vec(plan(), 1..7);
    let finally = proptest::collection::vec(plan(), 0..4);
    (main, finally, proptest::option::of(1..500u32), 0..4u8).prop_map(|(main, finally, timeout, output)| {
        let names: Vec<String> = (0..main.len()).map(|i| format!("m{i}")).collect();
        let mut body = json!({"steps": list("m", &main, &[]), "finally": list("f", &finally, &names)});
        if let Some(seconds) = timeout {
            body["timeout"] = json!(format!("{seconds}s"));
        }
        match output {
            0 => {
                body["output"] =
                    json!({"all": names.iter().map(|name| format!("=steps.{name}.output")).collect::<Vec<_>>()});
            }
            1 => body["output"] = json!("=steps.m0.output.a"),
            _ => {}
        }
        body
    })
}

fn origin() -> Arc<Origin> {
    Arc::new(Origin {
        run: uuid::Uuid::from_u128(7),
        cluster: "c".into(),
        namespace: "n".to_owned(),
        workflow: "w".to_owned(),
        name: "w".to_owned(),
        start_key: "uid/1/2".to_owned(),
        revision: "0".to_owned(),
        input: json!({"n": 3}),
        scheduled_at: None,
    })
}

fn outcome(choice: u8) -> Outcome {
    match choice {
        0..=2 => Ok(json!({"status": 200, "headers": {}, "body": {"id": "x"}, "a": {"b": 1}})),
        3 => Ok(json!({"status": 503})),
        4 => Err(StepError::new(ErrorKind::Timeout, "Timeout", "slow")),
        5 => Err(StepError::new(ErrorKind::Sql, "40001", "again")),
        6 => Err(StepError::new(ErrorKind::Ambiguous, "Ambiguous", "who knows")),
        _ => Ok(Value::Null),
    }
}

/// A run in the hands of a test that holds every law after every decision.
struct Walk {
    def: Definition,
    run: Run,
    /// The same run, restored from its snapshot after every decision.
    restored: Run,
    /// What was stored when the run was parked last, and how much of the journal is in it.
    parked: Option<(Value, usize)>,
    journal: Vec<Event>,
    ended: HashSet<String>,
    now: Timestamp,
}

impl Walk {
    fn new(body: &Value) -> Self {
        let def = Definition::compile(body).unwrap_or_else(|violations| panic!("{body}\n{violations:#?}"));
        let run = Run::new(origin());
        Self {
            def,
            restored: run.clone(),
            run,
            parked: None,
            journal: Vec::new(),
            ended: HashSet::new(),
            now: "2026-11-21T09:00:00Z".parse().unwrap(),
        }
    }

    fn happen(&mut self, happening: &Happening) {
        let input = match happening {
            Happening::Claimed => Input::Claimed,
            Happening::Cancel => Input::Mail(vec![Mail::Cancel {
                reason: "enough".to_owned(),
            }]),
            Happening::TakenOver => Input::TakenOver,
            Happening::Time { seconds } => {
                self.now += SignedDuration::from_secs(i64::from(*seconds));
                Input::TimersDue
            }
            Happening::Ended {
                which,
                late,
                outcome: choice,
            } => {
                let performed = self.performed();
                let Some((step, attempt)) = performed.get(usize::from(*which) % performed.len().max(1)).cloned() else {
                    return;
                };
                let attempt = if *late { attempt.saturating_sub(1) } else { attempt };
                Input::StepEnded {
                    step: step.as_str().into(),
                    attempt,
                    outcome: outcome(*choice),
                }
            }
        };
        self.tell(&input);
    }

    fn performed(&self) -> Vec<(String, u32)> {
        let performed = effects(&self.run, &self.def)
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Perform { step, attempt, .. } => Some((step.to_string(), attempt)),
                Effect::WakeAt { .. } => None,
            });
        performed.collect()
    }

    fn tell(&mut self, input: &Input) {
        let before = self.run.clone();
        let decided = decide(&before, &self.def, input.clone(), self.now).unwrap();
        let events = advance(&mut self.run, &self.def, input.clone(), self.now).unwrap();
        assert_eq!(decided, events, "advance decides what decide decides");
        if before.is_terminal() {
            assert_eq!(events, [], "a terminal run decides nothing");
        }

        let text = serde_json::to_string(&events).unwrap();
        let read: Vec<Event> = serde_json::from_str(&text).unwrap();
        assert_eq!(read, events, "a journal row can be read again");

        let mut replayed = before;
        read.iter().for_each(|event| apply(&mut replayed, event));
        assert_eq!(replayed, self.run, "advance applies what it decides, and nothing else");

        let same = advance(&mut self.restored, &self.def, input.clone(), self.now).unwrap();
        assert_eq!(same, events, "a restored run decides what the run decides");
        if !matches!(input, Input::TakenOver) {
            let again = decide(&self.run, &self.def, input.clone(), self.now).unwrap();
            assert_eq!(again, [], "the same input twice equals once: {input:?}");
        }
        self.restore();
        self.hold_history(&events);
        self.journal.extend(events);
        self.hold_effects();
        self.rebuild();
    }

    /// A run that is loaded is the run that was carried: from its journal alone, and from a snapshot and the rest.
    fn rebuild(&mut self) {
        assert_eq!(Run::rebuild(origin(), None, &self.journal).unwrap(), self.run);
        if let Some((snapshot, seq)) = &self.parked {
            let rebuilt = Run::rebuild(origin(), Some(snapshot), &self.journal[*seq..]).unwrap();
            assert_eq!(rebuilt.snapshot(&self.def), self.run.snapshot(&self.def));
            assert_eq!(effects(&rebuilt, &self.def), effects(&self.run, &self.def));
        }
        if self.journal.len().is_multiple_of(3) {
            self.parked = Some((self.run.snapshot(&self.def), self.journal.len()));
        }
    }

    fn restore(&mut self) {
        let snapshot = self.run.snapshot(&self.def);
        assert_eq!(
            self.restored.snapshot(&self.def),
            snapshot,
            "a restored run has the snapshot of the run"
        );
        let text = serde_json::to_string(&snapshot).unwrap();
        self.restored = Run::restore(origin(), &serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(
            effects(&self.restored, &self.def),
            effects(&self.run, &self.def),
            "and wants what the run wants"
        );
        assert_eq!(
            summary(&self.restored, &self.def),
            summary(&self.run, &self.def),
            "and looks like it"
        );
        for (step, _) in self.performed() {
            assert_eq!(
                request(&self.restored, &self.def, &step),
                request(&self.run, &self.def, &step),
                "and asks for the same"
            );
        }
    }

    fn hold_history(&mut self, events: &[Event]) {
        for event in events {
            let (begins, ends) = match event {
                Event::StepStarted { step, .. }
                | Event::TimerArmed { step, .. }
                | Event::AttemptFailed { step, .. } => (Some(step), None),
                Event::StepSucceeded { step, .. }
                | Event::StepFailed { step, .. }
                | Event::StepSkipped { step }
                | Event::StepCancelled { step } => (None, Some(step)),
                Event::RunStarted { .. }
                | Event::CancelRequested { .. }
                | Event::RunEnding { .. }
                | Event::TakenOver { .. }
                | Event::HoldEnded
                | Event::RunFinished { .. } => (None, None),
            };
            if let Some(step) = begins {
                assert!(
                    !self.ended.contains(&**step),
                    "a step that has ended never begins again: {step}"
                );
            }
            if let Some(step) = ends {
                assert!(self.ended.insert(step.to_string()), "a step ends once: {step}");
            }
        }
    }

    fn hold_effects(&self) {
        let wanted = effects(&self.run, &self.def);
        if self.run.is_terminal() {
            assert_eq!(wanted, [], "a terminal run wants nothing");
        } else if self.run.started_at().is_some() {
            assert!(
                !wanted.is_empty(),
                "a run that goes on wants something: {:#?}",
                self.run
            );
        }
        for (step, _) in self.performed() {
            request(&self.run, &self.def, &step).unwrap();
        }
    }

    /// With a world that answers, every run ends.
    fn finish(&mut self) {
        self.tell(&Input::Claimed);
        for _ in 0..200 {
            if self.run.is_terminal() {
                break;
            }
            self.now += SignedDuration::from_secs(600);
            self.tell(&Input::TimersDue);
            for (step, attempt) in self.performed() {
                self.tell(&Input::StepEnded {
                    step: step.as_str().into(),
                    attempt,
                    outcome: outcome(0),
                });
            }
        }
        assert!(self.run.is_terminal(), "every run ends: {:#?}", self.run);
        let mut replayed = Run::new(origin());
        self.journal.iter().for_each(|event| apply(&mut replayed, event));
        assert_eq!(replayed, self.run, "a run is what its journal leads to");
        let results = self
            .journal
            .iter()
            .filter(|event| matches!(event, Event::RunEnding { .. }))
            .count();
        assert_eq!(results, 1, "a run has one result");
        [
            Happening::Claimed,
            Happening::Time { seconds: 9 },
            Happening::Cancel,
            Happening::TakenOver,
        ]
        .iter()
        .for_each(|happening| self.happen(happening));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_law_holds_for_random_runs(body in body(), happenings in proptest::collection::vec(happening(), 0..40)) {
        let mut walk = Walk::new(&body);
        happenings.iter().for_each(|happening| walk.happen(happening));
        walk.finish();
    }

    #[test]
    fn nothing_panics_on_events_out_of_order(body in body(), happenings in proptest::collection::vec(happening(), 0..40), skip in any::<u64>()) {
        let mut walk = Walk::new(&body);
        happenings.iter().for_each(|happening| walk.happen(happening));
        let mut broken = Run::new(origin());
        for (i, event) in walk.journal.iter().enumerate() {
            if skip >> (i % 64) & 1 == 0 {
                apply(&mut broken, event);
            }
        }
        let _ = effects(&broken, &walk.def);
        let _ = summary(&broken, &walk.def);
        let _ = decide(&broken, &walk.def, Input::TimersDue, walk.now);
        let _ = Run::restore(origin(), &broken.snapshot(&walk.def)).unwrap();
    }

    #[test]
    fn a_body_that_is_changed_at_random_compiles_or_is_explained(body in body(), at in any::<prop::sample::Index>(), with in 0..8u8) {
        let text = body.to_string();
        let mut broken = text.clone();
        let start = (0..=at.index(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        let replacement = ["null", "0", "[]", "{}", "\"=\"", "\"x\"", "-1", "true"][usize::from(with)];
        if let Some(colon) = text[start..].find(':') {
            let value = start + colon + 1;
            let end = text[value..].find([',', '}', ']']).map_or(text.len(), |end| value + end);
            broken.replace_range(value..end, replacement);
        }
        if let Ok(body) = serde_json::from_str::<Value>(&broken)
            && let Err(violations) = Definition::compile(&body)
        {
            prop_assert!(!violations.is_empty());
            prop_assert!(violations.iter().all(|violation| violation.path.starts_with("spec") && !violation.message.is_empty()));
        }
    }
}
