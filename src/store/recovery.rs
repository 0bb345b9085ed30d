//! Runs whose worker is dead, and rows that nobody else removes.

use std::collections::HashSet;

use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{
    Append, Appended, Bell, Error, Loaded, Store, Unreadable, append,
    inbox::KINDS,
    load::{self, run_rows},
    row::column,
};

/// P3: the dead owner and the journal's tail in one snapshot. A worker that is not in `workers` any more is dead.
const DEAD: &str = concat!(
    "SELECT a.worker_id,",
    run_rows!(),
    "WHERE a.worker_id IS NOT NULL
  AND a.worker_id NOT IN (SELECT id FROM everstep.workers WHERE expires_at > (SELECT everstep.now()))
  -- Who is dead itself sees everybody dead after an outage of the database.
  AND EXISTS (SELECT 1 FROM everstep.workers WHERE id = $2 AND expires_at > (SELECT everstep.now()))
ORDER BY a.run_id
LIMIT $3"
);

/// P3: append and release in one statement. The journal decides between two rescuers, and between us and an owner that
/// only slept.
const TAKE_OVER: &str = "
WITH alive AS MATERIALIZED (
  SELECT id FROM everstep.workers WHERE expires_at > (SELECT everstep.now())
), appended AS (
  INSERT INTO everstep.journal AS j (run_id, seq, at, nonce, events)
  SELECT new.run_id, new.seq, new.at, new.nonce, new.events::json
  FROM UNNEST($1::uuid[], $2::int[], $3::timestamptz[], $4::bigint[], $5::text[], $6::uuid[])
    AS new (run_id, seq, at, nonce, events, dead)
  JOIN everstep.active AS a ON a.run_id = new.run_id AND a.worker_id = new.dead
  WHERE new.dead NOT IN (SELECT id FROM alive) AND $7 IN (SELECT id FROM alive)
  ORDER BY new.run_id
  ON CONFLICT DO NOTHING
  RETURNING j.run_id, j.seq
), ended AS (
  -- Signals that were taken before: what follows from a takeover may have waited for one of them.
  UPDATE everstep.inbox AS i
  SET consumed_seq = CASE letter.fate WHEN 'Consumed' THEN appended.seq END, outcome = letter.fate
  FROM UNNEST($8::uuid[], $9::bigint[], $10::text[]) AS letter (run_id, id, fate)
  JOIN appended USING (run_id)
  WHERE i.id = letter.id AND i.run_id = letter.run_id AND i.taken_seq IS NOT NULL AND i.outcome IS NULL
  RETURNING i.id
), dead AS (
  SELECT * FROM UNNEST($1::uuid[], $6::uuid[]) AS dead (run_id, worker_id)
), freed AS (
  UPDATE everstep.active AS a
  SET worker_id = NULL, ready_at = everstep.now(), aside_until = NULL
  FROM appended JOIN dead USING (run_id)
  WHERE a.run_id = appended.run_id AND a.worker_id = dead.worker_id
)
SELECT run_id, (SELECT count(*) FROM ended) AS ended FROM appended";

const DISCARD: &str = "
WITH over AS MATERIALIZED (
  SELECT id FROM everstep.runs WHERE id = ANY ($1) AND finished_at IS NOT NULL
), undelivered AS (
  UPDATE everstep.inbox AS i
  SET outcome = 'Undelivered'
  FROM over
  WHERE i.run_id = over.id AND i.taken_seq IS NULL AND i.outcome IS NULL
  RETURNING i.id
), unarmed AS (
  DELETE FROM everstep.timers AS t USING over WHERE t.run_id = over.id RETURNING t.run_id
), released AS (
  DELETE FROM everstep.active AS a
  USING over
  WHERE a.run_id = over.id AND (SELECT count(*) FROM unarmed) >= 0      -- timers first, as everywhere
  RETURNING a.run_id
)
SELECT (SELECT count(*) FROM released) AS released, (SELECT count(*) FROM undelivered) AS undelivered";

/// A run and the dead worker that holds it, read in one snapshot (P3).
#[derive(Debug, Clone, PartialEq)]
pub struct Dead {
    /// The worker.
    pub worker: Uuid,
    /// The run.
    pub loaded: Loaded,
}

