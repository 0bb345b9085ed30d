//! A Connection's spec as this worker uses it: parsed, with the values of its Secrets filled in. The one place that
//! knows the spec's shape. Not reading objects.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::Value;
use url::Url;
use uuid::Uuid;

use super::{header, postgres_url};
use crate::worker::secret::Secret;
use crate::worker::tls;

/// A Connection that can be used: nothing is left to look up.
pub(crate) struct Connection {
    pub(crate) uid: Uuid,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) generation: i64,
    pub(crate) kind: Kind,
    pub(crate) limits: Limits,
    /// Changes whenever spec or credentials change: what was opened under another one is not used again.
    pub(crate) fingerprint: [u8; 32],
}

pub(crate) enum Kind {
    Postgres(PostgresConnection),
    Http(HttpConnection),
}

/// One login on one database.
pub(crate) struct PostgresConnection {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Option<Secret<String>>,
    pub(crate) database: String,
    pub(crate) application_name: String,
    /// Verified TLS; `None` is a plain connection, which the guard allows only towards explicitly allowed addresses.
    pub(crate) tls: Option<Arc<rustls::ClientConfig>>,
}

/// One HTTP API.
pub(crate) struct HttpConnection {
    pub(crate) base_url: String,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) auth: Option<HttpAuth>,
    pub(crate) tls: Arc<rustls::ClientConfig>,
}

/// The header that authenticates; its value is marked sensitive.
pub(crate) struct HttpAuth {
    pub(crate) name: HeaderName,
    pub(crate) value: Secret<HeaderValue>,
}

/// `limits` of the spec, for one worker.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) max_connections: Option<u32>,
    pub(crate) requests_per_second: Option<f64>,
}

