//! Where Connections and Secrets are read from: the API server, or the files of `everstep dev`. Secrets are read by
//! GET of the one that is named, never by list or watch. Not keeping them.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;
use uuid::Uuid;

use super::Finding;
use super::spec::{self, Connection, SecretKeyRef};
use crate::worker::secret::Secret;

/// The client's own retries can hold a call for minutes; a step cannot wait so long.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The API server's answer to whom it knows and does not let.
const FORBIDDEN: u16 = 403;
const CONNECTION_FORBIDDEN: &str = "ConnectionForbidden";
const SECRET_FORBIDDEN: &str = "SecretForbidden";

/// Where Connections and Secrets are read from.
pub enum Source {
    /// The API server.
    Cluster(kube::Client),
    /// The manifests given to `everstep dev`.
    Files(Manifests),
}

/// Connections and Secrets by namespace and name, as the JSON of their manifests.
#[derive(Default)]
pub struct Manifests {
    connections: HashMap<(String, String), Value>,
    secrets: HashMap<(String, String), Secret<Value>>,
}

impl Manifests {
    /// Adds a Connection; without a UID it gets one that follows from its namespace and name.
    pub fn add_connection(&mut self, namespace: &str, name: &str, object: Value) {
        self.connections.insert((namespace.to_owned(), name.to_owned()), object);
    }

    /// Adds a Secret; `stringData` wins over `data`, as on the API server.
    pub fn add_secret(&mut self, namespace: &str, name: &str, object: Value) {
        self.secrets
            .insert((namespace.to_owned(), name.to_owned()), Secret::new(object));
    }
}

/// Why a Connection cannot be used. Messages are for users and hold no secret.
#[derive(Clone)]
pub(super) enum Problem {
    /// The API server did not answer: what was read before still counts.
    Unavailable(String),
    /// The objects say so: what was read before counts no more.
    Wrong {
        code: &'static str,
        message: String,
        finding: Option<Box<Finding>>,
    },
}

impl Problem {
    /// Whether the worker's account may not read what is needed.
    pub(super) fn is_forbidden(&self) -> bool {
        match self {
            Self::Wrong { code, .. } => [CONNECTION_FORBIDDEN, SECRET_FORBIDDEN].contains(code),
            Self::Unavailable(_) => false,
        }
    }
}

impl Source {
    /// Reads the Connection and every Secret that it names.
    pub(super) async fn read(&self, namespace: &str, name: &str) -> Result<Connection, Problem> {
        let Some(object) = self.connection(namespace, name).await? else {
            let message = format!("Connection {namespace}/{name} does not exist");
            return Err(Problem::Wrong {
                code: "ConnectionNotFound",
                message,
                finding: None,
            });
        };
        let uid = object["metadata"]["uid"].as_str().and_then(|uid| uid.parse().ok());
        let uid = uid.unwrap_or_else(|| uid_of(namespace, name));
        let generation = object["metadata"]["generation"].as_i64().unwrap_or(1);
        let kind = ["postgres", "http"]
            .into_iter()
            .find(|kind| object["spec"][kind].is_object())
            .unwrap_or_default();

        let read = async {
            let draft = spec::parse(&object["spec"]).map_err(|problem| {
                wrong(
                    "ConnectionInvalid",
                    format!("Connection {namespace}/{name} is invalid: {problem}"),
                )
            })?;
            let mut secrets = Vec::new();
            for reference in draft.secrets() {
                secrets.push(self.secret_value(namespace, name, reference).await?);
            }
            draft
                .complete(namespace, name, uid, generation, secrets)
                .map_err(|problem| {
                    wrong(
                        "ConnectionInvalid",
                        format!("Connection {namespace}/{name} is invalid: {problem}"),
                    )
                })
        };
        read.await.map_err(|problem| match problem {
            Problem::Wrong { code, message, .. } => {
                let finding = Finding {
                    uid,
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    generation,
                    kind: kind.to_owned(),
                    ready: false,
                    reason: code.to_owned(),
                    message: message.clone(),
                };
                Problem::Wrong {
                    code,
                    message,
                    finding: Some(Box::new(finding)),
                }
            }
            unavailable @ Problem::Unavailable(_) => unavailable,
        })
    }

