//! The model: a run is a log, and it changes in exactly one way.

mod error;
mod request;

pub use error::{ErrorKind, StepError};
pub use request::{Expect, HttpRequest, HttpTarget, Outcome, Request, SqlRequest};
