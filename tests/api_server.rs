//! The CustomResourceDefinitions as a real API server sees them: accepted, with the columns that people read, taking
//! good objects and refusing bad ones with a message that says what is wrong and where.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod support;

use std::path::PathBuf;

use everstep::api::v1alpha1::{
    Condition, ConditionStatus, ConditionType, Connection, Counts, Phase, RunStatus, Signal, Workflow, WorkflowRun,
    WorkflowStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Client, Resource};
use serde_json::{Value, json};
use support::controlplane::{self, ControlPlane};
use tokio::sync::OnceCell;

/// What the API server says to a spec: nothing, or all of these fragments.
type Answer = &'static [&'static str];
const ACCEPTED: Answer = &[];

/// Specs of a Workflow, in YAML. `STEP` stands for a step that is right.
const WORKFLOWS: &[(&str, &str, Answer)] = &[
    ("the least", "steps: [STEP]", ACCEPTED),
    ("no steps", "input: {}", &["spec.steps: Required value"]),
    ("an empty list of steps", "steps: []", &["spec.steps", "at least 1"]),
    (
        "an unknown field",
        "{steps: [STEP], timeuot: 1h}",
        &[".spec.timeuot: field not declared in schema"],
    ),
    (
        "an unknown field of a step",
        "steps: [{name: a, set: {}, wehn: 'true'}]",
        &[".spec.steps[0].wehn: field not declared in schema"],
    ),
    (
        "a mistyped field",
        "{steps: [STEP], suspend: 'yes'}",
        &["spec.suspend", "expected boolean"],
    ),
    (
        "null for what is no free JSON",
        "{steps: [STEP], timeout: null}",
        &["spec.timeout", "must be of type string"],
    ),
    (
        "null as free JSON",
        "{steps: [{name: a, set: {x: null}, output: null}], input: null, output: [null]}",
        ACCEPTED,
    ),
    (
        "an enumeration's other value",
        "{steps: [STEP], start: Sometimes}",
        &["spec.start", "\"OnApply\", \"OnDemand\""],
    ),
    (
        "two actions",
        "steps: [{name: a, set: {x: 1}, sleep: {for: 1s}}]",
        &["spec.steps[0]", "one and only one", "Found 2 valid"],
    ),
    (
        "no action",
        "steps: [{name: a}]",
        &["spec.steps[0]", "one and only one", "Found none valid"],
    ),
    (
        "a step without a name",
        "steps: [{set: {x: 1}}]",
        &["spec.steps[0].name: Required value"],
    ),
    (
        "a name that is no identifier",
        "steps: [{name: a-b, set: {}}]",
        &["spec.steps[0].name", "should match"],
    ),
    ("the longest name", "steps: [{name: LETTERS63, set: {}}]", ACCEPTED),
    (
        "a name too long",
        "steps: [{name: LETTERS64, set: {}}]",
        &["spec.steps[0].name", "63"],
    ),
    (
        "every unit of time",
        "{steps: [STEP], timeout: 1d2h3m4.5s6ms7us8ns}",
        ACCEPTED,
    ),
    (
        "a bad duration",
        "{steps: [STEP], timeout: soon}",
        &["spec.timeout", "should match"],
    ),
    (
        "a duration without a unit",
        "steps: [{name: a, sleep: {for: '5'}}]",
        &["spec.steps[0].sleep.for", "should match"],
    ),
    (
        "a negative duration",
        "{steps: [STEP], timeout: -5s}",
        &["spec.timeout", "should match"],
    ),
    (
        "a sleep for and until",
        "steps: [{name: a, sleep: {for: 1s, until: x}}]",
        &["spec.steps[0].sleep", "Found 2 valid"],
    ),
    (
        "no attempt at all",
        "{steps: [STEP], retry: {maxAttempts: 0}}",
        &["spec.retry.maxAttempts", "greater than or equal to 1"],
    ),
    (
        "a request to nowhere",
        "steps: [{name: a, http: {connection: c}}]",
        &["spec.steps[0].http", "path: Required value"],
    ),
    (
        "a request to two places",
        "steps: [{name: a, http: {connection: c, path: /, url: 'http://h'}}]",
        &["spec.steps[0].http", "Found 2 valid"],
    ),
    (
        "a path that would extend the host",
        "steps: [{name: a, http: {connection: c, path: .evil.example}}]",
        &["spec.steps[0].http.path", "should match"],
    ),
    (
        "a method that is none",
        "steps: [{name: a, http: {connection: c, path: /, method: get}}]",
        &["spec.steps[0].http.method", "\"GET\""],
    ),
    (
        "amounts as numbers and strings",
        "steps: [{name: a, job: {image: i, resources: {limits: {cpu: 1, memory: 64Mi}}}}]",
        ACCEPTED,
    ),
    (
        "a privilege of a job",
        "steps: [{name: a, job: {image: i, hostNetwork: true}}]",
        &[".spec.steps[0].job.hostNetwork: field not declared in schema"],
    ),
    (
        "two actions that undo",
        "steps: [{name: a, set: {}, compensate: {set: {}, sleep: {for: 1s}}}]",
        &["spec.steps[0].compensate", "Found 2 valid"],
    ),
    (
        "every block",
        "steps: [{name: a, parallel: {branches: [{name: x, steps: [STEP]}]}}, {name: b, race: {branches: [{name: x, steps: [STEP]}]}}, \
      {name: c, forEach: {items: input.l, steps: [STEP], tolerate: {percent: 1}}}, {name: d, repeat: {until: 'true', steps: [STEP]}}, {name: e, call: {block: x}}]",
        ACCEPTED,
    ),
    (
        "a block in a block",
        "steps: [{name: a, parallel: {branches: [{name: x, steps: [{name: b, race: {branches: []}}]}]}}]",
        &[".spec.steps[0].parallel.branches[0].steps[0].race: field not declared in schema"],
    ),
    (
        "until and while",
        "steps: [{name: a, repeat: {until: 'true', while: 'true', steps: [STEP]}}]",
        &["spec.steps[0].repeat", "Found 2 valid"],
    ),
    ("as many steps as a list may have", "steps: [STEPS200]", ACCEPTED),
    ("a step too many", "steps: [STEPS201]", &["spec.steps", "200"]),
    (
        "blocks by name",
        "{steps: [STEP], blocks: {a_1: {steps: [STEP]}}}",
        ACCEPTED,
    ),
    (
        "a block whose name is no identifier",
        "{steps: [STEP], blocks: {a-1: {steps: [STEP]}}}",
        &["spec.blocks", "the name of a block begins with a letter"],
    ),
    (
        "a parameter's minimum",
        "{steps: [STEP], params: [{name: age, type: integer, minimum: 1}]}",
        ACCEPTED,
    ),
    (
        "a minimum of a string",
        "{steps: [STEP], params: [{name: age, type: string, minimum: 1}]}",
        &["spec.params[0]", "minimum needs type integer or number"],
    ),
    (
        "a minimum of anything",
        "{steps: [STEP], params: [{name: age, minimum: 1}]}",
        &["spec.params[0]", "minimum needs type integer or number"],
    ),
];

