//! The control plane rig: that it is a control plane, that its audit log counts writes, and that nothing of it is left.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, DeleteParams, ObjectMeta, PostParams};
use support::controlplane::{self, ControlPlane, Write};
use support::process;

const READY_WITHIN: Duration = Duration::from_secs(15);
/// Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn control_plane_is_ready_within_fifteen_seconds_and_kubectl_works() {
    let plane = controlplane::shared().await;
    assert!(plane.started_in() < READY_WITHIN, "it took {:?}", plane.started_in());

    let namespace = plane.namespace("kubectl").await.unwrap();
    let create = [
        "--namespace",
        &namespace,
        "create",
        "configmap",
        "words",
        "--from-literal=greeting=hello",
    ];
    plane.kubectl(&create).await.unwrap();
    let read = [
        "--namespace",
        &namespace,
        "get",
        "configmap",
        "words",
        "--output=jsonpath={.data.greeting}",
    ];
    assert_eq!(plane.kubectl(&read).await.unwrap(), "hello");

    let again = plane.kubectl(&create).await.unwrap_err().to_string();
    assert!(again.contains("already exists"), "{again}");
    let version = plane.kubectl(&["version"]).await.unwrap();
    assert!(
        version.contains("Client Version: v1.") && version.contains("Server Version: v1."),
        "{version}"
    );
}

#[tokio::test]
async fn audit_log_counts_writes_by_user_and_object() {
    let plane = controlplane::shared().await;
    let namespace = plane.namespace("audit").await.unwrap();
    plane
        .kubectl(&[
            "create",
            "clusterrolebinding",
            "writer",
            "--clusterrole=edit",
            "--user=writer",
        ])
        .await
        .unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(plane.client_of("writer", None).await.unwrap(), &namespace);
    let before = plane.writes().await.unwrap().len();

    let created = maps.create(&PostParams::default(), &config_map("one")).await.unwrap();
    maps.get("one").await.unwrap();
    maps.replace(
        "one",
        &PostParams::default(),
        &ConfigMap {
            data: Some(BTreeMap::new()),
            ..created
        },
    )
    .await
    .unwrap();
    maps.create(&PostParams::default(), &config_map("one"))
        .await
        .unwrap_err();
    maps.create(&PostParams::default(), &config_map("two")).await.unwrap();

    let writes = plane.writes().await.unwrap();
    let is_ours = |write: &&Write| write.user == "writer" && write.namespace == namespace;
    let ours: Vec<_> = writes[before..]
        .iter()
        .filter(is_ours)
        .map(|w| (&*w.verb, &*w.name, w.code))
        .collect();
    assert_eq!(
        ours,
        [
            ("create", "one", 201),
            ("update", "one", 200),
            ("create", "one", 409),
            ("create", "two", 201)
        ]
    );
    let resources: Vec<_> = writes
        .iter()
        .filter(is_ours)
        .map(|w| (&*w.group, &*w.resource, &*w.subresource))
        .collect();
    assert_eq!(resources, [("", "configmaps", ""); 4]);
}

#[tokio::test]
async fn user_may_do_what_its_group_is_allowed_and_no_more() {
    let plane = controlplane::shared().await;
    let namespace = plane.namespace("rbac").await.unwrap();
    let bind = [
        "--namespace",
        &namespace,
        "create",
        "rolebinding",
        "views",
        "--clusterrole=view",
        "--group=readers",
    ];
    plane.kubectl(&bind).await.unwrap();

    let maps: Api<ConfigMap> = Api::namespaced(plane.client_of("anna", Some("readers")).await.unwrap(), &namespace);
    maps.list(&Default::default()).await.unwrap();
    let refused = maps
        .create(&PostParams::default(), &config_map("one"))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 403),
        "{refused}"
    );

    let stranger: Api<ConfigMap> = Api::namespaced(plane.client_of("bert", None).await.unwrap(), &namespace);
    let refused = stranger.list(&Default::default()).await.unwrap_err();
    assert!(
        matches!(&refused, kube::Error::Api(status) if status.code == 403),
        "{refused}"
    );
}

