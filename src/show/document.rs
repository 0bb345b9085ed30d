//! JSON and YAML for programs.

use serde::Serialize;

/// Indented, with a line end.
///
/// # Errors
/// What cannot be written, which is a defect of ours.
pub fn json(document: &impl Serialize) -> Result<String, String> {
    serde_json::to_string_pretty(document)
        .map(|text| text + "\n")
        .map_err(|error| error.to_string())
}

/// The same as YAML.
///
/// # Errors
/// What cannot be written, which is a defect of ours.
pub fn yaml(document: &impl Serialize) -> Result<String, String> {
    // By way of JSON, so that both say the same.
    let value = serde_json::to_value(document).map_err(|error| error.to_string())?;
    serde_saphyr::to_string(&value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn both_say_the_same_and_end_their_line() {
        let document = json!({"id": "1", "phases": ["Failed", "no"], "text": "a: b\nc", "none": null});
        let (json, yaml) = (super::json(&document).unwrap(), super::yaml(&document).unwrap());
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), document);
        assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&yaml).unwrap(), document);
        assert!(json.ends_with("}\n") && yaml.ends_with('\n'), "{yaml:?}");
    }
}