/// Specs of a Connection, in YAML. `KEY` stands for a reference to a Secret.
const CONNECTIONS: &[(&str, &str, Answer)] = &[
    ("a database", "postgres: {urlFrom: KEY}", ACCEPTED),
    (
        "an API with all there is",
        "{http: {baseUrl: 'https://h:8443/v1/@x', auth: {bearer: KEY}, headers: {X-Host: a}, tls: {caFrom: KEY}}, limits: {maxConnections: 5}}",
        ACCEPTED,
    ),
    (
        "neither",
        "{}",
        &["spec", "a Connection has exactly one of postgres and http"],
    ),
    (
        "both",
        "{postgres: {urlFrom: KEY}, http: {baseUrl: 'http://h'}}",
        &["spec", "a Connection has exactly one of postgres and http"],
    ),
    (
        "a URL in the open",
        "postgres: {url: 'postgres://u:p@h/d'}",
        &[".spec.postgres.url: field not declared in schema"],
    ),
    (
        "another scheme",
        "http: {baseUrl: 'ftp://h'}",
        &["spec.http.baseUrl", "should match"],
    ),
    (
        "a password in the URL",
        "http: {baseUrl: 'http://u:p@h'}",
        &["spec.http.baseUrl", "should match"],
    ),
    (
        "a query in the URL",
        "http: {baseUrl: 'http://h/?a=b'}",
        &["spec.http.baseUrl", "should match"],
    ),
    (
        "a user and password",
        "http: {baseUrl: 'http://h', auth: {basic: KEY}}",
        ACCEPTED,
    ),
    (
        "a header that is a credential",
        "http: {baseUrl: 'http://h', auth: {header: {name: Authorization, secretKeyRef: {name: s, key: k}}}}",
        ACCEPTED,
    ),
    (
        "a credential in the wrong header",
        "http: {baseUrl: 'http://h', auth: {header: {name: Proxy-Authorization, secretKeyRef: {name: s, key: k}}}}",
        &[
            "spec.http.auth.header.name",
            "Proxy-* and Idempotency-Key cannot be set",
        ],
    ),
    (
        "no kind of credential",
        "http: {baseUrl: 'http://h', auth: {}}",
        &["spec.http.auth", "exactly one of bearer, basic and header"],
    ),
    (
        "two kinds of credentials",
        "http: {baseUrl: 'http://h', auth: {bearer: KEY, basic: KEY}}",
        &["spec.http.auth", "exactly one of bearer, basic and header"],
    ),
    (
        "a reserved header",
        "http: {baseUrl: 'http://h', headers: {iDEMPOTENCY-kEY: a}}",
        &["spec.http.headers", "cannot be set here"],
    ),
    (
        "a credential in a header",
        "http: {baseUrl: 'http://h', headers: {authorization: a}}",
        &["spec.http.headers", "credentials belong in auth"],
    ),
    (
        "a Secret of another namespace",
        "postgres: {urlFrom: {secretKeyRef: {name: s, key: k, namespace: other}}}",
        &[".spec.postgres.urlFrom.secretKeyRef.namespace: field not declared in schema"],
    ),
];

