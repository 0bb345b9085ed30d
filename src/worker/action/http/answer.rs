//! The answer as the step's `result`: `{status, headers, body}`. Pure. Not whether the status is a success.

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::StatusCode;
use hyper::header::{CONTENT_ENCODING, HeaderValue};
use serde_json::{Map, Value};

use crate::engine::{ErrorKind, Outcome, StepError};

/// The largest body that is read.
pub(super) const MAX_BODY: usize = 256 * 1024;
/// The largest head that is read.
pub(super) const MAX_HEAD: usize = 32 * 1024;

/// A complete answer.
pub(super) struct Received {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The result: header names in lower case, repeated ones joined; the body parsed when it is JSON, else a string, and
/// null when there is none, or none that can be read of an answer that says by its status that it is no success: whether
/// such a request is repeated goes by the status, not by the error page.
pub(super) fn read(received: Received) -> Outcome {
    let Received { status, headers, body } = received;
    let body = match readable(&headers, &body) {
        Ok("") => Value::Null,
        Ok(text) => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())),
        Err((code, message)) if status.is_success() => {
            return Err(StepError::new(ErrorKind::Expectation, code, message).with_status(status.as_u16()));
        }
        Err(_) => Value::Null,
    };
    let mut result = Map::new();
    result.insert("status".to_owned(), Value::from(status.as_u16()));
    result.insert("headers".to_owned(), Value::Object(joined(&headers)));
    result.insert("body".to_owned(), body);
    Ok(Value::Object(result))
}

/// The body as text, or code and message of what prevents it.
fn readable<'a>(headers: &HeaderMap, body: &'a [u8]) -> Result<&'a str, (&'static str, &'static str)> {
    let encoding = headers
        .get(CONTENT_ENCODING)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    if !body.is_empty() && !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity") {
        return Err((
            "UnsupportedEncoding",
            "the answer is compressed, which was not asked for",
        ));
    }
    std::str::from_utf8(body).map_err(|_| ("NotUtf8", "the answer's body is neither JSON nor UTF-8 text"))
}

/// The answer went past a limit and was cut off.
pub(super) fn too_large(what: &str) -> StepError {
    StepError::new(ErrorKind::Expectation, "ResponseTooLarge", what)
}

fn joined(headers: &HeaderMap) -> Map<String, Value> {
    let mut joined = Map::new();
    for name in headers.keys() {
        let values: Vec<_> = headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        joined.insert(name.as_str().to_owned(), Value::String(values.join(", ")));
    }
    joined
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn received(headers: &[(&'static str, &str)], body: &'static [u8]) -> Received {
        answered(StatusCode::OK, headers, body)
    }

    fn answered(status: StatusCode, headers: &[(&'static str, &str)], body: &'static [u8]) -> Received {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        Received {
            status,
            headers: map,
            body: Bytes::from_static(body),
        }
    }

    #[test]
    fn body_is_json_text_or_null() {
        for (body, expected) in [
            (&b"{\"a\":[1,2.5]}"[..], json!({"a": [1, 2.5]})),
            (b"hello", json!("hello")),
            (b"", json!(null)),
            (b"{broken", json!("{broken")),
        ] {
            assert_eq!(read(received(&[], body)).unwrap()["body"], expected);
        }
        let deep = Box::leak("[".repeat(10_000).into_bytes().into_boxed_slice());
        assert!(read(received(&[], deep)).unwrap()["body"].is_string());
    }

    #[test]
    fn headers_are_lower_case_and_joined() {
        let result = read(received(&[("x-a", "1"), ("x-a", "2"), ("x-b", "3")], b"")).unwrap();
        assert_eq!(result["headers"], json!({"x-a": "1, 2", "x-b": "3"}));
    }

    #[test]
    fn bytes_that_are_no_text_are_an_error_with_the_status() {
        let error = read(received(&[], b"\xff\xfe")).unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_str(), error.status),
            (ErrorKind::Expectation, "NotUtf8", 200)
        );
        assert_eq!(
            read(received(&[("content-encoding", "gzip")], b"x")).unwrap_err().code,
            "UnsupportedEncoding"
        );
    }

    #[test]
    fn an_error_page_that_cannot_be_read_leaves_the_status() {
        for (headers, body) in [
            (&[][..], &b"d\xe9sol\xe9"[..]),
            (&[("content-encoding", "gzip")], b"\x1f\x8b"),
        ] {
            let result = read(answered(StatusCode::SERVICE_UNAVAILABLE, headers, body)).unwrap();
            assert_eq!((&result["status"], &result["body"]), (&json!(503), &json!(null)));
        }
        let said = read(answered(StatusCode::CONFLICT, &[], b"{\"code\":7}")).unwrap();
        assert_eq!(said["body"], json!({"code": 7}));
    }
}
