//! Starts per second by SQL: clients that call `everstep.start`, each in a transaction of its own, beside a worker that
//! carries what they start; and what the same clients reach who only insert such a row into a table without anything.
//!
//! ```text
//! worker ─▶ warm-up ─▶ bare row ─▶ bare payload ─▶ starts │◀─ 2 s ─▶│ how many of them have finished?
//! ```

use std::{fs, process::Stdio, time::Duration};

use everstep::{
    engine,
    store::{DeletionPolicy, Retention, Submission},
};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row as _};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

use crate::{
    Failure,
    database::{Database, definition},
    options::{Measure, Protocol, Scenario},
    report::Row,
    say,
    server::Server,
    worker::Worker,
    yardstick::transactions_per_second,
};

/// Applications' connections.
pub(crate) const CLIENTS: u32 = 64;
/// Runs that the worker may carry: its default.
const IN_FLIGHT: u32 = 1000;
/// Until connections are open and plans are made; not counted.
const WARM_UP: Duration = Duration::from_secs(4);
/// When the started runs are counted, after the last start.
const AFTER: Duration = Duration::from_secs(2);
/// How long the runs of the warm-up may take to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Workflows beside the one that is started, as a database in use has them.
const OTHERS: usize = 500;

/// The role of the clients: they log in otherwise, as through a pool.
const ROLE: &str = "everstep_bench_app";

/// What `everstep.start` and the bare tables store.
const INPUT: &str = r#"{"orderId": "o-1042", "amountCents": 250000, "currency": "EUR", "customer": "c-77"}"#;

/// A table with a run's columns, and one with a payload; both without anything but a primary key.
const TABLES: &str = "
CREATE SCHEMA bare;
CREATE TABLE bare.runs (LIKE everstep.runs INCLUDING DEFAULTS);
ALTER TABLE bare.runs ADD PRIMARY KEY (id);
CREATE TABLE bare.payloads (id uuid PRIMARY KEY, input json);
DO $$ BEGIN CREATE ROLE everstep_bench_app; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
GRANT USAGE ON SCHEMA bare TO everstep_bench_app;
GRANT INSERT ON ALL TABLES IN SCHEMA bare TO everstep_bench_app;
SELECT everstep.grant_namespace('everstep_bench_app', 'bench');
VACUUM ANALYZE everstep.startable";

const COUNT: &str = "
SELECT count(*) AS started, count(*) FILTER (WHERE finished_at <= to_timestamp($2)) AS finished,
  percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (
    ORDER BY extract(epoch FROM started_at - created_at)::float8 * 1000) AS ms
FROM (
  SELECT created_at, started_at, finished_at FROM everstep.runs
  UNION ALL
  SELECT at, NULL, NULL FROM everstep.arrivals
) AS run
WHERE created_at >= to_timestamp($1)";

/// Measures once.
pub(crate) async fn measure(server: &mut Server, asked: &Measure) -> Result<Row, Failure> {
    let mut database = Database::create(server).await?;
    prepare(&mut database, asked.steps).await?;
    let mut worker = Worker::start(&database.url, IN_FLIGHT)?;
    say(format_args!("start: {CLIENTS} clients, warming up"));
    clients(server, &mut database, asked.protocol, START, WARM_UP).await?;
    until_idle(&mut database, &mut worker).await?;

    let row = clients(server, &mut database, asked.protocol, BARE_ROW, asked.duration()).await?;
    let payload = clients(server, &mut database, asked.protocol, BARE_PAYLOAD, asked.duration()).await?;
    let from = database.now().await?;
    let starts = clients(server, &mut database, asked.protocol, START, asked.duration()).await?;
    let end = Instant::now() + AFTER;
    let to = database.now().await? + AFTER.as_secs_f64();
    tokio::time::sleep_until(end).await;
    worker.check()?;

    let counted = sqlx::query(COUNT)
        .bind(from)
        .bind(to)
        .fetch_one(&mut database.connection)
        .await?;
    let (started, finished): (i64, i64) = (counted.try_get("started")?, counted.try_get("finished")?);
    let ms: Vec<Option<f64>> = counted.try_get("ms")?;
    say(format_args!(
        "start, {}: {starts:.0} starts/s, {finished} of {started} runs finished; such a row {row:.0}/s, its payload {payload:.0}/s",
        asked.protocol.as_str()
    ));
    worker.stop()?;
    database.drop(server).await?;
    Ok(Row {
        scenario: Scenario::Start.as_str(),
        flush: asked.flush.as_str(),
        in_flight: CLIENTS,
        steps_per_run: asked.steps,
        steps_per_second: None,
        p50_ms: ms.first().copied().flatten().unwrap_or(f64::NAN),
        p99_ms: ms.get(1).copied().flatten().unwrap_or(f64::NAN),
        yardstick_per_second: Some(row),
        ratio: Some(starts / row),
        starts_per_second: Some(starts),
        protocol: Some(asked.protocol.as_str()),
        payloads_per_second: Some(payload),
        finished: Some(finished as f64 / started.max(1) as f64),
    })
}

