//! Manifests that cannot be run: what is wrong is said on the object, with its place, and nothing else happens.

use std::time::Instant;

use serde_json::Value;

use crate::support::system::{DEADLINE, System, condition, observed, workflow};

/// A spec in YAML, and what the message must hold. Of each kind of violation one; the schema refuses others before.
const SPECS: &[(&str, &str, &str)] = &[
    (
        "twice",
        "steps: [{name: a, set: {}}, {name: a, set: {}}]",
        "spec.steps[1].name: `a` is also the name of spec.steps[0]",
    ),
    (
        "unknown-need",
        "steps: [{name: a, needs: [b], set: {}}]",
        "spec.steps[0].needs[0]: there is no step `b`",
    ),
    (
        "cycle",
        "steps: [{name: a, needs: [b], set: {}}, {name: b, needs: [a], set: {}}]",
        "`needs` form a cycle: a needs b needs a",
    ),
    (
        "self-need",
        "steps: [{name: a, needs: [a], set: {}}]",
        "spec.steps[0].needs[0]: ",
    ),
    (
        "syntax",
        "steps: [{name: a, when: 'input. ==', set: {}}]",
        "spec.steps[0].when: at character ",
    ),
    (
        "value-syntax",
        "steps: [{name: a, set: {x: {deep: ['=1 +']}}}]",
        "spec.steps[0].set.x.deep[0]: at character 3: ",
    ),
    (
        "variable",
        "steps: [{name: a, set: {x: =inptu.y}}]",
        "spec.steps[0].set.x: at character 0: unknown variable `inptu`",
    ),
    (
        "forward",
        "steps: [{name: a, set: {x: =steps.b.output}}, {name: b, set: {}}]",
        "`steps.b` is not available here",
    ),
    (
        "unrelated",
        "steps: [{name: a, set: {}}, {name: b, needs: [], when: steps.a.status == '', set: {}}]",
        "`b` does not depend on `a`; add it to `needs`",
    ),
    (
        "itself",
        "steps: [{name: a, set: {x: =steps.a.output}}]",
        "`a` cannot read itself",
    ),
    (
        "no-step",
        "{steps: [{name: a, set: {}}], output: =steps.b.output}",
        "spec.output: at character 0: there is no step `b`",
    ),
    (
        "no-field",
        "steps: [{name: a, set: {x: =run.nmae}}]",
        "`run` has no field `nmae`",
    ),
    (
        "result-early",
        "steps: [{name: a, when: run.result == '', set: {}}]",
        "`run.result` is known only in `finally` and `output`",
    ),
    (
        "regex",
        "steps: [{name: a, when: \"'a'.matches('[')\", set: {}}]",
        "spec.steps[0].when: ",
    ),
    (
        "job",
        "steps: [{name: a, job: {image: i}}]",
        "spec.steps[0].job: not supported yet",
    ),
    (
        "wait",
        "steps: [{name: a, waitForSignal: {signal: s, onTimeout: Continue}}]",
        "spec.steps[0].waitForSignal.onTimeout: `Continue` needs a `timeout`",
    ),
    (
        "undo-waits",
        "steps: [{name: a, set: {}, compensate: {sleep: {for: 1s}}}]",
        "spec.steps[0].compensate.sleep: not supported yet",
    ),
    (
        "parallel",
        "steps: [{name: a, parallel: {branches: [{name: x, steps: [{name: b, set: {}}]}]}}]",
        "spec.steps[0].parallel: not supported yet",
    ),
    (
        "race",
        "steps: [{name: a, race: {branches: [{name: x, steps: [{name: b, set: {}}]}]}}]",
        "spec.steps[0].race: not supported yet",
    ),
    (
        "foreach",
        "steps: [{name: a, forEach: {items: input.l, steps: [{name: b, set: {}}]}}]",
        "spec.steps[0].forEach: not supported yet",
    ),
    (
        "repeat",
        "steps: [{name: a, repeat: {until: 'true', steps: [{name: b, set: {}}]}}]",
        "spec.steps[0].repeat: not supported yet",
    ),
    (
        "call",
        "steps: [{name: a, call: {workflow: w}}]",
        "spec.steps[0].call: not supported yet",
    ),
    (
        "blocks",
        "{steps: [{name: a, set: {}}], blocks: {b: {steps: [{name: b, set: {}}]}}}",
        "spec.blocks: not supported yet",
    ),
    (
        "key",
        "{steps: [{name: a, set: {}}], idempotencyKey: k}",
        "spec.idempotencyKey: not supported yet",
    ),
    (
        "deletion",
        "{steps: [{name: a, set: {}}], deletionPolicy: Foreground}",
        "spec.deletionPolicy: must be one of Background, Orphan; Foreground is not supported yet",
    ),
    (
        "concurrency",
        "{steps: [{name: a, set: {}}], concurrency: {limit: 1}}",
        "spec.concurrency: not supported yet",
    ),
    (
        "schedules",
        "{steps: [{name: a, set: {}}], schedules: [{cron: '0 2 * * *'}]}",
        "spec.schedules: not supported yet",
    ),
    (
        "adopt",
        "{steps: [{name: a, set: {}}], onChange: Adopt}",
        "spec.onChange: only `Finish` is supported yet",
    ),
    (
        "replace",
        "{steps: [{name: a, set: {}}], onChange: Replace}",
        "spec.onChange: only `Finish` is supported yet",
    ),
    (
        "host-header",
        "steps: [{name: a, http: {url: 'https://h/', headers: {Host: x}}}]",
        "spec.steps[0].http.headers: `Host` is set by the worker",
    ),
    (
        "credentials",
        "steps: [{name: a, http: {url: 'https://h/', headers: {authorization: x}}}]",
        "comes only from the Secret of a Connection",
    ),
    (
        "user-info",
        "steps: [{name: a, http: {url: 'https://u:p@h/'}}]",
        "spec.steps[0].http.url: must name a host, without user and password",
    ),
    (
        "path-params",
        "steps: [{name: a, http: {url: 'https://h/{id}'}}]",
        "the path has a place {id}",
    ),
    (
        "rows",
        "steps: [{name: a, sql: {connection: c, query: q, expect: {minRows: 2, maxRows: 1}}}]",
        "spec.steps[0].sql.expect: minRows 2 is more than maxRows 1",
    ),
    (
        "until",
        "steps: [{name: a, sleep: {until: tomorrow}}]",
        "spec.steps[0].sleep.until: is no point in time",
    ),
    (
        "fail-output",
        "steps: [{name: a, fail: {code: X}, output: {x: 1}}]",
        "spec.steps[0].output: a `fail` step has no output",
    ),
    (
        "input",
        "{steps: [{name: a, set: {}}], params: [{name: count, type: integer, required: true, minimum: 1}], input: {count: 0}}",
        "input.count: must be at least 1",
    ),
    (
        "input-missing",
        "{steps: [{name: a, set: {}}], params: [{name: count, type: string, required: true}]}",
        "input.count: ",
    ),
    (
        "input-type",
        "{steps: [{name: a, set: {}}], params: [{name: count, type: string}], input: {count: 1}}",
        "input.count: ",
    ),
    (
        "finally-needs",
        "{steps: [{name: a, set: {}}], finally: [{name: z, needs: [a], set: {}}]}",
        "spec.finally[0].needs[0]: `a` is not in the same list",
    ),
    (
        "attempts",
        "{steps: [{name: a, set: {}}], timeout: 0s}",
        "spec.timeout: must be longer than zero",
    ),
];

