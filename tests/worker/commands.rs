//! Commands to runs in every state: stored once, audited once, applied once, whoever sends them how often. Those of objects
//! come by the store; a retry is mail that a person's call writes, which asks before whether the run stands still.
//!
//! What each leads to, event by event, is a table of the engine's; here it is the whole way: object, inbox, sweep or load,
//! decision, and what the run's row says then.

use everstep::{
    engine::Phase,
    store::{Bell, Command, Submission},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    rig::{Rig, eventually},
    support::submission::submission,
    target::Target,
};

const COMMANDS: [&str; 5] = ["Cancel", "Terminate", "Pause", "Resume", "Retry"];

/// The phase after each of [`COMMANDS`], while requests that are held stay unanswered.
const TABLE: &[(&str, [&str; 5])] = &[
    ("pending", ["Cancelling", "Cancelling", "Paused", "Running", "Running"]),
    (
        "running",
        ["Compensating", "Cancelling", "Paused", "Running", "Running"],
    ),
    (
        "retrying",
        ["Compensating", "Cancelling", "Paused", "Running", "Running"],
    ),
    (
        "sleeping",
        ["Compensating", "Cancelling", "Paused", "Sleeping", "Sleeping"],
    ),
    (
        "waiting",
        ["Compensating", "Cancelling", "Paused", "Waiting", "Waiting"],
    ),
    ("parked", ["Compensating", "Running", "Paused", "Paused", "Running"]),
    (
        "compensating",
        ["Compensating", "Running", "Paused", "Compensating", "Compensating"],
    ),
    (
        "compensation failed",
        ["Paused", "Running", "Paused", "Paused", "Running"],
    ),
    ("finally", ["Running", "Succeeded", "Paused", "Running", "Running"]),
    (
        "cancelling",
        ["Cancelling", "Cancelled", "Paused", "Cancelling", "Cancelling"],
    ),
    ("succeeded", ["Succeeded"; 5]),
    ("failed", ["Failed"; 5]),
    ("cancelled", ["Cancelled"; 5]),
    ("timed out", ["TimedOut"; 5]),
];

