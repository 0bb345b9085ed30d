//! The request as it goes over the wire: headers checked, body encoded, sizes held. Pure. Not the target.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use serde_json::Value;

use super::client::Message;
use super::target::Target;
use super::template::text;
use crate::engine::{ErrorKind, HttpRequest, StepError};
use crate::worker::connection::{HttpConnection, header_value, is_reserved_header};

const MAX_BODY: usize = 1024 * 1024;
const MAX_HEADERS: usize = 32 * 1024;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("everstep/", env!("CARGO_PKG_VERSION")));

/// Builds the request.
///
/// A Connection's headers come first, the author's replace them, then its credentials and the step's key, which
/// nothing replaces. Errors: kind Refused, codes `InvalidMethod`, `ReservedHeader`, `InvalidHeader`,
/// `RequestTooLarge`.
pub(super) fn build(
    request: &HttpRequest,
    target: &Target,
    key: &str,
    connection: Option<&HttpConnection>,
) -> Result<Message, StepError> {
    let method = method(&request.method)?;
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, AGENT);
    for (name, value) in connection.into_iter().flat_map(|connection| &connection.headers) {
        headers.insert(name, value.clone());
    }
    let credentials = connection.and_then(|connection| connection.auth.as_ref());
    for (name, value) in &request.headers {
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| refused("InvalidHeader", format!("headers: {name:?} is not a header name")))?;
        if parsed == AUTHORIZATION || credentials.is_some_and(|auth| auth.name == parsed) {
            let message = format!("headers.{name} cannot be set: credentials come from the Secret of a Connection");
            return Err(refused("ReservedHeader", message));
        }
        if is_reserved_header(parsed.as_str()) {
            return Err(refused(
                "ReservedHeader",
                format!("headers.{name} cannot be set by a step"),
            ));
        }
        let value = text(value)
            .and_then(|value| header_value(value.as_bytes()))
            .ok_or_else(|| {
                refused(
                    "InvalidHeader",
                    format!("headers.{name} must be visible ASCII characters on one line, not null"),
                )
            })?;
        headers.insert(parsed, value);
    }
    let body = body(request.body.as_ref(), &mut headers);
    if body.len() > MAX_BODY {
        return Err(refused(
            "RequestTooLarge",
            format!("the body has {} bytes; {MAX_BODY} are allowed", body.len()),
        ));
    }
    if let Some(auth) = credentials {
        headers.insert(&auth.name, auth.value.expose().clone());
    }
    headers.insert(HOST, header("host", &target.authority)?);
    headers.insert("idempotency-key", header("idempotency-key", key)?);
    let size: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if size + target.path.len() > MAX_HEADERS {
        return Err(refused(
            "RequestTooLarge",
            format!("URL and headers are larger than {MAX_HEADERS} bytes"),
        ));
    }
    let mut message = Request::builder()
        .method(method)
        .uri(&target.path)
        .body(Full::new(body))
        .map_err(|_| refused("InvalidUrl", "the URL cannot be sent".to_owned()))?;
    *message.headers_mut() = headers;
    Ok(message)
}

/// CONNECT would turn the server into a proxy, TRACE would echo credentials.
fn method(name: &str) -> Result<Method, StepError> {
    match Method::from_bytes(name.as_bytes()) {
        Ok(Method::CONNECT | Method::TRACE) => Err(refused("InvalidMethod", format!("method {name} is not allowed"))),
        Ok(method) => Ok(method),
        Err(_) => Err(refused("InvalidMethod", format!("{name:?} is not a method"))),
    }
}

/// JSON, but for a string whose author names another content type.
fn body(body: Option<&Value>, headers: &mut HeaderMap) -> Bytes {
    let Some(value) = body else { return Bytes::new() };
    let named = headers.get(CONTENT_TYPE).map(|value| is_json(value.as_bytes()));
    match (value, named) {
        (Value::String(text), Some(false)) => Bytes::from(text.clone()),
        (value, named) => {
            if named.is_none() {
                headers.insert(CONTENT_TYPE, JSON);
            }
            Bytes::from(value.to_string())
        }
    }
}

fn is_json(content_type: &[u8]) -> bool {
    let essence = content_type
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii()
        .to_ascii_lowercase();
    essence == b"application/json" || essence.ends_with(b"+json")
}

