//! Which headers people may set, and what a value may hold. Not where they come from.

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};

/// Headers that nobody sets but this worker: framing, routing and the step's key.
pub(crate) fn is_reserved_header(name: &str) -> bool {
    name.starts_with("proxy-")
        || matches!(
            name,
            "host"
                | "content-length"
                | "transfer-encoding"
                | "connection"
                | "keep-alive"
                | "te"
                | "trailer"
                | "upgrade"
                | "expect"
                | "idempotency-key"
        )
}

/// A header value of visible ASCII characters, spaces and tabs: nothing that another parser could read as a new line.
pub(crate) fn header_value(value: &[u8]) -> Option<HeaderValue> {
    let visible = value.iter().all(|byte| *byte == b'\t' || (b' '..=b'~').contains(byte));
    HeaderValue::from_bytes(value).ok().filter(|_| visible)
}

/// A name in a Connection's `headers`: neither reserved nor for credentials. Errors name the `path`.
pub(super) fn plain_name(path: &str, name: &str) -> Result<HeaderName, String> {
    let parsed = credential_name(path, name)?;
    if parsed == AUTHORIZATION {
        return Err(format!("{path}: credentials come from a Secret, by spec.http.auth"));
    }
    Ok(parsed)
}

/// A name that may carry a credential. Errors name the `path`.
pub(super) fn credential_name(path: &str, name: &str) -> Result<HeaderName, String> {
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{path}: not a header name"))?;
    if is_reserved_header(parsed.as_str()) {
        return Err(format!("{path}: {parsed} cannot be set"));
    }
    Ok(parsed)
}

/// A value, or what is wrong at `path`, without the value.
pub(super) fn value(path: &str, value: &[u8]) -> Result<HeaderValue, String> {
    header_value(value).ok_or_else(|| format!("{path}: not a header value (visible ASCII characters on one line)"))
}
