//! What the database, the payments server and the API server remember, and whether it can be true.
//!
//! Checked after the faults, when all is quiet: I-1, I-3, I-13, I-15, I-17, I-18 of the design, on the journal and on the
//! ledger of the other side.

use std::collections::BTreeMap;

use serde_json::Value;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::support::system::Entry;
use super::workload::Order;

/// One run as the database has it.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) id: Uuid,
    pub(crate) workflow: String,
    pub(crate) phase: String,
    pub(crate) summary_seq: i32,
    /// Each decision: its sequence number and its events.
    pub(crate) journal: Vec<(i32, Vec<Value>)>,
}

impl Recorded {
    /// All events, oldest first: the name and the fields of each.
    pub(crate) fn events(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.journal
            .iter()
            .flat_map(|(_, events)| events)
            .map(|event| match event {
                Value::String(name) => (name.as_str(), &Value::Null),
                Value::Object(fields) => {
                    let (name, fields) = fields.iter().next().unwrap();
                    (name.as_str(), fields)
                }
                _ => panic!("not an event: {event}"),
            })
    }

    /// How many events have this name, and are about this step.
    pub(crate) fn count(&self, name: &str, step: &str) -> usize {
        self.events()
            .filter(|(event, fields)| *event == name && fields["step"] == step)
            .count()
    }

    /// How many events have this name.
    pub(crate) fn how_many(&self, name: &str) -> usize {
        self.events().filter(|(event, _)| *event == name).count()
    }

    /// The events' names and steps, for a message.
    pub(crate) fn outline(&self) -> Vec<String> {
        self.events()
            .map(|(name, fields)| format!("{name} {}", fields["step"].as_str().unwrap_or_default()))
            .collect()
    }
}

/// All runs, oldest first.
pub(crate) async fn runs(url: &str) -> Vec<Recorded> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let rows: Vec<(Uuid, String, String, i32)> =
        sqlx::query_as("SELECT id, workflow, phase, summary_seq FROM everstep.runs ORDER BY id")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let decisions: Vec<(Uuid, i32, String)> =
        sqlx::query_as("SELECT run_id, seq, events::text FROM everstep.journal ORDER BY run_id, seq")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let mut journals: BTreeMap<Uuid, Vec<(i32, Vec<Value>)>> = BTreeMap::new();
    for (run, seq, events) in decisions {
        journals
            .entry(run)
            .or_default()
            .push((seq, serde_json::from_str(&events).unwrap()));
    }
    rows.into_iter()
        .map(|(id, workflow, phase, summary_seq)| Recorded {
            id,
            workflow,
            phase,
            summary_seq,
            journal: journals.remove(&id).unwrap_or_default(),
        })
        .collect()
}

/// Who holds the runs that have not ended, what they wait for, and what has become of them so far: for a message.
pub(crate) async fn open(url: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let rows: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT r.id, concat_ws(', ', r.workflow, r.phase, 'active ' || a, 'timer ' || t.fire_at, 'worker ' || w, now())
         FROM everstep.runs AS r
         LEFT JOIN everstep.active AS a ON a.run_id = r.id
         LEFT JOIN everstep.timers AS t ON t.run_id = r.id
         LEFT JOIN everstep.workers AS w ON w.id = a.worker_id
         WHERE r.finished_at IS NULL ORDER BY r.id LIMIT 10",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    let recorded = runs(url).await;
    let outline = |id| recorded.iter().find(|run| run.id == id).map(Recorded::outline);
    rows.into_iter()
        .map(|(id, row)| format!("{row}: {:?}", outline(id)))
        .collect()
}

/// Everything that is wrong with the runs of these orders, and with what the world was asked for them; empty when all
/// is as if nothing had happened.
pub(crate) fn complaints(orders: &[Order], runs: &[Recorded], ledger: &[Entry]) -> Vec<String> {
    let mut all = Vec::new();
    if runs.len() != orders.len() {
        all.push(format!("{} runs of {} orders", runs.len(), orders.len()));
    }
    for order in orders {
        let mut own = runs.iter().filter(|run| run.workflow == order.name);
        match (own.next(), own.next()) {
            (Some(run), None) => all.extend(about(order, run, ledger)),
            (None, _) => all.push(format!("{}: no run", order.name)),
            (Some(_), Some(_)) => all.push(format!("{}: more than one run", order.name)),
        }
    }
    all
}

fn about(order: &Order, run: &Recorded, ledger: &[Entry]) -> Vec<String> {
    let mut all = Vec::new();
    if run.phase != "Succeeded" {
        all.push(format!("is {}", run.phase));
    }
    for (expected, (seq, _)) in (1..).zip(&run.journal) {
        if *seq != expected {
            all.push(format!("seq {seq} stands where {expected} should"));
            break;
        }
    }
    for step in &order.steps {
        let results = run.count("StepSucceeded", step);
        // A `set` has no attempt and one result like any other.
        if results != 1 {
            all.push(format!("{results} results of {step}"));
        }
        let failures = run.count("AttemptFailed", step);
        if failures > 0 && !order.unsteady.contains(step) {
            all.push(format!("{failures} failed attempts of {step}"));
        }
    }
    let ends: Vec<usize> = run
        .events()
        .enumerate()
        .filter(|(_, (name, _))| *name == "RunFinished")
        .map(|(at, _)| at)
        .collect();
    if ends != [run.events().count().saturating_sub(1)] {
        all.push(format!("finishes at {ends:?} of {} events", run.events().count()));
    }
    for path in &order.paths {
        let entries: Vec<&Entry> = ledger
            .iter()
            .filter(|entry| entry.path == *path && entry.body["order"] == *order.name)
            .collect();
        // One entry: all requests of the step came with one key.
        match entries.as_slice() {
            [entry] if *path == "/v1/charges" => {
                let recorded = run
                    .events()
                    .find(|(name, fields)| *name == "StepSucceeded" && fields["step"] == "charge");
                if recorded.map(|(_, fields)| &fields["output"]["id"]) != Some(&entry.answer["id"]) {
                    all.push(format!(
                        "recorded {recorded:?}, and the server answered {}",
                        entry.answer
                    ));
                }
            }
            [_] => {}
            entries => all.push(format!("{} keys at {path}", entries.len())),
        }
    }
    if !all.is_empty() {
        all.push(format!("{:?}", run.outline()));
    }
    all.iter()
        .map(|complaint| format!("{} ({}): {complaint}", order.name, run.id))
        .collect()
}

/// Rows that finished runs must not leave behind.
pub(crate) async fn left_behind(url: &str) -> Vec<String> {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let mut all = Vec::new();
    for (what, count) in [
        ("active", "SELECT count(*) FROM everstep.active"),
        ("timers", "SELECT count(*) FROM everstep.timers"),
        (
            "inbox",
            "SELECT count(*) FROM everstep.inbox WHERE taken_seq IS NULL AND outcome IS NULL",
        ),
        (
            "start keys",
            "SELECT count(*) FROM (SELECT 1 FROM everstep.runs GROUP BY namespace, workflow, start_key HAVING count(*) > 1) AS twice",
        ),
    ] {
        let rows: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap();
        if rows > 0 {
            all.push(format!("{rows} rows in {what}"));
        }
    }
    all
}
