//! A release from its installation to its end, by the commands of `docs/install.md`, with the real helm.
//!
//! Each test has a control plane of its own: definitions and releases are the cluster's.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{
    chart::{Helm, Release, objects},
    controlplane::ControlPlane,
    pages::commands,
    postgres,
    system::{System, workflow},
    tools::typed,
};

const PAGE: &str = include_str!("../../docs/install.md");
/// In the page's commands, what a test replaces by its own.
const DATABASE: &str = "postgres://everstep:secret@postgres.db.svc:5432/everstep";
const NAMESPACE: &str = "everstep-system";
/// Commands that no test runs; the page says so beside them.
const NOT_RUN: [&str; 4] = [
    "kubectl --namespace everstep-system rollout status deployment/everstep-controller",
    "kubectl --namespace everstep-system rollout status deployment/everstep-worker",
    "helm --namespace everstep-system test everstep",
    "kubectl --namespace everstep-system rollout restart deployment/everstep-controller deployment/everstep-worker",
];
/// The commands of the first test, in its order, by their beginnings.
const CREATE_NAMESPACE: &str = "kubectl create namespace everstep-system";
const CREATE_SECRET: &str = "kubectl --namespace everstep-system create secret";
const INSTALL: &str =
    "helm --namespace everstep-system install everstep charts/everstep --set database.existingSecret=everstep-database";
const HELLO: &str = "kubectl apply -f examples/hello.yaml";
const WAIT: &str = "kubectl wait --for=condition=Finished ewf/hello";
const UPGRADE: &str = "helm --namespace everstep-system upgrade everstep charts/everstep --reset-then-reuse-values";
const ROLLBACK: &str = "helm --namespace everstep-system rollback everstep";
const UNINSTALL: &str = "helm --namespace everstep-system uninstall everstep";
/// And of the second.
const INSTALL_CRDS: &str = "helm install everstep-crds charts/everstep-crds";
const INSTALL_WITHOUT: &str = "helm --namespace everstep-system install everstep charts/everstep --set database.existingSecret=everstep-database --set crds.install=false";
const DELETE_CRDS: &str = "kubectl delete crd workflows.everstep.dev";
const DELETE_NAMESPACE: &str = "kubectl delete namespace everstep-system";
const TEMPLATE: &str = "helm template everstep charts/everstep --namespace everstep-system";
const RUN: [&str; 13] = [
    CREATE_NAMESPACE,
    CREATE_SECRET,
    INSTALL,
    HELLO,
    WAIT,
    UPGRADE,
    ROLLBACK,
    UNINSTALL,
    INSTALL_CRDS,
    INSTALL_WITHOUT,
    DELETE_CRDS,
    DELETE_NAMESPACE,
    TEMPLATE,
];

#[tokio::test]
async fn release_is_installed_upgraded_rolled_back_and_uninstalled_and_its_objects_stay() {
    let plane = ControlPlane::start().await.unwrap();
    let system = System::on(&plane, "shop", postgres::empty_database().await).await;
    let place = Place::new(&plane, &system.database_url).await;
    place.run(CREATE_NAMESPACE).await;
    place.run(CREATE_SECRET).await;
    let said = place.run(INSTALL).await;
    assert!(
        said.contains("STATUS: deployed") && said.contains("kubectl apply -f -"),
        "{said}"
    );

    let first = place.manifest().await;
    let release = Release::of(&plane, NAMESPACE, &first);
    let controller = release.start("controller", &[]).await;
    let worker = release.start("worker", &[]).await;
    place.run(HELLO).await;
    place.run(WAIT).await;
    system
        .apply(&workflow(
            "nap",
            "{steps: [{name: nap, sleep: {for: 3s}}, {name: greet, set: {text: hello}}]}",
        ))
        .await;
    let sleeps = |it: &Value| it["status"]["run"]["phase"] == "Sleeping";
    system.until("nap", "it sleeps", sleeps).await;
    controller.stop().await;
    worker.stop().await;

    place.run_with(UPGRADE, " --set worker.maxRuns=7").await;
    assert!(place.arguments().await.contains(&json!("--max-runs=7")));
    let second = place.manifest().await;
    assert_eq!(objects(&second).len(), objects(&first).len());
    let release = Release::of(&plane, NAMESPACE, &second);
    let controller = release.start("controller", &[]).await;
    let worker = release.start("worker", &[]).await;
    let ended = system.finished("nap").await;
    assert_eq!(ended["status"]["run"]["phase"], "Succeeded", "{:#}", ended["status"]);
    controller.stop().await;
    worker.stop().await;

    place.run(ROLLBACK).await;
    assert!(place.arguments().await.contains(&json!("--max-runs=1000")));

    assert!(place.left().await.len() > 10);
    place.run(UNINSTALL).await;
    assert_eq!(place.left().await, Vec::<String>::new());
    assert_eq!(place.definitions().await, 4);
    assert_eq!(system.workflow("nap").await, ended, "the object is as it was");

    place.run(INSTALL).await;
    let release = Release::of(&plane, NAMESPACE, &place.manifest().await);
    let _controller = release.start("controller", &[]).await;
    let _worker = release.start("worker", &[]).await;
    system
        .apply(&workflow("again", "{steps: [{name: greet, set: {text: hello}}]}"))
        .await;
    assert_eq!(system.finished("again").await["status"]["run"]["phase"], "Succeeded");
    assert_eq!(
        system.count("SELECT count(*) FROM everstep.runs").await,
        3,
        "nothing ran twice"
    );
}