/// What [`Store::dead`] read.
#[derive(Debug, Default)]
pub struct Deaths {
    /// Runs to take over; terminal ones are to be discarded.
    pub runs: Vec<Dead>,
    /// Runs that this release cannot read.
    pub unreadable: Vec<Unreadable>,
}

/// A decision on [`TakenOver`](crate::engine::Input::TakenOver), to be appended if the worker is still dead.
#[derive(Debug, Clone, PartialEq)]
pub struct TakeOver {
    /// The dead worker.
    pub dead: Uuid,
    /// The decision. Its `then` is `Keep`: the run becomes free, and whoever claims it next goes on.
    pub append: Append,
}

impl Store {
    /// Runs in `active` whose worker is no live one, at most `limit`; nothing unless `me` is alive.
    pub async fn dead(&self, me: Uuid, limit: i64) -> Result<Deaths, Error> {
        let cluster = self.cluster().await?;
        let rows = self
            .fetch(|| sqlx::query(DEAD).bind(&KINDS[..]).bind(me).bind(limit))
            .await?;
        let mut deaths = Deaths::default();
        for row in &rows {
            match load::read(row, &cluster) {
                Ok(loaded) => deaths.runs.push(Dead {
                    worker: column(row, "worker_id")?,
                    loaded,
                }),
                Err(why) => deaths.unreadable.push(Unreadable {
                    run: column(row, "id")?,
                    why: why.to_string(),
                }),
            }
        }
        Ok(deaths)
    }

    /// Appends `TakenOver` and frees the runs in one statement (P3), where the worker is still dead and `me` is alive. A
    /// takeover takes no mail; signals that were taken before may be consumed by it. Answers in the order given. An ambiguous end needs no care: the next pass sees what is.
    pub async fn take_over(&self, me: Uuid, batch: &[TakeOver]) -> Result<Vec<Appended>, Error> {
        // One order, as in every append.
        let mut sorted: Vec<&TakeOver> = batch.iter().collect();
        sorted.sort_unstable_by_key(|taken| taken.append.run);
        let appends: Vec<&Append> = sorted.iter().map(|taken| &taken.append).collect();
        let dead: Vec<Uuid> = sorted.iter().map(|taken| taken.dead).collect();
        let fates = append::statement::fates(&appends);
        let rows = self
            .fetch(|| {
                append::statement::rows(sqlx::query(TAKE_OVER), &appends)
                    .bind(&dead)
                    .bind(me)
                    .bind(fates.iter().map(|(run, ..)| *run).collect::<Vec<_>>())
                    .bind(fates.iter().map(|(_, id, _)| *id).collect::<Vec<_>>())
                    .bind(fates.iter().map(|(.., fate)| *fate).collect::<Vec<_>>())
            })
            .await?;
        self.ring_if(rows.first(), "ended")?;
        let mine: HashSet<Uuid> = rows.iter().map(|row| column(row, "run_id")).collect::<Result<_, _>>()?;
        let answer = |taken: &TakeOver| {
            if mine.contains(&taken.append.run) {
                Appended::Mine
            } else {
                Appended::Lost
            }
        };
        Ok(batch.iter().map(answer).collect())
    }

    /// Removes what is left of terminal runs: `active` and `timers` rows, untaken mail (P4). Others are not touched.
    /// Answers how many `active` rows went.
    pub async fn discard(&self, runs: &[Uuid]) -> Result<u64, Error> {
        let rows = self.fetch(|| sqlx::query(DISCARD).bind(runs)).await?;
        self.ring_if(rows.first(), "undelivered")?;
        let released: Option<i64> = rows.first().map(|row| column(row, "released")).transpose()?;
        Ok(released.unwrap_or(0).unsigned_abs())
    }

    /// Signals have come to their end: their objects are to show it.
    fn ring_if(&self, row: Option<&PgRow>, count: &str) -> Result<(), Error> {
        if row.map_or(Ok(0), |row| column::<i64>(row, count))? > 0 {
            self.ring(Bell::Changed);
        }
        Ok(())
    }
}
