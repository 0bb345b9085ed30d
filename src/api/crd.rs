//! From the types to the CustomResourceDefinitions that are shipped.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::json;

use super::v1alpha1::{Connection, Signal, Workflow, WorkflowRun};

/// The CustomResourceDefinitions of all kinds, as `everstep crd` prints them and `crds/` holds them.
pub fn crds() -> Vec<CustomResourceDefinition> {
    [Workflow::crd(), WorkflowRun::crd(), Signal::crd(), Connection::crd()]
        .map(finish)
        .into()
}

/// All CustomResourceDefinitions as one YAML stream.
pub fn crd_yaml() -> String {
    crds().iter().map(|crd| format!("---\n{}", to_yaml(crd))).collect()
}

fn to_yaml(crd: &CustomResourceDefinition) -> String {
    serde_saphyr::to_string(crd).expect("a CustomResourceDefinition is plain data")
}

/// Says what the derive cannot: what an absent status means, that null is no value, and each description once.
fn finish(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    let versions = crd.spec.versions.iter_mut();
    for schema in versions.filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut()) {
        refuse_null(schema);
        for (name, child) in children(schema) {
            match name {
                "status" => child.default = Some(JSON(json!({"observedGeneration": -1}))),
                "spec" => describe_steps_once(child),
                _ => {}
            }
        }
    }
    crd
}

/// An explicit null would differ from an absent field in a revision's hash, so only free JSON may be null.
fn refuse_null(schema: &mut JSONSchemaProps) {
    if schema.type_.is_some() {
        schema.nullable = None;
    }
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| !value.0.is_null());
    }
    children(schema).for_each(|(_, child)| refuse_null(child));
}

/// A schema cannot refer to another one, so the schema of a step is written out some fifteen times; with all its
/// descriptions it would not fit into the annotation that client-side apply writes. Only `spec.steps` keeps them.
fn describe_steps_once(spec: &mut JSONSchemaProps) {
    for (name, field) in children(spec) {
        // An inline definition is described by the Workflow's own.
        let is_copy = name == "workflow" || is_list_of_steps(name) && name != "steps";
        drop_copied_descriptions(field, is_copy);
    }
}

fn drop_copied_descriptions(schema: &mut JSONSchemaProps, is_copy: bool) {
    for (name, child) in children(schema) {
        if is_copy {
            child.description = None;
        }
        drop_copied_descriptions(child, is_copy || is_list_of_steps(name));
    }
}

fn is_list_of_steps(field: &str) -> bool {
    matches!(field, "steps" | "finally" | "blocks")
}

/// The schemas right below this one; those of items and of a map's values have no name.
fn children(schema: &mut JSONSchemaProps) -> impl Iterator<Item = (&str, &mut JSONSchemaProps)> {
    let items = match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => Some(items.as_mut()),
        Some(JSONSchemaPropsOrArray::Schemas(_)) | None => None,
    };
    let values = match &mut schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(values)) => Some(values.as_mut()),
        Some(JSONSchemaPropsOrBool::Bool(_)) | None => None,
    };
    let properties = schema
        .properties
        .iter_mut()
        .flatten()
        .map(|(name, child)| (name.as_str(), child));
    properties.chain(items.into_iter().chain(values).map(|child| ("", child)))
}
