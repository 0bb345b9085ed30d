//! Statements that only the benchmark sends: it makes databases, seeds runs in bulk and counts what became of them.

use everstep::{
    engine,
    store::{Migrations, Options, Store},
};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgRow};

use crate::{Failure, server::Server};

/// An engine's database as an install leaves it.
pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
    /// The engine's own way into it.
    pub(crate) store: Store,
    /// For the benchmark's statements.
    pub(crate) connection: PgConnection,
}

/// A stretch of the database's time, in seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// What the journal says of a window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled {
    /// No-op steps that ended.
    steps: i64,
    /// Rows of the journal.
    rows: i64,
    /// Commits that wrote them.
    commits: i64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    seconds: f64,
}

impl Settled {
    pub(crate) fn steps_per_second(&self) -> f64 {
        self.steps as f64 / self.seconds
    }

    /// Rows in one commit, on average.
    pub(crate) fn batch(&self) -> f64 {
        self.rows as f64 / self.commits.max(1) as f64
    }
}

impl Database {
    /// A new one.
    pub(crate) async fn create(server: &mut Server) -> Result<Self, Failure> {
        let name = server.next_name();
        server.postgres.create_database(&name)?;
        let url = server.postgres.url(&name);
        let options = Options {
            url: url.clone(),
            max_connections: 4,
            application_name: "everstep-bench".to_owned(),
        };
        let store = Store::connect(&options).await?;
        store.migrate(Migrations::Auto).await?;
        store.adopt_cluster("everstep-bench", "everstep-bench").await?;
        let connection = PgConnection::connect(&url).await?;
        Ok(Self {
            url,
            name,
            store,
            connection,
        })
    }

