//! Statements that only the benchmark sends: it seeds runs in bulk and counts what became of them.

use sqlx::{Connection, PgConnection, Row};
use tokio::time::{Duration, Instant};

use crate::Failure;

/// What was settled between the first decision and the last one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled {
    pub(crate) finished: i64,
    pub(crate) commits: i64,
    pub(crate) rows: i64,
}

/// A direct connection for the benchmark's own statements.
pub(crate) async fn connect(url: &str) -> Result<PgConnection, Failure> {
    Ok(PgConnection::connect(url).await?)
}

/// The definition of `steps` no-op steps, the last of which names the one before: real expressions, real references.
pub(crate) fn definition(steps: u32) -> serde_json::Value {
    let steps: Vec<_> = (1..=steps).map(|number| serde_json::json!({"name": format!("s{number}"), "noop": {}})).collect();
    serde_json::json!({ "steps": steps })
}

/// Inserts runs that wait to be claimed, as a start leaves them.
pub(crate) async fn seed(connection: &mut PgConnection, steps: u32, runs: u64) -> Result<(), Failure> {
    let body = definition(steps);
    sqlx::query(
        "INSERT INTO everstep.definitions (namespace, workflow, revision, body)
         VALUES ('bench', 'noop', $1, $2::json)
         ON CONFLICT DO NOTHING",
    )
    .bind(everstep::engine::revision(&body))
    .bind(body.to_string())
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "WITH started AS (
           INSERT INTO everstep.runs (id, namespace, workflow, start_key, definition_id, trigger)
           SELECT id, 'bench', 'noop', 'sql/' || id, definition, 'SQL'
           FROM (
             SELECT everstep.uuidv7() AS id, definitions.id AS definition
             FROM everstep.definitions, generate_series(1, $2::bigint)
             WHERE definitions.namespace = 'bench' AND definitions.revision = $1
           ) AS wanted
           RETURNING id
         )
         INSERT INTO everstep.active (run_id, namespace)
         SELECT id, 'bench' FROM started",
    )
    .bind(everstep::engine::revision(&body))
    .bind(i64::try_from(runs)?)
    .execute(&mut *connection)
    .await?;
    Ok(())
}

/// Forgets all runs, and leaves the tables as after an install.
pub(crate) async fn clear(connection: &mut PgConnection) -> Result<(), Failure> {
    sqlx::raw_sql("TRUNCATE everstep.runs, everstep.active, everstep.timers, everstep.journal, everstep.inbox")
        .execute(&mut *connection)
        .await?;
    sqlx::raw_sql("VACUUM ANALYZE").execute(&mut *connection).await?;
    sqlx::raw_sql("CHECKPOINT").execute(&mut *connection).await?;
    Ok(())
}

/// Waits until a worker has claimed something.
pub(crate) async fn until_first_claim(connection: &mut PgConnection) -> Result<(), Failure> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let row = sqlx::query("SELECT EXISTS (SELECT FROM everstep.journal) AS moved").fetch_one(&mut *connection).await?;
        if row.try_get("moved")? {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err("no worker moved a run within 30 s".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs that nobody has finished yet.
pub(crate) async fn unfinished(connection: &mut PgConnection) -> Result<i64, Failure> {
    let row = sqlx::query("SELECT count(*) AS unfinished FROM everstep.active").fetch_one(&mut *connection).await?;
    Ok(row.try_get("unfinished")?)
}

/// What is in the journal and in the books of the server.
pub(crate) async fn settled(connection: &mut PgConnection) -> Result<Settled, Failure> {
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM everstep.runs WHERE finished_at IS NOT NULL) AS finished,
                (SELECT count(*) FROM everstep.journal) AS rows,
                (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()) AS commits",
    )
    .fetch_one(&mut *connection)
    .await?;
    Ok(Settled { finished: row.try_get("finished")?, commits: row.try_get("commits")?, rows: row.try_get("rows")? })
}

/// Milliseconds from one decision of a run to its next, of a sample of runs: median and 99th percentile.
pub(crate) async fn step_latency(connection: &mut PgConnection) -> Result<(f64, f64), Failure> {
    let row = sqlx::query(
        "SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM later.at - earlier.at)::float8 * 1000) AS ms
         FROM everstep.journal AS earlier
         JOIN everstep.journal AS later ON later.run_id = earlier.run_id AND later.seq = earlier.seq + 1
         WHERE earlier.run_id IN (SELECT id FROM everstep.runs TABLESAMPLE system (10) WHERE finished_at IS NOT NULL)",
    )
    .fetch_one(connection)
    .await?;
    let figures: Option<Vec<f64>> = row.try_get("ms")?;
    match figures.as_deref() {
        Some([median, late]) => Ok((*median, *late)),
        _ => Err("no finished run in the sample".into()),
    }
}
