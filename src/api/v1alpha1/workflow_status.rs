//! What a Workflow's status says: a projection of its runs, at most 16 KiB.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::condition::Condition;
use super::present;
use crate::api::schema;

/// What the controller last saw of a Workflow and of its run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowStatus {
    /// The generation that this status speaks of; -1 until somebody has looked at the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::observed_generation")]
    pub observed_generation: Option<i64>,
    /// The hash of what defines the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<64>")]
    pub revision: Option<String>,
    /// The run's sequence number, for information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    /// The run of this revision, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunStatus>,
    /// Runs of this Workflow that the database holds, whoever started them: its own; those of SQL and those of WorkflowRuns, up to
    /// 10,000 of each that go on, and of each that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// The last time of the clock that was due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::instant")]
    pub last_scheduled_at: Option<Time>,
    /// The next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::instant")]
    pub next_scheduled_at: Option<Time>,
    /// One of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// One run, in short.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunStatus {
    /// The run's id.
    #[schemars(schema_with = "schema::text::<36>")]
    pub id: String,
    /// Where it stands.
    pub phase: Phase,
    /// When a worker first took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::instant")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::instant")]
    pub finished_at: Option<Time>,
    /// The oldest open step, and how many more: `approval +2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<{ schema::MAX_STEP_PATH }>")]
    pub step: Option<String>,
    /// What that step waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<512>")]
    pub waiting_for: Option<String>,
    /// Steps that ended, of all: `2/5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<32>")]
    pub progress: Option<String>,
    /// Attempts of the open step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<i64>,
    /// Why the run failed, or why its step is being tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    /// The output of a run that succeeded, up to 4 KiB.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_json")]
    pub output: Option<Value>,
    /// True when the output was too large: `everstep history` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_omitted: Option<bool>,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// No worker has it yet.
    Pending,
    /// A step is being worked on.
    Running,
    /// For a signal or a child.
    Waiting,
    /// For a time.
    Sleeping,
    /// By a failure that waits for a fix.
    Paused,
    /// By an edit that it cannot adopt.
    Blocked,
    /// Its steps are being stopped.
    Cancelling,
    /// What was done is being undone.
    Compensating,
    /// Ended well.
    Succeeded,
    /// Ended by a failure.
    Failed,
    /// Ended by request.
    Cancelled,
    /// Ended by its `timeout`.
    TimedOut,
}

impl Phase {
    /// Whether a run in this phase has ended.
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Pending
            | Self::Running
            | Self::Waiting
            | Self::Sleeping
            | Self::Paused
            | Self::Blocked
            | Self::Cancelling
            | Self::Compensating => false,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut => true,
        }
    }
}

/// A failure, without secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunError {
    /// The step that failed; absent when it was the run itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<{ schema::MAX_STEP_PATH }>")]
    pub step: Option<String>,
    /// A constant.
    #[schemars(schema_with = "schema::text::<128>")]
    pub code: String,
    /// One sentence.
    #[schemars(schema_with = "schema::text::<1024>")]
    pub message: String,
}

/// Runs of a Workflow that the database holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Not ended.
    pub active: i64,
    /// Those of them that make no progress and need a human.
    pub stuck: i64,
    /// Ended well.
    pub succeeded: i64,
    /// Ended otherwise.
    pub failed: i64,
}
