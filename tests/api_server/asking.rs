//! Asks the API server, and holds its answers against what was expected.

use std::path::PathBuf;

use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Client, Resource};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::cases::Answer;
use super::support::controlplane::{self, ControlPlane};

/// Asks the API server about every spec, as a strict client does, and lists all that it answered otherwise.
pub(crate) async fn answers_are_as_expected<K: Resource<DynamicType = ()>>(cases: &[(&str, &str, Answer)]) {
    let plane = with_crds().await;
    let namespace = plane.namespace("answers").await.unwrap();
    let client = plane.client().await.unwrap();
    let mut wrong = Vec::new();
    for &(name, spec, expected) in cases {
        let dry = PatchParams::apply("test").dry_run();
        let answer = apply::<K>(client.clone(), &namespace, "asked", &spec_of(spec), dry).await;
        wrong.extend(judge(name, &answer, expected));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Creates each object, changes it, and lists all that the API server answered otherwise.
pub(crate) async fn edits_are_as_expected<K: Resource<DynamicType = ()>>(cases: &[(&str, &str, &str, Answer)]) {
    let plane = with_crds().await;
    let namespace = plane.namespace("edits").await.unwrap();
    let client = plane.client().await.unwrap();
    let mut wrong = Vec::new();
    for (place, &(name, before, after, expected)) in cases.iter().enumerate() {
        let object = format!("edited-{place}");
        put::<K>(client.clone(), &namespace, &object, &spec_of(before))
            .await
            .unwrap();
        let answer = put::<K>(client.clone(), &namespace, &object, &spec_of(after)).await;
        wrong.extend(judge(name, &answer, expected));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with an answer.
fn judge(name: &str, answer: &Result<(), String>, expected: Answer) -> Option<String> {
    let is_right = match answer {
        Ok(()) => expected.is_empty(),
        Err(message) => !expected.is_empty() && expected.iter().all(|fragment| message.contains(fragment)),
    };
    (!is_right).then(|| format!("{name}: expected {expected:?}, got {answer:?}"))
}

/// Applies an object with this spec.
pub(crate) async fn put<K: Resource<DynamicType = ()>>(
    client: Client,
    namespace: &str,
    name: &str,
    spec: &Value,
) -> Result<(), String> {
    apply::<K>(client, namespace, name, spec, PatchParams::apply("test")).await
}

/// What the API server says to an object with this spec, applied by a strict client.
async fn apply<K: Resource<DynamicType = ()>>(
    client: Client,
    namespace: &str,
    name: &str,
    spec: &Value,
    how: PatchParams,
) -> Result<(), String> {
    let kind = ApiResource::erase::<K>(&());
    let object = json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec});
    let objects: Api<DynamicObject> = Api::namespaced_with(client, namespace, &kind);
    match objects
        .patch(name, &how.validation_strict(), &Patch::Apply(&object))
        .await
    {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(error) => panic!("the API server did not answer: {error}"),
    }
}

/// The spec of a case, its abbreviations written out.
pub(crate) fn spec_of(case: &str) -> Value {
    let steps = |count: usize| {
        (0..count)
            .map(|i| format!("{{name: s{i}, set: {{}}}}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let yaml = case
        .replace("STEPS200", &steps(200))
        .replace("STEPS201", &steps(201))
        .replace("STEP", "{name: s, set: {x: 1}}")
        .replace("LETTERS63", &"a".repeat(63))
        .replace("LETTERS64", &"a".repeat(64))
        .replace("KEY", "{secretKeyRef: {name: s, key: k}}");
    serde_saphyr::from_str(&yaml).unwrap()
}

/// The shared control plane, with our kinds established by a client-side apply.
pub(crate) async fn with_crds() -> &'static ControlPlane {
    static ESTABLISHED: OnceCell<()> = OnceCell::const_new();
    let plane = controlplane::shared().await;
    let apply = async || {
        let directory = root().join("crds");
        plane
            .kubectl(&["apply", "--filename", directory.to_str().unwrap()])
            .await
            .unwrap();
        for plural in ["workflows", "workflowruns", "signals", "connections"] {
            let crd = format!("crd/{plural}.everstep.dev");
            // The conditions appear a moment after the object.
            plane
                .kubectl(&["wait", "--for=create", "--timeout=30s", &crd])
                .await
                .unwrap();
            let established = "--for=jsonpath={.status.conditions[?(@.type=='Established')].status}=True";
            plane
                .kubectl(&["wait", established, "--timeout=30s", &crd])
                .await
                .unwrap();
        }
    };
    ESTABLISHED.get_or_init(apply).await;
    plane
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
