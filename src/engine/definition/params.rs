//! `params`: what an input must hold before a run is accepted.

use serde_json::Value;

use super::{
    limits,
    reader::{Node, Violation},
    valid_name,
};

/// One declared parameter.
#[derive(Debug)]
pub(super) struct Param {
    name: String,
    kind: Option<Kind>,
    required: bool,
    minimum: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    String,
    Integer,
    Number,
    Boolean,
    Object,
    Array,
}

impl Kind {
    const ALL: [(&str, Self); 6] = [
        ("string", Self::String),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("boolean", Self::Boolean),
        ("object", Self::Object),
        ("array", Self::Array),
    ];

    fn as_str(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(name, _)| name)
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::String => value.is_string(),
            // 3.0 is an integer, as in JSON Schema: the writer of JSON chooses the spelling.
            Self::Integer => {
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
            }
            Self::Number => value.is_number(),
            Self::Boolean => value.is_boolean(),
            Self::Object => value.is_object(),
            Self::Array => value.is_array(),
        }
    }
}

/// Reads `params`.
pub(super) fn parse(node: &Node<'_>) -> Vec<Param> {
    let items = node.items().unwrap_or_default();
    if items.len() > limits::PARAMS {
        node.report(format!("has {} entries, more than {}", items.len(), limits::PARAMS));
        return Vec::new();
    }
    let mut params: Vec<Param> = Vec::new();
    for item in &items {
        if let Some(param) = parse_one(item) {
            if params.iter().any(|other| other.name == param.name) {
                item.report(format!("there is another parameter `{}`", param.name));
            }
            params.push(param);
        }
    }
    params
}

fn parse_one(node: &Node<'_>) -> Option<Param> {
    let mut fields = node.fields()?;
    let name = fields.required("name").and_then(|name| valid_name(&name));
    let kind = fields.get("type").and_then(|kind| {
        let text = kind.string()?;
        let found = Kind::ALL.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind);
        if found.is_none() {
            kind.report("must be string, integer, number, boolean, object or array");
        }
        found
    });
    let required = fields
        .get("required")
        .and_then(|required| required.boolean())
        .unwrap_or(false);
    let minimum = fields.get("minimum");
    if let Some(minimum) = &minimum
        && !matches!(kind, Some(Kind::Integer | Kind::Number))
    {
        minimum.report("needs `type: integer` or `type: number`");
    }
    let minimum = minimum.and_then(|minimum| minimum.number(f64::MIN, f64::MAX));
    fields.finish();
    Some(Param {
        name: name?.to_owned(),
        kind,
        required,
        minimum,
    })
}

/// Everything in `input` that contradicts the parameters; paths begin with `input`.
pub(super) fn check(params: &[Param], input: &Value) -> Vec<Violation> {
    let violation = |path: String, message: String| Violation { path, message };
    let mut violations = Vec::new();
    if !limits::is_shallow(input, limits::VALUE_DEPTH) {
        return vec![violation(
            "input".to_owned(),
            format!("is nested deeper than {} levels", limits::VALUE_DEPTH),
        )];
    }
    if limits::json_bytes(input) > limits::VALUE_BYTES {
        violations.push(violation(
            "input".to_owned(),
            format!("is larger than {} KiB", limits::VALUE_BYTES / 1024),
        ));
    }
    if !params.is_empty() && !input.is_object() {
        violations.push(violation(
            "input".to_owned(),
            "must be an object, since `params` names its fields".to_owned(),
        ));
        return violations;
    }
    for param in params {
        let path = || format!("input.{}", param.name);
        match (input.get(&param.name).filter(|value| !value.is_null()), param.kind) {
            (None, _) if param.required => violations.push(violation(path(), "is required".to_owned())),
            (None, _) | (Some(_), None) => {}
            (Some(value), Some(kind)) if !kind.fits(value) => {
                violations.push(violation(path(), format!("must be of type {}", kind.as_str())));
            }
            (Some(value), Some(_)) => {
                if let (Some(minimum), Some(number)) = (param.minimum, value.as_f64())
                    && number < minimum
                {
                    violations.push(violation(path(), format!("must be at least {minimum}")));
                }
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::reader::Sink, *};

    fn params(value: &Value) -> Result<Vec<Param>, Vec<String>> {
        let sink = Sink::default();
        let params = parse(&Node::root(value, "spec.params", &sink));
        if sink.is_empty() {
            Ok(params)
        } else {
            Err(sink.into_violations().iter().map(ToString::to_string).collect())
        }
    }

    #[test]
    fn every_mistake_in_params_is_named() {
        let value = json!([
            {"type": "string"},
            {"name": "a b"},
            {"name": "n", "type": "int"},
            {"name": "m", "type": "string", "minimum": 1},
            {"name": "m", "required": "yes", "maximum": 3}
        ]);
        let expected = [
            "spec.params[0].name: is required",
            "spec.params[1].name: must be a letter followed by at most 62 letters, digits or underscores",
            "spec.params[2].type: must be string, integer, number, boolean, object or array",
            "spec.params[3].minimum: needs `type: integer` or `type: number`",
            "spec.params[4].required: must be true or false, not a string",
            "spec.params[4].maximum: unknown field",
            "spec.params[4]: there is another parameter `m`",
        ];
        assert_eq!(params(&value).unwrap_err(), expected);
    }

    #[test]
    fn an_input_is_held_against_its_parameters() {
        let declared = params(&json!([
            {"name": "id", "type": "string", "required": true},
            {"name": "n", "type": "integer", "minimum": 1},
            {"name": "any"}
        ]))
        .unwrap();
        let messages = |input: Value| {
            check(&declared, &input)
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        };
        assert_eq!(messages(json!({"id": "x", "n": 1, "any": [], "other": 1})), "");
        assert_eq!(messages(json!({"id": "x", "n": 2.0})), "");
        assert_eq!(messages(json!({"id": null})), "input.id: is required");
        assert_eq!(
            messages(json!({"id": 1, "n": 1.5})),
            "input.id: must be of type string; input.n: must be of type integer"
        );
        assert_eq!(messages(json!({"id": "x", "n": 0})), "input.n: must be at least 1");
        assert_eq!(
            messages(json!("x")),
            "input: must be an object, since `params` names its fields"
        );
        assert_eq!(
            messages(json!({"id": "x".repeat(300_000)})),
            "input: is larger than 256 KiB"
        );
    }
}
