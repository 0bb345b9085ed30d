//! The statements that append. Two kinds of them:
//!
//! - *straight*: expects that every place in the journal is free. Most are, and an insert that need not look first and
//!   confirm afterwards costs two thirds. Where one is taken the statement fails as a whole and has written nothing.
//! - *careful*: takes what is free, and answers which runs that were.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use super::{Append, Then, Told};
use crate::store::{pool::Statement, row::to_sql};

/// A middle step: one inserted row a run.
const ROWS: &str = "
INSERT INTO everstep.journal (run_id, seq, at, nonce, events)
SELECT run_id, seq, at, nonce, events::json
FROM UNNEST($1::uuid[], $2::int[], $3::timestamptz[], $4::bigint[], $5::text[]) AS new (run_id, seq, at, nonce, events)";

/// The same, with the ends of some of the runs.
const ROWS_AND_ENDS: &str = include_str!("../sql/append_and_finish.sql");

/// Whoever is there first keeps the place; the insert waits for a transaction that is still committing the same one.
const FREE_ROWS: &str = "
INSERT INTO everstep.journal AS j (run_id, seq, at, nonce, events)
SELECT run_id, seq, at, nonce, events::json
FROM UNNEST($1::uuid[], $2::int[], $3::timestamptz[], $4::bigint[], $5::text[]) AS new (run_id, seq, at, nonce, events)
ON CONFLICT DO NOTHING
RETURNING j.run_id";

/// All that a decision can lead to.
const FREE_ROWS_AND_MORE: &str = include_str!("../sql/append.sql");

/// The constraint that is the fence.
const FENCE: &str = "journal_pkey";

/// A statement of its own, after the insert has waited: it sees the row that was in the way. It writes to the log, so that
/// its own commit waits as long as the row's has to: a row that can be seen may not be replicated yet.
const WHOSE: &str = "
WITH marked AS MATERIALIZED (
  SELECT pg_logical_emit_message(true, 'everstep', '')
)
SELECT j.run_id
FROM marked, UNNEST($1::uuid[], $2::int[], $3::bigint[]) AS new (run_id, seq, nonce)
JOIN everstep.journal AS j ON j.run_id = new.run_id AND j.seq = new.seq AND j.nonce = new.nonce";

/// For decisions of which only a row of the journal and ends of runs remain, which are the many. None for others.
pub(super) fn straight(part: &[&Append]) -> Option<Statement<'static>> {
    let mut ends = Vec::new();
    for append in part {
        match &append.then {
            _ if !append.letters().is_empty() => return None,
            Then::Keep { told: None } => {}
            Then::Finish { told } => ends.push((*append, told)),
            Then::Keep { told: Some(_) } | Then::Park { .. } => return None,
        }
    }
    if ends.is_empty() {
        return Some(rows(sqlx::query(ROWS), part));
    }
    let statement = rows(sqlx::query(ROWS_AND_ENDS), part)
        .bind(each(&ends, |(append, _)| append.run))
        .bind(each(&ends, |(append, _)| append.seq))
        .bind(each(&ends, |(append, _)| to_sql(Some(append.at))));
    Some(shown(statement, &ends))
}

/// For any decisions.
pub(super) fn careful(part: &[&Append]) -> Statement<'static> {
    let told: Vec<(&Append, &Told)> = part
        .iter()
        .filter_map(|&append| Some((append, append.then.told()?)))
        .collect();
    let letters: Vec<(Uuid, i64, Letter)> = part
        .iter()
        .flat_map(|append| {
            append
                .letters()
                .into_iter()
                .map(|(id, letter)| (append.run, id, letter))
        })
        .collect();
    if told.is_empty() && letters.is_empty() {
        return rows(sqlx::query(FREE_ROWS), part);
    }
    let statement = rows(sqlx::query(FREE_ROWS_AND_MORE), part)
        .bind(each(&letters, |(run, ..)| *run))
        .bind(each(&letters, |(_, id, _)| *id))
        .bind(each(&letters, |(.., letter)| letter.takes))
        .bind(each(&letters, |(.., letter)| letter.fate))
        .bind(each(&told, |(append, _)| append.run))
        .bind(each(&told, |(append, _)| append.then.as_str()));
    shown(statement, &told)
        .bind(each(&told, |(append, _)| append.then.snapshot().map(text)))
        .bind(each(&told, |(append, _)| to_sql(append.then.wake_at())))
}

/// What a decision does to one row of the inbox.
#[derive(Default)]
struct Letter {
    takes: bool,
    /// The outcome of a signal; none while no wait has matched it.
    fate: Option<&'static str>,
}

impl Append {
    /// Each row once, whether it is taken, ended, or both: one part of the statement writes it.
    fn letters(&self) -> BTreeMap<i64, Letter> {
        let mut letters = BTreeMap::<i64, Letter>::new();
        for &id in &self.taken {
            letters.entry(id).or_default().takes = true;
        }
        for &id in &self.undelivered {
            letters.entry(id).or_default().fate = Some("Undelivered");
        }
        for &id in &self.consumed {
            letters.entry(id).or_default().fate = Some("Consumed");
        }
        letters
    }
}

/// Run, id and outcome of the signals that these decisions end.
pub(in crate::store) fn fates(part: &[&Append]) -> Vec<(Uuid, i64, &'static str)> {
    let of = |append: &Append| {
        let (run, letters) = (append.run, append.letters());
        letters
            .into_iter()
            .filter_map(move |(id, letter)| Some((run, id, letter.fate?)))
    };
    part.iter().flat_map(|append| of(append)).collect()
}

/// Which of these decisions are in the journal.
pub(super) fn whose(part: &[&Append]) -> Statement<'static> {
    sqlx::query(WHOSE)
        .bind(each(part, |append| append.run))
        .bind(each(part, |append| append.seq))
        .bind(each(part, |append| append.nonce))
}

/// A place in the journal was taken.
pub(super) fn is_taken(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.is_unique_violation() && error.constraint() == Some(FENCE))
}

/// Binds `$1` to `$5`: the rows of the journal.
pub(in crate::store) fn rows<'q>(statement: Statement<'q>, part: &[&Append]) -> Statement<'q> {
    statement
        .bind(each(part, |append| append.run))
        .bind(each(part, |append| append.seq))
        .bind(each(part, |append| to_sql(Some(append.at))))
        .bind(each(part, |append| append.nonce))
        .bind(each(part, |append| append.events.as_str()))
}

/// Binds the next six: what people shall see.
fn shown<'q>(statement: Statement<'q>, told: &[(&Append, &Told)]) -> Statement<'q> {
    statement
        .bind(each(told, |(_, told)| told.summary.phase.as_str()))
        .bind(each(told, |(_, told)| told.reason.as_deref()))
        .bind(each(told, |(_, told)| text(&told.summary)))
        .bind(each(told, |(_, told)| to_sql(told.deadline)))
        .bind(each(told, |(_, told)| to_sql(told.summary.started_at)))
        .bind(each(told, |(append, told)| to_sql(finished_at(append, told))))
}

/// A terminal run has an end, whatever its summary forgot.
fn finished_at(append: &Append, told: &Told) -> Option<Timestamp> {
    match append.then {
        Then::Finish { .. } => Some(told.summary.finished_at.unwrap_or(append.at)),
        Then::Keep { .. } | Then::Park { .. } => None,
    }
}

fn text(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("a tree of strings, numbers and maps with string keys")
}

fn each<'a, A, T>(all: &'a [A], of: impl Fn(&'a A) -> T) -> Vec<T> {
    all.iter().map(of).collect()
}
