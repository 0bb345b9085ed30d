//! How large a definition may be. Reaching a limit is a violation, never a truncation.

use std::time::Duration;

/// Steps of one list.
pub(super) const STEPS_PER_LIST: usize = 200;
/// Steps of a definition, all lists together.
pub(super) const STEPS: usize = 1_000;
/// Bytes of the body as JSON.
pub(super) const BODY_BYTES: usize = 512 * 1024;
/// Bytes of an input or of an output as JSON.
pub(in crate::engine) const VALUE_BYTES: usize = 256 * 1024;
/// Objects and lists inside one another. JSON readers give up at 128, and journals wrap values in a few more.
pub(in crate::engine) const VALUE_DEPTH: usize = 100;
/// Parameters of a definition.
pub(super) const PARAMS: usize = 100;
/// Attempts of one step.
pub(super) const ATTEMPTS: u64 = 100_000;
/// Factor between two delays.
pub(super) const FACTOR: f64 = 100.0;
/// Bytes of an SQL statement.
pub(super) const QUERY_BYTES: usize = 64 * 1024;
/// Bind parameters of a statement: what the wire protocol can count.
pub(super) const ARGS: usize = 65_535;
/// Bytes of a path or a URL.
pub(super) const URL_BYTES: usize = 4_096;
/// Bytes of a signal's name.
pub(super) const SIGNAL_BYTES: usize = 253;
/// Bytes of an error code that an author chooses.
pub(super) const CODE_BYTES: usize = 64;
/// The longest duration: far beyond every use, and far from the end of time.
pub(super) const DURATION: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);
/// Violations that are reported at once; the reader has enough to do.
pub(super) const VIOLATIONS: usize = 100;

/// The number of bytes that a value takes as compact JSON, without building it.
pub(in crate::engine) fn json_bytes(value: &serde_json::Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail, and every `Value` has JSON text.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}

/// Whether objects and lists are inside one another at most so many times; [`VALUE_DEPTH`] in general.
pub(in crate::engine) fn is_shallow(value: &serde_json::Value, levels: usize) -> bool {
    match value {
        serde_json::Value::Array(items) => levels > 0 && items.iter().all(|item| is_shallow(item, levels - 1)),
        serde_json::Value::Object(fields) => levels > 0 && fields.values().all(|item| is_shallow(item, levels - 1)),
        _ => true,
    }
}

/// Where the character U+0000 stands in the value at `path`, if anywhere: the path of a text, or of an object with such a
/// key. PostgreSQL takes JSON that has it and cannot look into it. The value must be shallow.
pub(super) fn zero_character(value: &serde_json::Value, path: &str) -> Option<String> {
    let here = |text: &str| text.contains('\0').then(|| path.to_owned());
    match value {
        serde_json::Value::String(text) => here(text),
        serde_json::Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| zero_character(item, &format!("{path}[{index}]")))
        }
        serde_json::Value::Object(fields) => fields
            .iter()
            .find_map(|(name, field)| here(name).or_else(|| zero_character(field, &format!("{path}.{name}")))),
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_bytes_is_the_length_of_the_text() {
        let value = json!({"a": [1, 2.5, null, "ü\n"], "b": {"c": true}});
        assert_eq!(json_bytes(&value), serde_json::to_string(&value).unwrap().len());
    }

    #[test]
    fn nesting_is_counted_in_objects_and_lists() {
        let nested = |levels: usize| (0..levels).fold(json!(1), |value, _| json!([value]));
        assert!(is_shallow(&nested(VALUE_DEPTH), VALUE_DEPTH));
        assert!(!is_shallow(&nested(VALUE_DEPTH + 1), VALUE_DEPTH));
        assert!(!is_shallow(&json!({"a": 1, "b": nested(VALUE_DEPTH)}), VALUE_DEPTH));
    }

    #[test]
    fn zero_characters_are_found_in_texts_and_keys() {
        let found = |value: serde_json::Value| zero_character(&value, "spec");
        assert_eq!(found(json!({"a": [0, null, {"b": "\u{1}0"}]})), None);
        assert_eq!(found(json!({"a": [0, {"b": "x\0"}]})), Some("spec.a[1].b".to_owned()));
        assert_eq!(found(json!({"a": {"\0": 1}})), Some("spec.a".to_owned()));
    }
}