/// Specs of a Signal, in YAML.
const SIGNALS: &[(&str, &str, Answer)] = &[
    ("the least", "{target: {workflow: w}, signal: go}", ACCEPTED),
    (
        "all there is",
        "{target: {workflow: w, key: k}, signal: go, payload: {a: [null, 1.5]}, by: me, dedupKey: t-1, expiresAfter: 1d, ttlAfterFinished: 7d}",
        ACCEPTED,
    ),
    ("a run by its object", "{target: {run: r}, signal: go}", ACCEPTED),
    (
        "no target",
        "{target: {}, signal: go}",
        &["spec.target", "exactly one of workflow and run"],
    ),
    (
        "two targets",
        "{target: {workflow: w, run: r}, signal: go}",
        &["spec.target", "exactly one of workflow and run"],
    ),
    (
        "a key without a workflow",
        "{target: {run: r, key: k}, signal: go}",
        &["spec.target", "a key needs the workflow"],
    ),
    (
        "a target in another namespace",
        "{target: {workflow: w, namespace: other}, signal: go}",
        &[".spec.target.namespace: field not declared in schema"],
    ),
    (
        "a target in another namespace by its name",
        "{target: {workflow: other/w}, signal: go}",
        &["spec.target.workflow", "should match"],
    ),
    (
        "no name",
        "{target: {workflow: w}, signal: ''}",
        &["spec.signal", "at least 1"],
    ),
    (
        "a payload that is no object",
        "{target: {workflow: w}, signal: go, payload: [1]}",
        &["spec.payload", "expected map"],
    ),
    (
        "a time that is none",
        "{target: {workflow: w}, signal: go, expiresAfter: soon}",
        &["spec.expiresAfter", "should match"],
    ),
];

/// Specs of a WorkflowRun, in YAML.
const RUNS: &[(&str, &str, Answer)] = &[
    ("of a Workflow", "workflowRef: {name: w}", ACCEPTED),
    ("of its own", "workflow: {steps: [STEP]}", ACCEPTED),
    (
        "all there is",
        "{workflowRef: {name: w}, input: {a: null}, idempotencyKey: k, readiness: Accepted, deletionPolicy: Orphan, \
          ttlAfterFinished: 7d, desiredState: Paused, retryOf: {name: r, fromStep: s}}",
        ACCEPTED,
    ),
    (
        "of nothing",
        "{input: {}}",
        &["spec", "exactly one of workflowRef and workflow"],
    ),
    (
        "of two",
        "{workflowRef: {name: w}, workflow: {steps: [STEP]}}",
        &["spec", "exactly one of workflowRef and workflow"],
    ),
    (
        "a state that is none",
        "{workflowRef: {name: w}, desiredState: Stopped}",
        &["spec.desiredState", "\"Running\", \"Paused\""],
    ),
    (
        "an input that is no object",
        "{workflowRef: {name: w}, input: 5}",
        &["spec.input", "expected map"],
    ),
    (
        "a definition that is none",
        "workflow: {steps: []}",
        &["spec.workflow.steps", "at least 1"],
    ),
];