#[tokio::test]
async fn every_kind_of_violation_is_a_condition_and_one_event_and_nothing_else() {
    let system = System::new("invalid").await;
    let _all = system.start("all", &[("--resync", "1s")]).await;
    let manifests: Vec<String> = SPECS.iter().map(|(name, spec, _)| manifest(name, spec)).collect();
    system.apply(&manifests.concat()).await;

    for (name, spec, expected) in SPECS {
        let seen = |workflow: &Value| observed(workflow) && !condition(workflow, "Accepted").is_null();
        let object = system.until(name, "observed", seen).await;
        let accepted = condition(&object, "Accepted");
        assert_eq!(
            (&accepted["status"], &accepted["reason"]),
            (&"False".into(), &"InvalidSpec".into()),
            "{name}: {spec}"
        );
        let message = accepted["message"].as_str().unwrap();
        assert!(
            message.contains(expected),
            "{name}: {message:?} should contain {expected:?}"
        );
        assert_eq!(
            message.lines().count(),
            1,
            "{name}: one mistake, one violation: {message}"
        );
        let ready = condition(&object, "Ready");
        assert_eq!(
            (&ready["status"], &ready["reason"]),
            (&"False".into(), &"InvalidSpec".into()),
            "{name}"
        );
        assert_eq!(condition(&object, "Stalled")["status"], "True", "{name}");
        assert!(condition(&object, "Finished").is_null(), "{name}");
    }
    for (name, _, expected) in SPECS {
        let events = events_about(&system, name).await;
        assert_eq!(events.len(), 1, "{name}: {events:#?}");
        assert_eq!(
            (&events[0]["reason"], &events[0]["type"]),
            (&"InvalidSpec".into(), &"Warning".into())
        );
        assert!(
            events[0]["note"].as_str().unwrap().contains(expected),
            "{name}: {}",
            events[0]["note"]
        );
        assert!(events[0]["series"].is_null(), "{name}: told once: {}", events[0]);
    }
    for table in ["runs", "owners", "starts", "definitions", "active", "inbox", "journal"] {
        let rows = system.count(&format!("SELECT count(*) FROM everstep.{table}")).await;
        assert_eq!(rows, 0, "{table}");
    }
}

#[tokio::test]
async fn corrected_manifest_runs() {
    let system = System::new("corrected").await;
    let _all = system.start("all", &[]).await;
    system
        .apply(&manifest(
            "greeting",
            "steps: [{name: a, set: {x: =inptu.y}}, {name: a, needs: [b], set: {}}]",
        ))
        .await;
    let refused = |workflow: &Value| condition(workflow, "Accepted")["status"] == "False";
    let object = system.until("greeting", "refused", refused).await;
    let message = condition(&object, "Accepted")["message"].as_str().unwrap();
    assert_eq!(message.lines().count(), 3, "all at once: {message}");

    system
        .apply(&manifest("greeting", "steps: [{name: a, set: {x: =run.name}}]"))
        .await;
    let object = system.finished("greeting").await;
    assert_eq!(condition(&object, "Accepted")["status"], "True");
    assert!(condition(&object, "Stalled").is_null());
    assert_eq!(
        system
            .count("SELECT count(*) FROM everstep.runs WHERE phase = 'Succeeded'")
            .await,
        1
    );
}

/// The Events about an object, once there is one: they are written after the status.
async fn events_about(system: &System, name: &str) -> Vec<Value> {
    let until = Instant::now() + DEADLINE;
    loop {
        let events = system.events(name).await;
        if !events.is_empty() {
            return events;
        }
        assert!(Instant::now() < until, "no Event about {name}");
    }
}

fn manifest(name: &str, spec: &str) -> String {
    match spec.starts_with('{') {
        true => workflow(name, spec),
        false => workflow(name, &format!("{{{spec}}}")),
    }
}
