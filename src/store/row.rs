//! Reading columns: a column that is not what the statement says is a defect of ours, said with its name.

use jiff::Timestamp;
use serde_json::Value;
use sqlx::{Decode, Postgres, Row, Type, postgres::PgRow};

use super::Error;

/// One column.
pub(super) fn column<'r, T: Decode<'r, Postgres> + Type<Postgres>>(row: &'r PgRow, name: &str) -> Result<T, Error> {
    row.try_get(name)
        .map_err(|error| Error::Corrupt(format!("column {name}: {error}")))
}

/// A point in time.
pub(super) fn time(row: &PgRow, name: &str) -> Result<Timestamp, Error> {
    Ok(column::<jiff_sqlx::Timestamp>(row, name)?.to_jiff())
}

/// A point in time that may be absent.
pub(super) fn maybe_time(row: &PgRow, name: &str) -> Result<Option<Timestamp>, Error> {
    Ok(column::<Option<jiff_sqlx::Timestamp>>(row, name)?.map(jiff_sqlx::Timestamp::to_jiff))
}

/// JSON, which the statement has cast to text.
pub(super) fn json(row: &PgRow, name: &str) -> Result<Option<Value>, Error> {
    let text: Option<&str> = column(row, name)?;
    text.map(serde_json::from_str)
        .transpose()
        .map_err(|error| Error::Corrupt(format!("column {name}: {error}")))
}

/// For a bind: what the driver understands.
pub(super) fn to_sql(time: Option<Timestamp>) -> Option<jiff_sqlx::Timestamp> {
    time.map(jiff_sqlx::ToSqlx::to_sqlx)
}

/// For a bind of `interval`: in seconds, which `make_interval(secs => …)` takes.
pub(super) fn seconds(duration: std::time::Duration) -> f64 {
    duration.as_secs_f64()
}
