//! `WorkflowRun`: one explicit run, of a Workflow or of an inline definition.

use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::condition::Condition;
use super::workflow::{DeletionPolicy, Readiness, WorkflowSpec};
use super::workflow_status::RunStatus;
use crate::api::schema;

/// One explicit run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "everstep.dev",
    version = "v1alpha1",
    kind = "WorkflowRun",
    plural = "workflowruns",
    shortname = "erun",
    category = "everstep",
    namespaced,
    status = "WorkflowRunStatus",
    derive = "PartialEq",
    doc = "One explicit run of a Workflow, or of an inline one.",
    printcolumn = r#"{"name":"Workflow","type":"string","jsonPath":".spec.workflowRef.name"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Step","type":"string","jsonPath":".status.run.step"}"#,
    printcolumn = r#"{"name":"Waiting","type":"string","jsonPath":".status.run.waitingFor"}"#,
    printcolumn = r#"{"name":"Progress","type":"string","jsonPath":".status.run.progress"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[schemars(extend("x-kubernetes-validations" = rules()))]
pub struct WorkflowRunSpec {
    /// The Workflow whose definition is run. With `retryOf` neither this nor `workflow` is needed: then it is the definition
    /// of the earlier run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_ref: Option<WorkflowRef>,
    /// A definition of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowSpec>,
    /// A JSON object of any content, up to 256 KiB: the run's input; when absent that of the definition, or of the run that `retryOf` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::named_free_object")]
    pub input: Option<Map<String, Value>>,
    /// With a key: one run for (namespace, Workflow, key), whatever object asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::non_empty::<253>")]
    pub idempotency_key: Option<String>,
    /// When `Ready` turns True; `Completed` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
    /// What deleting the object does to its run; `Background` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// How long after its end the object is deleted; never when absent, nor while GitOps or Helm tracks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub ttl_after_finished: Option<String>,
    /// What the run is to do; `Running` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_state: Option<DesiredState>,
    /// An earlier run that has ended, and that this one does again from a step on. What the steps above it did is taken over,
    /// with their outputs, and not done again; it is undone if this run does not succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<RetryOf>,
}

/// A Workflow in the same namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowRef {
    /// Its name.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
}

/// What a run is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DesiredState {
    /// Go on.
    Running,
    /// Begin no new step and no new attempt; running attempts finish.
    Paused,
    /// End, and undo what was done. Final.
    Cancelled,
    /// End, and undo nothing. Final.
    Terminated,
}

/// An earlier run that is done again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryOf {
    /// Name of its WorkflowRun.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// The first step of the list `steps` that is done again: of those above it the recorded outputs are used. When absent,
    /// the first one that did not go through, or that was undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::name")]
    pub from_step: Option<String>,
}

/// What the controller last saw of a WorkflowRun and of its run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowRunStatus {
    /// The generation that this status speaks of; -1 until somebody has looked at the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::observed_generation")]
    pub observed_generation: Option<i64>,
    /// The hash of the definition that it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<64>")]
    pub revision: Option<String>,
    /// The run's sequence number, for information.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<i64>,
    /// The run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunStatus>,
    /// One of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// Everything but `desiredState` and `ttlAfterFinished` stays as it was created, absent fields too.
fn rules() -> Vec<Rule> {
    const IMMUTABLE: [&str; 7] = [
        "workflowRef",
        "workflow",
        "input",
        "idempotencyKey",
        "readiness",
        "deletionPolicy",
        "retryOf",
    ];
    let same = IMMUTABLE.map(|field| {
        let rule = format!(
            "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
        );
        Rule::new(rule).message(&*format!("{field} never changes; create another WorkflowRun"))
    });
    let definition = Rule::new(
        "has(self.workflowRef) != has(self.workflow) || \
         (has(self.retryOf) && !has(self.workflowRef) && !has(self.workflow))",
    )
    .message("a WorkflowRun has exactly one of workflowRef and workflow; neither is needed with retryOf");
    let last = Rule::new(
        "!has(oldSelf.desiredState) || !(oldSelf.desiredState in ['Cancelled', 'Terminated']) || \
         (has(self.desiredState) && self.desiredState == oldSelf.desiredState)",
    )
    .message("desiredState Cancelled and Terminated are final");
    [definition, last].into_iter().chain(same).collect()
}
