//! What a worker is asked to perform: an action whose values have been evaluated. Not what it means for the run.

use serde_json::{Map, Value};

use super::error::StepError;

/// What an attempt ended with: the action's `result` (api.md, table of actions), or why there is none.
///
/// An HTTP answer of any status is `Ok`: `successWhen` is the engine's to judge.
pub type Outcome = Result<Value, StepError>;

/// One attempt's work, ready to perform. Nothing in it is evaluated again.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// One SQL statement.
    Sql(SqlRequest),
    /// One HTTP request.
    Http(HttpRequest),
    /// Answered at once, for the benchmark.
    #[cfg(feature = "bench")]
    Noop,
}

/// One statement on a postgres Connection.
#[derive(Debug, Clone, PartialEq)]
pub struct SqlRequest {
    /// Name of the Connection in the run's namespace.
    pub connection: String,
    /// The text as the author wrote it; values are never interpolated.
    pub query: String,
    /// Bind parameters, `$1` first.
    pub args: Vec<Value>,
    /// Run in a READ ONLY transaction.
    pub read_only: bool,
    /// What the result must satisfy before the transaction commits.
    pub expect: Option<Expect>,
}

/// Bounds on a statement's number of rows; outside them the transaction is rolled back and the step fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expect {
    /// At least so many rows.
    pub min_rows: Option<u64>,
    /// At most so many rows.
    pub max_rows: Option<u64>,
    /// The `error.code` of the failure; `UnexpectedRowCount` when the author gave none.
    pub code: Option<String>,
}

/// One HTTP request.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpRequest {
    /// Where to.
    pub target: HttpTarget,
    /// Upper-case method.
    pub method: String,
    /// Values for the `{name}` places of the path, percent-encoded by the worker.
    pub path_params: Map<String, Value>,
    /// Query parameters, percent-encoded by the worker; an array repeats its name.
    pub query: Map<String, Value>,
    /// Headers beyond those that the worker sets.
    pub headers: Map<String, Value>,
    /// A JSON body; a string is sent as text/plain when the author's Content-Type header says so, else as JSON.
    pub body: Option<Value>,
    /// The request may be repeated after an unknown outcome: an idempotent method (RFC 9110 §9.2.2), or the author says so.
    pub repeatable: bool,
}

/// The place a request goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpTarget {
    /// `baseUrl` of the Connection, followed by the path template.
    Connection {
        /// Name of the Connection in the run's namespace.
        name: String,
        /// Path template.
        path: String,
    },
    /// An absolute URL template.
    Url(String),
}