/// A spec, what it is changed into, and what the API server says to that.
const SIGNAL_EDITS: &[(&str, &str, &str, Answer)] = &[
    (
        "nothing",
        "{target: {workflow: w}, signal: go, payload: {a: [1]}}",
        "{target: {workflow: w}, signal: go, payload: {a: [1]}}",
        ACCEPTED,
    ),
    (
        "the payload",
        "{target: {workflow: w}, signal: go, payload: {a: [1]}}",
        "{target: {workflow: w}, signal: go, payload: {a: [2]}}",
        &["spec", "a Signal never changes"],
    ),
    (
        "a field's name in the payload",
        "{target: {workflow: w}, signal: go, payload: {a: 1}}",
        "{target: {workflow: w}, signal: go, payload: {b: 1}}",
        &["spec", "a Signal never changes"],
    ),
    (
        "the target",
        "{target: {workflow: w}, signal: go}",
        "{target: {workflow: v}, signal: go}",
        &["spec", "a Signal never changes"],
    ),
    (
        "what was absent",
        "{target: {workflow: w}, signal: go}",
        "{target: {workflow: w}, signal: go, by: me}",
        &["spec", "a Signal never changes"],
    ),
];

/// As above.
const RUN_EDITS: &[(&str, &str, &str, Answer)] = &[
    (
        "the state there and back",
        "{workflowRef: {name: w}, input: {a: 1}, desiredState: Paused}",
        "{workflowRef: {name: w}, input: {a: 1}, desiredState: Running}",
        ACCEPTED,
    ),
    (
        "the time to live",
        "{workflow: {steps: [STEP]}}",
        "{workflow: {steps: [STEP]}, ttlAfterFinished: 1d}",
        ACCEPTED,
    ),
    (
        "the end of an end",
        "{workflowRef: {name: w}, desiredState: Cancelled}",
        "{workflowRef: {name: w}, desiredState: Running}",
        &["spec", "Cancelled and Terminated are final"],
    ),
    (
        "one end for the other",
        "{workflowRef: {name: w}, desiredState: Terminated}",
        "{workflowRef: {name: w}, desiredState: Cancelled}",
        &["spec", "Cancelled and Terminated are final"],
    ),
    (
        "an end left out",
        "{workflowRef: {name: w}, desiredState: Cancelled}",
        "{workflowRef: {name: w}}",
        &["spec", "Cancelled and Terminated are final"],
    ),
    (
        "the Workflow",
        "{workflowRef: {name: w}}",
        "{workflowRef: {name: v}}",
        &["workflowRef never changes"],
    ),
    (
        "the definition, deep within",
        "{workflow: {steps: [{name: a, set: {x: {y: 1}}}]}}",
        "{workflow: {steps: [{name: a, set: {x: {y: 2}}}]}}",
        &["workflow never changes"],
    ),
    (
        "the input",
        "{workflowRef: {name: w}, input: {a: {b: 1}}}",
        "{workflowRef: {name: w}, input: {a: {b: 2}}, desiredState: Paused}",
        &["input never changes"],
    ),
    (
        "a field more of the input",
        "{workflowRef: {name: w}, input: {a: 1}}",
        "{workflowRef: {name: w}, input: {a: 1, b: 1}}",
        &["input never changes"],
    ),
    (
        "an input that was absent, and the state",
        "{workflowRef: {name: w}}",
        "{workflowRef: {name: w}, input: {b: 1}, desiredState: Paused}",
        &["input never changes"],
    ),
    (
        "the key",
        "{workflowRef: {name: w}, idempotencyKey: a}",
        "{workflowRef: {name: w}, idempotencyKey: b}",
        &["idempotencyKey never changes"],
    ),
    (
        "the readiness",
        "{workflowRef: {name: w}, readiness: Accepted}",
        "{workflowRef: {name: w}}",
        &["readiness never changes"],
    ),
    (
        "the deletion policy",
        "{workflowRef: {name: w}}",
        "{workflowRef: {name: w}, deletionPolicy: Orphan}",
        &["deletionPolicy never changes"],
    ),
    (
        "the step to retry from",
        "{workflowRef: {name: w}, retryOf: {name: r, fromStep: a}}",
        "{workflowRef: {name: w}, retryOf: {name: r, fromStep: b}}",
        &["retryOf never changes"],
    ),
];

