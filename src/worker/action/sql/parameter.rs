//! A JSON value as a bind parameter, in text format, so that the server reads it as whatever type it wants there.

use std::error::Error;
use std::fmt;

use bytes::BytesMut;
use serde_json::Value;
use tokio_postgres::types::{Format, IsNull, ToSql, Type};

/// Strings as they are, null as NULL, all else as JSON text.
pub(super) struct Parameter<'a>(pub(super) &'a Value);

/// The text that is bound; `None` is NULL.
pub(super) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match text(self.0) {
            None => Ok(IsNull::Yes),
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    fn to_sql_checked(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.to_sql(kind, out)
    }
}

/// The library logs parameters at debug level: a value must not be in what it prints.
impl fmt::Debug for Parameter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_bound_as_text() {
        for (value, expected) in [
            (json!("it's"), Some("it's")),
            (json!(null), None),
            (json!(1.5), Some("1.5")),
            (json!(true), Some("true")),
            (json!({"a": [1]}), Some("{\"a\":[1]}")),
        ] {
            assert_eq!(text(&value).as_deref(), expected);
        }
        assert_eq!(format!("{:?}", Parameter(&json!("hunter2"))), "_");
    }
}
