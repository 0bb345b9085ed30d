//! The actions that hold steps: `parallel`, `race`, `forEach`, `repeat`. They hold leaf steps only, because
//! a structural schema cannot recurse; deeper nesting goes through `spec.blocks` and `call`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::action::{Call, Fail, Http, Job, Sleep, Sql, WaitForSignal};
use super::step::LeafStep;
use crate::api::schema;

/// The one action of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// One statement on a postgres Connection.
    Sql(Sql),
    /// One request to an HTTP API.
    Http(Http),
    /// One Kubernetes Job.
    Job(Job),
    /// Waits, durably.
    Sleep(Sleep),
    /// Waits for a signal.
    WaitForSignal(WaitForSignal),
    /// Computes values; they are the step's output.
    Set(#[schemars(schema_with = "schema::free_map")] Map<String, Value>),
    /// Ends the run as failed.
    Fail(Fail),
    /// Runs another Workflow, or a block of this one.
    Call(Call),
    /// Branches that all must succeed.
    Parallel(Parallel),
    /// Branches of which the first to succeed wins; the others are cancelled and undone.
    Race(Race),
    /// The same steps for each item of a list.
    ForEach(ForEach),
    /// The same steps until a condition holds.
    Repeat(Repeat),
}

/// Branches that all must succeed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Parallel {
    /// The branches.
    #[schemars(schema_with = "schema::list::<Branch, 1, { schema::MAX_STEPS }>")]
    pub branches: Vec<Branch>,
    /// Whether the first failure cancels the other branches; true when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_fast: Option<bool>,
}

/// Branches of which the first to succeed wins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Race {
    /// The branches.
    #[schemars(schema_with = "schema::list::<Branch, 1, { schema::MAX_STEPS }>")]
    pub branches: Vec<Branch>,
}

/// A named list of steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Branch {
    /// Its name in the output.
    #[schemars(schema_with = "schema::name")]
    pub name: String,
    /// Its steps.
    #[schemars(schema_with = "schema::list::<LeafStep, 1, { schema::MAX_STEPS }>")]
    pub steps: Vec<LeafStep>,
}

/// The same steps for each item of a list of up to 100,000.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ForEach {
    /// CEL: the list.
    #[schemars(schema_with = "schema::expression")]
    pub items: String,
    /// Items at once; 20 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer::<1, 100_000>")]
    pub concurrency: Option<i64>,
    /// What a failed item means; `FailFast` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_item_failure: Option<OnItemFailure>,
    /// How many failed items the step bears.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerate: Option<Tolerate>,
    /// The steps for an item.
    #[schemars(schema_with = "schema::list::<LeafStep, 1, { schema::MAX_STEPS }>")]
    pub steps: Vec<LeafStep>,
}

/// What a failed item means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnItemFailure {
    /// The others are cancelled.
    FailFast,
    /// The others go on.
    Continue,
}

/// Failed items that do not fail the step: a count or a percentage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["count"]}, {"required": ["percent"]}]))]
pub struct Tolerate {
    /// So many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer::<0, 100_000>")]
    pub count: Option<i64>,
    /// So many of a hundred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer::<0, 100>")]
    pub percent: Option<i64>,
}

/// The same steps `until` a condition holds, or `while` it does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["until"]}, {"required": ["while"]}]))]
pub struct Repeat {
    /// The steps of an iteration.
    #[schemars(schema_with = "schema::list::<LeafStep, 1, { schema::MAX_STEPS }>")]
    pub steps: Vec<LeafStep>,
    /// CEL, after an iteration: true ends the loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::expression")]
    pub until: Option<String>,
    /// CEL, after an iteration: false ends the loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::expression")]
    pub r#while: Option<String>,
    /// The pause between two iterations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub every: Option<String>,
    /// Reaching it fails the step; 1000 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer::<1, 1_000_000>")]
    pub max_iterations: Option<i64>,
}
