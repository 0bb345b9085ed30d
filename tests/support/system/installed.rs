//! How the chart would start a system's processes: with which words, and as whom.

use serde_json::{Value, json};

use crate::support::{
    chart::{Launch, Release},
    controlplane::ControlPlane,
};

/// The account of a process that is both: it may what the chart lets both do, and nothing else.
const BOTH: &str = "everstep-all";

/// The three roles, each ready to be started.
pub(super) struct Installed {
    controller: Launch,
    worker: Launch,
    all: Launch,
}

impl Installed {
    /// A release of the chart in this namespace, and for it alone.
    pub(super) async fn new(plane: &ControlPlane, namespace: &str, database_url: &str) -> Self {
        let values = json!({
            "namespaces": [namespace],
            // Tests make the Secrets that they need as they go.
            "worker": {"secrets": {"all": true}},
            // The tests' administrator sends Signals for others.
            "admissionPolicies": {"signalBy": {"delegates": ["admin"]}},
        });
        let release = Release::with_database(plane, namespace, database_url, values).await;
        let (controller, worker) = (release.launch("controller").await, release.launch("worker").await);
        bind_both(plane, &release).await;
        let kubeconfig = plane.kubeconfig_of_account(namespace, BOTH).await.unwrap();
        let all = controller.and(&worker, "all", &kubeconfig);
        Self {
            controller,
            worker,
            all,
        }
    }

    /// A role of the command line.
    pub(super) fn role(&self, role: &str) -> &Launch {
        match role {
            "controller" => &self.controller,
            "worker" => &self.worker,
            "all" => &self.all,
            other => panic!("{other} is no role of a service"),
        }
    }
}

/// Binds an account to every role that an account of the chart is bound to.
async fn bind_both(plane: &ControlPlane, release: &Release<'_>) {
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": BOTH, "namespace": release.namespace},
    });
    let is_binding = |object: &&Value| {
        object["kind"]
            .as_str()
            .is_some_and(|kind| kind.ends_with("RoleBinding"))
    };
    let bindings = release.objects.iter().filter(is_binding).map(|binding| {
        let mut binding = binding.clone();
        let name = binding["metadata"]["name"].as_str().unwrap().to_owned();
        binding["metadata"]["name"] = format!("{name}-all").into();
        binding["subjects"][0]["name"] = BOTH.into();
        binding
    });
    let items: Vec<Value> = std::iter::once(account).chain(bindings).collect();
    assert!(items.len() > 4, "the chart's accounts are bound to roles");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    plane
        .kubectl_with_input(&["apply", "--server-side", "-f", "-"], &list)
        .await
        .unwrap();
}
