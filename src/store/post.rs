//! Signal objects become mail: many in one statement, each at most once.

use serde_json::Value;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{Bell, Error, Store, pool::Statement, row::column};
use crate::engine::Phase;

/// Objects and lists of a payload inside one another: one less than of a step's output, which it becomes a part of.
const DEPTH: usize = 99;

/// The run that a `wish` is for, or null. Of several objects that had the name, the one that is there; one that is gone
/// counts as long as a run of it goes on. Its live run, else its newest, else the one that was there when it wished for a
/// start with an idempotencyKey.
macro_rules! aim {
    () => {
        "
CASE wish.target
WHEN 'Key' THEN (
  SELECT s.run_id
  FROM everstep.starts AS s
  WHERE s.namespace = wish.namespace AND s.workflow = wish.target_name AND s.start_key = 'key/' || wish.target_key)
ELSE (
  SELECT coalesce(
    (SELECT max(l.id::text)::uuid FROM everstep.runs AS l WHERE l.owner_uid = object.uid AND l.finished_at IS NULL),
    (SELECT n.id FROM everstep.runs AS n WHERE n.owner_uid = object.uid ORDER BY n.id DESC LIMIT 1),
    (SELECT s.run_id
     FROM everstep.definitions AS d
     JOIN everstep.starts AS s
       ON s.namespace = d.namespace AND s.workflow = d.workflow AND s.start_key = object.start_key
     WHERE d.id = object.definition_id))
  FROM (
    SELECT o.uid, o.definition_id, o.start_key
    FROM everstep.owners AS o
    WHERE o.namespace = wish.namespace AND o.name = wish.target_name AND o.kind = wish.target
      AND (o.gone_at IS NULL OR EXISTS (
        SELECT 1 FROM everstep.runs AS g WHERE g.owner_uid = o.uid AND g.finished_at IS NULL))
    ORDER BY o.gone_at IS NULL DESC, o.accepted_at DESC, o.uid DESC
    LIMIT 1
  ) AS object)
END"
    };
}

/// In the order given: that is the order in which a run consumes them. Two replicas with the same objects collide on the
/// object's UID, whatever run each of them aims at.
const POST: &str = concat!(
    "
WITH stored AS (
  INSERT INTO everstep.inbox AS i (run_id, kind, signal, dedup_key, source_uid, source_name, generation, payload, by)
  SELECT r.id, 'Signal', wish.signal, wish.dedup_key, wish.uid, wish.name, wish.generation, wish.payload::json, wish.by
  FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
    $10::text[], $11::bigint[]) WITH ORDINALITY
    AS wish (uid, namespace, name, target, target_name, target_key, signal, payload, by, dedup_key, generation, place)
  JOIN everstep.runs AS r ON r.finished_at IS NULL AND r.id = ",
    aim!(),
    "
  WHERE NOT EXISTS (SELECT 1 FROM everstep.inbox AS i WHERE i.kind = 'Signal' AND i.source_uid = wish.uid)
  ORDER BY r.id, wish.place
  ON CONFLICT DO NOTHING
  RETURNING i.id, i.run_id, i.source_uid, i.signal, i.by
), noted AS (
  INSERT INTO everstep.audit (actor, operation, object_uid, run_id, epoch, detail)
  SELECT 'controller', 'signal', source_uid, run_id, (SELECT epoch FROM everstep.cluster),
    json_build_object('signal', signal, 'by', by)
  FROM stored
)
SELECT id, run_id, source_uid AS uid FROM stored"
);

/// Why the others were not stored: a snapshot after the insert, which may have waited for another replica.
const WHY_NOT: &str = concat!(
    "
SELECT mine.id AS mine_id, mine.run_id AS mine_run, r.id AS run_id, r.phase, r.finished_at IS NOT NULL AS over,
  twin.signal AS twin_signal, twin.payload::text AS twin_payload
FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY
  AS wish (uid, namespace, target, target_name, target_key, dedup_key, place)
LEFT JOIN everstep.inbox AS mine ON mine.kind = 'Signal' AND mine.source_uid = wish.uid
LEFT JOIN everstep.runs AS r ON mine.id IS NULL AND r.id = ",
    aim!(),
    "
LEFT JOIN everstep.inbox AS twin
  ON twin.run_id = r.id AND twin.kind = 'Signal' AND twin.dedup_key = wish.dedup_key
ORDER BY wish.place"
);

