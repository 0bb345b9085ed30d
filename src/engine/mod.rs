//! The model: a run is a log, and it changes in exactly one way.

mod effect;
mod error;
mod event;
mod input;
mod key;
mod origin;
mod phase;
mod request;
mod summary;

pub use effect::Effect;
pub use error::{ErrorKind, StepError};
pub use event::{Event, RunError, StepName};
pub use input::{Input, Mail};
pub use key::{Deed, StepKey};
pub use origin::Origin;
pub use phase::{Phase, RunResult};
pub use request::{Expect, HttpRequest, HttpTarget, Outcome, Request, SqlRequest};
pub use summary::{Summary, SummaryError};
