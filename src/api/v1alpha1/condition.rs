//! Conditions: what `kubectl wait`, Helm, Flux and Argo CD see. The words only; who sets them is the controller.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::schema;

// The docs of fields are what `kubectl explain` prints, so they link to nothing.

/// A `metav1.Condition` with a closed set of types.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What it speaks of.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// The generation that it was judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When `status` last changed.
    #[schemars(schema_with = "schema::instant")]
    pub last_transition_time: Time,
    /// A CamelCase constant.
    #[schemars(schema_with = "schema::reason")]
    pub reason: String,
    /// For people; maybe empty.
    #[schemars(schema_with = "schema::text::<{ Condition::MAX_MESSAGE as u32 }>")]
    pub message: String,
}

impl Condition {
    /// The longest `message`, in bytes, that the API server takes. The reason is one of [`reason`], or a phase.
    pub const MAX_MESSAGE: usize = 4096;
}

/// What a condition speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ConditionType {
    /// The spec is valid and in the database.
    Accepted,
    /// The run's result.
    Succeeded,
    /// What health checks look at.
    Ready,
    /// The run has ended, whatever its result.
    Finished,
    /// The run waits for a signal or a time.
    Waiting,
    /// Progress is on its way; only while True, never beside `Stalled`.
    Reconciling,
    /// Nothing moves without a human; only while True, never beside `Reconciling`.
    Stalled,
    /// A run does not move though it should, or stands still until a person acts; only while True. Health does not follow it.
    Stuck,
    /// `suspend` is true.
    Suspended,
    /// The result of the last run of a Workflow that starts on demand or by schedule.
    LastRunSucceeded,
    /// The signal lies in the inbox of its run.
    Stored,
    /// A step has taken the signal.
    Consumed,
}

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the three values that Kubernetes has")]
pub enum ConditionStatus {
    True,
    False,
    Unknown,
}

/// Reasons that are not a run's phase.
pub mod reason {
    /// The spec was accepted.
    pub const ACCEPTED: &str = "Accepted";
    /// The spec cannot be run; the message says what is wrong and where.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The database cannot be reached.
    pub const STORE_UNAVAILABLE: &str = "StoreUnavailable";
    /// A definition that waits for somebody to start a run.
    pub const REGISTERED: &str = "Registered";
    /// `suspend` is true.
    pub const SUSPENDED: &str = "Suspended";
    /// The run waits for a signal.
    pub const WAITING_FOR_SIGNAL: &str = "WaitingForSignal";
    /// The run cannot adopt the edit: a step that has begun differs.
    pub const CONTRACT_CHANGED: &str = "ContractChanged";
    /// A compensation failed for good.
    pub const COMPENSATION_FAILED: &str = "CompensationFailed";
    /// The Workflow that is to be run is not there yet.
    pub const WORKFLOW_NOT_FOUND: &str = "WorkflowNotFound";
    /// The Workflow that is to be run cannot be run.
    pub const WORKFLOW_INVALID: &str = "WorkflowInvalid";
    /// The WorkflowRun that is to be retried has started no run yet.
    pub const RUN_NOT_FOUND: &str = "RunNotFound";
    /// The run that is to be retried has not ended.
    pub const RUN_NOT_ENDED: &str = "RunNotEnded";
    /// What the run that is to be retried did is not kept any more.
    pub const RUN_FORGOTTEN: &str = "RunForgotten";
    /// The history of the run that is to be retried is too large.
    pub const HISTORY_TOO_LARGE: &str = "HistoryTooLarge";
    /// Another run has taken over what the run did that is to be retried.
    pub const ALREADY_RETRIED: &str = "AlreadyRetried";
    /// The signal is in the inbox of its run.
    pub const STORED: &str = "Stored";
    /// A step has taken the signal.
    pub const CONSUMED: &str = "Consumed";
    /// No step has waited for the signal yet.
    pub const BUFFERED: &str = "Buffered";
    /// The run ended, and no step had waited for the signal.
    pub const UNDELIVERED: &str = "Undelivered";
    /// The run was removed before its signal showed what became of it.
    pub const FORGOTTEN: &str = "Forgotten";
    /// The run has a signal with this dedup key from another source.
    pub const DUPLICATE: &str = "Duplicate";
    /// There is no such run.
    pub const TARGET_NOT_FOUND: &str = "TargetNotFound";
    /// The run is over.
    pub const REJECTED: &str = "Rejected";
    /// No worker has looked at the Connection yet.
    pub const NOT_CHECKED: &str = "NotChecked";
}
