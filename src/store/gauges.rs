//! Figures for metrics, and whether the database answers.

use std::time::Duration;

use super::{Error, Refusal, Store, row::column};
use crate::engine::Phase;

/// How many runs are in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhaseCount {
    /// The phase.
    pub phase: Phase,
    /// How many.
    pub runs: i64,
}

impl Store {
    /// Whether the server answers, and may be written to.
    pub async fn ping(&self) -> Result<(), Error> {
        let rows = self
            .fetch(|| sqlx::query("SELECT pg_is_in_recovery() AS standby"))
            .await?;
        if column(rows.first().ok_or(Error::NotFound)?, "standby")? {
            return Err(Refusal::Standby("it is a standby in recovery".to_owned()).into());
        }
        Ok(())
    }

    /// Live runs by phase. Terminal phases are not counted: they are counters of the process that saw the end.
    pub async fn phase_counts(&self) -> Result<Vec<PhaseCount>, Error> {
        let rows = self
            .fetch(|| {
                sqlx::query(
                    "SELECT phase, sum(runs)::bigint AS runs
                     FROM (
                       SELECT phase, count(*) AS runs FROM everstep.runs WHERE finished_at IS NULL GROUP BY phase
                       UNION ALL
                       SELECT 'Pending', count(*) FROM everstep.arrivals HAVING count(*) > 0
                     ) AS counted
                     GROUP BY phase",
                )
            })
            .await?;
        rows.iter()
            .map(|row| {
                let phase: &str = column(row, "phase")?;
                let phase = Phase::parse(phase).ok_or_else(|| Error::Corrupt(format!("phase {phase}")))?;
                Ok(PhaseCount {
                    phase,
                    runs: column(row, "runs")?,
                })
            })
            .collect()
    }

    /// How long the oldest ready and unclaimed run has waited; zero when there is none.
    pub async fn ready_oldest(&self) -> Result<Duration, Error> {
        let rows = self
            .fetch(|| {
                sqlx::query(
                    "SELECT extract(epoch FROM (SELECT everstep.now()) - least(
                       (SELECT min(ready_at) FROM everstep.active WHERE worker_id IS NULL),
                       (SELECT at FROM everstep.arrivals ORDER BY run_id LIMIT 1)))::float8 AS seconds",
                )
            })
            .await?;
        let Some(row) = rows.first() else {
            return Ok(Duration::ZERO);
        };
        let seconds: Option<f64> = column(row, "seconds")?;
        Ok(Duration::from_secs_f64(seconds.unwrap_or(0.0).max(0.0)))
    }
}
