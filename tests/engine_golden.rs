//! Journals and revisions that were written once must mean the same for ever.
//!
//! Each file of `tests/golden/journals` is a definition, what happened to a run, and the journal that was decided. Today's code
//! must apply every one of them to the stored end. It also decides the same today; when a decision is changed on
//! purpose, add a file for the new behaviour, and mark the old one `"decides": false`: it is still applied.
//!
//! `UPDATE_GOLDEN=1 cargo test --test engine_golden` writes what is missing in a file: an entry that is there is never
//! replaced. To change one, delete it first, and say why in the commit.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use everstep::engine::{
    Definition, Earlier, ErrorKind, Event, Input, Mail, Origin, Run, Signal, StepError, advance, apply, revision,
    step_signatures,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    about: String,
    input: Value,
    definition: Value,
    /// Today's code decides this journal too.
    decides: bool,
    /// Of a run that does an earlier one again: its journal begins with what it takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    earlier: Option<Again>,
    happenings: Vec<Happening>,
    /// One entry a decision.
    #[serde(default)]
    journal: Option<Vec<Vec<Value>>>,
    #[serde(default)]
    phase: Option<String>,
    #[serde(default)]
    snapshot: Option<Value>,
}

/// Which run is done again, and from which step on.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Again {
    /// The name of another file here.
    run: String,
    from: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Happening {
    now: Timestamp,
    told: Told,
}

/// [`Input`] as these files spell it; the engine's own is not stored anywhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Told {
    Claimed,
    TimersDue,
    TakenOver,
    Cancel(String),
    Terminate(String),
    Pause(i64),
    Resume(i64),
    Retry(Option<String>),
    Signals(Vec<Signal>),
    Succeeded {
        step: String,
        attempt: u32,
        result: Value,
    },
    Failed {
        step: String,
        attempt: u32,
        kind: ErrorKind,
        code: String,
        message: String,
    },
}

impl Told {
    fn input(self) -> Input {
        match self {
            Self::Claimed => Input::Claimed,
            Self::TimersDue => Input::TimersDue,
            Self::TakenOver => Input::TakenOver,
            Self::Cancel(reason) => Input::Mail(vec![Mail::Cancel { reason }]),
            Self::Terminate(reason) => Input::Mail(vec![Mail::Terminate { reason }]),
            Self::Pause(generation) => Input::Mail(vec![Mail::Pause { generation }]),
            Self::Resume(generation) => Input::Mail(vec![Mail::Resume { generation }]),
            Self::Retry(from) => Input::Mail(vec![Mail::Retry { from }]),
            Self::Signals(signals) => Input::Mail(signals.into_iter().map(Mail::Signal).collect()),
            Self::Succeeded { step, attempt, result } => Input::StepEnded {
                step: step.into(),
                attempt,
                outcome: Ok(result),
            },
            Self::Failed {
                step,
                attempt,
                kind,
                code,
                message,
            } => Input::StepEnded {
                step: step.into(),
                attempt,
                outcome: Err(StepError::new(kind, code, message)),
            },
        }
    }
}

fn origin(input: Value) -> Arc<Origin> {
    Arc::new(Origin {
        run: uuid::Uuid::from_u128(0x0192_f3c4_0000_7000_8000_0000_0000_0001),
        cluster: "cluster-1".into(),
        namespace: "shop".to_owned(),
        workflow: "order".to_owned(),
        name: "order-1".to_owned(),
        start_key: "uid/1/7c9f4e21a0b3c5d7".to_owned(),
        revision: "7c9f4e21a0b3c5d7".to_owned(),
        input,
        scheduled_at: None,
    })
}

fn golden(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(below)
}

fn is_updating() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

fn journals() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(golden("journals")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 12, "the golden journals are gone");
    files
}

