//! Values: each is known to the schema and to the README, and any other is refused.

use clap::Parser;
use everstep::{cli::Cli, worker::egress::EgressPolicy};
use serde_json::{Value, json};

use crate::{
    least,
    support::{
        chart::{CHART, Helm, RELEASE},
        controlplane,
    },
};

const VALUES: &str = include_str!("../../charts/everstep/values.yaml");
const README: &str = include_str!("../../charts/everstep/README.md");

/// Maps whose keys are the user's.
const FREE: [&str; 10] = [
    "annotations",
    "labels",
    "named",
    "nodeSelector",
    "podAnnotations",
    "podLabels",
    "limits",
    "requests",
    "global",
    "matchLabels",
];

#[tokio::test]
async fn unknown_value_is_refused_wherever_it_stands() {
    let helm = Helm::new(controlplane::shared().await).await;
    let values: Value = serde_saphyr::from_str(VALUES).unwrap();
    let mut places = Vec::new();
    closed_objects(&values, &mut Vec::new(), &mut places);
    assert!(places.len() > 25, "{places:?}");
    for place in places {
        let mut given = least();
        at(&mut given, &place)["misspelled"] = json!("x");
        let output = helm
            .output(&["template", RELEASE, CHART, "--values=-"], &given.to_string())
            .await;
        let said = String::from_utf8_lossy(&output.stderr);
        let refused = !output.status.success() && said.contains("misspelled");
        assert!(refused, "{} takes an unknown value: {said}", place.join("."));
    }
}

#[tokio::test]
async fn value_of_the_wrong_form_is_refused_with_its_path() {
    let helm = Helm::new(controlplane::shared().await).await;
    for (set, path) in [
        ("controller.replicas=many", "/controller/replicas"),
        ("controller.resync=soon", "/controller/resync"),
        ("worker.maxRuns=0", "/worker/maxRuns"),
        ("namespaces={Shop}", "/namespaces/0"),
        ("image.digest=sha256:1", "/image/digest"),
        ("controller.resync=30m1h", "/controller/resync"),
        ("controller.leaderLease=a.b", "/controller/leaderLease"),
        ("egress.allow[0].hosts={a.example.org}", "/egress/allow/0"),
        ("egress.allow[0].hosts={https://a.b}", "/egress/allow/0/hosts/0"),
        ("egress.allowAddresses={10.0.0.0/99}", "/egress/allowAddresses/0"),
        ("worker.secrets.named.shop={}", "/worker/secrets/named/shop"),
        ("podSecurityContext.runAsUser=0", "/podSecurityContext/runAsUser"),
        (
            "metrics.prometheusRule.runbooks=here",
            "/metrics/prometheusRule/runbooks",
        ),
        (
            "metrics.prometheusRule.alerts.detectorSilent.seconds=2m",
            "/metrics/prometheusRule/alerts/detectorSilent/seconds",
        ),
        (
            "metrics.prometheusRule.alerts.runsStuck.for=60",
            "/metrics/prometheusRule/alerts/runsStuck/for",
        ),
        (
            "metrics.prometheusRule.alerts.failureRateHigh.ratio=20",
            "/metrics/prometheusRule/alerts/failureRateHigh/ratio",
        ),
    ] {
        let words = ["template", RELEASE, CHART, "--set", set, "--values=-"];
        let output = helm.output(&words, &least().to_string()).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(path), "{set}: {said}");
    }
}

#[tokio::test]
async fn value_out_of_range_is_refused_in_words() {
    let helm = Helm::new(controlplane::shared().await).await;
    for (set, said) in [
        (
            "controller.resync=50ms",
            "controller.resync: 50ms is not at least 100ms",
        ),
        (
            "controller.orphanPeriod=99ms",
            "controller.orphanPeriod: 99ms is not at least 100ms",
        ),
        (
            "controller.leaderLeaseDuration=500ms",
            "controller.leaderLeaseDuration: 500ms is not whole seconds, at least 1s and at most 5m",
        ),
        ("worker.lease=2h", "worker.lease: 2h is not at least 1s and at most 1h"),
        (
            "log.filter=warning",
            "log.filter: \"warning\" is no level (off, error, warn, info, debug, trace)",
        ),
    ] {
        let words = ["template", RELEASE, CHART, "--set", set, "--values=-"];
        let output = helm.output(&words, &least().to_string()).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && errors.contains(said), "{set}: {errors}");
    }
}