/// The table, with every state that can be paused in a pause, too: it answers as it does otherwise, but that a retry begins
/// nothing.
fn rows() -> Vec<(String, [&'static str; 5])> {
    let rows = TABLE.iter().flat_map(|&(state, phases)| {
        let [cancel, terminate, pause, resume, _] = phases;
        let paused = (format!("{state}, paused"), [cancel, terminate, pause, resume, "Paused"]);
        let can_be = state != "pending" && !is_terminal(state);
        [Some((state.to_owned(), phases)), can_be.then_some(paused)]
    });
    rows.flatten().collect()
}

/// One run of the table.
struct Case {
    state: String,
    command: &'static str,
    expected: &'static str,
    name: String,
    body: Value,
    run: Uuid,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_is_applied_once_and_audited_once_in_every_state() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let mut cases = Vec::new();
    for (row, (state, phases)) in rows().into_iter().enumerate() {
        for (command, expected) in COMMANDS.into_iter().zip(phases) {
            let name = format!("state-{row}-{}", command.to_lowercase());
            let body = body(&target, &name, &state);
            let run = rig.start(&name, body.clone()).await;
            cases.push(Case {
                state: state.clone(),
                command,
                expected,
                name,
                body,
                run,
            });
        }
    }
    let (pending, others): (Vec<Case>, Vec<Case>) = cases.into_iter().partition(|case| case.state == "pending");
    for case in &pending {
        case.send(&rig, 3, case.command).await;
    }
    let worker = rig.patient_worker().await;
    for case in &others {
        case.reach(&rig, &target).await;
    }
    for case in &others {
        case.cancel_first(&rig).await;
    }
    for case in &others {
        case.stand(&rig, &target).await;
    }
    for case in &others {
        case.send(&rig, 3, case.command).await;
    }
    let untaken = "SELECT count(*) FROM everstep.inbox WHERE taken_seq IS NULL AND outcome IS NULL";
    eventually("taking", async || rig.count(untaken).await == 0).await;
    let cases: Vec<Case> = pending.into_iter().chain(others).collect();
    for case in &cases {
        let what = format!("{}: {} makes it {}", case.state, case.command, case.expected);
        eventually(&what, async || rig.phase(case.run).await == case.expected).await;
        case.was_applied_once(&rig).await;
    }
    // A pause that came before the run: not even its first step began.
    let first = cases
        .iter()
        .find(|case| case.state == "pending" && case.command == "Pause");
    assert!(target.seen(&first.unwrap().path("/ok", "done")).is_empty());

    // However it goes on, no effect has two keys; a request that was held too long is repeated with the one that it had.
    for case in cases.iter().filter(|case| !case.is_over()) {
        case.send(&rig, 4, "Terminate").await;
    }
    target.release();
    for case in &cases {
        rig.ended(case.run).await;
        let effects = |how: &str, step: &str| {
            let mut keys = target.seen(&case.path(how, step));
            keys.sort();
            keys.dedup();
            keys.len()
        };
        let what = format!("{}: {}", case.state, case.command);
        assert_eq!(effects(case.last(), "z"), 1, "{what}");
        assert_eq!(effects(case.undo(), "undo"), case.undoings(), "{what}");
    }
    rig.is_clean().await;
    worker.stop().await;
}

impl Case {
    fn path(&self, how: &str, step: &str) -> String {
        path(&self.name, how, step)
    }

    fn base(&self) -> &str {
        self.state.split(',').next().unwrap()
    }

    fn is_over(&self) -> bool {
        Phase::parse(self.expected).unwrap().is_terminal()
    }

    fn undo(&self) -> &'static str {
        undo(&self.state)
    }

    fn last(&self) -> &'static str {
        if is_terminal(&self.state) { "/ok" } else { "/hold" }
    }

    /// Effects that undo its step: one for each round.
    fn undoings(&self) -> usize {
        match self.base() {
            "succeeded" | "cancelling" => 0,
            "compensation failed" if self.expected == "Running" && self.command == "Retry" => 2,
            "compensating" | "compensation failed" | "failed" | "cancelled" | "timed out" => 1,
            _ => usize::from(self.expected == "Compensating"),
        }
    }

    /// As two replicas of the controller, of which one comes again.
    async fn send(&self, rig: &Rig, generation: i64, kind: &str) {
        let Some(command) = command(kind) else {
            return self.send_retry(rig, generation).await;
        };
        let wish = Submission {
            generation,
            // A Workflow's cancel is not for the run that the same call wishes for.
            start: None,
            commands: vec![command],
            ..submission("default", &self.name, &self.body)
        };
        let wishes = [wish];
        let (one, other) = tokio::join!(rig.store.submit(&wishes), rig.store.submit(&wishes));
        one.unwrap();
        other.unwrap();
        rig.store.submit(&wishes).await.unwrap();
        rig.store.ring(Bell::Mail);
    }

    async fn send_retry(&self, rig: &Rig, generation: i64) {
        let insert = "INSERT INTO everstep.inbox (run_id, kind, dedup_key, generation, payload)
            SELECT id, 'Retry', 'test', $2, '{\"from\": null}' FROM everstep.runs WHERE id = $1 AND finished_at IS NULL
            ON CONFLICT DO NOTHING";
        for _ in 0..2 {
            let sent = sqlx::query(insert).bind(self.run).bind(generation);
            sent.execute(&mut rig.sql().await).await.unwrap();
        }
        rig.store.ring(Bell::Mail);
    }

    async fn reach(&self, rig: &Rig, target: &Target) {
        let what = format!("{} of {}", self.base(), self.name);
        let seen = |how: &str, step: &str| !target.seen(&self.path(how, step)).is_empty();
        eventually(&what, async || match self.base() {
            "running" | "cancelling" | "cancelled" => seen("/hold", "s"),
            "retrying" => rig.journal(self.run).await.contains(&"AttemptFailed s".to_owned()),
            "sleeping" => rig.phase(self.run).await == "Sleeping",
            "waiting" => rig.phase(self.run).await == "Waiting",
            "parked" | "compensation failed" => rig.phase(self.run).await == "Paused",
            "compensating" => seen("/hold", "undo"),
            "finally" => seen("/hold", "z"),
            "succeeded" | "failed" | "timed out" => rig.phase(self.run).await == self.expected,
            other => panic!("{other}"),
        })
        .await;
    }

    async fn cancel_first(&self, rig: &Rig) {
        if ["cancelling", "cancelled"].contains(&self.base()) {
            self.send(rig, 1, "Cancel").await;
        }
    }

    async fn stand(&self, rig: &Rig, target: &Target) {
        let what = format!("{} of {}", self.state, self.name);
        match self.base() {
            "cancelling" => eventually(&what, async || !target.seen(&self.path("/hold", "z")).is_empty()).await,
            "cancelled" => eventually(&what, async || rig.phase(self.run).await == "Cancelled").await,
            _ => {}
        }
        if self.state.ends_with(", paused") {
            self.send(rig, 2, "Pause").await;
            let paused = "RunPaused".to_owned();
            eventually(&what, async || rig.journal(self.run).await.contains(&paused)).await;
        }
    }

    async fn was_applied_once(&self, rig: &Rig) {
        let what = format!("{}: {}", self.state, self.command);
        let live = i64::from(!is_terminal(&self.state));
        let select = "SELECT
              (SELECT count(*) FROM everstep.inbox
               WHERE run_id = $1 AND kind = $2 AND generation = 3 AND outcome = 'Consumed' AND consumed_seq = taken_seq),
              (SELECT count(*) FROM everstep.inbox WHERE run_id = $1 AND generation = 3),
              (SELECT count(*) FROM everstep.audit
               WHERE run_id = $1 AND operation = lower($2) AND detail ->> 'generation' = '3')";
        let found: (i64, i64, i64) = sqlx::query_as(select)
            .bind(self.run)
            .bind(self.command)
            .fetch_one(&mut rig.sql().await)
            .await
            .unwrap();
        let audited = if self.command == "Retry" { 0 } else { live };
        assert_eq!(found, (live, live, audited), "{what}: consumed, stored, audited");

        let journal = rig.journal(self.run).await;
        let count = |event: &str| journal.iter().filter(|other| *other == event).count();
        let (setup, live) = (usize::from(self.state.ends_with(", paused")), usize::from(live == 1));
        let (found, expected) = match self.command {
            // The second cancel changes nothing, unless it ends a pause; the first is the one of the setup.
            "Cancel" if self.base() == "cancelling" => (count("CancelRequested"), 1 + setup),
            "Cancel" => (count("CancelRequested"), live + usize::from(self.state == "cancelled")),
            "Terminate" => (count("TerminateRequested"), live),
            "Pause" => (count("RunPaused"), live + setup),
            "Resume" => (count("RunResumed"), live),
            "Retry" => (count("RunRetried") + count("RetryRefused"), live),
            other => panic!("{other}"),
        };
        assert_eq!(found, expected, "{what}: {journal:#?}");
    }
}