impl Kind {
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Postgres(_) => "postgres",
            Self::Http(_) => "http",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Spec {
    postgres: Option<PostgresSpec>,
    http: Option<HttpSpec>,
    limits: Option<Limits>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PostgresSpec {
    url_from: SecretSource,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HttpSpec {
    base_url: String,
    auth: Option<AuthSpec>,
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    tls: Option<TlsSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum AuthSpec {
    Bearer(SecretSource),
    Basic(SecretSource),
    Header(HeaderAuth),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HeaderAuth {
    name: String,
    secret_key_ref: SecretKeyRef,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TlsSpec {
    ca_from: Option<SecretSource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SecretSource {
    secret_key_ref: SecretKeyRef,
}

/// One key of a Secret in the Connection's namespace.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretKeyRef {
    pub(super) name: String,
    pub(super) key: String,
}

/// A parsed spec whose Secrets are not read yet.
pub(super) struct Draft {
    spec: Spec,
    /// The spec's text, part of the fingerprint.
    text: String,
}

/// Parses a spec. Errors are sentences for users.
pub(super) fn parse(spec: &Value) -> Result<Draft, String> {
    let parsed = Spec::deserialize(spec).map_err(|error| format!("spec: {error}"))?;
    if parsed.postgres.is_some() == parsed.http.is_some() {
        return Err("spec must have exactly one of postgres and http".to_owned());
    }
    if let Some(limits) = parsed.limits {
        if limits.max_connections == Some(0) {
            return Err("spec.limits.maxConnections must be at least 1".to_owned());
        }
        if limits
            .requests_per_second
            .is_some_and(|rate| !rate.is_finite() || rate <= 0.0)
        {
            return Err("spec.limits.requestsPerSecond must be above 0".to_owned());
        }
    }
    Ok(Draft {
        spec: parsed,
        text: spec.to_string(),
    })
}

impl Draft {
    /// The Secrets that the spec names, in the order in which [`complete`](Self::complete) takes their values.
    pub(super) fn secrets(&self) -> Vec<&SecretKeyRef> {
        let mut references = Vec::new();
        references.extend(
            self.spec
                .postgres
                .as_ref()
                .map(|postgres| &postgres.url_from.secret_key_ref),
        );
        if let Some(http) = &self.spec.http {
            references.extend(http.auth.as_ref().map(|auth| match auth {
                AuthSpec::Bearer(source) | AuthSpec::Basic(source) => &source.secret_key_ref,
                AuthSpec::Header(header) => &header.secret_key_ref,
            }));
            references.extend(
                http.tls
                    .as_ref()
                    .and_then(|tls| tls.ca_from.as_ref())
                    .map(|ca| &ca.secret_key_ref),
            );
        }
        references
    }

    /// Fills in the values of [`secrets`](Self::secrets). Errors are sentences for users, without the values.
    pub(super) fn complete(
        self,
        namespace: &str,
        name: &str,
        uid: Uuid,
        generation: i64,
        secrets: Vec<Secret<Vec<u8>>>,
    ) -> Result<Connection, String> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.text.as_bytes());
        for secret in &secrets {
            hasher.update(&(secret.expose().len() as u64).to_le_bytes());
            hasher.update(secret.expose());
        }
        let mut secrets = secrets.into_iter();
        let kind = match (self.spec.postgres, self.spec.http) {
            (Some(_), _) => Kind::Postgres(postgres_url::parse(&next(&mut secrets)?)?),
            (None, Some(http)) => Kind::Http(http.complete(&mut secrets)?),
            (None, None) => return Err("spec must have exactly one of postgres and http".to_owned()),
        };
        Ok(Connection {
            uid,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            generation,
            kind,
            limits: self.spec.limits.unwrap_or(Limits {
                max_connections: None,
                requests_per_second: None,
            }),
            fingerprint: *hasher.finalize().as_bytes(),
        })
    }
}

impl HttpSpec {
    fn complete(self, secrets: &mut impl Iterator<Item = Secret<Vec<u8>>>) -> Result<HttpConnection, String> {
        let url = Url::parse(&self.base_url).map_err(|error| format!("spec.http.baseUrl: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("spec.http.baseUrl must begin with https:// or http://".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("spec.http.baseUrl must hold no user or password; use spec.http.auth".to_owned());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("spec.http.baseUrl must hold no query and no fragment".to_owned());
        }
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            let path = format!("spec.http.headers.{name}");
            headers.push((
                header::plain_name(&path, name)?,
                header::value(&path, value.as_bytes())?,
            ));
        }
        let auth = match self.auth {
            None => None,
            Some(AuthSpec::Bearer(_)) => {
                let value = [b"Bearer ", trimmed(next(secrets)?.expose())].concat();
                Some(auth(hyper::header::AUTHORIZATION, &value)?)
            }
            Some(AuthSpec::Basic(_)) => {
                let value = format!("Basic {}", BASE64.encode(trimmed(next(secrets)?.expose())));
                Some(auth(hyper::header::AUTHORIZATION, value.as_bytes())?)
            }
            Some(AuthSpec::Header(custom)) => {
                let name = header::credential_name("spec.http.auth.header.name", &custom.name)?;
                Some(auth(name, trimmed(next(secrets)?.expose()))?)
            }
        };
        let authority = match self.tls.and_then(|tls| tls.ca_from) {
            Some(_) => Some(next(secrets)?),
            None => None,
        };
        let mut tls = tls::client_config(authority.as_ref().map(|pem| pem.expose().as_slice()))
            .map_err(|problem| format!("spec.http.tls.caFrom: {problem}"))?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(HttpConnection {
            base_url: self.base_url,
            headers,
            auth,
            tls: Arc::new(tls),
        })
    }
}

fn auth(name: HeaderName, value: &[u8]) -> Result<HttpAuth, String> {
    let mut value = header::value("the Secret of spec.http.auth", value)?;
    value.set_sensitive(true);
    Ok(HttpAuth {
        name,
        value: Secret::new(value),
    })
}

/// Secrets made with an editor end with a newline that nobody means.
pub(super) fn trimmed(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

fn next(secrets: &mut impl Iterator<Item = Secret<Vec<u8>>>) -> Result<Secret<Vec<u8>>, String> {
    secrets.next().ok_or_else(|| "a Secret was not read".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn complete(spec: &Value, secrets: &[&str]) -> Result<Connection, String> {
        let secrets = secrets
            .iter()
            .map(|secret| Secret::new(secret.as_bytes().to_vec()))
            .collect();
        parse(spec)?.complete("shop", "api", Uuid::nil(), 1, secrets)
    }

    fn http(extra: &Value) -> Value {
        let mut http = json!({"baseUrl": "https://api.example.com/v1"});
        http.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"http": http})
    }

    #[test]
    fn each_kind_of_auth_becomes_one_header() {
        let reference = json!({"name": "s", "key": "k"});
        for (auth, secret, name, value) in [
            (
                json!({"bearer": {"secretKeyRef": reference}}),
                "t0ken\n",
                "authorization",
                "Bearer t0ken",
            ),
            (
                json!({"basic": {"secretKeyRef": reference}}),
                "user:password",
                "authorization",
                "Basic dXNlcjpwYXNzd29yZA==",
            ),
            (
                json!({"header": {"name": "X-Api-Key", "secretKeyRef": reference}}),
                "abc",
                "x-api-key",
                "abc",
            ),
        ] {
            let connection = complete(&http(&json!({"auth": auth})), &[secret]).unwrap_or_else(|e| panic!("{e}"));
            let Kind::Http(http) = connection.kind else {
                panic!("not http")
            };
            let auth = http.auth.unwrap();
            assert_eq!(
                (auth.name.as_str(), auth.value.expose().to_str().unwrap()),
                (name, value)
            );
            assert!(auth.value.expose().is_sensitive());
        }
    }

    #[test]
    fn invalid_specs_say_where() {
        let reference = json!({"secretKeyRef": {"name": "s", "key": "k"}});
        for (spec, part) in [
            (json!({}), "exactly one"),
            (
                json!({"http": {"baseUrl": "https://a"}, "postgres": {"urlFrom": reference}}),
                "exactly one",
            ),
            (json!({"http": {"baseUrl": "ftp://a"}}), "baseUrl"),
            (json!({"http": {"baseUrl": "https://u:p@a"}}), "spec.http.auth"),
            (json!({"http": {"baseUrl": "https://a?x=1"}}), "query"),
            (http(&json!({"headers": {"Host": "x"}})), "headers.Host"),
            (http(&json!({"headers": {"Authorization": "x"}})), "Secret"),
            (http(&json!({"headers": {"X-A": "a\r\nb"}})), "headers.X-A"),
            (
                http(&json!({"auth": {"header": {"name": "Host", "secretKeyRef": {"name": "s", "key": "k"}}}})),
                "auth.header",
            ),
            (http(&json!({"auth": {"bearer": reference}})), "visible ASCII"),
            (http(&json!({"tls": {"caFrom": reference}})), "caFrom"),
            (
                json!({"http": {"baseUrl": "https://a"}, "limits": {"maxConnections": 0}}),
                "maxConnections",
            ),
            (
                json!({"http": {"baseUrl": "https://a"}, "limits": {"requestsPerSecond": 0}}),
                "requestsPerSecond",
            ),
        ] {
            let Err(problem) = complete(&spec, &["hunter2\nhunter2"]) else {
                panic!("accepted {spec}")
            };
            assert!(problem.contains(part), "{spec}: {problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn fingerprint_follows_spec_and_credentials() {
        let spec = http(&json!({"auth": {"bearer": {"secretKeyRef": {"name": "s", "key": "k"}}}}));
        let fingerprint = |spec, secret| complete(spec, &[secret]).map(|c| c.fingerprint).unwrap_or_default();
        assert_eq!(fingerprint(&spec, "a"), fingerprint(&spec, "a"));
        assert_ne!(fingerprint(&spec, "a"), fingerprint(&spec, "b"));
        let mut other = spec.clone();
        other["limits"] = json!({"maxConnections": 3});
        assert_ne!(fingerprint(&spec, "a"), fingerprint(&other, "a"));
    }
}
