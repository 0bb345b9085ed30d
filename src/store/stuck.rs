//! Which runs do not move though they should, or stand still until a person acts: decided in the database, so that dead
//! workers are seen, too. A run that waits before its deadline is not stuck.

use std::time::Duration;

use super::{Error, Store, row::column};

/// Now, and before when something was due that is late. What is late by less is on its way: a takeover may take a lease and
/// two seconds.
macro_rules! clock {
    () => {
        "clock AS MATERIALIZED (SELECT everstep.now() AS now, everstep.now() - interval '1 minute' AS late)"
    };
}

/// Stuck runs: `run_id`, `reason`, and `since` when. Each look goes by an index to the rows that it answers for, be it all of
/// them or those of one run. `$runs` says where a run `r` comes from: from the table, or, when empty, from the query around.
macro_rules! stuck {
    ($runs:literal) => {
        concat!(
            "
  SELECT a.run_id, 'Unclaimed' AS reason, a.ready_at AS since
  FROM everstep.active AS a
  WHERE a.worker_id IS NULL AND a.ready_at < (SELECT late FROM clock)
  UNION ALL
  SELECT a.run_id, 'Unclaimed', a.at FROM everstep.arrivals AS a WHERE a.at < (SELECT late FROM clock)
  UNION ALL
  SELECT a.run_id, 'ClaimExpired', coalesce(k.expires_at, a.ready_at)
  FROM everstep.active AS a
  LEFT JOIN everstep.workers AS k ON k.id = a.worker_id
  WHERE a.worker_id IS NOT NULL AND coalesce(k.expires_at, a.ready_at) < (SELECT late FROM clock)
  UNION ALL
  SELECT t.run_id, 'TimerOverdue', t.fire_at FROM everstep.timers AS t WHERE t.fire_at < (SELECT late FROM clock)
  UNION ALL
  -- Carried by somebody who lives, and yet not ended when its time was over. In `finally`, and while it is held after several
  -- takeovers, a run does not want to be woken by then.
  SELECT a.run_id, 'DeadlineOverdue', r.deadline
  FROM everstep.active AS a
  JOIN everstep.workers AS k ON k.id = a.worker_id AND k.expires_at >= (SELECT late FROM clock)
  JOIN everstep.runs AS r ON r.id = a.run_id
  WHERE r.deadline < (SELECT late FROM clock) AND r.phase IN ('Running', 'Waiting', 'Sleeping')
    AND (everstep.readable(r.summary) ->> 'wakeAt')::timestamptz <= r.deadline
    AND (a.aside_until > (SELECT now FROM clock)) IS NOT TRUE
  UNION ALL
  -- Held by somebody who lives and says that it cannot carry it.
  SELECT a.run_id, 'SetAside',
    greatest(a.ready_at, (SELECT j.at FROM everstep.journal AS j WHERE j.run_id = a.run_id ORDER BY j.seq DESC LIMIT 1))
  FROM everstep.active AS a
  JOIN everstep.workers AS k ON k.id = a.worker_id AND k.expires_at >= (SELECT late FROM clock)
  WHERE a.aside_until > (SELECT now FROM clock)
  UNION ALL
  SELECT r.id,
    CASE WHEN r.phase = 'Blocked' THEN 'Blocked' ELSE coalesce(everstep.readable(r.summary) ->> 'stalled', 'Paused') END,
    -- Earlier releases do not tell since when: of their runs it is the last decision, be it that a letter was put by.
    coalesce((everstep.readable(r.summary) ->> 'stillSince')::timestamptz,
      (SELECT j.at FROM everstep.journal AS j WHERE j.run_id = r.id ORDER BY j.seq DESC LIMIT 1), r.created_at)
  ",
            $runs,
            "
  WHERE r.phase IN ('Paused', 'Blocked')
"
        )
    };
}

/// Runs that nothing moves, with the same columns. What is missing has no index: for all of them, this reads every live run.
///
/// In every snapshot of the database a live run is in `active`, has a timer or has untaken mail, but for those that stand still
/// and those that wait for signals alone: whatever takes one of these away gives another in the same statement. So one
/// statement, which has one snapshot, never meets a run that is between two of them.
macro_rules! unmoved {
    ($runs:literal) => {
        concat!(
            "
  SELECT r.id AS run_id, 'NoMover' AS reason, r.created_at AS since
  ",
            $runs,
            "
  WHERE r.finished_at IS NULL AND r.phase NOT IN ('Paused', 'Blocked')
    AND r.created_at < (SELECT late FROM clock)
    AND NOT EXISTS (SELECT 1 FROM everstep.active AS a WHERE a.run_id = r.id)
    AND NOT EXISTS (SELECT 1 FROM everstep.timers AS t WHERE t.run_id = r.id)
    AND NOT EXISTS (
      SELECT 1 FROM everstep.inbox AS i WHERE i.run_id = r.id AND i.taken_seq IS NULL AND i.outcome IS NULL)
    -- A wait for a signal may have no end, also in `finally`, where a cancelled run is Cancelling. What a run was told to wait
    -- for holds as long as nothing was decided since. Earlier releases told of an end in words alone.
    AND (CASE WHEN r.phase = 'Waiting'
        OR r.phase = 'Cancelling' AND everstep.readable(r.summary) ->> 'waitingFor' LIKE 'signal %'
      THEN
        everstep.readable(r.summary) ->> 'wakeAt' IS NULL
        AND (everstep.readable(r.summary) ->> 'waitingFor' ~ ' until [0-9-]{10}T[0-9:]{8}Z$') IS NOT TRUE
        AND NOT EXISTS (SELECT 1 FROM everstep.journal AS j WHERE j.run_id = r.id AND j.seq > r.summary_seq)
      END) IS NOT TRUE
"
        )
    };
}
pub(super) use {clock, stuck, unmoved};

