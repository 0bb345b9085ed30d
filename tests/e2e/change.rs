//! Objects that change, and definitions that start nothing.

use serde_json::Value;

use crate::{
    support::system::{System, condition, connection, observed, workflow},
    target::Target,
};

#[tokio::test]
async fn edit_in_mid_run_starts_the_new_revision_after_the_old_run_and_each_revision_once() {
    let (system, target) = (System::new("edit").await, Target::start().await);
    system.allow(target.port);
    let _all = system.start("all", &[]).await;
    let spec = |said: &str| {
        let gate = "{name: a, http: {connection: target, path: /gate}}";
        format!(
            "{{onChange: Finish, steps: [{gate}, {{name: b, set: {{said: {said}}}}}], output: =steps.b.output.said}}"
        )
    };
    system
        .apply(&(connection("target", &target.spec()) + &workflow("greeting", &spec("first"))))
        .await;
    let first = system
        .until("greeting", "at the gate", |it| it["status"]["run"]["step"] == "a")
        .await;

    system.apply(&workflow("greeting", &spec("second"))).await;
    let edited = |it: &Value| observed(it) && it["status"]["revision"] != first["status"]["revision"];
    let between = system.until("greeting", "accepted as edited", edited).await;
    assert_eq!(
        between["status"]["run"]["id"], first["status"]["run"]["id"],
        "the old run goes on"
    );
    assert_eq!(condition(&between, "Accepted")["status"], "True");
    assert!(condition(&between, "Finished").is_null());
    let message = condition(&between, "Ready")["message"].as_str().unwrap();
    assert!(
        message.contains(between["status"]["revision"].as_str().unwrap()),
        "{message}"
    );

    target.open();
    let second = system.finished("greeting").await;
    assert_ne!(second["status"]["run"]["id"], first["status"]["run"]["id"]);
    assert_eq!(second["status"]["run"]["output"], "second");
    assert_eq!(
        outputs(&system).await,
        ["first", "second"],
        "the old run ended under its own definition"
    );

    system.apply(&workflow("greeting", &spec("first"))).await;
    let back = system
        .until("greeting", "the first again", |it| {
            observed(it) && it["status"]["revision"] == first["status"]["revision"]
        })
        .await;
    assert_eq!(back["status"]["run"]["id"], first["status"]["run"]["id"]);
    assert_eq!(back["status"]["run"]["output"], "first");
    assert_eq!(condition(&back, "Finished")["status"], "True");
    assert_eq!(outputs(&system).await, ["first", "second"]);

    // What does not define the work starts nothing.
    let described = spec("first").replacen('{', "{description: a greeting, ", 1);
    system.apply(&workflow("greeting", &described)).await;
    system.until("greeting", "observed", observed).await;
    assert_eq!(outputs(&system).await, ["first", "second"]);
}

#[tokio::test]
async fn workflow_on_demand_is_registered_and_starts_nothing() {
    let system = System::new("demand").await;
    let mut all = system.start("all", &[("--resync", "500ms")]).await;
    let spec = "{start: OnDemand, params: [{name: who, type: string, required: true}], steps: [{name: a, set: {x: =input.who}}]}";
    system.apply(&workflow("called", spec)).await;
    let called = system
        .until("called", "registered", |it| condition(it, "Ready")["status"] == "True")
        .await;
    assert_eq!(condition(&called, "Ready")["reason"], "Registered");
    assert_eq!(condition(&called, "Accepted")["status"], "True");
    for kind in ["Reconciling", "Stalled", "Finished", "Succeeded"] {
        assert!(condition(&called, kind).is_null(), "{kind}");
    }
    // Several looks later.
    all.counts("everstep_reconciles_total{result=\"done\"}", 3).await;
    assert_eq!(system.count("SELECT count(*) FROM everstep.runs").await, 0);
    assert_eq!(system.count("SELECT count(*) FROM everstep.owners").await, 1);
    let later = system.workflow("called").await;
    assert_eq!(
        later["metadata"]["resourceVersion"],
        called["metadata"]["resourceVersion"]
    );

    // Applied to run, it runs.
    let spec = spec.replace("start: OnDemand", "start: OnApply, input: {who: me}");
    system.apply(&workflow("called", &spec)).await;
    system.finished("called").await;
    assert_eq!(system.count("SELECT count(*) FROM everstep.runs").await, 1);
}

/// What the runs put out, in the order of their start.
async fn outputs(system: &System) -> Vec<String> {
    let select = "SELECT summary ->> 'output' FROM everstep.runs WHERE phase = 'Succeeded' ORDER BY id";
    sqlx::query_scalar(select)
        .fetch_all(&mut system.sql().await)
        .await
        .unwrap()
}
