//! A value of a result as JSON, by an allow-list of types; read from the wire's binary format. Not limits.

mod numeric;
mod time;

use std::error::Error;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Number, Value};
use tokio_postgres::types::{FromSql, Kind, Type};
use uuid::Uuid;

/// Dimensions of an array in PostgreSQL.
const MAX_DIMENSIONS: usize = 6;

/// One non-null value.
pub(super) struct Cell(pub(super) Value);

pub(super) type Problem = Box<dyn Error + Sync + Send>;

/// The scalar types that have a JSON form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scalar {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Text,
    Uuid,
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Json,
    Jsonb,
    Bytea,
    /// What `SELECT some_function()` gives when the function returns nothing.
    Void,
}

/// Whether values of the type have a JSON form.
pub(super) fn is_supported(kind: &Type) -> bool {
    match kind.kind() {
        Kind::Array(element) => scalar(element).is_some(),
        _ => scalar(kind).is_some(),
    }
}

impl<'a> FromSql<'a> for Cell {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Problem> {
        match kind.kind() {
            Kind::Array(element) => array(scalar(element).ok_or("unsupported type")?, raw).map(Cell),
            _ => value(scalar(kind).ok_or("unsupported type")?, raw).map(Cell),
        }
    }

    fn accepts(kind: &Type) -> bool {
        is_supported(kind)
    }
}

fn scalar(kind: &Type) -> Option<Scalar> {
    Some(match *kind {
        Type::BOOL => Scalar::Bool,
        Type::INT2 => Scalar::Int2,
        Type::INT4 => Scalar::Int4,
        Type::INT8 => Scalar::Int8,
        Type::OID => Scalar::Oid,
        Type::FLOAT4 => Scalar::Float4,
        Type::FLOAT8 => Scalar::Float8,
        Type::NUMERIC => Scalar::Numeric,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::CHAR | Type::UNKNOWN => Scalar::Text,
        Type::UUID => Scalar::Uuid,
        Type::DATE => Scalar::Date,
        Type::TIME => Scalar::Time,
        Type::TIMESTAMP => Scalar::Timestamp,
        Type::TIMESTAMPTZ => Scalar::TimestampTz,
        Type::INTERVAL => Scalar::Interval,
        Type::JSON => Scalar::Json,
        Type::JSONB => Scalar::Jsonb,
        Type::BYTEA => Scalar::Bytea,
        Type::VOID => Scalar::Void,
        _ => return None,
    })
}

fn value(kind: Scalar, raw: &[u8]) -> Result<Value, Problem> {
    Ok(match kind {
        Scalar::Bool => Value::Bool(raw.first().is_some_and(|byte| *byte != 0)),
        Scalar::Int2 => Value::from(i16::from_be_bytes(fixed(raw)?)),
        Scalar::Int4 => Value::from(i32::from_be_bytes(fixed(raw)?)),
        Scalar::Int8 => Value::from(i64::from_be_bytes(fixed(raw)?)),
        Scalar::Oid => Value::from(u32::from_be_bytes(fixed(raw)?)),
        Scalar::Float4 => {
            let float = f32::from_be_bytes(fixed(raw)?);
            // By its shortest text: 0.1 must stay 0.1 and not become 0.10000000149011612.
            float_value(f64::from(float), &float.to_string())
        }
        Scalar::Float8 => {
            let float = f64::from_be_bytes(fixed(raw)?);
            float_value(float, &float.to_string())
        }
        Scalar::Numeric => numeric::value(raw)?,
        Scalar::Text => Value::String(text(raw)?.to_owned()),
        Scalar::Uuid => Value::String(Uuid::from_bytes(fixed(raw)?).to_string()),
        Scalar::Date => Value::String(time::date(i32::from_be_bytes(fixed(raw)?))?),
        Scalar::Time => Value::String(time::time(i64::from_be_bytes(fixed(raw)?))?),
        Scalar::Timestamp => Value::String(time::timestamp(i64::from_be_bytes(fixed(raw)?), "")?),
        Scalar::TimestampTz => Value::String(time::timestamp(i64::from_be_bytes(fixed(raw)?), "Z")?),
        Scalar::Interval => Value::String(time::interval(fixed(raw)?)),
        Scalar::Json => json(raw)?,
        Scalar::Jsonb => match raw {
            [1, raw @ ..] => json(raw)?,
            _ => return Err("this version of jsonb is not known".into()),
        },
        Scalar::Bytea => Value::String(BASE64.encode(raw)),
        Scalar::Void => Value::Null,
    })
}

/// Infinity and NaN have no JSON number; they become the strings that PostgreSQL writes.
fn float_value(float: f64, shortest: &str) -> Value {
    if float.is_nan() {
        return Value::from("NaN");
    }
    if float.is_infinite() {
        return Value::from(if float > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let number = shortest.parse().ok().and_then(Number::from_f64);
    number.map_or_else(|| Value::from(shortest), Value::Number)
}

fn json(raw: &[u8]) -> Result<Value, Problem> {
    serde_json::from_slice(raw).map_err(|_| "this JSON is nested too deeply or holds a number too large".into())
}

/// Binary arrays: dimensions, flags, element type, (length, lower bound) for each dimension, then the elements.
fn array(kind: Scalar, raw: &[u8]) -> Result<Value, Problem> {
    let mut reader = Reader(raw);
    let dimensions = usize::try_from(reader.int()?)?;
    reader.int()?;
    reader.int()?;
    if dimensions > MAX_DIMENSIONS {
        return Err("an array with too many dimensions".into());
    }
    let mut lengths = Vec::with_capacity(dimensions);
    for _ in 0..dimensions {
        lengths.push(usize::try_from(reader.int()?)?);
        reader.int()?;
    }
    if lengths.is_empty() {
        Ok(Value::Array(Vec::new()))
    } else {
        elements(kind, &lengths, &mut reader)
    }
}

fn elements(kind: Scalar, lengths: &[usize], reader: &mut Reader<'_>) -> Result<Value, Problem> {
    let Some((&length, inner)) = lengths.split_first() else {
        return match reader.int()? {
            -1 => Ok(Value::Null),
            size => value(kind, reader.bytes(usize::try_from(size)?)?),
        };
    };
    (0..length)
        .map(|_| elements(kind, inner, reader))
        .collect::<Result<Vec<_>, _>>()
        .map(Value::Array)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn int(&mut self) -> Result<i32, Problem> {
        Ok(i32::from_be_bytes(fixed(self.bytes(4)?)?))
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Problem> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("a value is cut short")?;
        self.0 = rest;
        Ok(taken)
    }
}

fn fixed<const N: usize>(raw: &[u8]) -> Result<[u8; N], Problem> {
    raw.try_into()
        .map_err(|_| "a value has another length than its type".into())
}

fn text(raw: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(raw).map_err(|_| "text that is not UTF-8".into())
}
