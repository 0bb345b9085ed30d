//! Which runs do not move though they should, or stand still until a person acts: decided in the database, so that dead
//! workers are seen, too. A run that waits before its deadline is not stuck.

use std::time::Duration;

use super::{Error, Store, row::column};

/// Each look goes by an index to the rows that it answers for.
const STUCK: &str = "
WITH clock AS MATERIALIZED (
  SELECT everstep.now() AS now, everstep.now() - make_interval(secs => $1) AS late
), due AS (
  SELECT 'Unclaimed' AS reason, a.ready_at AS since
  FROM everstep.active AS a
  WHERE a.worker_id IS NULL AND a.ready_at < (SELECT late FROM clock)
  UNION ALL
  SELECT 'Unclaimed', a.at FROM everstep.arrivals AS a WHERE a.at < (SELECT late FROM clock)
  UNION ALL
  SELECT 'ClaimExpired', coalesce(k.expires_at, a.ready_at)
  FROM everstep.active AS a
  LEFT JOIN everstep.workers AS k ON k.id = a.worker_id
  WHERE a.worker_id IS NOT NULL AND coalesce(k.expires_at, a.ready_at) < (SELECT late FROM clock)
  UNION ALL
  SELECT 'TimerOverdue', t.fire_at FROM everstep.timers AS t WHERE t.fire_at < (SELECT late FROM clock)
  UNION ALL
  -- Carried by somebody who lives, and yet not ended when its time was over.
  SELECT 'DeadlineOverdue', r.deadline
  FROM everstep.active AS a
  JOIN everstep.workers AS k ON k.id = a.worker_id AND k.expires_at >= (SELECT late FROM clock)
  JOIN everstep.runs AS r ON r.id = a.run_id
  WHERE r.deadline < (SELECT late FROM clock) AND r.phase IN ('Running', 'Waiting', 'Sleeping')
  UNION ALL
  SELECT CASE WHEN r.phase = 'Blocked' THEN 'Blocked' ELSE coalesce(everstep.readable(r.summary) ->> 'stalled', 'Paused') END,
    coalesce((SELECT j.at FROM everstep.journal AS j WHERE j.run_id = r.id ORDER BY j.seq DESC LIMIT 1), r.created_at)
  FROM everstep.runs AS r
  WHERE r.phase IN ('Paused', 'Blocked')
)
SELECT reason, count(*) AS runs, extract(epoch FROM (SELECT now FROM clock) - min(since))::float8 AS oldest
FROM due
GROUP BY reason
ORDER BY reason";

/// What is missing has no index: this reads every live run. A wait for a signal may have no end, and a worker that has just
/// parked a run has written all of it in one statement.
const UNMOVED: &str = "
SELECT 'NoMover' AS reason, count(*) AS runs, extract(epoch FROM everstep.now() - min(r.created_at))::float8 AS oldest
FROM everstep.runs AS r
WHERE r.finished_at IS NULL AND r.phase NOT IN ('Paused', 'Blocked', 'Waiting')
  AND r.created_at < everstep.now() - make_interval(secs => $1)
  AND NOT EXISTS (SELECT 1 FROM everstep.active AS a WHERE a.run_id = r.id)
  AND NOT EXISTS (SELECT 1 FROM everstep.timers AS t WHERE t.run_id = r.id)
  AND NOT EXISTS (
    SELECT 1 FROM everstep.inbox AS i WHERE i.run_id = r.id AND i.taken_seq IS NULL AND i.outcome IS NULL)
HAVING count(*) > 0";

/// Why a run does not move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StuckReason {
    /// Ready, and no worker takes it.
    Unclaimed,
    /// Its worker is dead, and nobody took it over.
    ClaimExpired,
    /// Its time has come, and nobody woke it.
    TimerOverdue,
    /// It should have timed out, and its worker lives.
    DeadlineOverdue,
    /// A person paused it.
    Paused,
    /// It failed under `onFailure: Pause`.
    PausedOnFailure,
    /// Its compensation failed.
    CompensationFailed,
    /// Its definition changed in what has begun.
    Blocked,
    /// Nothing moves it: a defect of ours.
    NoMover,
}

impl StuckReason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Unclaimed,
        Self::ClaimExpired,
        Self::TimerOverdue,
        Self::DeadlineOverdue,
        Self::Paused,
        Self::PausedOnFailure,
        Self::CompensationFailed,
        Self::Blocked,
        Self::NoMover,
    ];

    /// Its name in metrics and alerts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unclaimed => "Unclaimed",
            Self::ClaimExpired => "ClaimExpired",
            Self::TimerOverdue => "TimerOverdue",
            Self::DeadlineOverdue => "DeadlineOverdue",
            Self::Paused => "Paused",
            Self::PausedOnFailure => "PausedOnFailure",
            Self::CompensationFailed => "CompensationFailed",
            Self::Blocked => "Blocked",
            Self::NoMover => "NoMover",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

/// Runs that are stuck for one reason.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stuck {
    /// The reason.
    pub reason: StuckReason,
    /// How many.
    pub runs: i64,
    /// For how long the oldest of them has been.
    pub oldest: Duration,
}

impl Store {
    /// Runs that are stuck, by reason; reasons without a run are absent. What is late by less than `grace` is not stuck.
    pub async fn stuck(&self, grace: Duration) -> Result<Vec<Stuck>, Error> {
        self.count_stuck(STUCK, grace).await
    }

    /// Runs that nothing moves, of those older than `grace`. It reads every live run: not for every few seconds.
    pub async fn unmoved(&self, grace: Duration) -> Result<Option<Stuck>, Error> {
        Ok(self.count_stuck(UNMOVED, grace).await?.pop())
    }

    async fn count_stuck(&self, statement: &'static str, grace: Duration) -> Result<Vec<Stuck>, Error> {
        let rows = self.fetch(|| sqlx::query(statement).bind(grace.as_secs_f64())).await?;
        rows.iter()
            .map(|row| {
                let reason: &str = column(row, "reason")?;
                let oldest: Option<f64> = column(row, "oldest")?;
                Ok(Stuck {
                    reason: StuckReason::parse(reason).ok_or_else(|| Error::Corrupt(format!("stuck {reason}")))?,
                    runs: column(row, "runs")?,
                    oldest: Duration::from_secs_f64(oldest.unwrap_or(0.0).max(0.0)),
                })
            })
            .collect()
    }
}
