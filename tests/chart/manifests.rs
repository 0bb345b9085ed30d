//! What the chart renders: lint is clean, the API server takes every object, pods are as restricted as they can be.

use serde_json::{Value, json};

use crate::{
    all, golden, least,
    support::{
        chart::{CHART, Helm, RELEASE, list, objects},
        controlplane,
        system::install_crds,
    },
};

/// Kinds of the Prometheus operator, which the API server of the tests does not know.
const FOREIGN: [&str; 2] = ["ServiceMonitor", "PrometheusRule"];

#[tokio::test]
async fn lint_has_nothing_to_say() {
    let helm = Helm::new(controlplane::shared().await).await;
    for values in [least(), all()] {
        for chart in [CHART, &format!("{CHART}-crds")] {
            let values = if chart == CHART {
                values.to_string()
            } else {
                "{}".to_owned()
            };
            helm.run_with_input(&["lint", "--strict", chart, "--values=-"], &values)
                .await;
        }
    }
}

#[tokio::test]
async fn manifests_are_the_committed_ones() {
    let helm = Helm::new(controlplane::shared().await).await;
    for (name, mut values) in [("least.yaml", least()), ("all.yaml", all())] {
        values["crds"]["install"] = false.into();
        golden(name, &helm.template("everstep-system", &values).await);
    }
}

#[tokio::test]
async fn api_server_takes_every_object_strictly() {
    let plane = controlplane::shared().await;
    let helm = Helm::new(plane).await;
    for namespace in ["shop", "billing"] {
        // Another test may have made it.
        let _ = plane.kubectl(&["create", "namespace", namespace]).await;
    }
    for values in [least(), all()] {
        let namespace = plane.namespace("dry").await.unwrap();
        let mut objects = objects(&helm.template(&namespace, &values).await);
        objects.retain(|object| !FOREIGN.contains(&object["kind"].as_str().unwrap()));
        assert!(objects.len() > 20, "{}", objects.len());
        let text = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let words = [
            "apply",
            "--server-side",
            "--force-conflicts",
            "--dry-run=server",
            "--validate=strict",
            "-f",
            "-",
        ];
        plane.kubectl_with_input(&words, &text).await.unwrap();
    }
}

#[tokio::test]
async fn pods_are_admitted_where_pod_security_is_restricted() {
    let plane = controlplane::shared().await;
    let helm = Helm::new(plane).await;
    let namespace = plane.namespace("restricted").await.unwrap();
    let label = "pod-security.kubernetes.io/enforce=restricted";
    plane.kubectl(&["label", "namespace", &namespace, label]).await.unwrap();
    let mut values = all();
    // Admission asks for the class and for the account before it judges.
    values["controller"]["priorityClassName"] = "".into();
    let mut judged = 0;
    for object in objects(&helm.template(&namespace, &values).await) {
        let Some(spec) = pod_of(&object) else { continue };
        let mut spec = spec.clone();
        spec["serviceAccountName"] = "default".into();
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "judged", "namespace": namespace}, "spec": spec});
        let words = ["create", "--dry-run=server", "-f", "-"];
        plane.kubectl_with_input(&words, &pod.to_string()).await.unwrap();

        let mut root = pod.clone();
        root["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = true.into();
        let refused = plane.kubectl_with_input(&words, &root.to_string()).await.unwrap_err();
        assert!(refused.to_string().contains("violates PodSecurity"), "{refused}");
        judged += 1;
    }
    assert_eq!(judged, 3, "both Deployments and the test");
}

#[tokio::test]
async fn every_container_has_a_read_only_root_and_bounds() {
    let helm = Helm::new(controlplane::shared().await).await;
    for object in objects(&helm.template("everstep-system", &least()).await) {
        let Some(pod) = pod_of(&object) else { continue };
        let name = &object["metadata"]["name"];
        assert_eq!(pod["enableServiceLinks"], false, "{name}");
        for container in list(&pod["containers"]) {
            assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{name}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
            assert!(container["resources"]["requests"]["cpu"].is_string(), "{name}");
        }
    }
}

#[tokio::test]
async fn definitions_are_left_when_the_release_goes_and_can_be_left_out() {
    let plane = controlplane::shared().await;
    install_crds(plane).await;
    let helm = Helm::new(plane).await;
    let mut values = least();
    let definitions = |manifests: &str| {
        let mut found = objects(manifests);
        found.retain(|object| object["kind"] == "CustomResourceDefinition");
        found
    };
    let found = definitions(&helm.template("everstep-system", &values).await);
    assert_eq!(found.len(), 4);
    for definition in &found {
        let policy = &definition["metadata"]["annotations"]["helm.sh/resource-policy"];
        assert_eq!(policy, "keep", "{}", definition["metadata"]["name"]);
    }
    values["crds"]["install"] = false.into();
    assert_eq!(definitions(&helm.template("everstep-system", &values).await).len(), 0);
}

/// As Argo CD and Flux make it ready, who see the files of a repository without its links, and as it is published.
#[tokio::test]
async fn chart_without_the_link_builds_its_dependency_and_is_packaged_whole() {
    let helm = Helm::new(controlplane::shared().await).await;
    let expected = helm.template("everstep-system", &least()).await;
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    for chart in ["everstep", "everstep-crds"] {
        let copied = std::process::Command::new("cp")
            .args([
                "--recursive",
                "--no-dereference",
                &format!("{CHART}/../{chart}"),
                &at(chart),
            ])
            .status();
        assert!(copied.unwrap().success());
    }
    std::fs::remove_file(directory.path().join("everstep/charts/everstep-crds")).unwrap();
    let words = [
        "template",
        RELEASE,
        &at("everstep"),
        "--namespace=everstep-system",
        "--values=-",
    ];
    let missing = helm.output(&words, &least().to_string()).await;
    assert!(!missing.status.success(), "it is rendered without the definitions");

    helm.run(&["dependency", "build", &at("everstep")]).await;
    assert_eq!(helm.run_with_input(&words, &least().to_string()).await, expected);

    helm.run(&["package", CHART, "--destination", &at("")]).await;
    let packaged = at(concat!("everstep-", env!("CARGO_PKG_VERSION"), ".tgz"));
    let words = [
        "template",
        RELEASE,
        &packaged,
        "--namespace=everstep-system",
        "--values=-",
    ];
    assert_eq!(helm.run_with_input(&words, &least().to_string()).await, expected);
}

#[test]
fn charts_have_the_version_of_the_program() {
    for chart in [CHART.to_owned(), format!("{CHART}-crds")] {
        let text = std::fs::read_to_string(format!("{chart}/Chart.yaml")).unwrap();
        let chart: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
        for dependency in list(&chart["dependencies"]) {
            assert_eq!(dependency["version"], env!("CARGO_PKG_VERSION"));
        }
    }
}

/// The pod that an object is or makes.
fn pod_of(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "Pod" => Some(&object["spec"]),
        "Deployment" => Some(&object["spec"]["template"]["spec"]),
        _ => None,
    }
}
