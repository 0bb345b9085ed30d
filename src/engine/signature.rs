//! What identifies a definition: its canonical form, its revision, and a signature for each step.
//!
//! All are taken from the fields as the user wrote them: an absent field is not its default, so no release changes the
//! revision of an unchanged object. The texts that are hashed begin with a format version.

use std::collections::BTreeMap;

use serde_json::Value;

/// The fields of a spec that define the work. Everything else may change without a new revision.
pub const BODY_FIELDS: [&str; 9] = [
    "steps",
    "blocks",
    "finally",
    "output",
    "input",
    "params",
    "timeout",
    "retry",
    "onFailure",
];

const REVISION_FORMAT: &[u8] = b"everstep/1\n";
const STEP_FORMAT: &[u8] = b"everstep-step/1\n";

/// The revision of a body: 16 hex digits. Fields of `body` that are not among [`BODY_FIELDS`] do not count.
pub fn revision(body: &Value) -> String {
    let mut text = REVISION_FORMAT.to_vec();
    match body {
        Value::Object(fields) => {
            let defining = fields.iter().filter(|(name, _)| BODY_FIELDS.contains(&name.as_str()));
            write_object(&mut text, defining);
        }
        other => write_canonical(&mut text, other),
    }
    digest(&text)
}

/// The signature of each step of `steps` and `finally` by name: 16 hex digits over the step as it is written.
///
/// A step without a name, and the second of two with the same name, are left out: such a body does not compile.
pub fn step_signatures(body: &Value) -> BTreeMap<String, String> {
    let mut signatures = BTreeMap::new();
    let lists = ["steps", "finally"]
        .into_iter()
        .filter_map(|list| body.get(list)?.as_array());
    for step in lists.flatten() {
        if let Some(name) = step.get("name").and_then(Value::as_str) {
            signatures.entry(name.to_owned()).or_insert_with(|| {
                let mut text = STEP_FORMAT.to_vec();
                write_canonical(&mut text, step);
                digest(&text)
            });
        }
    }
    signatures
}

/// Compact JSON with sorted keys, whatever order the map of this build keeps.
fn write_canonical(text: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(fields) => write_object(text, fields.iter()),
        Value::Array(items) => {
            text.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(b',');
                }
                write_canonical(text, item);
            }
            text.push(b']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => text.extend_from_slice(value.to_string().as_bytes()),
        Value::String(string) => write_string(text, string),
    }
}

fn write_object<'a>(text: &mut Vec<u8>, fields: impl Iterator<Item = (&'a String, &'a Value)>) {
    let sorted: BTreeMap<_, _> = fields.collect();
    text.push(b'{');
    for (i, (key, value)) in sorted.into_iter().enumerate() {
        if i > 0 {
            text.push(b',');
        }
        write_string(text, key);
        text.push(b':');
        write_canonical(text, value);
    }
    text.push(b'}');
}

fn write_string(text: &mut Vec<u8>, string: &str) {
    serde_json::to_writer(text, string).expect("a string has JSON text, and writing to memory does not fail");
}

fn digest(text: &[u8]) -> String {
    blake3::hash(text).to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_order_of_keys_does_not_matter_and_the_order_of_items_does() {
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let one = parse(r#"{"steps": [{"name": "a", "set": {"x": 1, "y": [1, 2]}}], "timeout": "1h"}"#);
        let same = parse(r#"{"timeout": "1h", "steps": [{"set": {"y": [1, 2], "x": 1}, "name": "a"}]}"#);
        let other = parse(r#"{"timeout": "1h", "steps": [{"set": {"y": [2, 1], "x": 1}, "name": "a"}]}"#);
        assert_eq!(revision(&one), revision(&same));
        assert_ne!(revision(&one), revision(&other));
        assert_eq!(step_signatures(&one), step_signatures(&same));
        assert_ne!(step_signatures(&one), step_signatures(&other));
    }

    #[test]
    fn only_what_defines_the_work_counts() {
        let body = json!({"steps": [{"name": "a", "set": {}}]});
        let mut spec = body.clone();
        spec["retention"] = json!({"succeeded": "1d"});
        spec["suspend"] = json!(true);
        assert_eq!(revision(&body), revision(&spec));
        for field in BODY_FIELDS {
            let mut changed = body.clone();
            changed[field] = json!("changed");
            assert_ne!(revision(&body), revision(&changed), "{field}");
        }
    }

    #[test]
    fn absent_is_neither_null_nor_the_default() {
        let absent = json!({"steps": [{"name": "a", "set": {}}]});
        let null = json!({"steps": [{"name": "a", "set": {}, "when": null}]});
        let default = json!({"steps": [{"name": "a", "set": {}, "timeout": "60s"}]});
        assert_ne!(revision(&absent), revision(&null));
        assert_ne!(revision(&absent), revision(&default));
    }

    #[test]
    fn a_step_has_the_same_signature_wherever_it_stands() {
        let one = json!({"steps": [{"name": "a", "set": {}}, {"name": "b", "set": {"x": 1}}]});
        let two = json!({"steps": [{"name": "b", "set": {"x": 1}}], "finally": [{"name": "a", "set": {}}]});
        assert_eq!(step_signatures(&one), step_signatures(&two));
    }

    #[test]
    fn the_text_that_is_hashed_is_compact_json_with_sorted_keys() {
        let mut text = Vec::new();
        write_canonical(
            &mut text,
            &json!({"b": [1.0, 2, null, true], "a": {"ü": "\u{1}\"", "": {}}}),
        );
        assert_eq!(
            String::from_utf8(text).unwrap(),
            r#"{"a":{"":{},"ü":"\u0001\""},"b":[1.0,2,null,true]}"#
        );
    }
}
