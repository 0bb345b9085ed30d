//! The recipes of `docs/gitops/recipes.md`, with the words that stand there.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use crate::{
    judge::verdicts,
    support::{
        chart::Helm,
        controlplane,
        system::{Shop, System, condition, secret},
    },
};

const PAGE: &str = include_str!("../../docs/gitops/recipes.md");
const ARGO_CD: &str = include_str!("../../docs/gitops/argocd.md");
const ARGO_CD_CONFIG_MAP: &str = include_str!("../../docs/gitops/argocd-cm.yaml");
const ARGO_CD_VALUES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/argo-cd-values.yaml");

/// The manifests of the part of the page with this title.
fn recipe(title: &str) -> String {
    let part = PAGE.split("\n## ").find(|part| part.starts_with(title));
    let part = part.unwrap_or_else(|| panic!("docs/gitops/recipes.md has no part {title:?}"));
    let blocks: Vec<&str> = part
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split_once("```").unwrap().0)
        .collect();
    assert!(!blocks.is_empty(), "{title} has no manifests");
    blocks.join("---\n")
}

/// A live system with what the recipes take for granted, in a namespace of the test's own.
async fn live(name: &str) -> (System, Shop) {
    let (system, shop) = (System::new(name).await, Shop::new().await);
    let connection = "---\napiVersion: everstep.dev/v1alpha1\nkind: Connection\nmetadata: {name: shopdb}\n\
                      spec: {postgres: {urlFrom: {secretKeyRef: {name: shop, key: url}}}}\n";
    system.apply(&(secret("shop", "url", &shop.url) + connection)).await;
    (system, shop)
}

/// Applies manifests of the page in the system's own namespace.
async fn apply(system: &System, manifests: &str) {
    let here = format!("namespace: {}", system.namespace);
    let manifests = manifests.replace("namespace: shop", &here);
    let strictly = ["apply", "--server-side", "--validate=strict", "-f", "-"];
    let plane = controlplane::shared().await;
    plane.kubectl_with_input(&strictly, &manifests).await.unwrap();
}

async fn argo(object: &Value) -> String {
    verdicts(std::slice::from_ref(object)).await[0].argo.clone()
}

#[tokio::test]
async fn definition_in_git_is_healthy_whatever_becomes_of_its_runs() {
    let (system, _shop) = live("defined").await;
    let _all = system.start("all", &[]).await;
    apply(&system, &recipe("A definition in Git")).await;
    let registered = |it: &Value| condition(it, "Ready")["reason"] == "Registered";
    let definition = system.until("restock", "is registered", registered).await;
    assert_eq!(argo(&definition).await, "Healthy");
    let ended = |it: &Value| condition(it, "Finished")["status"] == "True";
    let run = system.until_of("workflowruns", "restock-widget", "ends", ended).await;
    assert_eq!(
        run["status"]["run"]["phase"], "Failed",
        "there are none: {}",
        run["status"]
    );
    assert_eq!(argo(&run).await, "Degraded");
    assert_eq!(argo(&system.workflow("restock").await).await, "Healthy");
}

#[tokio::test]
async fn gate_is_passed_once_however_often_its_release_is_synced() {
    let (system, shop) = live("gate").await;
    let _all = system.start("all", &[]).await;
    let gate = recipe("A migration as a gate");
    for sync in 1..=2 {
        apply(&system, &gate).await;
        let ended = |it: &Value| condition(it, "Finished")["status"] == "True";
        let run = system.until_of("workflowruns", "migrate", "ends", ended).await;
        assert_eq!(argo(&run).await, "Healthy", "sync {sync}: {}", run["status"]);
        // As the deletion policy has it.
        system.kubectl(&["delete", "erun", "migrate"]).await;
    }
    assert_eq!(system.count("SELECT count(*) FROM everstep.runs").await, 1);
    assert_eq!(shop.count("SELECT count(*) FROM stock WHERE reorder_at = 0").await, 1);
}