/// A Signal object to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalWish {
    /// UID of the object.
    pub uid: String,
    /// Its namespace, and the only one in which its target may be.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The run that it is for.
    pub target: Target,
    /// What the step that waits for it names.
    pub signal: String,
    /// JSON text, at most 64 KiB and 99 levels deep.
    pub payload: String,
    /// Who says it.
    pub by: Option<String>,
    /// `dedupKey`, or the UID: one signal of a run for each.
    pub dedup_key: String,
    /// `metadata.generation`.
    pub generation: i64,
}

/// Which run a signal is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The live run of this Workflow object, else its newest.
    Workflow(String),
    /// The run of this WorkflowRun object.
    WorkflowRun(String),
    /// The run that was started with a key, by an object or by SQL.
    Key {
        /// Name of the Workflow.
        workflow: String,
        /// The user's key.
        key: String,
    },
}

/// What came of a [`SignalWish`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Posted {
    /// It lies in the run's inbox, now or since an earlier call.
    Stored {
        /// The run.
        run: Uuid,
        /// The row: its place in the order.
        id: i64,
    },
    /// The run has a signal with this dedup key from another source.
    Duplicate {
        /// The run.
        run: Uuid,
        /// Name and payload are the same as those of the one that is there.
        same_payload: bool,
    },
    /// There is no such run yet.
    TargetNotFound,
    /// The run is over.
    Rejected {
        /// The run.
        run: Uuid,
        /// How it ended.
        phase: Phase,
    },
    /// It cannot be stored, and never will: the text says why.
    Invalid(String),
}

impl Store {
    /// At most so many signals in one call: bounds the statement.
    pub const MAX_SIGNALS: usize = 500;

    /// Stores signals in the inboxes of their runs, in the order given, and rings for the workers. Answers in that order.
    /// The same object again changes nothing and is answered what was stored before, whatever its target is now. One that
    /// cannot be stored does not spoil the others.
    pub async fn post(&self, wishes: &[SignalWish]) -> Result<Vec<Posted>, Error> {
        let mut answers: Vec<Option<Posted>> = wishes.iter().map(unreadable).collect();
        let readable: Vec<usize> = (0..wishes.len()).filter(|&place| answers[place].is_none()).collect();
        // Halves of the call yet to be sent: more than one only after a data error.
        let mut open = vec![&readable[..]];
        while let Some(places) = open.pop().filter(|places| !places.is_empty()) {
            let part: Vec<&SignalWish> = places.iter().map(|&place| &wishes[place]).collect();
            match self.post_all(&part).await {
                Ok(posted) => {
                    for (&place, posted) in places.iter().zip(posted) {
                        answers[place] = Some(posted);
                    }
                }
                Err(Error::Corrupt(why)) => match places {
                    [place] => answers[*place] = Some(Posted::Invalid(why)),
                    _ => {
                        let (first, second) = places.split_at(places.len() / 2);
                        open.extend([second, first]);
                    }
                },
                Err(error) => return Err(error),
            }
        }
        Ok(answers
            .into_iter()
            .map(|answer| answer.unwrap_or(Posted::TargetNotFound))
            .collect())
    }