#[tokio::test]
async fn definitions_can_be_a_release_of_their_own_and_all_can_be_removed() {
    let plane = ControlPlane::start().await.unwrap();
    let place = Place::new(&plane, DATABASE).await;
    place.run(CREATE_NAMESPACE).await;
    place.run(CREATE_SECRET).await;
    place.run(INSTALL_CRDS).await;
    place.run(INSTALL_WITHOUT).await;
    place.run(UNINSTALL).await;
    assert_eq!(place.definitions().await, 4);
    place.run(DELETE_CRDS).await;
    place.run(DELETE_NAMESPACE).await;
    assert_eq!(place.definitions().await, 0);
    assert_eq!(place.left().await, Vec::<String>::new());

    place.run(CREATE_NAMESPACE).await;
    place.run(TEMPLATE).await;
    assert_eq!(place.definitions().await, 4);
    place.arguments().await;
}

#[test]
fn every_command_of_the_page_is_run_here_or_marked() {
    let commands = commands(PAGE);
    assert!(commands.len() >= 15, "{commands:?}");
    for command in &commands {
        let run = RUN.iter().any(|begin| command.starts_with(begin));
        assert!(run != NOT_RUN.contains(&&**command), "{command}");
    }
    for begin in RUN.iter().chain(&NOT_RUN) {
        assert!(
            commands.iter().any(|command| command.starts_with(begin)),
            "{begin} is not on the page"
        );
    }
    assert!(PAGE.matches("not run by a test").count() >= 3);
}

/// A checkout with helm, kubectl and a kubeconfig.
struct Place<'a> {
    plane: &'a ControlPlane,
    helm: Helm,
    database_url: String,
}

impl<'a> Place<'a> {
    async fn new(plane: &'a ControlPlane, database_url: &str) -> Self {
        Self {
            plane,
            helm: Helm::new(plane).await,
            database_url: database_url.to_owned(),
        }
    }

    /// Runs the page's command that begins like this; answers what it printed.
    async fn run(&self, begin: &str) -> String {
        self.run_with(begin, "").await
    }

    /// The same, with more words at its end.
    async fn run_with(&self, begin: &str, more: &str) -> String {
        let commands = commands(PAGE);
        // The shortest one: a longer one begins like another.
        let found = commands.iter().filter(|command| command.starts_with(begin));
        let command = found.min_by_key(|command| command.len());
        let command = command.unwrap_or_else(|| panic!("docs/install.md has no {begin}"));
        let line = command.replace(DATABASE, &self.database_url) + more;
        let programs = [self.helm.directory(), self.plane.programs()];
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
        typed(&line, checkout, &programs, &self.helm.environment()).await
    }

    /// Of the release, as helm keeps it.
    async fn manifest(&self) -> String {
        self.helm
            .run(&["--namespace", NAMESPACE, "get", "manifest", "everstep"])
            .await
    }

    /// Of the worker's Deployment, as the API server has it.
    async fn arguments(&self) -> Vec<Value> {
        let words = [
            "--namespace",
            NAMESPACE,
            "get",
            "deployment",
            "everstep-worker",
            "--output=json",
        ];
        let deployment: Value = serde_json::from_str(&self.plane.kubectl(&words).await.unwrap()).unwrap();
        let arguments = &deployment["spec"]["template"]["spec"]["containers"][0]["args"];
        arguments.as_array().unwrap().clone()
    }

    /// Names of what the release made and that is still there, but for the definitions.
    async fn left(&self) -> Vec<String> {
        const OF_CLUSTER: &str =
            "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings";
        const OF_NAMESPACE: &str =
            "deployments,services,serviceaccounts,configmaps,roles,rolebindings,networkpolicies,poddisruptionbudgets";
        let mut left = Vec::new();
        for kinds in [OF_CLUSTER, OF_NAMESPACE] {
            let ours = "--selector=app.kubernetes.io/part-of=everstep";
            let words = ["--namespace", NAMESPACE, "get", kinds, "--output=name", ours];
            let names = self.plane.kubectl(&words).await.unwrap();
            let of_another = |name: &&str| kinds == OF_CLUSTER && !name.ends_with(&format!(".{NAMESPACE}"));
            left.extend(names.lines().filter(|name| !of_another(name)).map(str::to_owned));
        }
        left
    }

    async fn definitions(&self) -> usize {
        let names = self.plane.kubectl(&["get", "crds", "--output=name"]).await.unwrap();
        names.matches(".everstep.dev").count()
    }
}
