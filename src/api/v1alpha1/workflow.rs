//! `Workflow`: what to do, and when it starts. The status is in `workflow_status`.

use std::collections::BTreeMap;

use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::step::{Retry, Step};
use super::workflow_status::WorkflowStatus;
use crate::api::schema;

/// What to do, and when it starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "everstep.dev",
    version = "v1alpha1",
    kind = "Workflow",
    plural = "workflows",
    shortname = "ewf",
    category = "everstep",
    namespaced,
    status = "WorkflowStatus",
    derive = "PartialEq",
    doc = "A durable workflow: what to do, and when it starts.",
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Step","type":"string","jsonPath":".status.run.step"}"#,
    printcolumn = r#"{"name":"Waiting","type":"string","jsonPath":".status.run.waitingFor"}"#,
    printcolumn = r#"{"name":"Progress","type":"string","jsonPath":".status.run.progress"}"#,
    printcolumn = r#"{"name":"Stuck","type":"integer","jsonPath":".status.counts.stuck"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".status.revision","priority":1}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].message","priority":1}"#,
    printcolumn = r#"{"name":"Schedule","type":"string","jsonPath":".spec.schedules[0].cron","priority":1}"#,
    printcolumn = r#"{"name":"Next","type":"string","jsonPath":".status.nextScheduledAt","priority":1}"#
)]
pub struct WorkflowSpec {
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<4096>")]
    pub description: Option<String>,
    /// What starts a run by itself; `OnApply` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<Start>,
    /// Free JSON, up to 256 KiB: the default input of every run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_json")]
    pub input: Option<Value>,
    /// What an input must look like; checked before a run is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::list::<Param, 0, 100>")]
    pub params: Option<Vec<Param>>,
    /// The longest run; no limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub timeout: Option<String>,
    /// How failed attempts of all steps are repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What a failed step means; `Compensate` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// What an edit does to the run in flight; `Adopt` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_change: Option<OnChange>,
    /// How many runs may go on at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// When runs start by the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::list::<Schedule, 0, 50>")]
    pub schedules: Option<Vec<Schedule>>,
    /// How late a scheduled run may still start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub starting_deadline: Option<String>,
    /// Which of the scheduled times that were missed start a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
    /// The most runs that `missed: All` starts; 24 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer::<1, 10_000>")]
    pub max_catch_up: Option<i64>,
    /// The steps, in order; `needs` makes them a graph.
    #[schemars(schema_with = "schema::list::<Step, 1, { schema::MAX_STEPS }>")]
    pub steps: Vec<Step>,
    /// Named lists of steps, for `call`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::blocks")]
    pub blocks: Option<BTreeMap<String, Block>>,
    /// Steps that always run at the end; they cannot change the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::list::<Step, 0, { schema::MAX_STEPS }>")]
    pub finally: Option<Vec<Step>>,
    /// A value: the run's output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_json")]
    pub output: Option<Value>,
    /// When `Ready` turns True; `Completed` when absent and `start` is OnApply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
    /// What deleting the object does to its runs; `Background` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// How long finished runs are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// No new step begins while true; running attempts finish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// With a key: one run for (namespace, name, key), even after the object was deleted and created again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::text::<253>")]
    pub idempotency_key: Option<String>,
}

/// What starts a run by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Start {
    /// Applying: one run for each revision.
    OnApply,
    /// Nothing but a run object, a schedule, SQL or the command line.
    OnDemand,
}

/// A property of the input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("!has(self.minimum) || (has(self.type) && self.type in ['integer', 'number'])")
        .message("minimum needs type integer or number"),
]))]
pub struct Param {
    /// The property's name.
    #[schemars(schema_with = "schema::name")]
    pub name: String,
    /// Its JSON type; any when absent.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ParamType>,
    /// Whether an input without it is refused; false when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub required: Option<bool>,
    /// The least number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
}

/// A JSON type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the types of JSON Schema")]
pub enum ParamType {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Object,
}

/// What a step that failed for good means for the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// What was done is undone, newest first; then the run fails.
    Compensate,
    /// The run parks until somebody fixes it.
    Pause,
}

/// What an edit does to the run in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnChange {
    /// The run goes on under the new definition, if every step that has begun is unchanged.
    Adopt,
    /// The run ends under its own definition; then the new one starts.
    Finish,
    /// The run is cancelled and undone; then the new one starts.
    Replace,
}

/// How many runs may go on at once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Concurrency {
    /// A value: runs with the same key count together; all runs of the Workflow when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dynamic_text")]
    pub key: Option<String>,
    /// How many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer::<1, 100_000>")]
    pub limit: Option<i64>,
    /// What happens to a run too many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<ConcurrencyPolicy>,
}

/// What happens to a run too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConcurrencyPolicy {
    /// It waits.
    Queue,
    /// It does not start.
    Forbid,
    /// It starts, and the oldest one is cancelled.
    Replace,
}

/// A time of the clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Five fields: minute, hour, day of month, month, day of week.
    #[schemars(schema_with = "schema::non_empty::<256>")]
    pub cron: String,
    /// An IANA time zone; UTC when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::non_empty::<64>")]
    pub timezone: Option<String>,
}

/// Which of the scheduled times that were missed start a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Missed {
    /// The last one.
    Last,
    /// None of them.
    None,
    /// All of them, up to `maxCatchUp`.
    All,
}

/// A named list of steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// The steps, in order; `needs` makes them a graph.
    #[schemars(schema_with = "schema::list::<Step, 1, { schema::MAX_STEPS }>")]
    pub steps: Vec<Step>,
}

/// When `Ready` turns True.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Readiness {
    /// As soon as the definition is accepted.
    Accepted,
    /// When the run has succeeded.
    Completed,
}

/// What deleting the object does to its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They are cancelled and undone after the object is gone.
    Background,
    /// A finalizer holds the object until they are cancelled and undone.
    Foreground,
    /// They finish.
    Orphan,
}

/// How long finished runs are kept in the database.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retention {
    /// Those that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub succeeded: Option<String>,
    /// The others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub failed: Option<String>,
}
