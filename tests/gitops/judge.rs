//! The real judges, with the files of `docs/gitops/`: see `e2e/tools/health`.

use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;

use crate::support::tools::{built, fed};

const BUILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/tools/health/build");
const ARGO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/gitops/argocd-cm.yaml");
const FLUX: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/gitops/flux-kustomization.yaml");

/// What they say of one object, in their own words.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Verdict {
    pub(crate) kstatus: String,
    pub(crate) argo: String,
    /// What a person reads beside it.
    pub(crate) argo_message: String,
    pub(crate) flux: String,
}

/// What they say of these objects, in their order. If the judge is not there yet, it is built first.
pub(crate) async fn verdicts(objects: &[Value]) -> Vec<Verdict> {
    let lines: String = objects.iter().map(|object| format!("{object}\n")).collect();
    let mut judge = Command::new(built(BUILD, "health-judge").await);
    let output = fed(judge.args(["-argo", ARGO, "-flux", FLUX]), &lines).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let answers: Vec<Verdict> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), objects.len());
    answers
}
