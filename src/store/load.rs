//! Reading runs as their owner: ownership, snapshot, tail and mail in one statement (P1, P2).

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{
    Error, InboxRow, Store,
    inbox::{KINDS, Letter},
    row::{column, json, maybe_time, time},
};
use crate::engine::{Event, Origin, Phase};

/// What is read of each run of `active AS a`; `$1` are the kinds of mail that this release knows. One statement, so that
/// owner, journal and mail are of one snapshot (P2): the subqueries are parts of it.
macro_rules! run_rows {
    () => {
        "
  r.id, r.namespace, r.workflow, coalesce(r.owner_name, r.workflow) AS name, r.start_key, r.definition_id, d.revision,
  coalesce(r.input, d.default_input, '{}')::text AS input, r.scheduled_at, r.phase, r.summary_seq, r.snapshot_seq,
  r.snapshot::text AS snapshot, tail_seqs, tail_times, tail_events, mail_ids, mail_kinds, mail_signals,
  mail_payloads, mail_senders, mail_times,
  (SELECT everstep.now()) AS now
FROM everstep.active AS a
JOIN everstep.runs AS r ON r.id = a.run_id
JOIN everstep.definitions AS d ON d.id = r.definition_id
LEFT JOIN LATERAL (
  SELECT array_agg(seq) AS tail_seqs, array_agg(at) AS tail_times, array_agg(events) AS tail_events
  FROM (
    SELECT j.seq, j.at, j.events::text AS events
    FROM everstep.journal AS j
    WHERE j.run_id = a.run_id AND j.seq > coalesce(r.snapshot_seq, 0)
    ORDER BY j.seq
  ) AS tail
) AS tail ON true
LEFT JOIN LATERAL (
  SELECT array_agg(letter.id) AS mail_ids, array_agg(kind) AS mail_kinds, array_agg(signal) AS mail_signals,
    array_agg(payload) AS mail_payloads, array_agg(by) AS mail_senders, array_agg(received_at) AS mail_times
  FROM (
    SELECT i.id
    FROM everstep.inbox AS i
    WHERE i.run_id = a.run_id AND i.taken_seq IS NULL AND i.outcome IS NULL AND i.kind = ANY ($1)
    -- Of many signals the rest comes with the next sweep; but a pause or a cancel is known before the run goes on.
    ORDER BY i.kind = 'Signal', i.id
    LIMIT 1000
  ) AS mine
  CROSS JOIN LATERAL (                -- payloads of these only
    SELECT i.id, i.kind, i.signal, i.payload::text AS payload, i.by, i.received_at
    FROM everstep.inbox AS i
    WHERE i.id = mine.id
    OFFSET 0
  ) AS letter
) AS mail ON true
"
    };
}
pub(super) use run_rows;

const LOAD: &str = concat!(
    "SELECT",
    run_rows!(),
    // Hashed, and before anything is joined. As an anti-join, which is planned a millisecond faster, it would come last.
    "WHERE a.worker_id = $2 AND a.run_id <> ALL ($3) ORDER BY a.run_id LIMIT $4"
);

/// Names an immutable definition in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DefinitionId(pub Uuid);

/// One run as it was in one snapshot of the database.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The run.
    pub run: Uuid,
    /// What it was born with.
    pub origin: Origin,
    /// What it executes.
    pub definition: DefinitionId,
    /// Its phase in `runs`.
    pub phase: Phase,
    /// The journal's last sequence number; 0 before the first decision. The next append is at `seq + 1`.
    pub seq: i32,
    /// State up to a sequence number.
    pub snapshot: Option<Snapshot>,
    /// The decisions after the snapshot, oldest first.
    pub tail: Vec<Decision>,
    /// Untaken mail, oldest first. Of much of it only the oldest signals; no command is missing.
    pub mail: Vec<InboxRow>,
    /// The sequence number that the stored summary belongs to.
    pub summary_seq: i32,
}

/// A run's state as the engine wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// The last decision in it.
    pub seq: i32,
    /// What [`Run::restore`](crate::engine) reads.
    pub state: Value,
}

/// One row of the journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Its sequence number.
    pub seq: i32,
    /// The `now` that it was decided at.
    pub at: Timestamp,
    /// What was decided.
    pub events: Vec<Event>,
}

/// What [`Store::load`] read.
#[derive(Debug, Default)]
pub struct Loads {
    /// Mine.
    pub runs: Vec<Loaded>,
    /// Mine, and not to be understood by this release: hold them as nothing, say it, and leave the others alone.
    pub unreadable: Vec<Unreadable>,
}

/// A run whose rows this release cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// The run.
    pub run: Uuid,
    /// What could not be read.
    pub why: String,
}

impl Loaded {
    /// A terminal run in `active` is to be discarded (P4).
    pub fn is_terminal(&self) -> bool {
        self.phase.is_terminal()
    }
}