#[tokio::test]
async fn signals_are_taken_or_refused_with_the_place_and_the_reason() {
    answers_are_as_expected::<Signal>(SIGNALS).await;
}

#[tokio::test]
async fn runs_are_taken_or_refused_with_the_place_and_the_reason() {
    answers_are_as_expected::<WorkflowRun>(RUNS).await;
}

#[tokio::test]
async fn signal_never_changes() {
    edits_are_as_expected::<Signal>(SIGNAL_EDITS).await;
}

#[tokio::test]
async fn run_changes_only_in_what_it_is_to_do_and_how_long_it_is_kept() {
    edits_are_as_expected::<WorkflowRun>(RUN_EDITS).await;
}

#[tokio::test]
async fn columns_of_runs_and_signals_show_their_targets() {
    let plane = with_crds().await;
    let namespace = plane.namespace("targets").await.unwrap();
    let client = plane.client().await.unwrap();
    for (name, target) in [("by-workflow", "workflow: order"), ("by-run", "run: again")] {
        let spec = spec_of(&format!("{{target: {{{target}}}, signal: approve, by: anna}}"));
        put::<Signal>(client.clone(), &namespace, name, &spec).await.unwrap();
    }
    put::<WorkflowRun>(client, &namespace, "again", &spec_of("workflowRef: {name: order}"))
        .await
        .unwrap();
    let table = async |kind: &str| {
        let table = plane.kubectl(&["--namespace", &namespace, "get", kind]).await.unwrap();
        let lines = table
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.collect::<Vec<_>>()
    };
    let signals = table("esig").await;
    assert_eq!(signals[0], "NAME TARGET SIGNAL BY STORED CONSUMED AGE");
    assert!(signals[1].starts_with("by-run again approve anna "), "{signals:?}");
    assert!(signals[2].starts_with("by-workflow order approve anna "), "{signals:?}");
    let runs = table("erun").await;
    assert_eq!(runs[0], "NAME WORKFLOW STATUS STEP WAITING PROGRESS AGE");
    assert!(runs[1].starts_with("again order "), "{runs:?}");
}

#[tokio::test]
async fn workflows_are_taken_or_refused_with_the_place_and_the_reason() {
    answers_are_as_expected::<Workflow>(WORKFLOWS).await;
}

#[tokio::test]
async fn connections_are_taken_or_refused_with_the_place_and_the_reason() {
    answers_are_as_expected::<Connection>(CONNECTIONS).await;
}

#[tokio::test]
async fn crds_can_be_applied_from_the_server_side_after_the_client_side() {
    let plane = with_crds().await;
    let directory = root().join("crds");
    let directory = directory.to_str().unwrap();
    plane.kubectl(&["apply", "--filename", directory]).await.unwrap();
    plane
        .kubectl(&["apply", "--server-side", "--force-conflicts", "--filename", directory])
        .await
        .unwrap();
}

#[tokio::test]
async fn examples_are_taken_from_both_sides_and_a_second_apply_changes_nothing() {
    let plane = with_crds().await;
    let namespace = plane.namespace("examples").await.unwrap();
    for entry in std::fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let file = path.to_str().unwrap();
        let apply = ["--namespace", &namespace, "apply", "--filename", file];
        plane.kubectl(&apply).await.unwrap();
        let again = plane.kubectl(&apply).await.unwrap();
        assert!(ours(&again).count() > 0, "{file} has an object of ours");
        assert!(ours(&again).all(|line| line.ends_with(" unchanged")), "{file}: {again}");
        let server_side = [
            "--namespace",
            &namespace,
            "apply",
            "--server-side",
            "--force-conflicts",
            "--filename",
            file,
        ];
        plane.kubectl(&server_side).await.unwrap();
    }
}

