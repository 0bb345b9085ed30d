//! The dashboard that the chart renders: every expression in it is one, of metrics that exist.

use std::fs;

use serde_json::{Value, json};

use crate::{
    alerts::{metrics_of, promtool},
    least,
    support::{
        chart::{Helm, list, objects},
        controlplane,
    },
};

/// What Grafana puts in place of its variables.
const VARIABLES: [(&str, &str); 2] = [("$namespace", "everstep-system"), ("$__rate_interval", "2m")];

#[tokio::test]
async fn every_expression_of_the_dashboard_is_one_of_metrics_that_exist() {
    let dashboard = rendered().await;
    let mut rules = Vec::new();
    for panel in list(&dashboard["panels"]) {
        let title = panel["title"].as_str().unwrap();
        for target in list(&panel["targets"]) {
            let mut expression = target["expr"].as_str().unwrap().to_owned();
            assert!(
                expression.contains("namespace=\"$namespace\""),
                "{title}: of every release"
            );
            for (variable, value) in VARIABLES {
                expression = expression.replace(variable, value);
            }
            assert!(
                !expression.contains('$'),
                "{title}: a variable is not known: {expression}"
            );
            assert!(metrics_of(title, &expression) > 0, "{title}: {expression}");
            rules.push(json!({"record": format!("panel:{}:{}", panel["id"], target["refId"].as_str().unwrap()), "expr": expression}));
        }
    }
    assert!(rules.len() > 15, "{}", rules.len());
    let directory = tempfile::tempdir().unwrap();
    let rules = json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string();
    fs::write(directory.path().join("rules.yaml"), rules).unwrap();
    let output = promtool(&["check", "rules", "rules.yaml"], directory.path());
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool:\n{said}");
}

#[tokio::test]
async fn panels_have_ids_of_their_own_and_do_not_overlap() {
    let dashboard = rendered().await;
    let panels = list(&dashboard["panels"]);
    let of = |panel: &Value, side: &str| panel["gridPos"][side].as_u64().unwrap();
    for (place, panel) in panels.iter().enumerate() {
        assert!(of(panel, "x") + of(panel, "w") <= 24, "{}", panel["title"]);
        for other in &panels[..place] {
            assert_ne!(panel["id"], other["id"], "{}", panel["title"]);
            let apart = |at: &str, long: &str| {
                of(panel, at) + of(panel, long) <= of(other, at) || of(other, at) + of(other, long) <= of(panel, at)
            };
            assert!(
                apart("x", "w") || apart("y", "h"),
                "{} lies over {}",
                panel["title"],
                other["title"]
            );
        }
    }
}

/// What Grafana's sidecar finds, by its label, when it is asked for; else there is nothing to be found.
async fn rendered() -> Value {
    let helm = Helm::new(controlplane::shared().await).await;
    let find = |manifests: &str| {
        let mut found = objects(manifests);
        found.retain(|object| object["metadata"]["labels"]["grafana_dashboard"] == "1");
        found
    };
    let mut values = least();
    assert!(find(&helm.template("everstep-system", &values).await).is_empty());
    values["metrics"] = json!({"dashboard": {"enabled": true}});
    let found = find(&helm.template("everstep-system", &values).await);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["kind"], "ConfigMap");
    serde_json::from_str(found[0]["data"]["everstep.json"].as_str().unwrap()).unwrap()
}
