//! What the accounts of the chart may do, as the API server says, is what stands in the golden files: no more, no less.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    golden, is_golden, least,
    support::{
        chart::{Release, list},
        controlplane::{self, ControlPlane},
    },
};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn accounts_may_do_what_the_golden_file_says() {
    let plane = controlplane::shared().await;
    let mut values = least();
    values["worker"]["secrets"]["named"] = json!({});
    values["admissionPolicies"]["signalBy"]["enabled"] = false.into();
    let home = plane.namespace("everywhere").await.unwrap();
    let work = plane.namespace("work").await.unwrap();
    let other = plane.namespace("other").await.unwrap();
    values["worker"]["secrets"]["named"][&work] = json!(["shopdb", "payments"]);
    Release::apply(plane, &home, values).await;
    compare(plane, "rights-all-namespaces.txt", &home, &work, &other).await;
}

#[tokio::test]
async fn accounts_of_some_namespaces_may_do_nothing_in_others() {
    let plane = controlplane::shared().await;
    let home = plane.namespace("somewhere").await.unwrap();
    let work = plane.namespace("work").await.unwrap();
    let other = plane.namespace("other").await.unwrap();
    let mut values = least();
    values["namespaces"] = json!([work]);
    values["worker"]["secrets"]["all"] = true.into();
    Release::apply(plane, &home, values).await;
    compare(plane, "rights-some-namespaces.txt", &home, &work, &other).await;
}

#[tokio::test]
async fn no_rule_has_a_wildcard_and_none_lists_secrets_or_touches_pods() {
    let plane = controlplane::shared().await;
    let helm = crate::support::chart::Helm::new(plane).await;
    for values in [least(), crate::all()] {
        let manifests = helm.template("everstep-system", &values).await;
        let mut rules = 0;
        for object in crate::support::chart::objects(&manifests) {
            for rule in list(&object["rules"]) {
                rules += 1;
                let words =
                    |field: &str| -> Vec<&str> { list(&rule[field]).iter().filter_map(Value::as_str).collect() };
                let (groups, resources, verbs) = (words("apiGroups"), words("resources"), words("verbs"));
                let all = [&groups[..], &resources, &verbs].concat();
                assert!(all.iter().all(|word| !word.contains('*')), "{rule}");
                assert!(!resources.contains(&"pods") && !resources.contains(&"jobs"), "{rule}");
                assert!(!resources.contains(&"secrets") || verbs == ["get"], "{rule}");
            }
        }
        assert!(rules >= 10, "{rules}");
    }
}

#[tokio::test]
async fn editors_cannot_write_connections_and_admins_can() {
    let plane = controlplane::shared().await;
    let home = plane.namespace("people").await.unwrap();
    let work = plane.namespace("work").await.unwrap();
    let mut values = least();
    values["admissionPolicies"]["signalBy"]["enabled"] = false.into();
    Release::apply(plane, &home, values).await;
    for role in ["view", "edit", "admin"] {
        let name = format!("{role}-of-{work}");
        let words = ["--namespace", &work, "create", "rolebinding", role];
        let whom = [&format!("--clusterrole={role}"), &format!("--user={name}")];
        plane
            .kubectl(&[&words[..], &[whom[0], whom[1]]].concat())
            .await
            .unwrap();
    }
    for (role, verb, resource, expected) in [
        ("view", "list", "connections.everstep.dev", true),
        ("view", "create", "signals.everstep.dev", false),
        ("edit", "create", "workflows.everstep.dev", true),
        ("edit", "create", "workflowruns.everstep.dev", true),
        ("edit", "delete", "signals.everstep.dev", true),
        ("edit", "get", "connections.everstep.dev", true),
        ("edit", "create", "connections.everstep.dev", false),
        ("edit", "patch", "connections.everstep.dev", false),
        ("edit", "patch", "workflows.everstep.dev --subresource=status", false),
        ("admin", "create", "connections.everstep.dev", true),
        ("admin", "delete", "connections.everstep.dev", true),
        ("admin", "patch", "connections.everstep.dev --subresource=status", false),
    ] {
        let user = format!("--as={role}-of-{work}");
        let mut words = vec!["--namespace", &work, "auth", "can-i", verb, &user];
        words.extend(resource.split(' '));
        // Roles are aggregated a moment after they are stored.
        let until = Instant::now() + PATIENCE;
        loop {
            let output = plane.kubectl_output(&words, "").await.unwrap();
            let answer = String::from_utf8_lossy(&output.stdout).trim() == "yes";
            if answer == expected {
                break;
            }
            assert!(Instant::now() < until, "{role} {verb} {resource}: {answer}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Both accounts in the release's own namespace, in one that it works for, and in another one, against a golden file.
async fn compare(plane: &ControlPlane, file: &str, home: &str, work: &str, other: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut text = String::new();
        for account in ["controller", "worker"] {
            let places = [
                (home, "its own namespace"),
                (work, "a namespace it works for"),
                (other, "another"),
            ];
            for (namespace, called) in places {
                let rights = rights(plane, home, &format!("everstep-{account}"), namespace).await;
                let rights = rights.replace(work, "WORK");
                text += &format!("## {account} in {called}\n{rights}\n");
            }
        }
        // The API server takes notice of new roles a moment after they are stored.
        let all_there = ["leases", "secrets", "connections"]
            .iter()
            .all(|what| text.contains(what));
        if (all_there && is_golden(file, &text)) || Instant::now() > until {
            return golden(file, &text);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What `kubectl auth can-i --list` says, sorted.
async fn rights(plane: &ControlPlane, home: &str, account: &str, namespace: &str) -> String {
    let user = format!("--as=system:serviceaccount:{home}:{account}");
    let words = [
        "--namespace",
        namespace,
        "auth",
        "can-i",
        "--list",
        "--no-headers",
        &user,
    ];
    let said = plane.kubectl(&words).await.unwrap();
    let squeeze = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<String> = said.lines().map(squeeze).collect();
    lines.sort();
    lines.iter().map(|line| format!("{line}\n")).collect()
}