fn read(file: &Path) -> Golden {
    let golden = serde_json::from_str(&std::fs::read_to_string(file).unwrap());
    golden.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn decided(golden: &Golden) -> (Vec<Vec<Event>>, Run, Definition) {
    let def = Definition::compile(&golden.definition).unwrap();
    let mut run = Run::new(origin(golden.input.clone()));
    let taken_over = golden.earlier.as_ref().map(|again| taken_over(again, golden, &def));
    let mut journal: Vec<Vec<Event>> = taken_over.into_iter().collect();
    for event in journal.iter().flatten() {
        apply(&mut run, event);
    }
    let happenings = golden.happenings.iter().cloned();
    journal.extend(happenings.map(|happening| advance(&mut run, &def, happening.told.input(), happening.now).unwrap()));
    (journal, run, def)
}

fn taken_over(again: &Again, golden: &Golden, def: &Definition) -> Vec<Event> {
    let before = read(&self::golden("journals").join(&again.run).with_extension("json"));
    let journal = before.journal.expect("the earlier run has a journal").concat();
    let journal: Vec<Event> = journal.iter().map(|event| Event::deserialize(event).unwrap()).collect();
    let earlier = Earlier::new(origin(before.input), &before.definition, &journal);
    earlier.reuse(def, &golden.definition, again.from.as_deref()).unwrap()
}

#[test]
fn journals_of_every_release_lead_to_the_same_end() {
    for file in journals() {
        let mut golden = read(&file);
        if is_updating() && golden.journal.is_none() {
            write(&file, &mut golden);
        }
        let shown = file.file_name().unwrap().to_string_lossy().into_owned();
        let def = Definition::compile(&golden.definition).unwrap();
        let mut run = Run::new(origin(golden.input.clone()));
        for event in golden
            .journal
            .as_ref()
            .expect("run with UPDATE_GOLDEN=1 to write it")
            .iter()
            .flatten()
        {
            let event = Event::deserialize(event).unwrap_or_else(|error| panic!("{shown}: {event}: {error}"));
            apply(&mut run, &event);
        }
        assert_eq!(Some(run.phase().as_str()), golden.phase.as_deref(), "{shown}");
        assert_eq!(Some(run.snapshot(&def)), golden.snapshot, "{shown}");
        let restored = Run::restore(origin(golden.input.clone()), golden.snapshot.as_ref().unwrap()).unwrap();
        assert_eq!(restored.phase(), run.phase(), "{shown}");
    }
}

#[test]
fn journals_are_decided_as_they_were() {
    if is_updating() {
        return;
    }
    for file in journals() {
        let golden = read(&file);
        if !golden.decides || golden.journal.is_none() {
            continue;
        }
        let (journal, ..) = decided(&golden);
        assert_eq!(Some(as_values(&journal)), golden.journal, "{}", file.display());
    }
}

/// Fields are only ever added, so an event that says nothing new is spelled as it always was.
fn as_values(journal: &[Vec<Event>]) -> Vec<Vec<Value>> {
    journal
        .iter()
        .map(|row| row.iter().map(|event| serde_json::to_value(event).unwrap()).collect())
        .collect()
}

fn write(file: &Path, golden: &mut Golden) {
    let (journal, run, def) = decided(golden);
    golden.journal = Some(as_values(&journal));
    golden.phase = Some(run.phase().as_str().to_owned());
    golden.snapshot = Some(run.snapshot(&def));
    std::fs::write(file, serde_json::to_string_pretty(golden).unwrap() + "\n").unwrap();
}

#[test]
fn the_revision_of_an_unchanged_object_never_changes() {
    let file = golden("revisions.json");
    let mut entries: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    assert!(entries.len() >= 3, "the golden revisions are gone");
    if is_updating() {
        for entry in entries.iter_mut().filter(|entry| entry.get("revision").is_none()) {
            entry["revision"] = json!(revision(&entry["body"]));
            entry["steps"] = json!(step_signatures(&entry["body"]));
        }
        std::fs::write(&file, serde_json::to_string_pretty(&entries).unwrap() + "\n").unwrap();
    }
    for entry in &entries {
        assert_eq!(json!(revision(&entry["body"])), entry["revision"], "{}", entry["body"]);
        assert_eq!(
            json!(step_signatures(&entry["body"])),
            entry["steps"],
            "{}",
            entry["body"]
        );
    }
}
