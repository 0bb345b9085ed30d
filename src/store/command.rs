//! Commands of an object to its live runs: what `desiredState` and `suspend` become.

use serde_json::json;

use super::{Submission, pool::Statement};

/// A statement of its own after the start: it sees the run that was just started, and the generation just accepted. What
/// was sent before is looked up, for an insert that conflicts uses up an id each time.
const SEND: &str = "
WITH wish AS (
  SELECT wish.*, r.id AS run_id, wish.uid || '/' || wish.generation || '/' || wish.kind AS dedup_key
  FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY
    AS wish (uid, name, generation, kind, payload, start_key, place)
  -- A stale replica commands nothing.
  JOIN everstep.owners AS o ON o.uid = wish.uid AND o.generation = wish.generation
  CROSS JOIN LATERAL (
    SELECT id
    FROM everstep.runs
    WHERE owner_uid = wish.uid AND finished_at IS NULL
      -- What replaces a run is not what is to be cancelled, and is not when the same call comes again.
      AND (o.kind <> 'Workflow' OR wish.kind IN ('Pause', 'Resume') OR start_key IS DISTINCT FROM wish.start_key)
    UNION ALL
    SELECT id
    FROM everstep.runs
    WHERE workflow_uid = wish.uid AND finished_at IS NULL AND wish.kind IN ('Pause', 'Resume')
  ) AS r
), sent AS (
  INSERT INTO everstep.inbox AS i (run_id, kind, dedup_key, source_uid, source_name, generation, payload, by)
  SELECT run_id, kind, dedup_key, uid, name, generation, payload::json, 'controller'
  FROM wish
  WHERE NOT EXISTS (
    SELECT 1 FROM everstep.inbox AS i
    WHERE i.run_id = wish.run_id AND i.kind = wish.kind AND i.dedup_key = wish.dedup_key)
  ORDER BY run_id, place
  ON CONFLICT DO NOTHING
  RETURNING i.run_id, i.kind, i.source_uid, i.generation
), noted AS (
  INSERT INTO everstep.audit (actor, operation, object_uid, run_id, epoch, detail)
  SELECT 'controller', lower(kind), source_uid, run_id, (SELECT epoch FROM everstep.cluster),
    json_build_object('generation', generation)
  FROM sent
)
SELECT run_id FROM sent";

/// What an object tells its live runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// End, and undo what was done.
    Cancel {
        /// Why, for people.
        reason: String,
    },
    /// End, and undo nothing.
    Terminate {
        /// Why, for people.
        reason: String,
    },
    /// Begin no new step and no new attempt.
    Pause,
    /// Go on.
    Resume,
}

/// Whether there is anything to send at all.
pub(super) fn any(wishes: &[Submission]) -> bool {
    wishes.iter().any(|wish| !wish.commands.is_empty())
}

/// Answers a row for each command and run that was told it now.
pub(super) fn send(wishes: &[Submission]) -> Statement<'static> {
    let each: Vec<(&Submission, &Command)> = wishes
        .iter()
        .flat_map(|wish| wish.commands.iter().map(move |command| (wish, command)))
        .collect();
    sqlx::query(SEND)
        .bind(each.iter().map(|(wish, _)| wish.uid.clone()).collect::<Vec<_>>())
        .bind(each.iter().map(|(wish, _)| wish.name.clone()).collect::<Vec<_>>())
        .bind(each.iter().map(|(wish, _)| wish.generation).collect::<Vec<_>>())
        .bind(each.iter().map(|(_, command)| command.kind()).collect::<Vec<_>>())
        .bind(
            each.iter()
                .map(|(wish, command)| command.payload(wish.generation))
                .collect::<Vec<_>>(),
        )
        .bind(
            each.iter()
                .map(|(wish, _)| wish.start.as_ref().map(|start| start.start_key.clone()))
                .collect::<Vec<_>>(),
        )
}

impl Command {
    /// `inbox.kind`.
    fn kind(&self) -> &'static str {
        match self {
            Self::Cancel { .. } => "Cancel",
            Self::Terminate { .. } => "Terminate",
            Self::Pause => "Pause",
            Self::Resume => "Resume",
        }
    }

    /// `inbox.payload`: what the engine reads as the content of its mail of that kind.
    fn payload(&self, generation: i64) -> String {
        match self {
            Self::Cancel { reason } | Self::Terminate { reason } => json!({ "reason": reason }),
            Self::Pause | Self::Resume => json!({ "generation": generation }),
        }
        .to_string()
    }
}
