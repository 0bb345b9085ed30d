//! The CustomResourceDefinitions as data: what is committed, how large it is, what every field is bounded by.
//! What the API server makes of them is in `api_server.rs`.

use std::path::PathBuf;

use everstep::api;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

/// Set it to write `crds/` instead of comparing it: `UPDATE_CRDS=1 cargo test --test crds`.
const UPDATE: &str = "UPDATE_CRDS";
/// Where the chart has them.
const TEMPLATES: &str = "charts/everstep-crds/templates";
/// A client-side apply keeps the whole object in an annotation of at most 256 KiB.
const MAX_COMPACT_JSON: usize = 200 * 1024;
/// The only fields of a Workflow that hold JSON whose shape is the author's.
const FREE_JSON: [&str; 10] = [
    "args[]",
    "body",
    "command[]",
    "env{}",
    "headers{}",
    "input",
    "output",
    "pathParams{}",
    "query{}",
    "set{}",
];

#[test]
fn committed_crds_are_the_generated_ones() {
    for crd in api::crds() {
        let file = committed(&crd);
        let generated = serde_saphyr::to_string(&crd).unwrap();
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&file, &generated).unwrap();
        }
        let committed = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(
            committed == generated,
            "{} is stale: {UPDATE}=1 cargo test --test crds",
            file.display()
        );
    }
}

#[test]
fn charts_templates_are_the_committed_crds() {
    for crd in api::crds() {
        let file = committed(&crd);
        let name = file.file_name().expect("a CRD has a file");
        let template = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(TEMPLATES).join(name);
        let generated = template_of(&serde_saphyr::to_string(&crd).unwrap());
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&template, &generated).unwrap();
        }
        let committed = std::fs::read_to_string(&template).unwrap_or_default();
        assert!(
            committed == generated,
            "{} is stale: {UPDATE}=1 cargo test --test crds",
            template.display()
        );
    }
    let templates = std::fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(TEMPLATES)).unwrap();
    let is_definition = |name: String| name.ends_with(".yaml");
    let found = templates.filter(|entry| is_definition(entry.as_ref().unwrap().file_name().into_string().unwrap()));
    assert_eq!(
        found.count(),
        api::crds().len(),
        "no template of a kind that is not ours"
    );
}

#[test]
fn every_committed_file_is_a_crd_of_ours() {
    let ours: Vec<_> = api::crds().iter().map(committed).collect();
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("crds");
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        assert!(ours.contains(&path), "{} belongs to no kind", path.display());
    }
}

#[test]
fn yaml_stream_holds_every_crd_unchanged() {
    let parsed: Vec<CustomResourceDefinition> = serde_saphyr::from_multiple(&api::crd_yaml()).unwrap();
    assert_eq!(parsed, api::crds());
}

#[test]
fn each_crd_fits_into_a_client_side_apply() {
    for crd in api::crds() {
        let size = serde_json::to_string(&crd).unwrap().len();
        assert!(size < MAX_COMPACT_JSON, "{} has {size} bytes", crd.spec.names.plural);
    }
}

#[test]
fn spec_has_no_defaults() {
    for (path, schema) in schemas("spec") {
        assert!(
            schema.get("default").is_none(),
            "{path} has a default: every apply would say \"configured\""
        );
    }
}

#[test]
fn lists_of_spec_are_atomic() {
    for (path, schema) in schemas("spec") {
        let kind = schema
            .get("x-kubernetes-list-type")
            .and_then(Value::as_str)
            .unwrap_or("atomic");
        assert_eq!(
            kind, "atomic",
            "{path}: an item of another manager would survive an apply"
        );
    }
}

#[test]
fn status_says_minus_one_until_somebody_has_looked() {
    let statuses = schemas("status")
        .into_iter()
        .filter(|(path, _)| path.matches('.').count() == 1);
    for (path, schema) in statuses {
        assert_eq!(schema["default"], json!({"observedGeneration": -1}), "{path}");
        assert_eq!(schema["properties"]["observedGeneration"]["default"], -1, "{path}");
    }
}