/// What a pod would refuse when it starts is refused by helm, and what it takes is taken.
#[tokio::test]
async fn values_are_taken_when_the_program_takes_them() {
    let helm = Helm::new(controlplane::shared().await).await;
    let flags: [(&str, &str, &str, &[&str]); 4] = [
        (
            "controller",
            "resync",
            "--resync",
            &["50ms", "100ms", "0.1s", "1h30m", "30m1h", "1h1h"],
        ),
        (
            "controller",
            "leaderLeaseDuration",
            "--leader-lease-duration",
            &["500ms", "1500ms", "1s", "1.5m", "4m60s", "5m1s", "0s"],
        ),
        (
            "controller",
            "leaderLease",
            "--leader-lease",
            &["a-b", "a.b", "-a", "A"],
        ),
        (
            "worker",
            "lease",
            "--lease",
            &["999ms", "1000ms", "1h", "59m60s", "60m1ms", "2h"],
        ),
    ];
    let mut verdicts = Vec::new();
    for (role, value, flag, candidates) in flags {
        for candidate in candidates {
            let mut values = least();
            values[role][value] = json!(candidate);
            let parsed = Cli::try_parse_from(["everstep", role, &format!("{flag}={candidate}")]);
            verdicts.push((values, parsed.is_ok()));
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("egress.yaml");
    let rule = |host: &str| json!({"hosts": [host], "ports": [443], "methods": ["GET"], "namespaces": ["shop"]});
    let hosts = [
        "*",
        "*.a.b",
        "a.b",
        "A_1.b",
        "a*b",
        "a..b",
        "a.b:443",
        "https://a.b",
        "a.b/c",
        "10.0.0.1",
        "::1",
        "2001:db8::1",
    ];
    let networks = [
        "10.0.0.0/8",
        "10.0.0.0/32",
        "10.0.0.0/99",
        "10.0.0.0",
        "10.0.0/8",
        "256.0.0.0/8",
        "::/0",
        "fd00::/8",
        "::ffff:10.0.0.0/104",
        "2001:db8::/129",
        "localhost/8",
    ];
    let policies = hosts.map(|host| json!({"allow": [rule(host)]})).into_iter();
    let policies = policies.chain(networks.map(|network| json!({"allow": [], "allowAddresses": [network]})));
    for policy in policies {
        std::fs::write(&file, policy.to_string()).unwrap();
        let mut values = least();
        values["egress"] = policy;
        verdicts.push((values, EgressPolicy::load(&file).is_ok()));
    }
    assert!(verdicts.iter().any(|(_, taken)| *taken) && verdicts.iter().any(|(_, taken)| !taken));
    for (values, taken) in verdicts {
        let words = ["template", RELEASE, CHART, "--values=-"];
        let output = helm.output(&words, &values.to_string()).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            output.status.success(),
            taken,
            "the program's verdict on {values}; helm says: {said}"
        );
    }
}

#[tokio::test]
async fn missing_secret_of_the_database_is_said_with_what_to_do() {
    let helm = Helm::new(controlplane::shared().await).await;
    let output = helm.output(&["template", RELEASE, CHART], "").await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("database.existingSecret is required") && said.contains("kubectl create secret generic"),
        "{said}"
    );
}

#[test]
fn readme_says_what_each_value_means() {
    let values: Value = serde_saphyr::from_str(VALUES).unwrap();
    let mut leaves = Vec::new();
    collect_leaves(&values, &mut Vec::new(), &mut leaves);
    assert!(leaves.len() > 60, "{}", leaves.len());
    for (path, default) in &leaves {
        let path = path.replacen("controller.", "ROLE.", 1).replacen("worker.", "ROLE.", 1);
        let either = [
            path.clone(),
            path.replacen("ROLE.", "controller.", 1),
            path.replacen("ROLE.", "worker.", 1),
        ];
        let row = README
            .lines()
            .find(|line| either.iter().any(|path| line.starts_with(&format!("| `{path}` |"))));
        let row = row.unwrap_or_else(|| panic!("charts/everstep/README.md has no row of {path}"));
        let said = row.split('|').nth(2).unwrap().trim().trim_matches('`');
        let plain = match default {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let fits = said == plain || said == "see values.yaml" || (plain.is_empty() && said == "\"\"");
        assert!(fits, "{path}: the README says {said:?} for {plain:?}");
    }
    for line in README.lines().filter_map(|line| line.strip_prefix("| `")) {
        let name = line.split('`').next().unwrap();
        let names = ["controller.", "worker."].map(|role| name.replacen("ROLE.", role, 1));
        let known = leaves.iter().any(|(path, _)| names.contains(path));
        assert!(known, "`{name}` of the README is no value");
    }
}

/// Objects whose keys are the chart's, by their paths.
fn closed_objects(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    let Value::Object(fields) = value else { return };
    if path.last().is_some_and(|name| FREE.contains(&name.as_str())) {
        return;
    }
    found.push(path.clone());
    for (name, child) in fields {
        path.push(name.clone());
        closed_objects(child, path, found);
        path.pop();
    }
}

fn at<'a>(value: &'a mut Value, path: &[String]) -> &'a mut Value {
    path.iter().fold(value, |value, name| {
        if value.is_null() {
            *value = json!({});
        }
        &mut value[name]
    })
}

/// Values that are no objects of the chart's own, by their paths.
fn collect_leaves(value: &Value, path: &mut Vec<String>, found: &mut Vec<(String, Value)>) {
    const WHOLE: [&str; 4] = [
        "resources",
        "strategy",
        "topologySpreadConstraints",
        "podSecurityContext",
    ];
    let whole = path.last().is_some_and(|name| WHOLE.contains(&name.as_str()));
    match value {
        Value::Object(fields) if !fields.is_empty() && !whole => {
            for (name, child) in fields {
                path.push(name.clone());
                collect_leaves(child, path, found);
                path.pop();
            }
        }
        other => found.push((path.join("."), other.clone())),
    }
}
