//! What can be wrong with an expression: its text ([`SyntaxError`]) or its evaluation ([`EvaluationError`]).

use std::fmt;

/// The text is no expression; found when a definition is accepted, never later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where, in characters from the start of the expression.
    pub offset: usize,
    /// What was expected, for the author of the expression.
    pub message: String,
}

impl SyntaxError {
    pub(super) fn new(offset: usize, message: impl Into<String>) -> Self {
        SyntaxError {
            offset,
            message: message.into(),
        }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}", self.offset, self.message)
    }
}

impl std::error::Error for SyntaxError {}

/// Why an evaluation has no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// A limit on steps, memory or depth was reached; never absorbed by `||`, `&&`, `all` or `exists`.
    Budget,
    /// A variable is not in scope.
    UnknownVariable,
    /// A map has no such key.
    NoSuchKey,
    /// A list or a string has no such position.
    IndexOutOfBounds,
    /// A value has a type that the operation does not take, or that JSON does not have.
    Type,
    /// A number, a time or a duration is out of range.
    Overflow,
    /// An integer was divided by zero.
    DivideByZero,
    /// A text is no number, timestamp or duration, or an argument makes no sense.
    Invalid,
}

impl Code {
    /// The name that users see in a step's error.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::Budget => "ExpressionBudget",
            Code::UnknownVariable => "UnknownVariable",
            Code::NoSuchKey => "NoSuchKey",
            Code::IndexOutOfBounds => "IndexOutOfBounds",
            Code::Type => "Type",
            Code::Overflow => "Overflow",
            Code::DivideByZero => "DivideByZero",
            Code::Invalid => "Invalid",
        }
    }
}

/// The expression has no value for this scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluationError {
    /// The class, for programs.
    pub code: Code,
    /// What happened, for people; bounded in length, and free of values out of the data.
    pub message: String,
}

impl EvaluationError {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        EvaluationError {
            code,
            message: message.into(),
        }
    }

    /// Whether the evaluation must stop here whatever stands around: no operator absorbs it.
    pub(super) fn is_fatal(&self) -> bool {
        self.code == Code::Budget
    }
}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for EvaluationError {}

/// A name as it may stand in a message: short, whatever its length was.
pub(super) fn shown(name: &str) -> String {
    const SHOWN: usize = 64;
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("`{}…`", &name[..end]),
        None => format!("`{name}`"),
    }
}
