//! A step: its name, its place in the order, how it is tried, and its one action.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::action::LeafAction;
use super::block::Action;
use crate::api::schema;

/// A step inside `parallel`, `race`, `forEach` or `repeat`.
pub type LeafStep = Step<LeafAction>;

/// One step of a list. Exactly one action: `oneOf` of `required`, because the API server refuses the cost of a CEL
/// rule inside a list of steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step<A = Action> {
    /// Unique in the Workflow; a CEL identifier.
    #[schemars(schema_with = "schema::name")]
    pub name: String,
    /// CEL: the step is skipped when false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::expression")]
    pub when: Option<String>,
    /// The steps that come first, instead of the one above; none when empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::names")]
    pub needs: Option<Vec<String>>,
    /// How a failed attempt is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// The longest attempt; 60s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub timeout: Option<String>,
    /// A value with `result` in scope: the step's output; the result when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_json")]
    pub output: Option<Value>,
    /// Whether the run goes on after a failure of this step; false when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continue_on_error: Option<bool>,
    /// What undoes the step when the run fails later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compensate: Option<Compensation>,
    /// What the step does.
    #[serde(flatten)]
    pub action: A,
}

/// How a failed attempt is repeated. Fields that are absent come from the spec, then from the defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// All attempts, the first one included; 5 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer::<1, 100_000>")]
    pub max_attempts: Option<i64>,
    /// How long to wait between attempts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<Backoff>,
    /// CEL with `error` in scope: whether to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::expression")]
    pub when: Option<String>,
}

/// The pauses between attempts: `initial`, then `factor` times the last one, at most `max`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backoff {
    /// 1s by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub initial: Option<String>,
    /// 2 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub factor: Option<f64>,
    /// 1m by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub max: Option<String>,
    /// The part of a pause that is random; 0.2 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1))]
    pub jitter: Option<f64>,
}

/// What undoes a step: one action, tried as the step is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Compensation {
    /// How a failed attempt is repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// The longest attempt; 60s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub timeout: Option<String>,
    /// What undoes the step.
    #[serde(flatten)]
    pub action: LeafAction,
}