    async fn post_all(&self, wishes: &[&SignalWish]) -> Result<Vec<Posted>, Error> {
        let mut answers = vec![None; wishes.len()];
        for row in self.fetch(|| post(wishes)).await? {
            let uid: &str = column(&row, "uid")?;
            if let Some(place) = wishes.iter().position(|wish| wish.uid == uid) {
                answers[place] = Some(Posted::Stored {
                    run: column(&row, "run_id")?,
                    id: column(&row, "id")?,
                });
            }
        }
        if answers.iter().any(Option::is_some) {
            self.ring(Bell::Mail);
        }
        let others: Vec<usize> = (0..wishes.len()).filter(|&place| answers[place].is_none()).collect();
        if !others.is_empty() {
            let part: Vec<&SignalWish> = others.iter().map(|&place| wishes[place]).collect();
            let rows = self.fetch(|| why_not(&part)).await?;
            for ((&place, wish), row) in others.iter().zip(part).zip(&rows) {
                answers[place] = Some(not_stored_now(wish, row)?);
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }
}

/// Mail that cannot be read would wake its run for ever.
fn unreadable(wish: &SignalWish) -> Option<Posted> {
    let why = match serde_json::from_str(&wish.payload) {
        Err(error) => format!("the payload cannot be read: {error}"),
        Ok(payload) if !fits(&payload, DEPTH) => format!("the payload is nested deeper than {DEPTH} levels"),
        Ok(_) => return None,
    };
    Some(Posted::Invalid(why))
}

fn fits(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| fits(item, levels - 1)),
        Value::Object(fields) => levels > 0 && fields.values().all(|field| fits(field, levels - 1)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

fn post(wishes: &[&SignalWish]) -> Statement<'static> {
    sqlx::query(POST)
        .bind(each(wishes, |w| w.uid.clone()))
        .bind(each(wishes, |w| w.namespace.clone()))
        .bind(each(wishes, |w| w.name.clone()))
        .bind(each(wishes, |w| w.target.kind()))
        .bind(each(wishes, |w| w.target.name().to_owned()))
        .bind(each(wishes, |w| w.target.key().map(str::to_owned)))
        .bind(each(wishes, |w| w.signal.clone()))
        .bind(each(wishes, |w| w.payload.clone()))
        .bind(each(wishes, |w| w.by.clone()))
        .bind(each(wishes, |w| w.dedup_key.clone()))
        .bind(each(wishes, |w| w.generation))
}

fn why_not(wishes: &[&SignalWish]) -> Statement<'static> {
    sqlx::query(WHY_NOT)
        .bind(each(wishes, |w| w.uid.clone()))
        .bind(each(wishes, |w| w.namespace.clone()))
        .bind(each(wishes, |w| w.target.kind()))
        .bind(each(wishes, |w| w.target.name().to_owned()))
        .bind(each(wishes, |w| w.target.key().map(str::to_owned)))
        .bind(each(wishes, |w| w.dedup_key.clone()))
}

fn each<T>(wishes: &[&SignalWish], of: impl Fn(&SignalWish) -> T) -> Vec<T> {
    wishes.iter().map(|wish| of(wish)).collect()
}

fn not_stored_now(wish: &SignalWish, row: &PgRow) -> Result<Posted, Error> {
    let mine: Option<i64> = column(row, "mine_id")?;
    if let Some(id) = mine {
        let run = column(row, "mine_run")?;
        return Ok(Posted::Stored { run, id });
    }
    let run: Option<Uuid> = column(row, "run_id")?;
    let Some(run) = run else {
        return Ok(Posted::TargetNotFound);
    };
    let twin: Option<(&str, &str)> = Option::zip(column(row, "twin_signal")?, column(row, "twin_payload")?);
    if let Some((signal, payload)) = twin {
        return Ok(Posted::Duplicate {
            run,
            same_payload: signal == wish.signal && is_same(payload, &wish.payload),
        });
    }
    if column(row, "over")? {
        let phase: &str = column(row, "phase")?;
        let phase = Phase::parse(phase).ok_or_else(|| Error::Corrupt(format!("phase {phase}")))?;
        return Ok(Posted::Rejected { run, phase });
    }
    // It came, or went on, between the two statements: the next call finds it.
    Ok(Posted::TargetNotFound)
}

/// As values: whoever wrote the other one may have put its spaces elsewhere.
fn is_same(one: &str, other: &str) -> bool {
    let parse = |text| serde_json::from_str::<Value>(text).ok();
    parse(one).is_some_and(|one| Some(one) == parse(other))
}

impl Target {
    /// The kind of the object that is named, or `Key`.
    fn kind(&self) -> &'static str {
        match self {
            Self::Workflow(_) => "Workflow",
            Self::WorkflowRun(_) => "WorkflowRun",
            Self::Key { .. } => "Key",
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Workflow(name) | Self::WorkflowRun(name) => name,
            Self::Key { workflow, .. } => workflow,
        }
    }

    fn key(&self) -> Option<&str> {
        match self {
            Self::Workflow(_) | Self::WorkflowRun(_) => None,
            Self::Key { key, .. } => Some(key),
        }
    }
}