#[tokio::test]
async fn service_account_can_get_a_token() {
    let plane = controlplane::shared().await;
    let namespace = plane.namespace("tokens").await.unwrap();
    plane
        .kubectl(&["--namespace", &namespace, "create", "serviceaccount", "robot"])
        .await
        .unwrap();
    let token = plane
        .kubectl(&["--namespace", &namespace, "create", "token", "robot"])
        .await
        .unwrap();
    let token = format!("--token={}", token.trim());
    // Without the administrator's kubeconfig, which has a token of its own.
    let review = plane
        .kubectl(&[
            "auth",
            "whoami",
            &token,
            "--output=jsonpath={.status.userInfo.username}",
        ])
        .await;
    assert_eq!(review.unwrap(), format!("system:serviceaccount:{namespace}:robot"));
}

#[tokio::test]
async fn deleted_namespace_goes_away_with_its_objects() {
    let plane = controlplane::shared().await;
    let namespace = plane.namespace("deleted").await.unwrap();
    let client = plane.client().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    maps.create(&PostParams::default(), &config_map("one")).await.unwrap();

    let namespaces: Api<Namespace> = Api::all(client);
    namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while namespaces.get_opt(&namespace).await.unwrap().is_some() {
        assert!(Instant::now() < deadline, "the namespace is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(maps.get_opt("one").await.unwrap().is_none());
}

#[tokio::test]
async fn api_server_comes_back_with_its_objects_at_the_same_address() {
    let mut plane = ControlPlane::start().await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(plane.client().await.unwrap(), "default");
    maps.create(&PostParams::default(), &config_map("kept")).await.unwrap();
    let pids = plane.pids();
    let server = process::family(pids[1]);

    plane.stop_api_server().await.unwrap();
    process::wait_until_gone(&server);
    maps.get("kept").await.unwrap_err();
    assert_eq!(plane.pids(), [pids[0], pids[2]], "the others still run");

    plane.start_api_server().await.unwrap();
    maps.get("kept").await.unwrap();
    let verbs: Vec<_> = plane
        .writes()
        .await
        .unwrap()
        .into_iter()
        .filter(|w| w.name == "kept")
        .map(|w| w.verb)
        .collect();
    assert_eq!(verbs, ["create"], "the audit log goes on");
}

#[tokio::test]
async fn second_control_plane_is_another_one_and_nothing_is_left_of_it() {
    let shared = controlplane::shared().await;
    let namespace = shared.namespace("first").await.unwrap();
    let second = ControlPlane::start().await.unwrap();
    let namespaces: Api<Namespace> = Api::all(second.client().await.unwrap());
    assert!(namespaces.get_opt(&namespace).await.unwrap().is_none());

    let servers: Vec<_> = second.pids().into_iter().flat_map(process::family).collect();
    assert_eq!(servers.len(), 3);
    let directory = second.directory().to_owned();
    drop(second);
    process::wait_until_gone(&servers);
    assert!(!directory.exists());
}

#[test]
fn nothing_is_left_when_the_process_that_started_it_is_killed() {
    let mut holder = process::again("holds_a_control_plane_until_killed", &[]);
    let mut holder = holder.stdout(Stdio::piped()).spawn().unwrap();
    let said = process::lines_until(holder.stdout.as_mut().unwrap(), "holding");
    let servers: Vec<_> = said["pids"]
        .split(' ')
        .flat_map(|pid| process::family(pid.parse().unwrap()))
        .collect();
    let directory = PathBuf::from(&said["directory"]);
    assert_eq!(servers.len(), 3);
    assert!(directory.join("admin.kubeconfig").exists());

    holder.kill().unwrap();
    holder.wait().unwrap();
    process::wait_until_gone(&servers);
    process::wait_until_removed(&directory);
}

/// Not a test of its own: the process that the test above kills.
#[tokio::test]
async fn holds_a_control_plane_until_killed() {
    if !process::is_again() {
        return;
    }
    let plane = ControlPlane::start().await.unwrap();
    let pids: Vec<String> = plane.pids().iter().map(u32::to_string).collect();
    println!("\npids={}", pids.join(" "));
    println!("directory={}", plane.directory().display());
    println!("holding=yes");
    tokio::time::sleep(PATIENCE).await;
}

fn config_map(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}
