//! Conversions between types.

use std::rc::Rc;

use jiff::SignedDuration;

use super::super::error::{Code, EvaluationError};
use super::super::limits::Budget;
use super::super::time::{self, Instant};
use super::super::value::{Outcome, Text, Value};
use super::refused;

/// From a number (cut towards zero), a text, or a timestamp (seconds since 1970).
pub(super) fn int<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Int(number) => Ok(Value::Int(*number)),
        Value::Double(number) => cut(*number).map(Value::Int).ok_or_else(|| outside("int")),
        Value::Large(_) => Err(outside("int")),
        Value::Text(text) => text.as_str().parse().map(Value::Int).map_err(|_| unreadable("int")),
        Value::Timestamp(instant) => Ok(Value::Int(instant.seconds())),
        _ => Err(refused("int", value)),
    }
}

/// As [`int`], and not negative: there is no type of its own.
pub(super) fn uint<'a>(value: &Value<'a>) -> Outcome<'a> {
    match int(value)? {
        Value::Int(number) if number < 0 => Err(outside("uint")),
        number => Ok(number),
    }
}

pub(super) fn double<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Int(number) => Ok(Value::Double(*number as f64)),
        Value::Large(number) => Ok(Value::Double(*number as f64)),
        Value::Double(number) => Ok(Value::Double(*number)),
        Value::Text(text) => text
            .as_str()
            .parse()
            .map(Value::Double)
            .map_err(|_| unreadable("double")),
        _ => Err(refused("double", value)),
    }
}

pub(super) fn string<'a>(value: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let text = match value {
        Value::Text(_) => return Ok(value.clone()),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Large(number) => number.to_string(),
        Value::Double(number) => written(*number),
        Value::Timestamp(instant) => instant.to_string(),
        Value::Duration(duration) => time::format_duration(*duration),
        Value::Bytes(bytes) => {
            budget.allocate(bytes.len())?;
            let text = std::str::from_utf8(bytes);
            let text = text.map_err(|_| EvaluationError::new(Code::Invalid, "the bytes are no UTF-8"))?;
            return Ok(Value::Text(Text::Owned(text.into())));
        }
        Value::Null | Value::List(_) | Value::Map(_) | Value::Type(_) => return Err(refused("string", value)),
    };
    Value::text(&text, budget)
}

pub(super) fn bool<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Bool(value) => Ok(Value::Bool(*value)),
        Value::Text(text) => match text.as_str() {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
            _ => Err(unreadable("bool")),
        },
        _ => Err(refused("bool", value)),
    }
}

pub(super) fn bytes<'a>(value: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    match value {
        Value::Bytes(_) => Ok(value.clone()),
        Value::Text(text) => {
            budget.allocate(text.as_str().len())?;
            Ok(Value::Bytes(Rc::from(text.as_str().as_bytes())))
        }
        _ => Err(refused("bytes", value)),
    }
}

/// From RFC 3339, or from seconds since 1970.
pub(super) fn timestamp<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Timestamp(_) => Ok(value.clone()),
        Value::Text(text) => Instant::parse(text.as_str()).map(Value::Timestamp),
        Value::Int(seconds) => Instant::new(SignedDuration::from_secs(*seconds)).map(Value::Timestamp),
        _ => Err(refused("timestamp", value)),
    }
}

/// From a text such as `1h30m`, or from seconds.
pub(super) fn duration<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Duration(_) => Ok(value.clone()),
        Value::Text(text) => time::parse_duration(text.as_str()),
        Value::Int(seconds) => time::duration(Some(SignedDuration::from_secs(*seconds))),
        _ => Err(refused("duration", value)),
    }
}

fn cut(double: f64) -> Option<i64> {
    // The limits themselves are excluded: as doubles they stand for more than one integer.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    (double > -LIMIT && double < LIMIT).then_some(double as i64)
}

/// The shortest digits that mean the same double; an exponent where digits would be many zeros.
fn written(double: f64) -> String {
    match double.abs() {
        _ if double.is_nan() => "NaN".into(),
        size if size.is_infinite() => if double > 0.0 { "+Inf" } else { "-Inf" }.into(),
        size if size != 0.0 && !(1e-4..1e21).contains(&size) => format!("{double:e}"),
        _ => double.to_string(),
    }
}

fn outside(to: &str) -> EvaluationError {
    EvaluationError::new(Code::Overflow, format!("the number is out of range for {to}()"))
}

fn unreadable(to: &str) -> EvaluationError {
    EvaluationError::new(Code::Invalid, format!("the string cannot be read by {to}()"))
}