#[test]
fn every_string_list_and_map_is_bounded() {
    for (path, schema) in schemas("spec").into_iter().chain(schemas("status")) {
        let bounded = match schema.get("type").and_then(Value::as_str) {
            Some("string") => schema.get("maxLength").is_some() || schema.get("enum").is_some(),
            Some("array") => schema.get("maxItems").is_some(),
            Some("object") if schema.get("additionalProperties").is_some() => schema.get("maxProperties").is_some(),
            Some("object") if is_free_json(&schema) => schema.get("maxProperties").is_some(),
            Some("object") => schema.get("properties").is_some(),
            Some("integer" | "number" | "boolean") => true,
            Some(other) => panic!("{path} has the unknown type {other}"),
            None if schema.get("x-kubernetes-int-or-string").is_some() => schema.get("maxLength").is_some(),
            None => is_free_json(&schema),
        };
        assert!(bounded, "{path} has no bound: {schema}");
    }
}

#[test]
fn only_named_fields_hold_free_json() {
    for (path, schema) in schemas("spec").into_iter().chain(schemas("status")) {
        let named = match path.split_once('.') {
            Some(("workflows", rest)) => FREE_JSON.iter().any(|name| rest.ends_with(&format!(".{name}"))),
            Some(("workflowruns", "spec.input" | "status.run.output") | ("signals", "spec.payload{}")) => true,
            Some(("workflowruns", rest)) if rest.starts_with("spec.workflow.") => {
                FREE_JSON.iter().any(|name| rest.ends_with(&format!(".{name}")))
            }
            _ => false,
        };
        assert_eq!(is_free_json(&schema), named, "{path}");
    }
}

#[test]
fn only_free_json_may_be_null() {
    for (path, schema) in schemas("spec").into_iter().chain(schemas("status")) {
        let nullable = schema.get("nullable").is_some_and(|value| value == true);
        let is_object = schema.get("type").is_some_and(|kind| kind == "object");
        assert_eq!(nullable, is_free_json(&schema) && !is_object, "{path}");
        let null_in_enum = schema
            .get("enum")
            .and_then(Value::as_array)
            .is_some_and(|values| values.contains(&Value::Null));
        assert!(!null_in_enum, "{path}");
    }
}

#[test]
fn no_rule_stands_in_a_list_of_steps() {
    for (path, schema) in schemas("spec") {
        let in_steps = path.contains(".steps[]") || path.contains(".finally[]");
        assert!(
            !in_steps || schema.get("x-kubernetes-validations").is_none(),
            "{path}: the API server refuses its cost"
        );
    }
}

/// A CRD as a template of the chart: its metadata is the chart's business, all else stands as it is.
fn template_of(crd: &str) -> String {
    assert!(!crd.contains("{{"), "helm would take it for its own");
    let (head, spec) = crd.split_once("\nspec:\n").expect("a CRD has a spec");
    assert!(
        head.contains("\nmetadata:\n  name: ") && head.lines().count() == 4,
        "{head}"
    );
    format!("{head}\n  {{{{- include \"everstep-crds.metadata\" . | nindent 2 }}}}\nspec:\n{spec}")
}

fn is_free_json(schema: &Value) -> bool {
    schema
        .get("x-kubernetes-preserve-unknown-fields")
        .is_some_and(|value| value == true)
}

/// All schemas at and below `spec` or `status`, each with its path: `workflows.spec.steps[].http.headers{}`.
fn schemas(part: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for crd in api::crds() {
        let crd = serde_json::to_value(crd).expect("a CRD is plain data");
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][part];
        let plural = crd["spec"]["names"]["plural"].as_str().expect("a kind has a plural");
        collect(format!("{plural}.{part}"), schema, &mut found);
    }
    assert!(found.len() > 10, "the walk finds the schemas");
    found
}

fn collect(path: String, schema: &Value, found: &mut Vec<(String, Value)>) {
    for (name, child) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        collect(format!("{path}.{name}"), child, found);
    }
    if let Some(items) = schema.get("items") {
        collect(format!("{path}[]"), items, found);
    }
    if let Some(values) = schema.get("additionalProperties") {
        collect(format!("{path}{{}}"), values, found);
    }
    found.push((path, schema.clone()));
}

fn committed(crd: &CustomResourceDefinition) -> PathBuf {
    let file = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("crds").join(file)
}
