//! The yardstick: a script for pgbench, written by hand, that inserts the same rows in the same batches, and does nothing
//! else. What a worker could reach at most if it thought of nothing, claimed nothing and read nothing.

use std::{fs, process::Stdio, time::Duration};

use everstep::worker::SETTLERS;
use sqlx::{AssertSqlSafe, Row};
use tokio::process::Command;

use crate::{
    Failure,
    database::{Database, Settled},
    server::Server,
};

/// Connections that a worker appends over.
const WRITERS: u32 = SETTLERS as u32;

const SCRIPT: &str = include_str!("yardstick.sql");

/// Samples of the rows that the worker wrote, and copies of the tables with all their indexes and checks.
const TABLES: &str = "
CREATE SCHEMA yardstick;
CREATE TABLE yardstick.journal (LIKE everstep.journal INCLUDING ALL);
CREATE TABLE yardstick.runs (LIKE everstep.runs INCLUDING ALL);
CREATE TABLE yardstick.active (LIKE everstep.active INCLUDING ALL);
CREATE TABLE yardstick.audit (LIKE everstep.audit INCLUDING ALL);
CREATE SEQUENCE yardstick.batches CACHE 1000;
CREATE TABLE yardstick.run AS SELECT * FROM everstep.runs WHERE phase = 'Succeeded' LIMIT 1;
CREATE TABLE yardstick.decision AS
  SELECT seq, nonce, events::text AS events FROM everstep.journal WHERE run_id = (SELECT id FROM yardstick.run);
CREATE TABLE yardstick.claim AS
  SELECT 'bench' AS namespace, everstep.now() AS ready_at, (SELECT id FROM everstep.workers LIMIT 1) AS worker_id;
CREATE TABLE yardstick.note AS
  SELECT actor, operation, object_uid, epoch, detail::text AS detail FROM everstep.audit
  WHERE run_id = (SELECT id FROM yardstick.run) AND operation = 'finished';
ANALYZE yardstick.run, yardstick.decision, yardstick.claim, yardstick.note;
-- What was measured before must not be written out meanwhile.
CHECKPOINT";

/// All columns of a run but its id.
const COLUMNS: &str = "
SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
FROM pg_attribute
WHERE attrelid = 'yardstick.runs'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'id'";

/// What the worker wrote with each commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Batch {
    /// Rows of the journal.
    rows: u32,
    /// Rows of the journal that one run has.
    decisions: u32,
    /// Connections that write at once.
    writers: u32,
}

impl Batch {
    /// As it was measured with so many runs in flight.
    pub(crate) fn of(settled: &Settled, steps: u32, in_flight: u32) -> Self {
        Self::new(settled.batch(), steps, in_flight)
    }

    fn new(rows: f64, steps: u32, in_flight: u32) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "at most some hundreds"
        )]
        let rows = (rows.round() as u32).max(1);
        let rows = rows.min(in_flight);
        Self {
            rows,
            decisions: steps + 1,
            // As many as the worker has, as long as no more rows are under way than it may have runs.
            writers: (in_flight / rows).min(WRITERS),
        }
    }

    /// The first decision of a run settles no step, each other one does.
    fn steps(self, batches: f64) -> f64 {
        batches * f64::from(self.rows) * f64::from(self.decisions - 1) / f64::from(self.decisions)
    }

    fn script(self, columns: &str) -> String {
        SCRIPT
            .replace(":batch", &self.rows.to_string())
            .replace(":decisions", &self.decisions.to_string())
            .replace(":columns", columns)
    }
}

/// Steps per second that the script reaches.
pub(crate) async fn measure(
    server: &Server,
    database: &mut Database,
    batch: Batch,
    duration: Duration,
) -> Result<f64, Failure> {
    for statement in TABLES.split(';') {
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&mut database.connection)
            .await?;
    }
    let columns: String = sqlx::query(COLUMNS)
        .fetch_one(&mut database.connection)
        .await?
        .try_get(0)?;
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("yardstick.sql");
    fs::write(&script, batch.script(&columns))?;

    let program = server.postgres.programs().join("pgbench");
    let writers = batch.writers.to_string();
    let pgbench = Command::new(&program)
        .args([
            "--no-vacuum",
            "--protocol",
            "prepared",
            "--client",
            &writers,
            "--jobs",
            &writers,
        ])
        .args(["--time", &duration.as_secs().to_string(), "--file"])
        .arg(&script)
        .arg(&database.url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = pgbench.await.map_err(|error| {
        format!(
            "{}: {error}: pgbench comes with the server's package (Debian: postgresql-contrib or postgresql-15)",
            program.display()
        )
    })?;
    let said = String::from_utf8_lossy(&output.stdout);
    match transactions_per_second(&said) {
        Some(batches) if output.status.success() => Ok(batch.steps(batches)),
        _ => Err(format!("pgbench failed: {}", String::from_utf8_lossy(&output.stderr).trim()).into()),
    }
}

/// From `tps = 1234.567890 (without initial connection time)`.
pub(crate) fn transactions_per_second(said: &str) -> Option<f64> {
    let figure = said.lines().find_map(|line| line.strip_prefix("tps = "))?;
    figure.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_is_found_in_what_pgbench_says() {
        let said = "transaction type: x\nlatency average = 1.2 ms\ntps = 1672.25 (without initial connection time)\n";
        assert_eq!(transactions_per_second(said), Some(1672.25));
        assert_eq!(transactions_per_second("pgbench: error"), None);
    }

    #[test]
    fn batch_is_what_the_worker_wrote() {
        let batch = Batch::new(255.6, 3, 1000);
        assert_eq!(
            batch,
            Batch {
                rows: 256,
                decisions: 4,
                writers: 3
            }
        );
        // Of 256 rows 64 began a run.
        assert_eq!(batch.steps(10.0), 1920.0);
        assert_eq!(
            Batch::new(0.9, 1, 1),
            Batch {
                rows: 1,
                decisions: 2,
                writers: 1
            }
        );
    }

    #[test]
    fn script_has_no_place_left_open() {
        let script = Batch::new(8.0, 3, 16).script("namespace, phase");
        let open = script
            .lines()
            .filter(|line| !line.starts_with("--"))
            .any(|line| line.replace("::", "").contains(':'));
        assert!(!open, "{script}");
    }
}