fn is_terminal(state: &str) -> bool {
    ["succeeded", "failed", "cancelled", "timed out"].contains(&state)
}

fn path(name: &str, how: &str, step: &str) -> String {
    format!("{how}/{name}/{step}")
}

/// How the request that undoes is answered.
fn undo(state: &str) -> &'static str {
    match state {
        _ if is_terminal(state) => "/ok",
        _ if state.starts_with("compensation failed") => "/fail/1",
        _ => "/hold",
    }
}

/// A step that can be undone, the one that brings the run into its state, and one in `finally`.
fn body(target: &Target, name: &str, state: &str) -> Value {
    let request = |how: &str, step: &str| json!({"url": target.url(&path(name, how, step))});
    let once = json!({"maxAttempts": 1});
    let mut done = json!({"name": "done", "http": request("/ok", "done")});
    if !state.starts_with("cancelling") {
        done["compensate"] = json!({"http": request(undo(state), "undo"), "retry": once});
    }
    let mut s = match state.split(',').next().unwrap() {
        "retrying" => {
            let backoff = json!({"initial": "1h", "max": "1h"});
            json!({"http": request("/fail/9", "s"), "retry": {"maxAttempts": 3, "backoff": backoff}})
        }
        "sleeping" => json!({"sleep": {"for": "1h"}}),
        "waiting" => json!({"waitForSignal": {"signal": "go"}}),
        "parked" => json!({"http": request("/fail/1", "s"), "retry": once}),
        "compensating" | "compensation failed" | "failed" => json!({"fail": {"code": "NO"}}),
        "finally" | "succeeded" => json!({"set": {"x": 1}}),
        _ => json!({"http": request("/hold", "s")}),
    };
    s["name"] = json!("s");
    let z = json!({"name": "z", "http": request(if is_terminal(state) { "/ok" } else { "/hold" }, "z")});
    let mut body = json!({"steps": [done, s], "finally": [z]});
    if state == "timed out" {
        body["timeout"] = json!("1s");
    }
    if state.starts_with("parked") {
        body["onFailure"] = json!("Pause");
    }
    body
}

/// None for a retry.
fn command(kind: &str) -> Option<Command> {
    let reason = "a test asked for it".to_owned();
    match kind {
        "Cancel" => Some(Command::Cancel { reason }),
        "Terminate" => Some(Command::Terminate { reason }),
        "Pause" => Some(Command::Pause),
        "Resume" => Some(Command::Resume),
        "Retry" => None,
        other => panic!("{other}"),
    }
}
