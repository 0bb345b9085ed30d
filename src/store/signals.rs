//! What became of stored signals, for the status of the objects that they came from.

use jiff::Timestamp;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{
    Error, Store,
    row::{column, time},
};
use crate::engine::{self, Event, Rejection};

const FACTS: &str = "
SELECT i.id, i.source_uid AS uid, i.run_id, i.received_at, i.outcome, j.events::text AS events
FROM UNNEST($1::text[]) WITH ORDINALITY AS wish (uid, place)
JOIN everstep.inbox AS i ON i.kind = 'Signal' AND i.source_uid = wish.uid
LEFT JOIN everstep.journal AS j ON j.run_id = i.run_id AND j.seq = coalesce(i.consumed_seq, i.taken_seq)
ORDER BY wish.place";

/// Only what has an outcome: that a signal is stored, its controller knows from having stored it. No namespaces are all;
/// said in a way for which no index but that of what was not shown can be used.
const CHANGED: &str = "
SELECT i.id, i.source_uid AS uid, i.source_name AS name, r.namespace
FROM everstep.inbox AS i
JOIN everstep.runs AS r ON r.id = i.run_id
WHERE i.kind = 'Signal' AND i.source_uid IS NOT NULL AND i.outcome IS NOT NULL AND NOT i.shown
  AND (r.namespace = ANY ($2)) IS NOT FALSE
ORDER BY i.id
LIMIT $1";

/// An outcome is final: once shown, it stays shown.
const SHOWN: &str = "
UPDATE everstep.inbox AS i
SET shown = true
WHERE i.id = ANY ($1) AND i.kind = 'Signal' AND i.source_uid IS NOT NULL AND i.outcome IS NOT NULL AND NOT i.shown";

/// What is known of one stored Signal object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalFacts {
    /// UID of the object.
    pub uid: String,
    /// The row of the inbox: what `mark_signals_shown` is told.
    pub id: i64,
    /// The run.
    pub run: Uuid,
    /// When it was stored.
    pub stored_at: Timestamp,
    /// What became of it; none while it waits for a step.
    pub outcome: Option<SignalOutcome>,
}

/// The end of a stored signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignalOutcome {
    /// A step waited for it.
    Consumed {
        /// The step, if the journal still has it.
        step: Option<String>,
    },
    /// No step will ever wait for it.
    Undelivered {
        /// Why the run could not keep it; none: the run ended first.
        reason: Option<Rejection>,
    },
}

/// A signal whose outcome its object does not show yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedSignal {
    /// What `mark_signals_shown` is to be told once the status shows it.
    pub id: i64,
    /// UID of the object.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Store {
    /// Facts of the Signal objects that were stored, in the order asked; the others are not in the answer.
    pub async fn signal_facts(&self, uids: &[String]) -> Result<Vec<SignalFacts>, Error> {
        let rows = self.fetch(|| sqlx::query(FACTS).bind(uids)).await?;
        rows.iter().map(facts).collect()
    }

    /// At most `limit` signals of objects in these namespaces, or in all, whose outcome was not shown, oldest first.
    pub async fn changed_signals(
        &self,
        limit: i64,
        namespaces: Option<&[String]>,
    ) -> Result<Vec<ChangedSignal>, Error> {
        let rows = self.fetch(|| sqlx::query(CHANGED).bind(limit).bind(namespaces)).await?;
        rows.iter()
            .map(|row| {
                Ok(ChangedSignal {
                    id: column(row, "id")?,
                    uid: column(row, "uid")?,
                    namespace: column(row, "namespace")?,
                    name: column(row, "name")?,
                })
            })
            .collect()
    }

    /// Notes that the objects' statuses show the outcomes of these signals, or that the objects are gone. A signal
    /// without an outcome is not marked.
    pub async fn mark_signals_shown(&self, ids: &[i64]) -> Result<(), Error> {
        self.execute(|| sqlx::query(SHOWN).bind(ids)).await.map(drop)
    }
}

fn facts(row: &PgRow) -> Result<SignalFacts, Error> {
    let id: i64 = column(row, "id")?;
    let outcome: Option<&str> = column(row, "outcome")?;
    let outcome = match outcome {
        None => None,
        Some("Consumed") => Some(SignalOutcome::Consumed {
            step: consumer(row, id)?,
        }),
        Some("Undelivered") => Some(SignalOutcome::Undelivered {
            reason: rejection(row, id)?,
        }),
        Some(other) => return Err(Error::Corrupt(format!("outcome {other} of mail {id}"))),
    };
    Ok(SignalFacts {
        uid: column(row, "uid")?,
        id,
        run: column(row, "run_id")?,
        stored_at: time(row, "received_at")?,
        outcome,
    })
}

/// The step that consumed it, as the decision says that did.
fn consumer(row: &PgRow, id: i64) -> Result<Option<String>, Error> {
    let step = events(row)?.into_iter().find_map(|event| match event {
        Event::SignalConsumed { step, id: consumed } if consumed == id => Some(step.to_string()),
        _ => None,
    });
    Ok(step)
}

/// What the decision says that took it.
fn rejection(row: &PgRow, id: i64) -> Result<Option<Rejection>, Error> {
    let rejected = engine::rejected(&events(row)?);
    Ok(rejected.into_iter().find_map(|(one, why)| (one == id).then_some(why)))
}

fn events(row: &PgRow) -> Result<Vec<Event>, Error> {
    let text: Option<&str> = column(row, "events")?;
    text.map_or(Ok(Vec::new()), serde_json::from_str)
        .map_err(|error| Error::Corrupt(format!("journal: {error}")))
}