impl Store {
    /// Runs whose row in `active` is mine and which are not in `held`, at most `limit`, each with all that is needed to
    /// go on: one statement, so one snapshot.
    pub async fn load(&self, worker: Uuid, held: &[Uuid], limit: i64) -> Result<Loads, Error> {
        let cluster = self.cluster().await?;
        let rows = self
            .fetch(|| sqlx::query(LOAD).bind(&KINDS[..]).bind(worker).bind(held).bind(limit))
            .await?;
        let mut loads = Loads::default();
        for row in &rows {
            match read(row, &cluster) {
                Ok(loaded) => loads.runs.push(loaded),
                Err(why) => loads.unreadable.push(Unreadable {
                    run: column(row, "id")?,
                    why: why.to_string(),
                }),
            }
        }
        if let Some(row) = rows.first() {
            self.clock.learn(time(row, "now")?);
        }
        Ok(loads)
    }

    /// The body of a definition: the fields that define the work, as the user wrote them.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn definition(&self, id: DefinitionId) -> Result<Value, Error> {
        let rows = self
            .fetch(|| sqlx::query("SELECT body::text AS body FROM everstep.definitions WHERE id = $1").bind(id.0))
            .await?;
        json(rows.first().ok_or(Error::NotFound)?, "body")?.ok_or(Error::NotFound)
    }
}

/// Reads one row of a statement that ends with [`run_rows!`].
pub(super) fn read(row: &PgRow, cluster: &Arc<str>) -> Result<Loaded, Error> {
    let run: Uuid = column(row, "id")?;
    let snapshot_seq: Option<i32> = column(row, "snapshot_seq")?;
    let snapshot = snapshot_seq
        .zip(json(row, "snapshot")?)
        .map(|(seq, state)| Snapshot { seq, state });
    let tail = tail(row)?;
    let phase: &str = column(row, "phase")?;
    Ok(Loaded {
        run,
        origin: origin(row, run, cluster)?,
        definition: DefinitionId(column(row, "definition_id")?),
        phase: Phase::parse(phase).ok_or_else(|| Error::Corrupt(format!("phase {phase}")))?,
        seq: tail.last().map_or(snapshot_seq.unwrap_or(0), |decision| decision.seq),
        snapshot,
        tail,
        mail: mail(row)?,
        summary_seq: column(row, "summary_seq")?,
    })
}

/// What a run was born with, of a row that has it.
pub(super) fn origin(row: &PgRow, run: Uuid, cluster: &Arc<str>) -> Result<Origin, Error> {
    Ok(Origin {
        run,
        cluster: Arc::clone(cluster),
        namespace: column(row, "namespace")?,
        workflow: column(row, "workflow")?,
        name: column(row, "name")?,
        start_key: column(row, "start_key")?,
        revision: column(row, "revision")?,
        input: json(row, "input")?.unwrap_or_default(),
        scheduled_at: maybe_time(row, "scheduled_at")?,
    })
}

fn tail(row: &PgRow) -> Result<Vec<Decision>, Error> {
    let seqs: Option<Vec<i32>> = column(row, "tail_seqs")?;
    let times: Option<Vec<jiff_sqlx::Timestamp>> = column(row, "tail_times")?;
    let events: Option<Vec<String>> = column(row, "tail_events")?;
    seqs.into_iter()
        .flatten()
        .zip(times.into_iter().flatten())
        .zip(events.into_iter().flatten())
        .map(|((seq, at), events)| {
            let events =
                serde_json::from_str(&events).map_err(|error| Error::Corrupt(format!("journal row {seq}: {error}")))?;
            Ok(Decision {
                seq,
                at: at.to_jiff(),
                events,
            })
        })
        .collect()
}

fn mail(row: &PgRow) -> Result<Vec<InboxRow>, Error> {
    let ids: Option<Vec<i64>> = column(row, "mail_ids")?;
    let kinds: Option<Vec<String>> = column(row, "mail_kinds")?;
    let signals: Option<Vec<Option<String>>> = column(row, "mail_signals")?;
    let payloads: Option<Vec<String>> = column(row, "mail_payloads")?;
    let senders: Option<Vec<Option<String>>> = column(row, "mail_senders")?;
    let times: Option<Vec<jiff_sqlx::Timestamp>> = column(row, "mail_times")?;
    let mut mail = ids
        .into_iter()
        .flatten()
        .zip(kinds.into_iter().flatten())
        .zip(signals.into_iter().flatten())
        .zip(payloads.into_iter().flatten())
        .zip(senders.into_iter().flatten())
        .zip(times.into_iter().flatten())
        .map(|(((((id, kind), signal), payload), by), at)| {
            InboxRow::read(Letter {
                id,
                kind,
                signal,
                payload,
                by,
                received_at: at.to_jiff(),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    mail.sort_by_key(|row| row.id);
    Ok(mail)
}
