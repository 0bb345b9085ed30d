//! Functions of numbers and of lists of them.

use std::cmp::Ordering;

use super::super::compare::order;
use super::super::error::{Code, EvaluationError};
use super::super::limits::Budget;
use super::super::operators::{Number, overflow};
use super::super::value::{Outcome, Value};
use super::{int_of, refused};

/// The sum of a list of numbers; 0 for an empty one.
pub(super) fn sum<'a>(value: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let Value::List(list) = value else {
        return Err(refused("sum", value));
    };
    let mut sum = Value::Int(0);
    for element in list.iter() {
        budget.step(1)?;
        match (Number::of(&sum), Number::of(&element)) {
            (Some(left), Some(right)) => sum = left.add(right)?,
            _ => {
                let message = format!(
                    "sum() takes a list of numbers, and one element is of type {}",
                    element.type_name()
                );
                return Err(EvaluationError::new(Code::Type, message));
            }
        }
    }
    Ok(sum)
}

/// The first of the smallest (`Less`) or greatest (`Greater`) elements of a list; of a single value, itself.
pub(super) fn extreme<'a>(function: &str, value: &Value<'a>, wanted: Ordering, budget: &mut Budget) -> Outcome<'a> {
    let Value::List(list) = value else {
        // Ordered with itself, so that a value without an order is refused as it is in a list.
        order(value, value, budget)?;
        return Ok(value.clone());
    };
    let mut best: Option<Value<'a>> = None;
    for element in list.iter() {
        let better = match &best {
            Some(best) => order(&element, best, budget)? == Some(wanted),
            None => order(&element, &element, budget).map(|_| true)?,
        };
        if better {
            best = Some(element);
        }
    }
    best.ok_or_else(|| EvaluationError::new(Code::Invalid, format!("{function}() of an empty list")))
}

/// To the nearest whole number, halves away from zero; with digits, to so many behind the point.
pub(super) fn round<'a>(value: &Value<'a>, digits: Option<&Value<'a>>) -> Outcome<'a> {
    let Some(digits) = digits else {
        return whole("round", value, f64::round);
    };
    let digits = int_of("round", digits)?;
    if !(0..=15).contains(&digits) {
        return Err(EvaluationError::new(Code::Invalid, "round() takes 0 to 15 digits"));
    }
    whole("round", value, |double| {
        let scale = 10f64.powi(i32::try_from(digits).expect("at most 15"));
        let scaled = (double * scale).round() / scale;
        // A double that is too large to be scaled has no digits behind the point.
        if scaled.is_finite() { scaled } else { double }
    })
}

/// Rounds a double; integers are whole already.
pub(super) fn whole<'a>(function: &str, value: &Value<'a>, round: impl Fn(f64) -> f64) -> Outcome<'a> {
    match value {
        Value::Int(_) | Value::Large(_) => Ok(value.clone()),
        Value::Double(double) => Ok(Value::Double(round(*double))),
        _ => Err(refused(function, value)),
    }
}

pub(super) fn abs<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Int(number) => number.checked_abs().map(Value::Int).ok_or_else(overflow),
        Value::Large(_) => Ok(value.clone()),
        Value::Double(number) => Ok(Value::Double(number.abs())),
        _ => Err(refused("abs", value)),
    }
}

pub(super) fn sign<'a>(value: &Value<'a>) -> Outcome<'a> {
    match value {
        Value::Int(number) => Ok(Value::Int(number.signum())),
        Value::Large(_) => Ok(Value::Double(1.0)),
        Value::Double(number) if *number == 0.0 => Ok(Value::Double(0.0)),
        Value::Double(number) => Ok(Value::Double(number.signum())),
        _ => Err(refused("sign", value)),
    }
}
