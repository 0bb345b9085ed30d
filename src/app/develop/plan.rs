//! What the files of `everstep dev` ask for: the runs to start and the signals to say to them. Pure: by the intents of a
//! controller, from manifests to what the store is given.

use serde_json::Value;

use crate::{
    controller::{
        key::{Key, Kind},
        signal::intent as signal_intent,
        workflow::intent::{self as workflow_intent, Intent, violation},
        workflow_run::intent::{self as run_intent, Source},
    },
    dev::manifests::{Manifests, identity},
    engine::Violation,
    store::{SignalWish, Start, Submission},
};

/// Whatever started it in a cluster: here it is this command.
const TRIGGER: &str = "Dev";

/// What is done with the files.
#[derive(Debug)]
pub(super) struct Plan {
    /// The runs to start, with their names for people.
    pub(super) runs: Vec<(String, Submission)>,
    /// What is said to them, in this order.
    pub(super) signals: Vec<SignalWish>,
}

/// # Errors
/// All that is wrong with the objects.
pub(super) fn of(manifests: &Manifests) -> Result<Plan, Vec<String>> {
    let (mut runs, mut signals, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for object in &manifests.workflows {
        match workflow_intent::of(uid(object), &object["spec"]) {
            // The runs that refer to it are those that are asked for.
            Ok(intent) if intent.suspend => {
                let refused = vec![violation("spec.suspend", "`dev` starts every run; remove it")];
                problems.extend(complaints("Workflow", object, refused));
            }
            Ok(intent) if intent.start_key().is_none() && is_referred_to(object, manifests) => {}
            Ok(intent) => runs.push((name_of(object, manifests), of_workflow(object, intent))),
            Err(violations) => problems.extend(complaints("Workflow", object, violations)),
        }
    }
    for object in &manifests.runs {
        match of_run(object, manifests) {
            Ok(submission) => runs.push((name_of(object, manifests), submission)),
            Err(violations) => problems.extend(complaints("WorkflowRun", object, violations)),
        }
    }
    for object in &manifests.signals {
        let (namespace, name) = identity(object);
        let key = Key::new(Kind::Signal, &namespace, &name);
        match signal_intent::of(uid(object), &key, 1, &object["spec"]) {
            Ok(intent) => signals.push(intent.wish),
            Err(violations) => problems.extend(complaints("Signal", object, violations)),
        }
    }
    if problems.is_empty() {
        Ok(Plan { runs, signals })
    } else {
        Err(problems)
    }
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

/// Its name; with the namespace where the files have more than one.
fn name_of(object: &Value, manifests: &Manifests) -> String {
    let (namespace, name) = identity(object);
    let mut all = manifests.workflows.iter().chain(&manifests.runs);
    let alone = all.all(|other| identity(other).0 == namespace);
    if alone { name } else { format!("{namespace}/{name}") }
}

fn is_referred_to(workflow: &Value, manifests: &Manifests) -> bool {
    let (namespace, name) = identity(workflow);
    let refers = |run: &Value| identity(run).0 == namespace && run["spec"]["workflowRef"]["name"] == *name;
    manifests.runs.iter().any(refers)
}

fn complaints(kind: &str, object: &Value, violations: Vec<Violation>) -> Vec<String> {
    let name = identity(object).1;
    let complaint = |violation: Violation| format!("{kind} {name}: {violation}");
    violations.into_iter().map(complaint).collect()
}

fn of_workflow(object: &Value, intent: Intent) -> Submission {
    let (namespace, name) = identity(object);
    // What starts only on demand is demanded, once.
    let start_key = intent
        .start_key()
        .map_or_else(|| format!("run/{}", uid(object)), str::to_owned);
    Submission {
        uid: uid(object).to_owned(),
        kind: Kind::Workflow.as_str().to_owned(),
        namespace,
        workflow: name.clone(),
        name,
        generation: 1,
        deletion_policy: intent.deletion_policy,
        retention: intent.retention,
        suspended: false,
        revision: intent.revision,
        body: intent.body,
        start: Some(Start {
            start_key,
            input: None,
            trigger: TRIGGER.to_owned(),
            counted_by: None,
        }),
        only_when_idle: false,
        commands: Vec::new(),
    }
}

fn of_run(object: &Value, manifests: &Manifests) -> Result<Submission, Vec<Violation>> {
    let (namespace, name) = identity(object);
    let spec = &object["spec"];
    let wrong = |path: &str, message: &str| Err(vec![violation(path, message)]);
    if !spec["retryOf"].is_null() {
        return wrong("spec.retryOf", "`dev` knows no earlier run; remove it");
    }
    let wish = run_intent::of(uid(object), &name, spec)?;
    if !wish.desired.starts() {
        return wrong("spec.desiredState", "`dev` starts every run; remove it");
    }
    let work = match &wish.source {
        // Refused above: there is no earlier run.
        Source::Inline { .. } | Source::Retried { .. } => run_intent::work(&wish.source, &Value::Null)?,
        Source::Workflow(wanted) => {
            let is_it = |workflow: &&Value| identity(workflow) == (namespace.clone(), wanted.clone());
            let Some(workflow) = manifests.workflows.iter().find(is_it) else {
                let message = format!("there is no Workflow {namespace}/{wanted} in the files");
                return wrong("spec.workflowRef.name", &message);
            };
            // What is wrong with the Workflow is said of it.
            let Ok(work) = run_intent::work(&wish.source, &workflow["spec"]) else {
                return wrong(
                    "spec.workflowRef.name",
                    &format!("Workflow {namespace}/{wanted} cannot be run"),
                );
            };
            work
        }
    };
    let order = wish.order(work)?;
    Ok(Submission {
        uid: uid(object).to_owned(),
        kind: Kind::WorkflowRun.as_str().to_owned(),
        workflow: wish.workflow().to_owned(),
        namespace,
        name,
        generation: 1,
        deletion_policy: wish.deletion_policy,
        retention: order.retention,
        suspended: false,
        revision: order.revision,
        body: order.body,
        start: Some(Start {
            start_key: wish.start_key,
            input: wish.input.as_ref().map(Value::to_string),
            trigger: TRIGGER.to_owned(),
            counted_by: None,
        }),
        only_when_idle: false,
        commands: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(name: &str, namespace: &str, spec: &Value) -> Value {
        json!({"metadata": {"name": name, "namespace": namespace, "uid": name}, "spec": spec})
    }

    fn order(start: &str) -> Value {
        let params = json!([{"name": "id", "type": "string"}]);
        let spec = json!({"start": start, "params": params, "steps": [{"name": "a", "set": {}}]});
        object("order", "shop", &spec)
    }

    fn plan(workflows: Vec<Value>, runs: Vec<Value>) -> Result<Plan, Vec<String>> {
        of(&Manifests {
            workflows,
            runs,
            ..Manifests::default()
        })
    }

    fn names(plan: &Plan) -> Vec<&str> {
        plan.runs.iter().map(|(name, _)| &**name).collect()
    }

    #[test]
    fn a_run_of_a_workflow_has_its_definition_and_its_own_input() {
        let spec = json!({"workflowRef": {"name": "order"}, "input": {"id": "7"}, "idempotencyKey": "k"});
        let plan = plan(vec![order("OnApply")], vec![object("order-7", "shop", &spec)]).unwrap();
        assert_eq!(names(&plan), ["order", "order-7"]);
        let (workflow, run) = (&plan.runs[0].1, &plan.runs[1].1);
        assert_eq!((&run.body, &*run.workflow), (&workflow.body, "order"));
        let start = run.start.as_ref().unwrap();
        assert_eq!(
            (&*start.start_key, start.input.as_deref()),
            ("key/k", Some("{\"id\":\"7\"}"))
        );
    }

    #[test]
    fn what_starts_on_demand_is_demanded_once_or_by_the_runs_that_refer_to_it() {
        let spec = || json!({"workflowRef": {"name": "order"}});
        let alone = plan(vec![order("OnDemand")], vec![]).unwrap();
        assert_eq!(names(&alone), ["order"]);
        let referred = plan(vec![order("OnDemand")], vec![object("r", "shop", &spec())]).unwrap();
        assert_eq!(names(&referred), ["r"]);
        let problems = plan(vec![order("OnDemand")], vec![object("r", "elsewhere", &spec())]).unwrap_err();
        assert_eq!(
            problems,
            ["WorkflowRun r: spec.workflowRef.name: there is no Workflow elsewhere/order in the files"]
        );
    }

    #[test]
    fn what_is_wrong_with_a_run_is_said_of_it_and_of_its_workflow_once() {
        let run = |spec: &Value| object("r", "shop", spec);
        for (spec, expected) in [
            (
                json!({"workflowRef": {"name": "order"}, "input": {"id": 7}}),
                "WorkflowRun r: spec.input",
            ),
            (
                json!({"workflowRef": {"name": "order"}, "retryOf": {"name": "q"}}),
                "WorkflowRun r: spec.retryOf: `dev`",
            ),
            (
                json!({"workflowRef": {"name": "order"}, "desiredState": "Paused"}),
                "WorkflowRun r: spec.desiredState: `dev`",
            ),
            (json!({"workflow": {"steps": []}}), "WorkflowRun r: spec.workflow.steps"),
        ] {
            let problems = plan(vec![order("OnApply")], vec![run(&spec)]).unwrap_err();
            assert!(
                problems.len() == 1 && problems[0].starts_with(expected),
                "{expected}: {problems:?}"
            );
        }
        let broken = object("order", "shop", &json!({"steps": []}));
        let problems = plan(vec![broken], vec![run(&json!({"workflowRef": {"name": "order"}}))]).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[1].ends_with("Workflow shop/order cannot be run"),
            "{problems:?}"
        );
    }
}
