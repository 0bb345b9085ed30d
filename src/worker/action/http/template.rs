//! Values into the text of a URL: path places and query parameters, percent-encoded. Pure. Not hosts, and not whether
//! the URL as a whole is acceptable.

use serde_json::{Map, Value};

use crate::engine::{ErrorKind, StepError};

/// Fills the `{name}` places; every place needs a value and every value a place.
pub(super) fn fill(template: &str, params: &Map<String, Value>) -> Result<String, StepError> {
    let mut filled = String::with_capacity(template.len());
    let mut used = Vec::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (literal, place) = rest.split_at(at);
        filled.push_str(literal);
        let Some((name, after)) = place.strip_prefix('{').and_then(|place| place.split_once('}')) else {
            return Err(invalid_place());
        };
        let value = params
            .get(name)
            .ok_or_else(|| invalid_param(name, "it is used but not given"))?;
        let text = text(value).ok_or_else(|| invalid_param(name, "it is null"))?;
        if text.is_empty() {
            // An empty segment is dropped by many servers: DELETE /orders//items would become another request.
            return Err(invalid_param(name, "it is empty"));
        }
        encode(&text, &mut filled);
        used.push(name);
        rest = after;
    }
    filled.push_str(rest);
    match params.keys().find(|name| !used.contains(&name.as_str())) {
        Some(unused) => Err(invalid_param(unused, "the path has no place for it")),
        None => Ok(filled),
    }
}

/// The query of the template and the parameters, joined; `None` when there is neither.
pub(super) fn join_query(own: Option<&str>, query: &Map<String, Value>) -> Result<Option<String>, StepError> {
    let mut joined = own.unwrap_or_default().to_owned();
    for (name, value) in query {
        let values = match value {
            Value::Array(values) => values.as_slice(),
            value => std::slice::from_ref(value),
        };
        for value in values {
            let text = text(value)
                .ok_or_else(|| StepError::new(ErrorKind::Refused, "InvalidQuery", format!("query.{name} is null")))?;
            if !joined.is_empty() {
                joined.push('&');
            }
            encode(name, &mut joined);
            joined.push('=');
            encode(&text, &mut joined);
        }
    }
    Ok((!joined.is_empty()).then_some(joined))
}

/// A value in a string position: strings as they are, null not at all, all else as JSON.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// RFC 3986: only unreserved characters stay.
fn encode(text: &str, into: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.') {
            into.push(byte as char);
        } else {
            into.push('%');
            into.push(HEX[usize::from(byte >> 4)] as char);
            into.push(HEX[usize::from(byte & 15)] as char);
        }
    }
}

fn invalid_place() -> StepError {
    let message = "the path is refused: { and } stand only around the name of a path parameter";
    StepError::new(ErrorKind::Refused, "InvalidPath", message)
}

fn invalid_param(name: &str, problem: &str) -> StepError {
    StepError::new(
        ErrorKind::Refused,
        "InvalidPathParam",
        format!("pathParams.{name} is refused: {problem}"),
    )
}
