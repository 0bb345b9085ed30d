//! The alerts that the chart renders: each fires and clears as `alerts.yaml` says, by promtool, and has a runbook.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use clap::Parser;
use everstep::cli::Cli;
use serde_json::{Value, json};

use crate::{
    least,
    support::{
        chart::{Helm, list, objects},
        controlplane,
    },
};

const CASES: &str = include_str!("alerts.yaml");
const OPERATIONS: &str = include_str!("../../docs/operations.md");
const RUNBOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbooks");
/// What all names of alerts begin with; a runbook's does not.
const PREFIX: &str = "Everstep";

#[tokio::test]
async fn alerts_fire_and_clear_as_promtool_is_told() {
    let directory = tempfile::tempdir().unwrap();
    // JSON is YAML, too.
    let rules = spec(json!({})).await.to_string();
    fs::write(directory.path().join("rules.yaml"), rules).unwrap();
    fs::write(directory.path().join("alerts.yaml"), CASES).unwrap();
    for words in [
        ["check", "rules", "--lint-fatal", "rules.yaml"].as_slice(),
        &["test", "rules", "alerts.yaml"],
    ] {
        let output = promtool(words, directory.path());
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "promtool {}:\n{said}", words.join(" "));
    }
}

#[tokio::test]
async fn each_alert_is_seen_firing_and_then_cleared() {
    let cases: Value = serde_saphyr::from_str(CASES).unwrap();
    for name in names(&spec(json!({})).await) {
        let firing = format!("alertname=\"{name}\", alertstate=\"firing\"");
        let clears = list(&cases["tests"]).iter().any(|case| {
            let mut looks = list(&case["promql_expr_test"]).iter();
            let fires = looks.any(|look| look["exp_samples"].to_string().replace('\\', "").contains(&firing));
            fires && looks.any(|look| list(&look["exp_samples"]).is_empty() && says(look, &name))
        });
        assert!(
            clears,
            "tests/chart/alerts.yaml has no case in which {name} fires, and then clears"
        );
    }
}

#[tokio::test]
async fn each_alert_says_what_to_do_and_where_to_read_on() {
    let base = "https://wiki.example.org/runbooks";
    let spec = spec(json!({"runbooks": format!("{base}/")})).await;
    for alert in alerts(&spec) {
        let name = alert["alert"].as_str().unwrap();
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity}");
        let texts = &alert["annotations"];
        for text in ["summary", "description"] {
            assert!(
                texts[text].as_str().is_some_and(|text| text.len() > 20),
                "{name}: {text}"
            );
        }
        let page = name.strip_prefix(PREFIX).unwrap();
        assert_eq!(texts["runbook_url"], format!("{base}/{page}.md"));
    }
}

#[tokio::test]
async fn each_alert_has_a_runbook_that_operations_link_to_and_no_runbook_is_left_over() {
    let names = names(&spec(json!({})).await);
    let mut pages = BTreeSet::new();
    for (page, text) in runbooks() {
        assert!(text.starts_with(&format!("# {page}\n")), "{page}: the title");
        for section in ["## What it means\n", "## Look\n", "## Do\n", "## When it clears\n"] {
            assert!(text.contains(section), "{page}: {section}");
        }
        assert!(OPERATIONS.contains(&format!("(runbooks/{page}.md)")), "{page}: no link");
        pages.insert(format!("{PREFIX}{page}"));
    }
    assert_eq!(pages, names);
}

/// `docs/operations.md` is held against the binary by `tests/documentation.rs`.
#[tokio::test]
async fn alerts_and_runbooks_name_metrics_that_exist() {
    let rules = spec(json!({})).await.to_string();
    let mut found = 0;
    for (place, text) in runbooks().into_iter().chain([("rules".to_owned(), rules)]) {
        found += metrics_of(&place, &text);
    }
    assert!(found > 20, "{found}");
}

/// The recipe for Alertmanager, on what fires when the last worker has died: one alert is left, and what is none of its
/// business.
#[tokio::test]
async fn of_the_alerts_on_a_system_without_workers_the_recipe_leaves_one() {
    let (_, rest) = OPERATIONS.split_once("```yaml\ninhibit_rules:\n").unwrap();
    let (recipe, _) = rest.split_once("```").unwrap();
    let recipe: Value = serde_saphyr::from_str(recipe).unwrap();
    let names = names(&spec(json!({})).await);
    let fires = |name: &str, reason: &str| {
        let name = format!("{PREFIX}{name}");
        assert!(names.contains(&name), "{name}");
        json!({"alertname": name, "reason": reason, "namespace": "everstep-system"})
    };
    let left = |alerts: &[Value]| -> Vec<String> {
        let is_told = |target: &&Value| !list(&recipe).iter().any(|rule| inhibits(rule, alerts, target));
        let name = |alert: &Value| {
            format!(
                "{}{}",
                alert["alertname"].as_str().unwrap(),
                alert["reason"].as_str().unwrap()
            )
        };
        alerts.iter().filter(is_told).map(name).collect()
    };
    let widow = [
        fires("NoProgress", ""),
        fires("DueWorkNotClaimed", ""),
        fires("RunsStuck", "Unclaimed"),
        fires("RunsStuck", "ClaimExpired"),
        fires("RunsStuck", "TimerOverdue"),
        fires("RunsStuck", "Blocked"),
    ];
    assert_eq!(left(&widow), ["EverstepNoProgress", "EverstepRunsStuckBlocked"]);
    assert_eq!(left(&widow[1..3]).len(), 2, "without the first one the others are told");

    let away = [
        fires("StoreDown", ""),
        fires("RunsStuck", "Unclaimed"),
        fires("ProjectionLag", ""),
    ];
    assert_eq!(left(&away), ["EverstepStoreDown"]);
    let mut elsewhere = away.to_vec();
    elsewhere[0]["namespace"] = "elsewhere".into();
    assert_eq!(left(&elsewhere).len(), 3, "another release's");
}

