//! The building blocks of the schemas: bounded strings, lists, maps and numbers, and free JSON.
//!
//! Every string, list and map of the API has a bound, so each field names the block that holds it
//! (`#[schemars(schema_with = "…")]`). What needs more than one field to judge is not said here.

use kube::core::Rule;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

use super::v1alpha1::{Block, Condition};

/// Most steps in one list, and most branches of a block.
pub(super) const MAX_STEPS: u32 = 200;
/// Longest CEL expression.
pub(super) const MAX_EXPRESSION: u32 = 4096;
/// Most entries of a map such as `query` or `env`.
pub(super) const MAX_ENTRIES: u32 = 64;
/// Most fields of an input or a payload.
pub(super) const MAX_FIELDS: u32 = 1000;
/// Most arguments of a statement or a command.
pub(super) const MAX_ARGS: u32 = 256;
/// Longest way to a step, through every block that may be called: 16 deep, each with its branches.
pub(super) const MAX_STEP_PATH: u32 = 4096;
/// Longest URL or path, before its parameters are filled in.
pub(super) const MAX_URL: u32 = 4096;

/// What only the worker sets, as a regular expression.
const RESERVED_HEADERS: &str = "host|content-length|transfer-encoding|connection|proxy-.*|idempotency-key";

/// The name of a step, branch or parameter: a CEL identifier.
pub(super) fn name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 63, "pattern": "^[a-zA-Z][a-zA-Z0-9_]{0,62}$"})
}

/// The name of another object in the same namespace.
pub(super) fn object_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 253, "pattern": "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"})
}

/// A key of a Secret.
pub(super) fn secret_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 253, "pattern": "^[-._a-zA-Z0-9]+$"})
}

/// A duration in the style of Kubernetes and Go, plus `d` for days: `300ms`, `1h30m`, `7d`.
pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 64, "pattern": r"^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h|d))+$"})
}

/// An instant, RFC 3339.
pub(super) fn instant(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "maxLength": 64})
}

/// A CEL expression without the `=`.
pub(super) fn expression(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": MAX_EXPRESSION})
}

/// A string that may be an expression: its `=` comes on top of the expression's own bound.
pub(super) fn dynamic_text(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": MAX_EXPRESSION + 1})
}

/// A string of at most `MAX` characters, maybe empty.
pub(super) fn text<const MAX: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": MAX})
}

/// A string of at most `MAX` characters that is not empty.
pub(super) fn non_empty<const MAX: u32>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "minLength": 1, "maxLength": MAX})
}

/// The path of a request, a template; the slash keeps it from becoming part of the base URL's host.
pub(super) fn path(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": MAX_URL, "pattern": "^/"})
}

/// An absolute URL, a template.
pub(super) fn url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": MAX_URL, "pattern": "^https?://"})
}

/// What requests of a Connection begin with: no user, query or fragment.
pub(super) fn base_url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": MAX_URL, "pattern": r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"})
}

/// The name of a header that carries a credential.
pub(super) fn header_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "maxLength": 256,
        "pattern": "^[-!#$%&'*+.^_`|~0-9a-zA-Z]+$",
        "x-kubernetes-validations": [Rule::new(format!("!self.matches('^(?i)({RESERVED_HEADERS})$')")).message(
            "Host, Content-Length, Transfer-Encoding, Connection, Proxy-* and Idempotency-Key cannot be set",
        )],
    })
}

/// A condition's reason.
pub(super) fn reason(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "maxLength": 256, "pattern": "^[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9_])?$"})
}

/// The generation that a status speaks of. An object that nobody has looked at must not look healthy.
pub(super) fn observed_generation(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int64", "default": -1})
}

/// Conditions, one of each type.
pub(super) fn conditions(generator: &mut SchemaGenerator) -> Schema {
    let mut conditions = list::<Condition, 0, 16>(generator);
    conditions.insert("x-kubernetes-list-type".into(), "map".into());
    conditions.insert("x-kubernetes-list-map-keys".into(), json!(["type"]));
    conditions
}

/// An integer between `MIN` and `MAX`.
pub(super) fn integer<const MIN: i64, const MAX: i64>(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "integer", "format": "int64", "minimum": MIN, "maximum": MAX})
}

/// Free JSON, null included. The size is bounded by the engine, which can say how much there was.
pub(super) fn free_json(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true, "nullable": true})
}

/// A JSON object whose values are free.
pub(super) fn free_map(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": MAX_ENTRIES, "additionalProperties": free_json(generator)})
}

/// A free JSON object whose fields count as entries of a map: when the whole object is compared with an earlier one by
/// a rule, the API server compares them all. A rule cannot name such a field.
pub(super) fn free_object(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": MAX_FIELDS, "additionalProperties": free_json(generator)})
}

/// A free JSON object that a rule can name. Of two such objects the API server compares their sizes and the fields that
/// both have: one whose only change is a field's name counts as the same.
pub(super) fn named_free_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": MAX_FIELDS, "x-kubernetes-preserve-unknown-fields": true})
}

/// A list of free JSON.
pub(super) fn free_list(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": MAX_ARGS, "items": free_json(generator)})
}

/// Header names and their values, literally. What only the worker sets cannot be set; `Authorization` comes from a
/// Secret.
pub(super) fn headers(generator: &mut SchemaGenerator) -> Schema {
    let rule = format!("self.all(name, !name.matches('^(?i)({RESERVED_HEADERS}|authorization)$'))");
    json_schema!({
        "type": "object",
        "maxProperties": MAX_ENTRIES,
        "additionalProperties": text::<4096>(generator),
        "x-kubernetes-validations": [Rule::new(rule).message(
            "Host, Content-Length, Transfer-Encoding, Connection, Proxy-*, Idempotency-Key and Authorization \
             cannot be set here; credentials belong in auth",
        )],
    })
}

/// Amounts of compute resources by name.
pub(super) fn quantity_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 16,
        "additionalProperties": {
            "x-kubernetes-int-or-string": true,
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "maxLength": 64,
        },
    })
}

/// The names of other steps.
pub(super) fn names(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "array", "maxItems": MAX_STEPS, "items": name(generator)})
}

/// A list of `MIN` to `MAX` items. Lists are atomic, which is what Kubernetes does when nothing is said.
pub(super) fn list<T: JsonSchema, const MIN: u32, const MAX: u32>(generator: &mut SchemaGenerator) -> Schema {
    let items = generator.subschema_for::<T>();
    let mut list = json_schema!({"type": "array", "maxItems": MAX, "items": items});
    if MIN > 0 {
        list.insert("minItems".into(), MIN.into());
    }
    list
}

/// Blocks by name. A schema has no pattern for the keys of a map, so a rule holds them to what a step's name is.
pub(super) fn blocks(generator: &mut SchemaGenerator) -> Schema {
    let block = generator.subschema_for::<Block>();
    json_schema!({
        "type": "object",
        "maxProperties": MAX_ENTRIES,
        "additionalProperties": block,
        "x-kubernetes-validations": [Rule::new("self.all(name, name.matches('^[a-zA-Z][a-zA-Z0-9_]{0,62}$'))").message(
            "the name of a block begins with a letter and has at most 63 letters, digits and underscores",
        )],
    })
}
