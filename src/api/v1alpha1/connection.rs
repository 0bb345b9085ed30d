//! `Connection`: a database or an HTTP API, with credentials from a Secret of the same namespace.

use std::collections::BTreeMap;

use kube::CustomResource;
use kube::core::Rule;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::condition::Condition;
use crate::api::schema;

/// A database or an HTTP API: exactly one of `postgres` and `http`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "everstep.dev",
    version = "v1alpha1",
    kind = "Connection",
    plural = "connections",
    shortname = "econn",
    category = "everstep",
    namespaced,
    status = "ConnectionStatus",
    derive = "PartialEq",
    doc = "A database or an HTTP API, with credentials from a Secret in the same namespace.",
    printcolumn = r#"{"name":"Kind","type":"string","jsonPath":".status.kind"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("has(self.postgres) != has(self.http)").message("a Connection has exactly one of postgres and http"),
]))]
pub struct ConnectionSpec {
    /// A PostgreSQL database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
    /// An HTTP API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpServer>,
    /// How much of it each worker may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// A PostgreSQL database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Postgres {
    /// Where its URL is kept, login included.
    pub url_from: SecretSource,
}

/// An HTTP API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpServer {
    /// http or https, without user, query and fragment; a request goes to `baseUrl` + `path`.
    #[schemars(schema_with = "schema::base_url")]
    pub base_url: String,
    /// Credentials for every request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// Headers of every request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::headers")]
    pub headers: Option<BTreeMap<String, String>>,
    /// What to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// Credentials: exactly one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    Rule::new("[has(self.bearer), has(self.basic), has(self.header)].filter(given, given).size() == 1")
        .message("auth has exactly one of bearer, basic and header"),
]))]
pub struct Auth {
    /// `Authorization: Bearer`, with this token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer: Option<SecretSource>,
    /// `Authorization: Basic`; the Secret holds `user:password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<SecretSource>,
    /// A header of another name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<Header>,
}

/// A header whose value is a secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The header's name.
    #[schemars(schema_with = "schema::header_name")]
    pub name: String,
    /// Where its value is kept.
    pub secret_key_ref: SecretKey,
}

/// What to trust in TLS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Certificates of authorities, PEM, instead of the public ones.
    pub ca_from: SecretSource,
}

/// Where a secret value is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretSource {
    /// A key of a Secret.
    pub secret_key_ref: SecretKey,
}

/// A key of a Secret in the Connection's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(schema_with = "schema::object_name")]
    pub name: String,
    /// The key.
    #[schemars(schema_with = "schema::secret_key")]
    pub key: String,
}

/// How much of the other side may be used.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Connections at once, for each worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer::<1, 10_000>")]
    pub max_connections: Option<i64>,
    /// Requests in a second, for each worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::integer::<1, 1_000_000>")]
    pub requests_per_second: Option<i64>,
}

/// What the last worker found that used or checked the Connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionStatus {
    /// The generation that this status speaks of; -1 until somebody has looked at the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::observed_generation")]
    pub observed_generation: Option<i64>,
    /// What the Connection leads to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ConnectionKind>,
    /// One of each type.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// What a Connection leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionKind {
    /// A PostgreSQL database.
    Postgres,
    /// An HTTP API.
    Http,
}
