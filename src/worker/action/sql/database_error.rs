//! What a database's error becomes: the SQLSTATE and the primary message. DETAIL, HINT, CONTEXT and the values of
//! parameters never leave this file.

use serde_json::Value;
use tokio_postgres::Error;

use super::parameter;
use crate::engine::{ErrorKind, StepError};

/// Parameters shorter than this are cut out of a message only where it quotes them: `"1"` says nothing.
const SHORT: usize = 4;

/// An error while connecting or logging in: always kind Connect; the code is the SQLSTATE when the database answered.
pub(super) fn on_connect(error: &Error) -> StepError {
    match error.as_db_error() {
        Some(answer) => StepError::new(ErrorKind::Connect, answer.code().code(), answer.message()),
        None if is_tls(error) => StepError::new(ErrorKind::Connect, "TlsFailed", source(error)),
        None => StepError::new(ErrorKind::Connect, "ConnectFailed", source(error)),
    }
}

/// An error of a statement with these parameters.
pub(super) fn on_statement(error: &Error, args: &[Value]) -> StepError {
    if let Some(answer) = error.as_db_error() {
        return StepError::new(
            ErrorKind::Sql,
            answer.code().code(),
            without_values(answer.message(), args),
        );
    }
    if error.is_closed() || is_io(error) {
        return lost();
    }
    // COPY and the like: answers that only its own protocol understands.
    let message = "the statement needs a protocol of its own, like COPY; a step runs plain statements";
    StepError::new(ErrorKind::Refused, "UnsupportedStatement", message)
}

/// The session ended before COMMIT was sent: the database rolls back.
pub(super) fn lost() -> StepError {
    StepError::new(
        ErrorKind::Connect,
        "ConnectionLost",
        "the connection to the database was lost; the statement was rolled back",
    )
}

/// The session ended between COMMIT and its answer.
pub(super) fn commit_unknown() -> StepError {
    let message = "the connection to the database was lost while it committed; the statement may have taken effect";
    StepError::new(ErrorKind::Connect, "CommitUnknown", message)
}

/// A message may quote what was bound: `invalid input syntax for type integer: "…"`.
fn without_values(message: &str, args: &[Value]) -> String {
    let mut texts: Vec<(usize, String)> = args
        .iter()
        .enumerate()
        .filter_map(|(index, value)| Some((index + 1, parameter::text(value)?)))
        .collect();
    // The longest first: one value may be a part of another.
    texts.sort_by_key(|(_, text)| std::cmp::Reverse(text.len()));
    let mut message = message.to_owned();
    for (position, text) in texts {
        if text.is_empty() {
            continue;
        }
        message = message.replace(&format!("\"{text}\""), &format!("${position}"));
        if text.len() >= SHORT {
            message = message.replace(&text, &format!("${position}"));
        }
    }
    message
}

/// TLS failed or the server has none: another try meets the same certificate.
fn is_tls(error: &Error) -> bool {
    let tls = |source: &(dyn std::error::Error + 'static)| {
        let inner = source
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        inner.is_some_and(|inner| inner.is::<rustls::Error>())
    };
    error.to_string().contains("TLS handshake") || std::error::Error::source(error).is_some_and(tls)
}

fn is_io(error: &Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.is::<std::io::Error>() {
            return true;
        }
        source = inner.source();
    }
    false
}

/// The cause in words; sources of this library hold no credentials, only what the system or TLS said.
fn source(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_cut_out_of_messages() {
        for (message, args, expected) in [
            (
                r#"invalid input syntax for type integer: "hunter2""#,
                json!(["hunter2"]),
                "invalid input syntax for type integer: $1",
            ),
            (
                r#"invalid input syntax for type uuid: "x""#,
                json!([1, "x"]),
                "invalid input syntax for type uuid: $2",
            ),
            (
                "Token \"hunter2\" is invalid, near hunter2",
                json!(["hunter2"]),
                "Token $1 is invalid, near $1",
            ),
            ("value 12345678 and 1234", json!([1234, 12_345_678]), "value $2 and $1"),
            (
                "relation \"a\" does not exist",
                json!(["b", null, ""]),
                "relation \"a\" does not exist",
            ),
        ] {
            assert_eq!(without_values(message, args.as_array().unwrap()), expected);
        }
    }
}
