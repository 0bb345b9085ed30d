//! Results as JSON. What is handed out is charged by what it weighs as data: 8 bytes a value and a key, and the texts.
//! So data of 256 KiB of JSON text always passes, and nothing beyond the budget is ever built.

use serde_json::{Map as JsonMap, Number, Value as Json};

use super::error::{Code, EvaluationError};
use super::limits::Budget;
use super::time;
use super::value::{Key, List, Map, Value};

const ENTRY_BYTES: usize = 8;

/// A copy of the value as JSON. A timestamp becomes RFC 3339, a duration seconds such as `3.5s`.
pub(super) fn to_json(value: &Value<'_>, budget: &mut Budget) -> Result<Json, EvaluationError> {
    convert(value, 0, budget)
}

fn convert(value: &Value<'_>, depth: usize, budget: &mut Budget) -> Result<Json, EvaluationError> {
    budget.descend(depth)?;
    budget.allocate(ENTRY_BYTES)?;
    Ok(match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(number) => Json::from(*number),
        Value::Large(number) => Json::from(*number),
        Value::Double(number) => Number::from_f64(*number).map(Json::Number).ok_or_else(|| {
            EvaluationError::new(
                Code::Overflow,
                "the result is infinite or no number, which JSON cannot hold",
            )
        })?,
        Value::Text(text) => {
            budget.allocate(text.as_str().len())?;
            Json::from(text.as_str())
        }
        Value::List(List::Borrowed(list)) => copy_list(list, depth, budget)?,
        Value::List(List::Owned(list)) => {
            let elements = list.iter().map(|element| convert(element, depth + 1, budget));
            Json::Array(elements.collect::<Result<_, _>>()?)
        }
        Value::Map(Map::Borrowed(map)) => copy_map(map, depth, budget)?,
        Value::Map(Map::Owned(map)) => {
            let mut object = JsonMap::new();
            for (key, value) in map.iter() {
                let Key::Text(key) = key else {
                    let message = "a key of the result is no string, which JSON does not have: convert with string()";
                    return Err(EvaluationError::new(Code::Type, message));
                };
                budget.allocate(ENTRY_BYTES + key.as_str().len())?;
                object.insert(key.as_str().to_owned(), convert(value, depth + 1, budget)?);
            }
            Json::Object(object)
        }
        Value::Timestamp(instant) => Json::from(instant.to_string()),
        Value::Duration(duration) => Json::from(time::format_duration(*duration)),
        Value::Bytes(_) | Value::Type(_) => {
            let message = format!("the result is of type {}, which JSON does not have", value.type_name());
            return Err(EvaluationError::new(Code::Type, message));
        }
    })
}

/// Copies data. Not `clone`, which would recurse as deep as the data is and charge nothing.
fn copy(json: &Json, depth: usize, budget: &mut Budget) -> Result<Json, EvaluationError> {
    budget.descend(depth)?;
    budget.allocate(ENTRY_BYTES)?;
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => Ok(json.clone()),
        Json::String(text) => {
            budget.allocate(text.len())?;
            Ok(Json::String(text.clone()))
        }
        Json::Array(list) => copy_list(list, depth, budget),
        Json::Object(map) => copy_map(map, depth, budget),
    }
}

fn copy_list(list: &[Json], depth: usize, budget: &mut Budget) -> Result<Json, EvaluationError> {
    let elements = list.iter().map(|element| copy(element, depth + 1, budget));
    Ok(Json::Array(elements.collect::<Result<_, _>>()?))
}

fn copy_map(map: &JsonMap<String, Json>, depth: usize, budget: &mut Budget) -> Result<Json, EvaluationError> {
    let mut object = JsonMap::new();
    for (key, value) in map {
        budget.allocate(ENTRY_BYTES + key.len())?;
        object.insert(key.clone(), copy(value, depth + 1, budget)?);
    }
    Ok(Json::Object(object))
}