#[tokio::test]
async fn release_is_done_once_and_not_again_when_git_goes_back_to_it() {
    let (system, shop) = live("release").await;
    let _all = system.start("all", &[]).await;
    let manifest = recipe("Once per release");
    let next = manifest.replace("release: 2.4.0", "release: 2.5.0");
    assert_ne!(manifest, next);
    let mut sql = PgConnection::connect(&shop.url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE announced (release text)")
        .execute(&mut sql)
        .await
        .unwrap();
    for manifest in [&manifest, &manifest, &next, &manifest] {
        apply(&system, manifest).await;
        let ended = system.finished("announce").await;
        assert_eq!(argo(&ended).await, "Healthy");
    }
    assert_eq!(shop.count("SELECT count(*) FROM announced").await, 2);
}

#[tokio::test]
async fn approval_holds_no_sync_up_and_is_given_from_git_once() {
    let (system, _shop) = live("approval").await;
    let _all = system.start("all", &[]).await;
    let manifests = recipe("A long approval");
    let (workflow, approval) = manifests.split_once("---\n").unwrap();
    apply(&system, workflow).await;
    let waits = |it: &Value| it["status"]["run"]["phase"] == "Waiting";
    let waiting = system.until("price-change", "waits", waits).await;
    assert_eq!(argo(&waiting).await, "Healthy");
    apply(&system, approval).await;
    let ended = system.finished("price-change").await;
    assert_eq!(ended["status"]["run"]["output"], json!({"by": "alice@example.com"}));
    let consumed = |it: &Value| condition(it, "Consumed")["status"] == "True";
    let name = "price-change-approved";
    system.until_of("signals", name, "is consumed", consumed).await;
    // As a new cluster's sync creates it, or a prune and a revert.
    system.kubectl(&["delete", "esig", name]).await;
    apply(&system, approval).await;
    let judged = |it: &Value| condition(it, "Ready")["status"].is_string();
    let again = system.until_of("signals", name, "is judged", judged).await;
    assert_eq!(
        condition(&again, "Stored")["reason"],
        "Duplicate",
        "{}",
        again["status"]
    );
    assert_eq!(argo(&again).await, "Healthy");
}

#[tokio::test]
async fn health_is_added_to_what_argo_cd_is_told() {
    let plane = controlplane::shared().await;
    let there = ["--namespace", "argocd"];
    plane.kubectl(&["create", "namespace", "argocd"]).await.unwrap();
    let create = [
        "create",
        "configmap",
        "argocd-cm",
        "--from-literal=url=https://argocd.example.com",
    ];
    plane.kubectl(&[&there[..], &create].concat()).await.unwrap();
    let command = ARGO_CD.lines().find_map(|line| line.strip_prefix("kubectl ")).unwrap();
    let words: Vec<&str> = command.split(' ').collect();
    plane.kubectl(&words).await.unwrap();

    let get = ["get", "configmap", "argocd-cm", "--output=json"];
    let object = plane.kubectl(&[&there[..], &get].concat()).await.unwrap();
    let object: Value = serde_json::from_str(&object).unwrap();
    let data = &object["data"];
    assert_eq!(data["url"], "https://argocd.example.com", "what was there stays");
    for kind in ["Workflow", "WorkflowRun", "Signal", "Connection"] {
        let text = &data[format!("resource.customizations.health.everstep.dev_{kind}")];
        assert!(
            text.as_str().is_some_and(|text| text.contains("obj.status")),
            "{kind}: {text}"
        );
    }
}

#[tokio::test]
async fn values_for_argo_cds_chart_say_what_its_config_map_says() {
    // In place of that chart: one that prints its values as data, as it does.
    let chart = tempfile::tempdir().unwrap();
    std::fs::create_dir(chart.path().join("templates")).unwrap();
    for (file, text) in [
        ("Chart.yaml", "{apiVersion: v2, name: echo, version: 0.1.0}"),
        (
            "templates/cm.yaml",
            "data:\n  {{- toYaml .Values.configs.cm | nindent 2 }}\n",
        ),
    ] {
        std::fs::write(chart.path().join(file), text).unwrap();
    }
    let helm = Helm::new(controlplane::shared().await).await;
    let words = ["template", chart.path().to_str().unwrap(), "--values", ARGO_CD_VALUES];
    let rendered: Value = serde_saphyr::from_str(&helm.run(&words).await).unwrap();
    let expected: Value = serde_saphyr::from_str(ARGO_CD_CONFIG_MAP).unwrap();
    assert_eq!(rendered["data"], expected["data"]);
    assert_eq!(expected["data"].as_object().unwrap().len(), 4);
    // What would be a template to a chart that evaluates its values is none.
    assert!(!expected["data"].to_string().contains("{{"));
}