macro_rules! count {
    ($stuck:expr) => {
        concat!(
            "WITH ",
            clock!(),
            "
SELECT reason, count(*) AS runs, extract(epoch FROM (SELECT now FROM clock) - min(since))::float8 AS oldest
FROM (",
            $stuck,
            ") AS stuck
GROUP BY reason
ORDER BY reason"
        )
    };
}

const STUCK: &str = count!(stuck!("FROM everstep.runs AS r"));
const UNMOVED: &str = count!(unmoved!("FROM everstep.runs AS r"));

/// For an object with several such runs the oldest speaks; a run that SQL started, or that a WorkflowRun did, is one of its
/// Workflow, too. No namespaces are all. Each stuck run is looked up by its id: the
/// offset keeps the planner from walking over all runs in the order asked for, and over all stuck ones for each of them.
const OWNERS: &str = concat!(
    "WITH ",
    clock!(),
    "
SELECT DISTINCT ON (r.owner_uid) r.owner_uid, r.owner_kind, r.namespace, r.owner_name, stuck.reason
FROM (",
    stuck!("FROM everstep.runs AS r"),
    ") AS stuck
CROSS JOIN LATERAL (
  SELECT l.id, object.owner_uid, object.owner_kind, l.namespace, object.owner_name
  FROM everstep.runs AS l
  CROSS JOIN LATERAL (VALUES
    (l.owner_uid, l.owner_kind, l.owner_name),
    (coalesce(l.workflow_uid, l.counted_by), 'Workflow', l.workflow)
  ) AS object (owner_uid, owner_kind, owner_name)
  WHERE l.id = stuck.run_id AND object.owner_uid > $1 AND (l.namespace = ANY ($3)) IS NOT FALSE
  OFFSET 0
) AS r
ORDER BY r.owner_uid, stuck.since, r.id
LIMIT $2"
);

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
    /// Its worker lives, and cannot carry it.
    SetAside,
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
    pub const ALL: [Self; 10] = [
        Self::Unclaimed,
        Self::ClaimExpired,
        Self::TimerOverdue,
        Self::DeadlineOverdue,
        Self::SetAside,
        Self::Paused,
        Self::PausedOnFailure,
        Self::CompensationFailed,
        Self::Blocked,
        Self::NoMover,
    ];

    /// Its name in metrics, alerts and conditions.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unclaimed => "Unclaimed",
            Self::ClaimExpired => "ClaimExpired",
            Self::TimerOverdue => "TimerOverdue",
            Self::DeadlineOverdue => "DeadlineOverdue",
            Self::SetAside => "SetAside",
            Self::Paused => "Paused",
            Self::PausedOnFailure => "PausedOnFailure",
            Self::CompensationFailed => "CompensationFailed",
            Self::Blocked => "Blocked",
            Self::NoMover => "NoMover",
        }
    }

    /// Whether it stands still as it was told to, and not by a fault of whatever should move it.
    #[must_use]
    pub fn waits_for_a_person(self) -> bool {
        match self {
            Self::Unclaimed
            | Self::ClaimExpired
            | Self::TimerOverdue
            | Self::DeadlineOverdue
            | Self::SetAside
            | Self::NoMover => false,
            Self::Paused | Self::PausedOnFailure | Self::CompensationFailed | Self::Blocked => true,
        }
    }

    /// The reason of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    pub(super) fn stored(name: &str) -> Result<Self, Error> {
        Self::parse(name).ok_or_else(|| Error::Corrupt(format!("stuck {name}")))
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

/// An object that shows a stuck run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StuckOwner {
    /// Its UID.
    pub uid: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why its run is stuck; of several runs, the one that has been stuck for longest.
    pub reason: StuckReason,
}

impl Store {
    /// Runs that are stuck, by reason; reasons without a run are absent.
    pub async fn stuck(&self) -> Result<Vec<Stuck>, Error> {
        self.count_stuck(STUCK).await
    }

    /// Runs that nothing moves. It reads every live run: not for every few seconds.
    pub async fn unmoved(&self) -> Result<Option<Stuck>, Error> {
        Ok(self.count_stuck(UNMOVED).await?.pop())
    }

    async fn count_stuck(&self, statement: &'static str) -> Result<Vec<Stuck>, Error> {
        let rows = self.fetch(|| sqlx::query(statement)).await?;
        rows.iter()
            .map(|row| {
                let oldest: Option<f64> = column(row, "oldest")?;
                Ok(Stuck {
                    reason: StuckReason::stored(column(row, "reason")?)?,
                    runs: column(row, "runs")?,
                    oldest: Duration::from_secs_f64(oldest.unwrap_or(0.0).max(0.0)),
                })
            })
            .collect()
    }

    /// At most `limit` objects of these namespaces, or of all, whose UID is greater than `after` and that show a run that is
    /// stuck, in the order of their UIDs. Runs that nothing moves are not among them: [`Store::facts`] knows those, too.
    pub async fn stuck_owners(
        &self,
        after: &str,
        limit: i64,
        namespaces: Option<&[String]>,
    ) -> Result<Vec<StuckOwner>, Error> {
        let rows = self
            .fetch(|| sqlx::query(OWNERS).bind(after).bind(limit).bind(namespaces))
            .await?;
        rows.iter()
            .map(|row| {
                Ok(StuckOwner {
                    uid: column(row, "owner_uid")?,
                    kind: column(row, "owner_kind")?,
                    namespace: column(row, "namespace")?,
                    name: column(row, "owner_name")?,
                    reason: StuckReason::stored(column(row, "reason")?)?,
                })
            })
            .collect()
    }
}