/// Transactions of one statement each; `INPUT` is what the client passes.
const START: &str = "SELECT everstep.start('bench/noop', 'INPUT');";
const BARE_ROW: &str = "INSERT INTO bare.runs (id, namespace, workflow, start_key, definition_id, input, trigger) VALUES \
    (gen_random_uuid(), 'bench', 'noop', 'sql/0192f3c4-5d6e-7f80-9a1b-2c3d4e5f6071', \
    '0192f3c4-5d6e-7f80-9a1b-2c3d4e5f6071', 'INPUT', 'SQL');";
const BARE_PAYLOAD: &str = "INSERT INTO bare.payloads (id, input) VALUES (gen_random_uuid(), 'INPUT');";

async fn prepare(database: &mut Database, steps: u32) -> Result<(), Failure> {
    let body = definition(steps);
    let others = (0..OTHERS).map(|number| submission(&format!("other-{number}"), &body));
    database.store.submit(&others.collect::<Vec<_>>()).await?;
    database.store.submit(&[submission("noop", &body)]).await?;
    for statement in TABLES.split(";\n") {
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut database.connection)
            .await?;
    }
    Ok(())
}

/// A Workflow that starts only when asked.
fn submission(name: &str, body: &Value) -> Submission {
    Submission {
        uid: format!("bench-{name}"),
        kind: "Workflow".to_owned(),
        namespace: "bench".to_owned(),
        name: name.to_owned(),
        workflow: name.to_owned(),
        generation: 1,
        deletion_policy: DeletionPolicy::Background,
        retention: Retention::default(),
        suspended: false,
        revision: engine::revision(body),
        body: body.to_string(),
        start: None,
        only_when_idle: false,
        commands: Vec::new(),
    }
}

/// Waits until the worker has nothing left.
async fn until_idle(database: &mut Database, worker: &mut Worker) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !database.is_idle().await? {
        worker.check()?;
        if Instant::now() > deadline {
            return Err("the runs of the warm-up do not end".into());
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Transactions per second of all clients together.
async fn clients(
    server: &Server,
    database: &mut Database,
    protocol: Protocol,
    statement: &str,
    duration: Duration,
) -> Result<f64, Failure> {
    // What was written before must not be written out meanwhile.
    sqlx::raw_sql("CHECKPOINT").execute(&mut database.connection).await?;
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("statement.sql");
    fs::write(&script, statement.replace("INPUT", INPUT))?;
    let program = server.postgres.programs().join("pgbench");
    let output = Command::new(&program)
        .args([
            "--no-vacuum",
            "--protocol",
            protocol.as_str(),
            "--jobs",
            "2",
            "--client",
        ])
        .arg(CLIENTS.to_string())
        .args(["--time", &duration.as_secs().to_string(), "--file"])
        .arg(&script)
        .arg(&database.url)
        .env("PGOPTIONS", format!("-c role={ROLE}"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("{}: {error}", program.display()))?;
    match transactions_per_second(&String::from_utf8_lossy(&output.stdout)) {
        Some(figure) if output.status.success() => Ok(figure),
        // Connecting is in its time: on a busy machine nothing else may be.
        None if output.status.success() => Err("pgbench had no time left after connecting: use more --seconds".into()),
        _ => Err(format!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_stores_the_same_payload() {
        serde_json::from_str::<Value>(INPUT).unwrap();
        for statement in [START, BARE_ROW, BARE_PAYLOAD] {
            assert_eq!(statement.matches("'INPUT'").count(), 1, "{statement}");
        }
    }
}
