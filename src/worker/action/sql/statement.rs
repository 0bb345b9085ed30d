//! One statement of a step, from BEGIN to COMMIT. Not sessions, and not types.

use futures::{StreamExt, future, pin_mut};
use serde_json::{Map, Value};
use tokio_postgres::Statement;
use tokio_postgres::types::Type;

use super::cell::{self, Cell};
use super::database_error as database;
use super::parameter::Parameter;
use super::pool::Lease;
use super::session::Session;
use crate::engine::{ErrorKind, Expect, Outcome, SqlRequest, StepError};

const MAX_ROWS: usize = 1_000;
const MAX_RESULT: usize = 256 * 1024;

/// A transaction that is open, and the statement prepared in it.
pub(super) struct Begun {
    statement: Statement,
    /// What [`SAME_WRITING`] or [`SAME_READING`] must find again.
    transaction: String,
}

/// The rows as JSON, and how many there are (or were affected).
struct Answer {
    rows: Vec<Value>,
    count: u64,
}

/// Names the transaction: a writing one by its id; a READ ONLY one, which may be on a standby that has no ids to give,
/// by its start. The step key is a setting of the transaction, for triggers, and gone when it ends.
const OPEN_WRITING: &str = "SELECT pg_catalog.set_config('everstep.step_key', $1, true), \
                            pg_catalog.pg_current_xact_id()::pg_catalog.text";
const OPEN_READING: &str = "SELECT pg_catalog.set_config('everstep.step_key', $1, true), \
                            pg_catalog.transaction_timestamp()::pg_catalog.text";
const SAME_WRITING: &str = "SELECT pg_catalog.current_setting('everstep.step_key', true), \
                            pg_catalog.pg_current_xact_id()::pg_catalog.text";
const SAME_READING: &str = "SELECT pg_catalog.current_setting('everstep.step_key', true), \
                            pg_catalog.transaction_timestamp()::pg_catalog.text";

/// Opens the transaction and prepares the statement, in one round trip.
pub(super) async fn begin(session: &Session, key: &str, request: &SqlRequest) -> Result<Begun, StepError> {
    let client = session.client();
    let (begin, open) = if request.read_only {
        ("BEGIN READ ONLY", OPEN_READING)
    } else {
        ("BEGIN READ WRITE", OPEN_WRITING)
    };
    let (began, opened, prepared) = future::join3(
        client.batch_execute(begin),
        client.query_typed_one(open, &[(&key, Type::TEXT)]),
        client.prepare(&request.query),
    )
    .await;
    let failed = |error: &tokio_postgres::Error| failure(session, error, &[]);
    began.map_err(|error| failed(&error))?;
    let transaction = opened.and_then(|row| row.try_get(1)).map_err(|error| failed(&error))?;
    let statement = prepared.map_err(|error| failed(&error))?;
    Ok(Begun { statement, transaction })
}

/// Executes what was begun, and commits it. The session comes back unless it must be closed; a transaction that failed
/// is still open in it.
pub(super) async fn run(
    lease: Lease<'_>,
    begun: Result<Begun, StepError>,
    key: &str,
    request: &SqlRequest,
) -> (Outcome, Option<Session>) {
    let begun = match begun {
        Ok(begun) => begun,
        Err(error) if leaves_session_open(&error) => return (Err(error), Some(lease.end())),
        Err(error) => return (Err(error), None),
    };
    let outcome = commit(lease.session(), &begun, key, request).await;
    // Names of types of the tenant's own are looked up by a statement that the library prepares once and DISCARD ALL
    // takes away: such a session cannot be used again.
    let reusable = knows_all_types(&begun.statement);
    match &outcome {
        Err(error) if !leaves_session_open(error) => (outcome, None),
        Ok(_) | Err(_) => {
            let session = lease.end();
            (outcome, reusable.then_some(session))
        }
    }
}

/// Not when the connection is lost, and not when the server may still be sending: then the dropped lease cancels.
fn leaves_session_open(error: &StepError) -> bool {
    error.kind != ErrorKind::Connect && !matches!(error.code.as_str(), "ResultTooLarge" | "UnsupportedStatement")
}

async fn commit(session: &Session, begun: &Begun, key: &str, request: &SqlRequest) -> Outcome {
    let wanted = begun.statement.params().len();
    if wanted != request.args.len() {
        let message = format!(
            "the statement has {wanted} parameters and args has {}",
            request.args.len()
        );
        return Err(StepError::new(ErrorKind::Refused, "ArgumentCount", message));
    }
    check_columns(&begun.statement)?;
    let answer = execute(session, begun, request).await?;
    check_transaction(session, begun, key, request).await?;
    if let Some(expect) = &request.expect {
        check_expect(expect, answer.count)?;
    }
    match session.client().batch_execute("COMMIT").await {
        Ok(()) => Ok(result(answer)),
        // A deferred constraint, a serialization failure: the database says that nothing was committed.
        Err(error) if error.as_db_error().is_some() => Err(database::on_statement(&error, &request.args)),
        Err(_) => Err(database::commit_unknown()),
    }
}