fn header(name: &str, value: &str) -> Result<HeaderValue, StepError> {
    HeaderValue::from_str(value).map_err(|_| refused("InvalidHeader", format!("{name} cannot be sent")))
}

fn refused(code: &str, message: String) -> StepError {
    StepError::new(ErrorKind::Refused, code, message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::engine::HttpTarget;

    fn request(headers: &Value, body: Option<Value>) -> HttpRequest {
        HttpRequest {
            target: HttpTarget::Url(String::new()),
            method: "POST".to_owned(),
            path_params: Map::new(),
            query: Map::new(),
            headers: headers.as_object().unwrap().clone(),
            body,
            repeatable: false,
        }
    }

    fn target() -> Target {
        Target {
            host: "a.example".to_owned(),
            port: 443,
            tls: true,
            authority: "a.example".to_owned(),
            path: "/x".to_owned(),
        }
    }

    fn built(headers: &Value, body: Option<Value>) -> Result<Message, StepError> {
        build(
            &request(headers, body),
            &target(),
            "0123456789abcdef0123456789abcdef",
            None,
        )
    }

    #[test]
    fn key_and_host_are_ours_and_json_is_the_default() {
        let message = built(&json!({"X-Trace": 7}), Some(json!({"a": 1}))).unwrap();
        let value = |name: &str| message.headers()[name].to_str().unwrap();
        assert_eq!(value("idempotency-key"), "0123456789abcdef0123456789abcdef");
        assert_eq!(
            (value("host"), value("x-trace"), value("content-type")),
            ("a.example", "7", "application/json")
        );
    }

    #[test]
    fn reserved_and_broken_headers_are_refused() {
        for name in [
            "Host",
            "content-length",
            "Transfer-Encoding",
            "Connection",
            "Proxy-Authorization",
            "proxy-anything",
            "Idempotency-Key",
            "Authorization",
            "TE",
            "Upgrade",
            "Expect",
            "Keep-Alive",
            "Trailer",
        ] {
            assert_eq!(
                built(&json!({name: "x"}), None).unwrap_err().code,
                "ReservedHeader",
                "{name}"
            );
        }
        for (name, value) in [
            ("X-A", json!("a\r\nHost: evil")),
            ("X-A", json!("a\nb")),
            ("X-A", json!("a\u{0}b")),
            ("X-A", json!("ü")),
            ("X-A", json!(null)),
            ("X A", json!("x")),
            ("X-A:", json!("x")),
            ("", json!("x")),
            ("X-A\r\nB", json!("x")),
        ] {
            assert_eq!(
                built(&json!({name: value}), None).unwrap_err().code,
                "InvalidHeader",
                "{name:?}"
            );
        }
    }

    #[test]
    fn string_is_sent_raw_only_under_another_content_type() {
        use http_body_util::BodyExt;
        for (headers, body, expected) in [
            (json!({}), json!("hi"), "\"hi\""),
            (json!({"Content-Type": "text/plain; charset=utf-8"}), json!("hi"), "hi"),
            (
                json!({"Content-Type": "application/vnd.api+json"}),
                json!("hi"),
                "\"hi\"",
            ),
            (json!({"Content-Type": "text/plain"}), json!({"a": 1}), "{\"a\":1}"),
        ] {
            let message = built(&headers, Some(body)).unwrap();
            let collected = futures::executor::block_on(message.into_body().collect())
                .unwrap()
                .to_bytes();
            assert_eq!(collected, expected.as_bytes());
        }
    }

    #[test]
    fn sizes_and_methods_are_held() {
        assert!(built(&json!({}), Some(json!("x".repeat(MAX_BODY - 2)))).is_ok());
        assert_eq!(
            built(&json!({}), Some(json!("x".repeat(MAX_BODY - 1))))
                .unwrap_err()
                .code,
            "RequestTooLarge"
        );
        assert_eq!(
            built(&json!({"X-A": "x".repeat(MAX_HEADERS)}), None).unwrap_err().code,
            "RequestTooLarge"
        );
        for method in ["CONNECT", "TRACE", "GET POST", "", "GET\r\n"] {
            assert_eq!(super::method(method).unwrap_err().code, "InvalidMethod", "{method:?}");
        }
    }
}
