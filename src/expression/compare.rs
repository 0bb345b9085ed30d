//! Equality, order and membership. Values of different types are unequal and have no order; numbers are one type.

use std::cmp::Ordering;

use super::error::{Code, EvaluationError};
use super::limits::Budget;
use super::value::{Key, Map, Value};

/// `left == right`, deeply.
pub(super) fn equal(left: &Value<'_>, right: &Value<'_>, budget: &mut Budget) -> Result<bool, EvaluationError> {
    equal_at(0, left, right, budget)
}

fn equal_at(depth: usize, left: &Value<'_>, right: &Value<'_>, budget: &mut Budget) -> Result<bool, EvaluationError> {
    budget.step(1)?;
    budget.descend(depth)?;
    match (left, right) {
        (Value::Null, Value::Null) => Ok(true),
        (Value::Bool(left), Value::Bool(right)) => Ok(left == right),
        (Value::Text(left), Value::Text(right)) => {
            let (left, right) = (left.as_str(), right.as_str());
            if left.len() != right.len() {
                return Ok(false);
            }
            budget.scan(left.len())?;
            Ok(left == right)
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.scan(left.len().min(right.len()))?;
            Ok(left == right)
        }
        (Value::List(left), Value::List(right)) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (left, right) in left.iter().zip(right.iter()) {
                if !equal_at(depth + 1, &left, &right, budget)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Value::Map(left), Value::Map(right)) => equal_maps(depth, left, right, budget),
        (Value::Timestamp(left), Value::Timestamp(right)) => Ok(left == right),
        (Value::Duration(left), Value::Duration(right)) => Ok(left == right),
        (Value::Type(left), Value::Type(right)) => Ok(left == right),
        _ => Ok(numeric_order(left, right) == Some(Ordering::Equal)),
    }
}

fn equal_maps(depth: usize, left: &Map<'_>, right: &Map<'_>, budget: &mut Budget) -> Result<bool, EvaluationError> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (key, value) in left.iter() {
        let other = match key.key() {
            Some(key) => {
                look_up(&key, right.len(), budget)?;
                right.get(&key)
            }
            None => None,
        };
        match other {
            Some(other) if equal_at(depth + 1, &value, &other, budget)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Charges finding a key in a map: each comparison on the way may read the whole key.
pub(super) fn look_up(key: &Key<'_>, among: usize, budget: &mut Budget) -> Result<(), EvaluationError> {
    budget.step(1)?;
    match key {
        Key::Text(text) => budget.scan(text.as_str().len().saturating_mul(1 + among.max(1).ilog2() as usize)),
        Key::Bool(_) | Key::Int(_) => Ok(()),
    }
}

/// How two values are ordered; none when one of them is no number (NaN). Different types are an error.
pub(super) fn order(
    left: &Value<'_>,
    right: &Value<'_>,
    budget: &mut Budget,
) -> Result<Option<Ordering>, EvaluationError> {
    budget.step(1)?;
    match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => Ok(Some(left.cmp(right))),
        (Value::Text(left), Value::Text(right)) => {
            budget.scan(left.as_str().len().min(right.as_str().len()))?;
            Ok(Some(left.cmp(right)))
        }
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.scan(left.len().min(right.len()))?;
            Ok(Some(left.cmp(right)))
        }
        (Value::Timestamp(left), Value::Timestamp(right)) => Ok(Some(left.cmp(right))),
        (Value::Duration(left), Value::Duration(right)) => Ok(Some(left.cmp(right))),
        (Value::Int(_) | Value::Large(_) | Value::Double(_), Value::Int(_) | Value::Large(_) | Value::Double(_)) => {
            Ok(numeric_order(left, right))
        }
        _ => {
            let message = format!("{} and {} have no order", left.type_name(), right.type_name());
            Err(EvaluationError::new(Code::Type, message))
        }
    }
}

/// `element in collection`: an element of a list or a key of a map.
pub(super) fn contains(
    collection: &Value<'_>,
    element: &Value<'_>,
    budget: &mut Budget,
) -> Result<bool, EvaluationError> {
    match collection {
        Value::List(list) => {
            for other in list.iter() {
                if equal(element, &other, budget)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Value::Map(map) => match element.key() {
            Some(key) => {
                look_up(&key, map.len(), budget)?;
                Ok(map.get(&key).is_some())
            }
            None => Ok(false),
        },
        _ => {
            let message = format!("`in` looks into a list or a map, not into {}", collection.type_name());
            Err(EvaluationError::new(Code::Type, message))
        }
    }
}

/// The order of two numbers by their mathematical values: nothing is rounded.
fn numeric_order(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Double(left), right) => integer(right)?.checked_order(*left).map(Ordering::reverse),
        (left, Value::Double(right)) => integer(left)?.checked_order(*right),
        (left, right) => Some(integer(left)?.0.cmp(&integer(right)?.0)),
    }
}

struct Integer(i128);

fn integer(value: &Value<'_>) -> Option<Integer> {
    match value {
        Value::Int(number) => Some(Integer(i128::from(*number))),
        Value::Large(number) => Some(Integer(i128::from(*number))),
        _ => None,
    }
}

impl Integer {
    /// A double outside of the range of `i128` is cut to its end, which keeps the order; NaN has none.
    fn checked_order(&self, double: f64) -> Option<Ordering> {
        if double.is_nan() {
            return None;
        }
        let order = self.0.cmp(&(double as i128));
        let fraction = if double.is_finite() { double.fract() } else { 0.0 };
        Some(order.then_with(|| 0.0f64.total_cmp(&(fraction + 0.0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(left: Value<'_>, right: Value<'_>) -> Option<Ordering> {
        numeric_order(&left, &right)
    }

    #[test]
    fn numbers_are_compared_without_rounding() {
        let odd = (1i64 << 53) + 1;
        assert_eq!(
            numbers(Value::Int(odd), Value::Double(odd as f64)),
            Some(Ordering::Greater)
        );
        assert_eq!(numbers(Value::Double(1.5), Value::Int(1)), Some(Ordering::Greater));
        assert_eq!(numbers(Value::Double(-1.5), Value::Int(-1)), Some(Ordering::Less));
        assert_eq!(numbers(Value::Int(1), Value::Double(1.0)), Some(Ordering::Equal));
        assert_eq!(numbers(Value::Int(0), Value::Double(-0.0)), Some(Ordering::Equal));
        assert_eq!(
            numbers(Value::Int(i64::MAX), Value::Double(f64::INFINITY)),
            Some(Ordering::Less)
        );
        assert_eq!(
            numbers(Value::Int(i64::MAX), Value::Large(u64::MAX)),
            Some(Ordering::Less)
        );
        assert_eq!(numbers(Value::Int(1), Value::Double(f64::NAN)), None);
        assert_eq!(numbers(Value::Int(1), Value::Bool(true)), None);
    }
}
