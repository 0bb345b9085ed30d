//! Parts of timestamps and durations.

use super::super::error::{Code, EvaluationError};
use super::super::value::{Outcome, Value};
use super::super::zone;
use super::{Function, refused, text_of};

/// One part of a timestamp, in UTC or in the given zone; of a duration, the whole of it in that unit.
/// Months, days of the month and of the year count from 0 (`getDate` from 1), days of the week from Sunday = 0.
pub(super) fn field<'a>(function: Function, value: &Value<'a>, zone: Option<&Value<'a>>) -> Outcome<'a> {
    match value {
        Value::Timestamp(instant) => {
            let offset = match zone {
                Some(name) => zone::offset_at(*instant, text_of("a time zone", name)?.as_str())?,
                None => 0,
            };
            let local = instant.at_offset(offset)?;
            Ok(Value::Int(match function {
                Function::Year => i64::from(local.year()),
                Function::Month => i64::from(local.month()) - 1,
                Function::DayOfYear => i64::from(local.day_of_year()) - 1,
                Function::DayOfMonth => i64::from(local.day()) - 1,
                Function::Date => i64::from(local.day()),
                Function::DayOfWeek => i64::from(local.weekday().to_sunday_zero_offset()),
                Function::Hours => i64::from(local.hour()),
                Function::Minutes => i64::from(local.minute()),
                Function::Seconds => i64::from(local.second()),
                Function::Milliseconds => i64::from(local.millisecond()),
                _ => return Err(refused("this function", value)),
            }))
        }
        Value::Duration(duration) if zone.is_none() => Ok(Value::Int(match function {
            Function::Hours => duration.as_secs() / 3600,
            Function::Minutes => duration.as_secs() / 60,
            Function::Seconds => duration.as_secs(),
            Function::Milliseconds => i64::from(duration.subsec_millis()),
            _ => {
                return Err(EvaluationError::new(
                    Code::Type,
                    "a duration has hours, minutes, seconds and milliseconds",
                ));
            }
        })),
        _ => Err(EvaluationError::new(
            Code::Type,
            format!(
                "a value of type {} has no parts of a time: convert it with timestamp()",
                value.type_name()
            ),
        )),
    }
}
