//! What Git says stays what the cluster has: a run writes nothing that a tool would undo or report.

use crate::support::system::{System, condition, observed, workflow};

/// With every field that a release could be tempted to fill in.
const SPEC: &str = "{input: {number: 1}, steps: [{name: a, set: {x: =input.number}}, {name: b, sleep: {for: 300ms}}]}";

#[tokio::test]
async fn finished_run_shows_no_drift() {
    let system = System::new("drift").await;
    let _all = system.start("all", &[]).await;
    let manifest = workflow("once", SPEC);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("once.yaml");
    std::fs::write(&file, &manifest).unwrap();
    let file = file.to_str().unwrap();
    system.apply(&manifest).await;
    let ended = system.finished("once").await;

    assert_eq!(system.apply(&manifest).await, "workflow.everstep.dev/once unchanged\n");
    // It fails when there is a difference.
    assert_eq!(system.kubectl(&["diff", "-f", file]).await, "");
    system.apply_server_side(&manifest).await;
    let diff = ["diff", "--server-side", "--force-conflicts", "-f", file];
    assert_eq!(system.kubectl(&diff).await, "");
    let taken_over = system.workflow("once").await;
    system.apply_server_side(&manifest).await;
    let after = system.workflow("once").await;
    let version = |object: &serde_json::Value| object["metadata"]["resourceVersion"].clone();
    assert_eq!(version(&after), version(&taken_over));
    assert_eq!(after["spec"], ended["spec"]);
    assert!(observed(&after) && condition(&after, "Finished")["status"] == "True");
    assert_eq!(system.count("SELECT count(*) FROM everstep.runs").await, 1);
}
