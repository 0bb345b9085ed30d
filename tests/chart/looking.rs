//! What operators type to look at a live system and to set it right: the commands of the runbooks and of
//! `docs/operations.md`, one after another, as they stand there.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{
    chart::{Helm, Release},
    controlplane,
    pages::commands,
    postgres,
    system::{System, example, install_crds, signal, workflow, workflow_run},
    tools::typed,
};

const RUNBOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbooks");
const PAGES: [&str; 2] = ["docs/operations.md", "charts/everstep/README.md"];
/// Commands of pods, of which there are none here, and those of an installation, which `life` runs from `docs/install.md`.
const NOT_HERE: [&str; 6] = [
    "kubectl -n everstep-system logs ",
    "kubectl -n everstep-system port-forward ",
    "curl ",
    "kubectl create namespace ",
    "kubectl --namespace everstep-system create secret ",
    "helm --namespace everstep-system install ",
];
/// Commands that end or change runs: `tests/command/` runs each with runs of its own.
const ACT: [&str; 3] = ["everstep retry ", "everstep cancel ", "everstep signal "];
const SLEEPS: &str = "{steps: [{name: nap, sleep: {for: 1h}}]}";

#[tokio::test]
async fn commands_of_the_runbooks_work_on_a_live_system() {
    let plane = controlplane::shared().await;
    install_crds(plane).await;
    let system = System::on(plane, "looked-at", postgres::empty_database().await).await;
    let values = json!({"namespaces": [system.namespace], "worker": {"lease": "1s"}});
    let release = Release::with_database(plane, &system.namespace, &system.database_url, values).await;
    let _controller = release.start("controller", &[]).await;
    let _worker = release.start("worker", &[]).await;
    let run = workflow_run("order-7", &format!("{{workflow: {SLEEPS}}}"));
    let early = signal("approve", "{target: {run: order-7}, signal: approve}");
    system
        .apply(&(workflow("order", SLEEPS) + &run + &early + "---\n" + &example("hello.yaml")))
        .await;
    let sleeps = |it: &Value| it["status"]["run"]["phase"] == "Sleeping";
    system.until("order", "it sleeps", sleeps).await;
    system.until_of("workflowruns", "order-7", "it sleeps", sleeps).await;
    system.finished("hello").await;
    let grant = format!(
        "SELECT count(*) FROM (SELECT everstep.grant_namespace(current_user::text, '{}')) AS granted",
        system.namespace
    );
    system.count(&grant).await;

    let helm = Helm::new(plane).await;
    let everstep = Path::new(env!("CARGO_BIN_EXE_everstep")).parent().unwrap();
    let programs = [
        everstep,
        helm.directory(),
        plane.programs(),
        postgres::server().await.programs(),
    ];
    let mut environment: Vec<(&str, String)> = vec![("EVERSTEP_DATABASE_URL", system.database_url.clone())];
    environment.extend(
        helm.environment()
            .map(|(name, value)| (name, value.display().to_string())),
    );
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut run = 0;
    for command in all() {
        let skipped = NOT_HERE.iter().chain(&ACT).any(|begin| command.starts_with(begin));
        if !skipped {
            let line = here(&command, &system.namespace);
            typed(&line, checkout, &programs, &environment).await;
            run += 1;
        }
    }
    assert!(run >= 25, "{run} commands were run");
}

/// All commands of these pages, in their order.
fn all() -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(RUNBOOKS)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.extend(PAGES.map(|page| Path::new(env!("CARGO_MANIFEST_DIR")).join(page)));
    files
        .iter()
        .flat_map(|file| commands(&std::fs::read_to_string(file).unwrap()))
        .collect()
}

/// The pages' namespaces are the test's own.
fn here(command: &str, namespace: &str) -> String {
    let own = format!("--namespace {namespace}");
    [
        ("everstep-system", namespace),
        ("-n shop", &own),
        ("--namespace shop", &own),
        ("get ewf hello", &format!("get {own} ewf hello")),
        ("events --for", &format!("events {own} --for")),
    ]
    .iter()
    .fold(command.to_owned(), |command, (there, here)| {
        command.replace(there, here)
    })
}