async fn execute(session: &Session, begun: &Begun, request: &SqlRequest) -> Result<Answer, StepError> {
    let failed = |error: &tokio_postgres::Error| failure(session, error, &request.args);
    let parameters = request.args.iter().map(Parameter);
    let stream = session
        .client()
        .query_raw(&begun.statement, parameters)
        .await
        .map_err(|error| failed(&error))?;
    pin_mut!(stream);
    let mut rows = Vec::new();
    let mut size = 0;
    while let Some(row) = stream.next().await {
        let row = row.map_err(|error| failed(&error))?;
        if rows.len() == MAX_ROWS {
            return Err(too_large("more than 1,000 rows"));
        }
        let mut object = Map::new();
        for (index, column) in row.columns().iter().enumerate() {
            let value = row
                .try_get::<_, Option<Cell>>(index)
                .map_err(|error| unreadable(column.name(), &error))?;
            object.insert(column.name().to_owned(), value.map_or(Value::Null, |Cell(value)| value));
        }
        let object = Value::Object(object);
        size += object.to_string().len() + 1;
        if size > MAX_RESULT {
            return Err(too_large("more than 256 KiB"));
        }
        rows.push(object);
    }
    let affected = stream.rows_affected().unwrap_or_default();
    let count = if begun.statement.columns().is_empty() {
        affected
    } else {
        rows.len() as u64
    };
    Ok(Answer { rows, count })
}

/// COMMIT, ROLLBACK and the like inside the statement end our transaction; then the step key is gone with it.
async fn check_transaction(session: &Session, begun: &Begun, key: &str, request: &SqlRequest) -> Result<(), StepError> {
    let same = if request.read_only { SAME_READING } else { SAME_WRITING };
    let found = session
        .client()
        .query_typed_one(same, &[])
        .await
        .map_err(|error| failure(session, &error, &[]))?;
    let still = found
        .try_get::<_, Option<&str>>(0)
        .is_ok_and(|found| found == Some(key))
        && found
            .try_get::<_, &str>(1)
            .is_ok_and(|found| found == begun.transaction);
    if still {
        return Ok(());
    }
    let message = "the statement ended the step's transaction; COMMIT, ROLLBACK and the like cannot stand in a step, \
                   and what it committed stays";
    Err(StepError::new(ErrorKind::Refused, "TransactionControl", message))
}

fn check_expect(expect: &Expect, count: u64) -> Result<(), StepError> {
    let problem = if expect.min_rows.is_some_and(|least| count < least) {
        format!(
            "the statement gave {count} rows, at least {} are expected",
            expect.min_rows.unwrap_or_default()
        )
    } else if expect.max_rows.is_some_and(|most| count > most) {
        format!(
            "the statement gave {count} rows, at most {} are expected",
            expect.max_rows.unwrap_or_default()
        )
    } else {
        return Ok(());
    };
    Err(StepError::new(
        ErrorKind::Expectation,
        expect.code.as_deref().unwrap_or("UnexpectedRowCount"),
        problem,
    ))
}

/// Before anything is executed: every column has a type that JSON can say, and a name of its own.
fn check_columns(statement: &Statement) -> Result<(), StepError> {
    let columns = statement.columns();
    for (index, column) in columns.iter().enumerate() {
        if !cell::is_supported(column.type_()) {
            let message = format!(
                "column {:?} has the type {}, which has no JSON form; cast it, for example to text",
                column.name(),
                column.type_().name()
            );
            return Err(StepError::new(ErrorKind::Refused, "UnsupportedType", message));
        }
        if columns[..index].iter().any(|other| other.name() == column.name()) {
            let message = format!("two columns are named {:?}; name them with AS", column.name());
            return Err(StepError::new(ErrorKind::Refused, "DuplicateColumn", message));
        }
    }
    Ok(())
}

fn knows_all_types(statement: &Statement) -> bool {
    let columns = statement.columns().iter().map(tokio_postgres::Column::type_);
    statement
        .params()
        .iter()
        .chain(columns)
        .all(|kind| Type::from_oid(kind.oid()).is_some())
}

fn result(answer: Answer) -> Value {
    let mut result = Map::new();
    result.insert("row".to_owned(), answer.rows.first().cloned().unwrap_or(Value::Null));
    result.insert("rowCount".to_owned(), Value::from(answer.count));
    result.insert("rows".to_owned(), Value::Array(answer.rows));
    Value::Object(result)
}

fn failure(session: &Session, error: &tokio_postgres::Error, args: &[Value]) -> StepError {
    if session.answered_too_much() {
        too_large("more than 4 MiB on the wire")
    } else {
        database::on_statement(error, args)
    }
}

fn too_large(what: &str) -> StepError {
    let message = format!("the result has {what}; it was rolled back. Select less, or page with LIMIT");
    StepError::new(ErrorKind::Expectation, "ResultTooLarge", message)
}

fn unreadable(column: &str, error: &tokio_postgres::Error) -> StepError {
    let problem = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    StepError::new(
        ErrorKind::Refused,
        "UnsupportedValue",
        format!("column {column:?}: {problem}"),
    )
}
