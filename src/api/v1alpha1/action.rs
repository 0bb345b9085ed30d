//! What a step does when it is a leaf: the actions that hold no other steps.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::schema;

/// The one action of a leaf step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum LeafAction {
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
    /// Ends the run, or the branch, as failed.
    Fail(Fail),
    /// Runs another Workflow, or a block of this one.
    Call(Call),
}

/// One statement on a postgres Connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sql {
    /// Name of the Connection.
    #[schemars(schema_with = "schema::object_name")]
    pub connection: String,
    /// The statement, literally; values go through `args` as $1, $2, …
    #[schemars(schema_with = "schema::non_empty::<65536>")]
    pub query: String,
    /// Bind parameters: values, `$1` first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_list")]
    pub args: Option<Vec<Value>>,
    /// Run in a read-only transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
    /// How many rows are right; another number rolls back and fails the step without a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expect>,
}

/// Bounds on the number of rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Expect {
    /// At least so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer::<0, 1_000_000>")]
    pub min_rows: Option<i64>,
    /// At most so many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer::<0, 1_000_000>")]
    pub max_rows: Option<i64>,
    /// The error code of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::non_empty::<64>")]
    pub code: Option<String>,
}

/// One request, to `connection` and `path` or to a `url`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["connection", "path"]}, {"required": ["url"]}]))]
pub struct Http {
    /// Name of the Connection; the request goes to its `baseUrl` + `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub connection: Option<String>,
    /// GET when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The path; `{name}` is filled in from `pathParams`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::path")]
    pub path: Option<String>,
    /// An absolute URL instead of `connection` and `path`; `{name}` is filled in from `pathParams`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::url")]
    pub url: Option<String>,
    /// Values for the places in `path` or `url`; percent-encoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_map")]
    pub path_params: Option<Map<String, Value>>,
    /// Values of the query; percent-encoded, a list repeats its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_map")]
    pub query: Option<Map<String, Value>>,
    /// Values of request headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_map")]
    pub headers: Option<Map<String, Value>>,
    /// A value, sent as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_json")]
    pub body: Option<Value>,
    /// A CEL condition on `result`; any 2xx status when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::expression")]
    pub success_when: Option<String>,
    /// The server honours Idempotency-Key: the request may be repeated after an unknown outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
}

/// A request's method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[expect(missing_docs, reason = "the methods of RFC 9110")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

/// One Kubernetes Job; all that is not here is fixed, for safety.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// The container image.
    #[schemars(schema_with = "schema::non_empty::<1024>")]
    pub image: String,
    /// Values: the entry point; the image's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_list")]
    pub command: Option<Vec<Value>>,
    /// Values: arguments to the entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_list")]
    pub args: Option<Vec<Value>>,
    /// Values of environment variables, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_map")]
    pub env: Option<Map<String, Value>>,
    /// Compute resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// The account that the pod runs as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub service_account_name: Option<String>,
    /// Mount the account's token; not when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automount_service_account_token: Option<bool>,
}

/// Requests and limits as Kubernetes has them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resources {
    /// What the scheduler reserves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity_map")]
    pub requests: Option<BTreeMap<String, IntOrString>>,
    /// What the container may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::quantity_map")]
    pub limits: Option<BTreeMap<String, IntOrString>>,
}

/// A durable pause: `for` a while or `until` an instant.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["for"]}, {"required": ["until"]}]))]
pub struct Sleep {
    /// How long.
    #[serde(rename = "for", default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub duration: Option<String>,
    /// A value: an instant, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dynamic_text")]
    pub until: Option<String>,
}

/// Waits until a signal of this name comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaitForSignal {
    /// The signal's name.
    #[schemars(schema_with = "schema::non_empty::<253>")]
    pub signal: String,
    /// How long to wait; for ever when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::duration")]
    pub timeout: Option<String>,
    /// What then; `Fail` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<OnTimeout>,
}

/// What a signal that does not come means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnTimeout {
    /// The step fails.
    Fail,
    /// The step ends with status `TimedOut` and the run goes on.
    Continue,
}

/// A failure that the author decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fail {
    /// The error code.
    #[schemars(schema_with = "schema::non_empty::<64>")]
    pub code: String,
    /// A value: what to tell people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::dynamic_text")]
    pub message: Option<String>,
}

/// A child run of a Workflow in this namespace, or a block of this Workflow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["workflow"]}, {"required": ["block"]}]))]
pub struct Call {
    /// Name of the Workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object_name")]
    pub workflow: Option<String>,
    /// A value: the child's input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::free_json")]
    pub input: Option<Value>,
    /// Name of a block in `spec.blocks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::name")]
    pub block: Option<String>,
}
