//! Manifests as a user would write them.

use std::fs;

/// A manifest of `examples/`.
pub(crate) fn example(name: &str) -> String {
    fs::read_to_string(format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A Workflow's manifest, of a spec as a YAML mapping: `{…}`, or the lines of one.
pub(crate) fn workflow(name: &str, spec: &str) -> String {
    object("Workflow", name, spec)
}

/// A WorkflowRun's manifest.
pub(crate) fn workflow_run(name: &str, spec: &str) -> String {
    object("WorkflowRun", name, spec)
}

/// A Signal's manifest.
pub(crate) fn signal(name: &str, spec: &str) -> String {
    object("Signal", name, spec)
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!("---\napiVersion: everstep.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n")
}

/// A Connection's manifest.
pub(crate) fn connection(name: &str, spec: &str) -> String {
    format!("---\napiVersion: everstep.dev/v1alpha1\nkind: Connection\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// A Secret's manifest with one key.
pub(crate) fn secret(name: &str, key: &str, value: &str) -> String {
    format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{{key}: {value:?}}}\n")
}
