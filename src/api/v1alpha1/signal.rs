//! `Signal`: one signal to a run. Its spec never changes; what became of it is in the conditions.

use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::condition::Condition;
use crate::api::schema;

/// One signal to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "everstep.dev",
    version = "v1alpha1",
    kind = "Signal",
    plural = "signals",
    shortname = "esig",
    category = "everstep",
    namespaced,
    status = "SignalStatus",
    derive = "PartialEq",
    doc = "One signal to a run: buffered until a step waits for it, consumed at most once.",
    printcolumn = r#"{"name":"Target","type":"string","jsonPath":".spec.target['workflow','run']"}"#,
    printcolumn = r#"{"name":"Signal","type":"string","jsonPath":".spec.signal"}"#,
    printcolumn = r#"{"name":"By","type":"string","jsonPath":".spec.by"}"#,
    printcolumn = r#"{"name":"Stored","type":"string","jsonPath":".status.conditions[?(@.type=='Stored')].status"}"#,
    printcolumn = r#"{"name":"Consumed","type":"string","jsonPath":".status.conditions[?(@.type=='Consumed')].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("self == oldSelf").message("a Signal never changes; create another one"),
]))]
pub struct SignalSpec {
    /// The run that it is for.
    pub target: SignalTarget,
    /// What the step that waits for it names.
    #[schemars(schema_with = "schema::non_empty::<253>")]
    pub signal: String,
    /// A JSON object of any content, up to 64 KiB: `output.payload` of the step that waits for it; empty when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_object")]
    pub payload: Option<Map<String, Value>>,
    /// Who says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::non_empty::<253>")]
    pub by: Option<String>,
    /// One signal of a run for each key; the UID when absent, so that each object is a signal of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::non_empty::<253>")]
    pub dedup_key: Option<String>,
    /// How long a target that is not there yet is looked for; 24h when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub expires_after: Option<String>,
    /// How long after its end the object is deleted; never when absent, nor while GitOps or Helm tracks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub ttl_after_finished: Option<String>,
}

/// The run that a signal is for: by its Workflow, by its WorkflowRun, or by the key that it was started with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("has(self.workflow) != has(self.run)").message("a target has exactly one of workflow and run"),
    Rule::new("!has(self.key) || has(self.workflow)").message("a key needs the workflow that the run was started of"),
]))]
pub struct SignalTarget {
    /// Name of a Workflow: its current run, or the one that was started with `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub workflow: Option<String>,
    /// Name of a WorkflowRun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub run: Option<String>,
    /// The key that the run was started with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::non_empty::<253>")]
    pub key: Option<String>,
}

/// What became of a Signal.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignalStatus {
    /// The generation that this status speaks of; -1 until somebody has looked at the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::observed_generation")]
    pub observed_generation: Option<i64>,
    /// Id of the run that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<36>")]
    pub run: Option<String>,
    /// The step that consumed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<{ schema::MAX_STEP_PATH }>")]
    pub step: Option<String>,
    /// One of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}
