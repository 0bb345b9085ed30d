//! Version `v1alpha1`: the kinds `Workflow` and `Connection`.
//!
//! An optional field that is absent stays absent: a manifest that was read and written again is the same manifest.

mod action;
mod block;
pub mod condition;
mod connection;
mod step;
mod workflow;
mod workflow_status;

pub use action::{Call, Expect, Fail, Http, Job, LeafAction, Method, OnTimeout, Resources, Sleep, Sql, WaitForSignal};
pub use block::{Action, Branch, ForEach, OnItemFailure, Parallel, Race, Repeat, Tolerate};
pub use condition::{Condition, ConditionStatus, ConditionType};
pub use connection::{
    Auth, Connection, ConnectionKind, ConnectionSpec, ConnectionStatus, Header, HttpServer, Limits, Postgres,
    SecretKey, SecretSource, Tls,
};
pub use step::{Backoff, Compensation, LeafStep, Retry, Step};
pub use workflow::{
    Block, Concurrency, ConcurrencyPolicy, DeletionPolicy, Missed, OnChange, OnFailure, Param, ParamType, Readiness,
    Retention, Schedule, Start, Workflow, WorkflowSpec,
};
pub use workflow_status::{Counts, Phase, RunError, RunStatus, WorkflowStatus};