#[tokio::test]
async fn object_that_nobody_has_looked_at_does_not_look_healthy() {
    let plane = with_crds().await;
    let namespace = plane.namespace("fresh").await.unwrap();
    let workflows: Api<Workflow> = Api::namespaced(plane.client().await.unwrap(), &namespace);
    let mut manifest = hello("fresh");
    manifest["status"] = json!({"observedGeneration": 1, "revision": "preset"});
    let apply = PatchParams::apply("test").validation_strict();
    let created = workflows
        .patch("fresh", &apply, &Patch::Apply(&manifest))
        .await
        .unwrap();
    let expected = WorkflowStatus {
        observed_generation: Some(-1),
        ..WorkflowStatus::default()
    };
    assert_eq!(created.status, Some(expected), "and a preset status is dropped");
}

#[tokio::test]
async fn columns_show_the_status() {
    let plane = with_crds().await;
    let namespace = plane.namespace("columns").await.unwrap();
    let workflows: Api<Workflow> = Api::namespaced(plane.client().await.unwrap(), &namespace);
    let apply = PatchParams::apply("test").validation_strict();
    let mut manifest = hello("order");
    manifest["spec"]["schedules"] = json!([{"cron": "30-2-*-*-*"}]);
    workflows
        .patch("order", &apply, &Patch::Apply(&manifest))
        .await
        .unwrap();
    manifest.as_object_mut().unwrap().remove("spec");
    manifest["status"] = serde_json::to_value(waiting()).unwrap();
    let written = workflows
        .patch_status("order", &apply, &Patch::Apply(&manifest))
        .await
        .unwrap();
    assert_eq!(written.status, Some(waiting()), "nothing of the status was pruned");

    let get = ["--namespace", &namespace, "get", "ewf", "--output=wide"];
    let table = plane.kubectl(&get).await.unwrap();
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let columns = "NAME READY STATUS STEP WAITING PROGRESS STUCK AGE REVISION MESSAGE SCHEDULE NEXT";
    assert_eq!(lines.next().unwrap().join(" "), columns);
    let mut row = lines.next().unwrap();
    row.remove(7); // the age
    let expected = "order False Waiting approval+2 approve 2/5 1 7c9f4e21a0b3c5d7 soon 30-2-*-*-* 2026-11-23T09:00:03Z";
    assert_eq!(row.join(" "), expected);

    let narrow = plane.kubectl(&get[..4]).await.unwrap();
    assert_eq!(
        narrow.lines().next().unwrap().split_whitespace().last(),
        Some("AGE"),
        "{narrow}"
    );
    let category = plane
        .kubectl(&["--namespace", &namespace, "get", "everstep", "--output=name"])
        .await
        .unwrap();
    assert_eq!(category.trim(), "workflow.everstep.dev/order");
    let connections = plane.kubectl(&["--namespace", &namespace, "get", "econn"]).await;
    assert!(connections.is_ok(), "{connections:?}");
}

/// The lines about our kinds: a Secret with `stringData` is configured again by every apply.
fn ours(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter(|line| line.contains("everstep.dev/"))
}

