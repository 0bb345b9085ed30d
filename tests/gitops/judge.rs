//! The real judges, with the files of `docs/gitops/`: see `e2e/tools/health`.

use std::{path::PathBuf, process::Stdio};

use serde::Deserialize;
use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

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
    let mut judge = Command::new(program().await)
        .args(["-argo", ARGO, "-flux", FLUX])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let lines: String = objects.iter().map(|object| format!("{object}\n")).collect();
    let mut stdin = judge.stdin.take().unwrap();
    // It answers while it reads.
    let telling = tokio::spawn(async move { stdin.write_all(lines.as_bytes()).await });
    let output = judge.wait_with_output().await.unwrap();
    telling.await.unwrap().unwrap();
    assert!(output.status.success(), "see what it printed");
    let answers: Vec<Verdict> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(answers.len(), objects.len());
    answers
}

async fn program() -> PathBuf {
    let building = Command::new(BUILD)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = building.await.unwrap();
    assert!(output.status.success(), "{BUILD} failed: see what it printed");
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim_end()).join("health-judge")
}
