//! What went wrong in an attempt of a step, as users and journals see it. Not for errors of the engine itself.

use serde::{Deserialize, Serialize};

/// The class of a failure: what `error.kind` is in expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The attempt ran past its `timeout`.
    Timeout,
    /// No connection: refused, unresolvable, TLS, a missing or unready Connection.
    Connect,
    /// An HTTP answer that `successWhen` (default 2xx) does not accept.
    Status,
    /// The database answered with an error; `code` is the SQLSTATE.
    Sql,
    /// The effect may or may not have happened, and repeating it is not known to be safe.
    Ambiguous,
    /// Not allowed: egress policy, reserved header, unsupported type.
    Refused,
    /// The answer is not what the step expects (`expect`, size, `fail`).
    Expectation,
    /// An expression of the step failed.
    Expression,
    /// The step's workers died, ten in a row.
    WorkerLost,
}

impl ErrorKind {
    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "Timeout",
            Self::Connect => "Connect",
            Self::Status => "Status",
            Self::Sql => "Sql",
            Self::Ambiguous => "Ambiguous",
            Self::Refused => "Refused",
            Self::Expectation => "Expectation",
            Self::Expression => "Expression",
            Self::WorkerLost => "WorkerLost",
        }
    }
}

/// A failed attempt, or a failed step, or why a run failed. Stored in journals, so fields are only ever added.
///
/// `message` is at most [`StepError::MAX_MESSAGE`] bytes and never holds a secret, a payload or an SQL parameter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// The class.
    pub kind: ErrorKind,
    /// A CamelCase or upper-case constant: the SQLSTATE, `expect.code`, `fail.code`, `ExpressionBudget`, …
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// The HTTP status; 0 without an answer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub status: u16,
}

impl StepError {
    /// The longest message that is kept, in bytes.
    pub const MAX_MESSAGE: usize = 1024;

    /// An error without an HTTP status; an over-long message is cut at a character boundary.
    pub fn new(kind: ErrorKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > Self::MAX_MESSAGE {
            let end = (0..=Self::MAX_MESSAGE)
                .rev()
                .find(|&i| message.is_char_boundary(i))
                .unwrap_or(0);
            message.truncate(end);
        }
        Self {
            kind,
            code: code.into(),
            message,
            status: 0,
        }
    }

    /// The same error with the HTTP status of the answer.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

impl std::fmt::Display for StepError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(status: &u16) -> bool {
    *status == 0
}
