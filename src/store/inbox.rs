//! Mail: what lies in a run's inbox, and the sweep that wakes.

use jiff::Timestamp;
use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{
    Bell, Error, Store,
    row::{column, time},
};
use crate::engine::{Mail, Signal};

/// Kinds that this release knows; the table's checks hold that their payloads can be read.
pub(super) const KINDS: [&str; 6] = ["Cancel", "Terminate", "Pause", "Resume", "Retry", "Signal"];

/// A statement of its own: its writers only insert, so it sees what was committed before it, in whatever order their
/// transactions began.
///
/// Ten thousand letters may come in one transaction, of which the server's statistics know nothing: it expects one. So
/// every join is one that is right for many, too: by primary key, one look-up a letter. Where the planner had the choice
/// it took the index of untaken mail for each of them, and no sweep came to its end any more.
const SWEEP: &str = "
WITH untaken AS MATERIALIZED (
  SELECT i.id, i.run_id, i.place, r.namespace, a.worker_id,
    a.run_id IS NULL AND r.id IS NOT NULL AND r.finished_at IS NULL AS parked,
    r.finished_at IS NOT NULL
      -- Its run is gone, retired while the mail was under way. A day: a run that was lost may be repaired.
      -- Nor is it over when no worker has met it yet.
      OR (r.id IS NULL AND i.received_at < (SELECT everstep.now()) - interval '1 day'
        AND NOT EXISTS (SELECT 1 FROM everstep.arrivals AS waiting WHERE waiting.run_id = i.run_id)) AS late
  FROM (
    SELECT id, run_id, received_at, row_number() OVER (PARTITION BY run_id ORDER BY id) AS place
    FROM everstep.inbox
    WHERE taken_seq IS NULL AND outcome IS NULL AND kind = ANY ($1)
  ) AS i
  LEFT JOIN everstep.runs AS r ON r.id = i.run_id
  LEFT JOIN everstep.active AS a ON a.run_id = i.run_id
  WHERE i.place <= 1000             -- of each run, as a load reads; the rest comes with the next sweep
), woken AS (
  INSERT INTO everstep.active AS a (run_id, namespace)
  -- In one order, as the timer sweep does: two sweeps that insert the same runs wait for one another, never in a circle.
  SELECT DISTINCT run_id, namespace FROM untaken WHERE parked ORDER BY run_id
  ON CONFLICT DO NOTHING
  RETURNING a.run_id
), undelivered AS (
  UPDATE everstep.inbox AS i
  SET outcome = 'Undelivered'
  FROM untaken AS u
  -- Still untaken, in words that the index of untaken mail does not know.
  WHERE i.id = u.id AND u.late AND coalesce(i.taken_seq::text, i.outcome) IS NULL
  RETURNING i.id
)
SELECT (SELECT count(*) FROM woken) AS woken, (SELECT count(*) FROM undelivered) AS undelivered,
  (SELECT everstep.now()) AS now, told.*
FROM (SELECT 1) AS always
LEFT JOIN (
  SELECT mine.id, mine.run_id, mine.place, letter.*
  FROM (
    SELECT id, run_id, place
    FROM untaken
    WHERE worker_id = $2 AND NOT late
    -- Bounds the memory. The oldest of each run first: a run that nobody carries does not stand in the way of others.
    ORDER BY place, id
    LIMIT 10000
  ) AS mine
  CROSS JOIN LATERAL (
    SELECT kind, signal, payload::text AS payload, by, received_at FROM everstep.inbox WHERE id = mine.id OFFSET 0
  ) AS letter
) AS told ON true
ORDER BY told.place, told.id";

/// An untaken row of the inbox. Kinds that this release does not know are invisible to it.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxRow {
    /// Its id: the order of arrival.
    pub id: i64,
    /// What it says.
    pub mail: Mail,
}

/// What a mail sweep found.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Untaken mail of runs that the sweeping worker owns. Only for runs in memory since before the sweep began, less
    /// what their own appends took meanwhile (P6).
    pub told: Vec<(Uuid, InboxRow)>,
    /// Runs that were put into `active`.
    pub woken: u64,
    /// Rows of terminal runs that became `Undelivered`.
    pub undelivered: u64,
}

impl Store {
    /// One pass over untaken mail: tells the worker its own, wakes parked runs, ends the mail of terminal ones.
    pub async fn mail_sweep(&self, worker: Option<Uuid>) -> Result<Sweep, Error> {
        let rows = self.fetch(|| sqlx::query(SWEEP).bind(&KINDS[..]).bind(worker)).await?;
        let mut sweep = Sweep::default();
        for row in &rows {
            sweep.woken = column::<i64>(row, "woken")?.unsigned_abs();
            sweep.undelivered = column::<i64>(row, "undelivered")?.unsigned_abs();
            self.clock.learn(time(row, "now")?);
            if let Some(run) = column(row, "run_id")? {
                match letter(row).and_then(InboxRow::read) {
                    Ok(mail) => sweep.told.push((run, mail)),
                    // One run's trouble: whoever loads it says so too, and the mail of the others is delivered.
                    Err(error) => tracing::error!(%run, %error, "mail cannot be read"),
                }
            }
        }
        if sweep.undelivered > 0 {
            self.ring(Bell::Changed);
        }
        Ok(sweep)
    }
}

/// The columns of an untaken row.
pub(super) struct Letter {
    pub(super) id: i64,
    pub(super) kind: String,
    pub(super) signal: Option<String>,
    pub(super) payload: String,
    pub(super) by: Option<String>,
    pub(super) received_at: Timestamp,
}

fn letter(row: &PgRow) -> Result<Letter, Error> {
    Ok(Letter {
        id: column(row, "id")?,
        kind: column(row, "kind")?,
        signal: column(row, "signal")?,
        payload: column(row, "payload")?,
        by: column(row, "by")?,
        received_at: time(row, "received_at")?,
    })
}

impl InboxRow {
    /// A signal's fields have columns of their own; of a command, kind and payload are what serde calls tag and content.
    pub(super) fn read(letter: Letter) -> Result<Self, Error> {
        let id = letter.id;
        let unreadable = |error: serde_json::Error| Error::Corrupt(format!("mail {id}: {error}"));
        let payload: Value = serde_json::from_str(&letter.payload).map_err(unreadable)?;
        let mail = if letter.kind == "Signal" {
            let name = letter.signal;
            Mail::Signal(Signal {
                id,
                name: name.ok_or_else(|| Error::Corrupt(format!("mail {id}: a signal without a name")))?,
                payload,
                by: letter.by,
                received_at: letter.received_at,
            })
        } else {
            serde_json::from_value(json!({ letter.kind: payload })).map_err(unreadable)?
        };
        Ok(Self { id, mail })
    }
}