    /// Removes it, for the next one needs the memory.
    pub(crate) async fn drop(self, server: &Server) -> Result<(), Failure> {
        self.connection.close().await?;
        drop(self.store);
        let mut connection = PgConnection::connect(&server.postgres.url("postgres")).await?;
        let statement = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut connection).await?;
        Ok(())
    }

    /// Inserts runs of so many no-op steps that wait to be claimed, as a start leaves them, all in one commit; and leaves
    /// the tables as the autovacuum of a database in use does.
    pub(crate) async fn seed(&mut self, steps: u32, runs: u64) -> Result<(), Failure> {
        // What was written before becomes segments for what comes, and nothing of it is written out meanwhile.
        sqlx::raw_sql("CHECKPOINT").execute(&mut self.connection).await?;
        let body = definition(steps);
        sqlx::query(
            "INSERT INTO everstep.definitions (namespace, workflow, revision, body)
             VALUES ('bench', 'noop', $1, $2::json)
             ON CONFLICT DO NOTHING",
        )
        .bind(engine::revision(&body))
        .bind(body.to_string())
        .execute(&mut self.connection)
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
        .bind(engine::revision(&body))
        .bind(i64::try_from(runs)?)
        .execute(&mut self.connection)
        .await?;
        sqlx::raw_sql("VACUUM (ANALYZE) everstep.runs, everstep.active")
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Runs that nobody has claimed yet.
    pub(crate) async fn backlog(&mut self) -> Result<u64, Failure> {
        let row = self
            .one("SELECT count(*) FROM everstep.active WHERE worker_id IS NULL")
            .await?;
        Ok(u64::try_from(row.try_get::<i64, _>(0)?)?)
    }

    /// Whether the run of this Workflow waits for a signal, and nobody has it in memory.
    pub(crate) async fn is_parked(&mut self, workflow: &str) -> Result<bool, Failure> {
        let waits = "SELECT count(*) = 1 FROM everstep.runs AS r
                     WHERE r.workflow = $1 AND r.phase = 'Waiting'
                       AND NOT EXISTS (SELECT FROM everstep.active AS a WHERE a.run_id = r.id)";
        let row = sqlx::query(waits)
            .bind(workflow)
            .fetch_one(&mut self.connection)
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Whether a worker that lives has claimed something.
    pub(crate) async fn is_carried(&mut self) -> Result<bool, Failure> {
        let row = self
            .one(
                "SELECT EXISTS (
                   SELECT FROM everstep.workers AS w
                   JOIN everstep.active AS a ON a.worker_id = w.id
                   WHERE w.expires_at > everstep.now())",
            )
            .await?;
        Ok(row.try_get(0)?)
    }

    /// Whether every run that was started has ended.
    pub(crate) async fn is_idle(&mut self) -> Result<bool, Failure> {
        let row = self
            .one("SELECT NOT EXISTS (SELECT FROM everstep.active) AND NOT EXISTS (SELECT FROM everstep.arrivals)")
            .await?;
        Ok(row.try_get(0)?)
    }

    /// The database's time.
    pub(crate) async fn now(&mut self) -> Result<f64, Failure> {
        Ok(self
            .one("SELECT extract(epoch FROM everstep.now())::float8")
            .await?
            .try_get(0)?)
    }

    /// What was settled in a window. Reads the whole journal: for afterwards.
    pub(crate) async fn settled(&mut self, window: Window) -> Result<Settled, Failure> {
        let row = sqlx::query(
            "SELECT count(*) FILTER (WHERE j.seq > 1) AS steps,
                    count(*) AS rows,
                    count(DISTINCT j.xmin::text) AS commits,
                    percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (
                      ORDER BY extract(epoch FROM j.at - before.at)::float8 * 1000) AS ms
             FROM everstep.journal AS j
             LEFT JOIN everstep.journal AS before ON before.run_id = j.run_id AND before.seq = j.seq - 1
             WHERE j.at >= to_timestamp($1) AND j.at < to_timestamp($2)",
        )
        .bind(window.from)
        .bind(window.to)
        .fetch_one(&mut self.connection)
        .await?;
        let ms: Option<Vec<Option<f64>>> = row.try_get("ms")?;
        let [Some(p50_ms), Some(p99_ms)] = ms.as_deref().unwrap_or_default() else {
            return Err("no step was settled in the measured time".into());
        };
        Ok(Settled {
            steps: row.try_get("steps")?,
            rows: row.try_get("rows")?,
            commits: row.try_get("commits")?,
            p50_ms: *p50_ms,
            p99_ms: *p99_ms,
            seconds: window.to - window.from,
        })
    }

    /// Counts statements from now on.
    pub(crate) async fn forget_statements(&mut self) -> Result<(), Failure> {
        sqlx::raw_sql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            .execute(&mut self.connection)
            .await?;
        sqlx::raw_sql("SELECT pg_stat_statements_reset()")
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// The statements that took the most time since, one a line.
    pub(crate) async fn costliest(&mut self) -> Result<Vec<String>, Failure> {
        let rows = sqlx::query(
            "SELECT format('%s calls, %s ms each, %s ms of it planning, %s buffers, %s rows: %s',
                      calls, round((mean_plan_time + mean_exec_time)::numeric, 3), round(mean_plan_time::numeric, 3),
                      (shared_blks_hit + shared_blks_read) / calls, rows / calls,
                      left(regexp_replace(trim(query), '\\s+', ' ', 'g'), 60)) AS line
             FROM pg_stat_statements
             WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
             ORDER BY total_plan_time + total_exec_time DESC
             LIMIT 10",
        )
        .fetch_all(&mut self.connection)
        .await?;
        rows.iter().map(|row| Ok(row.try_get("line")?)).collect()
    }

    async fn one(&mut self, statement: &'static str) -> Result<PgRow, Failure> {
        Ok(sqlx::query(statement).fetch_one(&mut self.connection).await?)
    }
}

/// A sequence of no-op steps, each of which reads the one before in its condition: real references, real expressions.
pub(crate) fn definition(steps: u32) -> Value {
    let step = |number: u32| match number {
        1 => json!({"name": "s1", "noop": {}}),
        _ => {
            let condition = format!("steps.s{}.status == 'Succeeded'", number - 1);
            json!({"name": format!("s{number}"), "when": condition, "noop": {}})
        }
    };
    json!({ "steps": (1..=steps).map(step).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definition_compiles_and_reads_what_came_before() {
        let body = definition(3);
        everstep::engine::Definition::compile(&body).unwrap();
        assert_eq!(body["steps"][2]["when"], "steps.s2.status == 'Succeeded'");
    }
}
