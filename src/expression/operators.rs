//! Arithmetic and the dispatch of binary operators. Integers and doubles mix: the result is a double.

use std::rc::Rc;

use super::compare::{contains, equal, order};
use super::error::{Code, EvaluationError};
use super::limits::Budget;
use super::time;
use super::value::{List, Outcome, Text, Value};

/// A binary operator other than `&&` and `||`, which need not evaluate both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
}

/// A number to compute with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Number {
    Int(i64),
    Double(f64),
}

impl Number {
    pub(super) fn of(value: &Value<'_>) -> Option<Number> {
        match value {
            Value::Int(number) => Some(Number::Int(*number)),
            Value::Large(number) => Some(Number::Double(*number as f64)),
            Value::Double(number) => Some(Number::Double(*number)),
            _ => None,
        }
    }

    pub(super) fn as_double(self) -> f64 {
        match self {
            Number::Int(number) => number as f64,
            Number::Double(number) => number,
        }
    }

    pub(super) fn add<'a>(self, other: Number) -> Outcome<'a> {
        compute(self, other, i64::checked_add, |a, b| a + b)
    }
}

/// The value of `left operator right`.
pub(super) fn apply<'a>(operator: Operator, left: &Value<'a>, right: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    Ok(Value::Bool(match operator {
        Operator::Equal => equal(left, right, budget)?,
        Operator::NotEqual => !equal(left, right, budget)?,
        Operator::Less => order(left, right, budget)?.is_some_and(|order| order.is_lt()),
        Operator::LessOrEqual => order(left, right, budget)?.is_some_and(|order| order.is_le()),
        Operator::Greater => order(left, right, budget)?.is_some_and(|order| order.is_gt()),
        Operator::GreaterOrEqual => order(left, right, budget)?.is_some_and(|order| order.is_ge()),
        Operator::In => contains(right, left, budget)?,
        Operator::Add => return add(left, right, budget),
        Operator::Subtract => return subtract(left, right),
        Operator::Multiply => return multiply(left, right),
        Operator::Divide => return divide(left, right),
        Operator::Remainder => return remainder(left, right),
    }))
}

/// `-value`
pub(super) fn negate<'a>(value: &Value<'a>) -> Outcome<'a> {
    match Number::of(value) {
        Some(Number::Int(number)) => number.checked_neg().map(Value::Int).ok_or_else(overflow),
        Some(Number::Double(number)) => Ok(Value::Double(-number)),
        None => match value {
            Value::Duration(duration) => time::duration(duration.checked_neg()),
            _ => Err(EvaluationError::new(
                Code::Type,
                format!("`-` cannot be applied to {}", value.type_name()),
            )),
        },
    }
}

fn add<'a>(left: &Value<'a>, right: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => concatenate(left, right, budget),
        (Value::List(left), Value::List(right)) => append(left, right, budget),
        (Value::Bytes(left), Value::Bytes(right)) => {
            budget.allocate(left.len() + right.len())?;
            Ok(Value::Bytes(Rc::from([&left[..], &right[..]].concat())))
        }
        (Value::Duration(left), Value::Duration(right)) => time::duration(left.checked_add(*right)),
        (Value::Timestamp(instant), Value::Duration(duration))
        | (Value::Duration(duration), Value::Timestamp(instant)) => instant.plus(*duration).map(Value::Timestamp),
        _ => {
            let (left, right) = numbers("+", left, right)?;
            left.add(right)
        }
    }
}

fn subtract<'a>(left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    match (left, right) {
        (Value::Duration(left), Value::Duration(right)) => time::duration(left.checked_sub(*right)),
        (Value::Timestamp(left), Value::Timestamp(right)) => time::duration(left.since(*right)),
        (Value::Timestamp(instant), Value::Duration(duration)) => match duration.checked_neg() {
            Some(duration) => instant.plus(duration).map(Value::Timestamp),
            None => Err(overflow()),
        },
        _ => {
            let (left, right) = numbers("-", left, right)?;
            compute(left, right, i64::checked_sub, |a, b| a - b)
        }
    }
}

fn multiply<'a>(left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    let (left, right) = numbers("*", left, right)?;
    compute(left, right, i64::checked_mul, |a, b| a * b)
}

fn divide<'a>(left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    let (left, right) = numbers("/", left, right)?;
    if let (Number::Int(_), Number::Int(0)) = (left, right) {
        return Err(EvaluationError::new(
            Code::DivideByZero,
            "division of an integer by zero",
        ));
    }
    compute(left, right, i64::checked_div, |a, b| a / b)
}

fn remainder<'a>(left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    match (left, right) {
        (Value::Int(_), Value::Int(0)) => Err(EvaluationError::new(
            Code::DivideByZero,
            "remainder of a division by zero",
        )),
        (Value::Int(left), Value::Int(right)) => left.checked_rem(*right).map(Value::Int).ok_or_else(overflow),
        _ => Err(mismatch("%", left, right)),
    }
}

fn concatenate<'a>(left: &Text<'a>, right: &Text<'a>, budget: &mut Budget) -> Outcome<'a> {
    let (left, right) = (left.as_str(), right.as_str());
    budget.allocate(left.len() + right.len())?;
    let mut text = String::with_capacity(left.len() + right.len());
    text.push_str(left);
    text.push_str(right);
    Ok(Value::Text(Text::Owned(text.into())))
}

fn append<'a>(left: &List<'a>, right: &List<'a>, budget: &mut Budget) -> Outcome<'a> {
    let count = left.len() + right.len();
    budget.step(count)?;
    budget.allocate(count * size_of::<Value<'_>>())?;
    let mut elements = Vec::with_capacity(count);
    elements.extend(left.iter());
    elements.extend(right.iter());
    Ok(Value::list(elements))
}

fn numbers(operator: &str, left: &Value<'_>, right: &Value<'_>) -> Result<(Number, Number), EvaluationError> {
    match (Number::of(left), Number::of(right)) {
        (Some(left), Some(right)) => Ok((left, right)),
        _ => Err(mismatch(operator, left, right)),
    }
}

fn compute<'a>(
    left: Number,
    right: Number,
    ints: impl Fn(i64, i64) -> Option<i64>,
    doubles: impl Fn(f64, f64) -> f64,
) -> Outcome<'a> {
    match (left, right) {
        (Number::Int(left), Number::Int(right)) => ints(left, right).map(Value::Int).ok_or_else(overflow),
        (left, right) => Ok(Value::Double(doubles(left.as_double(), right.as_double()))),
    }
}

pub(super) fn overflow() -> EvaluationError {
    EvaluationError::new(Code::Overflow, "the result does not fit into 64 bits")
}

fn mismatch(operator: &str, left: &Value<'_>, right: &Value<'_>) -> EvaluationError {
    let (left, right) = (left.type_name(), right.type_name());
    let hint = if operator == "+" && (left == "string" || right == "string") {
        ": convert with string()"
    } else {
        ""
    };
    EvaluationError::new(
        Code::Type,
        format!("`{operator}` cannot be applied to {left} and {right}{hint}"),
    )
}