/// Asks the API server about every spec, as a strict client does, and lists all that it answered otherwise.
async fn answers_are_as_expected<K: Resource<DynamicType = ()>>(cases: &[(&str, &str, Answer)]) {
    let plane = with_crds().await;
    let namespace = plane.namespace("answers").await.unwrap();
    let client = plane.client().await.unwrap();
    let mut wrong = Vec::new();
    for &(name, spec, expected) in cases {
        let answer = ask::<K>(client.clone(), &namespace, &spec_of(spec)).await;
        let is_right = match (&answer, expected.is_empty()) {
            (Ok(()), accepted) => accepted,
            (Err(_), true) => false,
            (Err(message), false) => expected.iter().all(|fragment| message.contains(fragment)),
        };
        if !is_right {
            wrong.push(format!("{name}: expected {expected:?}, got {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Creates each object, changes it, and lists all that the API server answered otherwise.
async fn edits_are_as_expected<K: Resource<DynamicType = ()>>(cases: &[(&str, &str, &str, Answer)]) {
    let plane = with_crds().await;
    let namespace = plane.namespace("edits").await.unwrap();
    let client = plane.client().await.unwrap();
    let mut wrong = Vec::new();
    for (place, &(name, before, after, expected)) in cases.iter().enumerate() {
        let object = format!("edited-{place}");
        put::<K>(client.clone(), &namespace, &object, &spec_of(before))
            .await
            .unwrap();
        let answer = put::<K>(client.clone(), &namespace, &object, &spec_of(after)).await;
        let is_right = match &answer {
            Ok(()) => expected.is_empty(),
            Err(message) => !expected.is_empty() && expected.iter().all(|fragment| message.contains(fragment)),
        };
        if !is_right {
            wrong.push(format!("{name}: expected {expected:?}, got {answer:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Applies an object with this spec.
async fn put<K: Resource<DynamicType = ()>>(
    client: Client,
    namespace: &str,
    name: &str,
    spec: &Value,
) -> Result<(), String> {
    let kind = ApiResource::erase::<K>(&());
    let object = json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": name}, "spec": spec});
    let objects: Api<DynamicObject> = Api::namespaced_with(client, namespace, &kind);
    let strict = PatchParams::apply("test").validation_strict();
    match objects.patch(name, &strict, &Patch::Apply(&object)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(error) => panic!("the API server did not answer: {error}"),
    }
}

async fn ask<K: Resource<DynamicType = ()>>(client: Client, namespace: &str, spec: &Value) -> Result<(), String> {
    let kind = ApiResource::erase::<K>(&());
    let object =
        json!({"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "asked"}, "spec": spec});
    let objects: Api<DynamicObject> = Api::namespaced_with(client, namespace, &kind);
    let strict = PatchParams::apply("test").dry_run().validation_strict();
    match objects.patch("asked", &strict, &Patch::Apply(&object)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(error) => panic!("the API server did not answer: {error}"),
    }
}

/// The spec of a case, its abbreviations written out.
fn spec_of(case: &str) -> Value {
    let steps = |count: usize| {
        (0..count)
            .map(|i| format!("{{name: s{i}, set: {{}}}}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let yaml = case
        .replace("STEPS200", &steps(200))
        .replace("STEPS201", &steps(201))
        .replace("STEP", "{name: s, set: {x: 1}}")
        .replace("LETTERS63", &"a".repeat(63))
        .replace("LETTERS64", &"a".repeat(64))
        .replace("KEY", "{secretKeyRef: {name: s, key: k}}");
    serde_saphyr::from_str(&yaml).unwrap()
}

fn hello(name: &str) -> Value {
    json!({
        "apiVersion": "everstep.dev/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name},
        "spec": {"steps": [{"name": "greet", "set": {"text": "hello"}}]},
    })
}

/// A status with every column's value in one word.
fn waiting() -> WorkflowStatus {
    let at: Timestamp = "2026-11-23T09:00:03Z".parse().unwrap();
    WorkflowStatus {
        observed_generation: Some(1),
        revision: Some("7c9f4e21a0b3c5d7".into()),
        sequence: Some(412),
        run: Some(RunStatus {
            id: "0192f3c4-0000-7000-8000-000000000000".into(),
            phase: Phase::Waiting,
            started_at: Some(Time(at)),
            finished_at: None,
            step: Some("approval+2".into()),
            waiting_for: Some("approve".into()),
            progress: Some("2/5".into()),
            attempts: Some(1),
            error: None,
            output: Some(json!({"any": [null, 1.5]})),
            output_omitted: None,
        }),
        counts: Some(Counts {
            active: 1,
            stuck: 1,
            succeeded: 12,
            failed: 0,
        }),
        last_scheduled_at: None,
        next_scheduled_at: Some(Time(at)),
        conditions: vec![Condition {
            kind: ConditionType::Ready,
            status: ConditionStatus::False,
            observed_generation: Some(1),
            last_transition_time: Time(at),
            reason: "Waiting".into(),
            message: "soon".into(),
        }],
    }
}

/// The shared control plane, with our kinds established by a client-side apply.
async fn with_crds() -> &'static ControlPlane {
    static ESTABLISHED: OnceCell<()> = OnceCell::const_new();
    let plane = controlplane::shared().await;
    let apply = async || {
        let directory = root().join("crds");
        plane
            .kubectl(&["apply", "--filename", directory.to_str().unwrap()])
            .await
            .unwrap();
        for plural in ["workflows", "workflowruns", "signals", "connections"] {
            let crd = format!("crd/{plural}.everstep.dev");
            // The conditions appear a moment after the object.
            plane
                .kubectl(&["wait", "--for=create", "--timeout=30s", &crd])
                .await
                .unwrap();
            let established = "--for=jsonpath={.status.conditions[?(@.type=='Established')].status}=True";
            plane
                .kubectl(&["wait", established, "--timeout=30s", &crd])
                .await
                .unwrap();
        }
    };
    ESTABLISHED.get_or_init(apply).await;
    plane
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
