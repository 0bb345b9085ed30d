//! Version `v1alpha1`: the kinds `Workflow`, `WorkflowRun`, `Signal` and `Connection`.
//!
//! An optional field that is absent stays absent: a manifest that was read and written again is the same manifest.

mod action;
mod block;
pub mod condition;
mod connection;
mod signal;
mod step;
mod workflow;
mod workflow_run;
mod workflow_status;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

pub use action::{Call, Expect, Fail, Http, Job, LeafAction, Method, OnTimeout, Resources, Sleep, Sql, WaitForSignal};
pub use block::{Action, Branch, ForEach, OnItemFailure, Parallel, Race, Repeat, Tolerate};
pub use condition::{Condition, ConditionStatus, ConditionType};
pub use connection::{
    Auth, Connection, ConnectionKind, ConnectionSpec, ConnectionStatus, Header, HttpServer, Limits, Postgres,
    SecretKey, SecretSource, Tls,
};
pub use signal::{Signal, SignalSpec, SignalStatus, SignalTarget};
pub use step::{Backoff, Compensation, LeafStep, Retry, Step};
pub use workflow::{
    Block, Concurrency, ConcurrencyPolicy, DeletionPolicy, Missed, OnChange, OnFailure, Param, ParamType, Readiness,
    Retention, Schedule, Start, Workflow, WorkflowSpec,
};
pub use workflow_run::{DesiredState, RetryOf, WorkflowRef, WorkflowRun, WorkflowRunSpec, WorkflowRunStatus};
pub use workflow_status::{Counts, Phase, RunError, RunStatus, WorkflowStatus};

/// Reads free JSON that is there, null included: `output: null` is not the absence of an output.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Action, Connection, LeafAction, Step, Workflow, WorkflowStatus};

    #[test]
    fn manifest_survives_a_round_trip_unchanged() {
        let everything = json!({
            "apiVersion": "everstep.dev/v1alpha1",
            "kind": "Workflow",
            "metadata": {"name": "everything"},
            "spec": {
                "input": {"big": 1e300, "none": null},
                "params": [{"name": "n", "type": "integer", "required": true, "minimum": 1}],
                "retry": {"backoff": {"factor": 2, "jitter": 0.25}},
                "steps": [
                    {"name": "a", "needs": [], "set": {"x": null}, "output": null},
                    {"name": "b", "sleep": {"for": "1s"}, "compensate": {"fail": {"code": "X"}, "timeout": "1s"}},
                    {"name": "c", "job": {"image": "i", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}},
                    {"name": "d", "repeat": {"while": "true", "steps": [{"name": "e", "call": {"block": "f"}}]}},
                ],
            },
        });
        let parsed: Workflow = serde_json::from_value(everything.clone()).unwrap();
        assert_eq!(serde_json::to_value(&parsed).unwrap(), everything);

        let connection = json!({
            "apiVersion": "everstep.dev/v1alpha1",
            "kind": "Connection",
            "metadata": {"name": "c"},
            "spec": {"http": {"baseUrl": "http://h", "auth": {"header": {
                "name": "X-Key", "secretKeyRef": {"name": "s", "key": "k"},
            }}}},
        });
        let parsed: Connection = serde_json::from_value(connection.clone()).unwrap();
        assert_eq!(serde_json::to_value(&parsed).unwrap(), connection);
    }

    #[test]
    fn action_is_told_by_its_field() {
        let step: Step = serde_json::from_value(json!({"name": "a", "waitForSignal": {"signal": "go"}})).unwrap();
        assert!(matches!(step.action, Action::WaitForSignal(wait) if wait.signal == "go"));

        let nested = json!({"name": "a", "race": {"branches": []}});
        assert!(serde_json::from_value::<Step>(nested.clone()).is_ok());
        assert!(
            serde_json::from_value::<Step<LeafAction>>(nested).is_err(),
            "blocks do not nest"
        );
        assert!(
            serde_json::from_value::<Step>(json!({"name": "a"})).is_err(),
            "a step does something"
        );
    }

    #[test]
    fn empty_status_writes_nothing() {
        assert_eq!(serde_json::to_value(WorkflowStatus::default()).unwrap(), json!({}));
    }
}