/// Whether a rule holds an alert back while these fire, as Alertmanager reads it.
fn inhibits(rule: &Value, firing: &[Value], target: &Value) -> bool {
    let matches = |matchers: &str, alert: &Value| list(&rule[matchers]).iter().all(|matcher| holds(matcher, alert));
    let equal = |source: &Value| {
        list(&rule["equal"])
            .iter()
            .all(|label| source[label.as_str().unwrap()] == target[label.as_str().unwrap()])
    };
    matches("target_matchers", target)
        && firing
            .iter()
            .any(|source| matches("source_matchers", source) && equal(source))
}

/// Whether `label = value` or `label =~ "pattern"` is so.
fn holds(matcher: &Value, alert: &Value) -> bool {
    let words: Vec<&str> = matcher.as_str().unwrap().split_whitespace().collect();
    let [label, operator, value] = words[..] else {
        panic!("not read here: {matcher}")
    };
    let (is, value) = (alert[label].as_str().unwrap(), value.trim_matches('"'));
    match operator {
        "=" => is == value,
        "=~" => regex::Regex::new(&format!("^(?:{value})$")).unwrap().is_match(is),
        other => panic!("not read here: {other}"),
    }
}

#[test]
fn commands_of_runbooks_are_commands() {
    let mut found = 0;
    for (page, text) in runbooks() {
        for line in text.lines().filter(|line| line.starts_with("everstep ")) {
            let words = line.split('#').next().unwrap().split_whitespace();
            let parsed = Cli::try_parse_from(words);
            assert!(parsed.is_ok(), "{page}: {line}: {}", parsed.unwrap_err());
            found += 1;
        }
    }
    assert!(found > 5, "{found}");
}

/// How many metrics a text names; all of them are some.
pub(crate) fn metrics_of(place: &str, text: &str) -> usize {
    let known = |name: &str| OPERATIONS.contains(&format!("\n| `{name}` |"));
    let mut found = 0;
    for rest in text.split("everstep_").skip(1) {
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
        let name = format!("everstep_{}", &rest[..end.unwrap_or(rest.len())]);
        let mut parts = ["_bucket", "_sum", "_count"].iter();
        let is_part = parts.any(|part| name.strip_suffix(part).is_some_and(known));
        assert!(known(&name) || is_part, "{place}: {name} is no metric");
        found += 1;
    }
    found
}

/// What Prometheus reads of the chart in `everstep-system`, with these values of `metrics.prometheusRule`.
async fn spec(values: Value) -> Value {
    spec_in("everstep-system", values).await
}

/// The same for a release in that namespace.
pub(crate) async fn spec_in(namespace: &str, mut values: Value) -> Value {
    values["enabled"] = true.into();
    let mut all = least();
    all["metrics"] = json!({"prometheusRule": values});
    let helm = Helm::new(controlplane::shared().await).await;
    let mut objects = objects(&helm.template(namespace, &all).await);
    objects.retain(|object| object["kind"] == "PrometheusRule");
    assert_eq!(objects.len(), 1);
    objects.remove(0)["spec"].take()
}

fn alerts(spec: &Value) -> &[Value] {
    let [group] = list(&spec["groups"]) else {
        panic!("one group: {spec}")
    };
    list(&group["rules"])
}

fn names(spec: &Value) -> BTreeSet<String> {
    let names = alerts(spec).iter().map(|alert| alert["alert"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

/// Whether a look at `ALERTS` is one at this alert.
fn says(look: &Value, name: &str) -> bool {
    look["expr"].as_str().is_some_and(|expr| expr.contains(name))
}

/// The pages, by their names.
fn runbooks() -> Vec<(String, String)> {
    let page = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    fs::read_dir(RUNBOOKS).unwrap().map(page).collect()
}

pub(crate) fn promtool(words: &[&str], directory: &Path) -> Output {
    let output = Command::new("promtool").args(words).current_dir(directory).output();
    output.unwrap_or_else(|error| panic!("promtool cannot be run ({error}): `make deps` installs it, with Prometheus"))
}