    async fn connection(&self, namespace: &str, name: &str) -> Result<Option<Value>, Problem> {
        match self {
            Self::Files(manifests) => Ok(manifests
                .connections
                .get(&(namespace.to_owned(), name.to_owned()))
                .cloned()),
            Self::Cluster(client) => {
                let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("everstep.dev", "v1alpha1", "Connection"));
                get(client, kind, namespace, name).await
            }
        }
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret<Value>>, Problem> {
        match self {
            Self::Files(manifests) => Ok(manifests.secrets.get(&(namespace.to_owned(), name.to_owned())).cloned()),
            Self::Cluster(client) => {
                let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Secret"));
                Ok(get(client, kind, namespace, name).await?.map(Secret::new))
            }
        }
    }

    async fn secret_value(
        &self,
        namespace: &str,
        connection: &str,
        reference: &SecretKeyRef,
    ) -> Result<Secret<Vec<u8>>, Problem> {
        let SecretKeyRef { name, key } = reference;
        let Some(secret) = self.secret(namespace, name).await? else {
            let message = format!("Secret {namespace}/{name}, named by Connection {connection}, does not exist");
            return Err(wrong("SecretNotFound", message));
        };
        let secret = secret.expose();
        if let Some(text) = secret["stringData"][key].as_str() {
            return Ok(Secret::new(text.as_bytes().to_vec()));
        }
        let Some(encoded) = secret["data"][key].as_str() else {
            let message = format!("Secret {namespace}/{name}, named by Connection {connection}, has no key {key}");
            return Err(wrong("SecretKeyMissing", message));
        };
        BASE64.decode(encoded).map(Secret::new).map_err(|_| {
            wrong(
                "SecretInvalid",
                format!("key {key} of Secret {namespace}/{name} is not base64"),
            )
        })
    }
}

async fn get(client: &kube::Client, kind: ApiResource, namespace: &str, name: &str) -> Result<Option<Value>, Problem> {
    let what = format!("{} {namespace}/{name}", kind.kind);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    match tokio::time::timeout(READ_TIMEOUT, api.get_opt(name)).await {
        Ok(Ok(Some(object))) => serde_json::to_value(object)
            .map(Some)
            .map_err(|_| Problem::Unavailable(format!("{what} cannot be read: not JSON"))),
        Ok(Ok(None)) => Ok(None),
        // An answer, and not an outage: nothing but a human changes it.
        Ok(Err(kube::Error::Api(status))) if status.code == FORBIDDEN => Err(forbidden(&kind.kind, &what)),
        Ok(Err(kube::Error::Api(status))) => {
            let message = format!(
                "{what} cannot be read: the API server answered {} {}",
                status.code, status.reason
            );
            Err(Problem::Unavailable(message))
        }
        // The error's text is left out: it may quote what was received.
        Ok(Err(_)) => Err(Problem::Unavailable(format!(
            "{what} cannot be read: the API server cannot be reached"
        ))),
        Err(_) => Err(Problem::Unavailable(format!(
            "{what} cannot be read: the API server does not answer"
        ))),
    }
}

/// The worker's account may not read this.
fn forbidden(kind: &str, what: &str) -> Problem {
    let code = if kind == "Secret" {
        SECRET_FORBIDDEN
    } else {
        CONNECTION_FORBIDDEN
    };
    let message = format!("{what} may not be read by the worker's account: grant it the verb get on this {kind}");
    wrong(code, message)
}

fn wrong(code: &'static str, message: String) -> Problem {
    Problem::Wrong {
        code,
        message,
        finding: None,
    }
}

/// Stable for one manifest, so that `everstep dev` reports one Connection as one.
fn uid_of(namespace: &str, name: &str) -> Uuid {
    let hash = blake3::hash(format!("{namespace}/{name}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn secret_is_taken_from_string_data_or_decoded() {
        let mut manifests = Manifests::default();
        manifests.add_secret(
            "a",
            "s",
            json!({"data": {"x": "aGk=", "y": "aGk=", "z": "%"}, "stringData": {"y": "yo"}}),
        );
        let source = Source::Files(manifests);
        for (key, expected) in [
            ("x", Ok("hi")),
            ("y", Ok("yo")),
            ("z", Err("SecretInvalid")),
            ("w", Err("SecretKeyMissing")),
        ] {
            let reference = SecretKeyRef {
                name: "s".to_owned(),
                key: key.to_owned(),
            };
            let found = match source.secret_value("a", "c", &reference).await {
                Ok(secret) => Ok(String::from_utf8(secret.expose().clone()).unwrap()),
                Err(Problem::Wrong { code, .. }) => Err(code),
                Err(Problem::Unavailable(_)) => Err("Unavailable"),
            };
            assert_eq!(found, expected.map(str::to_owned), "{key}");
        }
    }
}
