//! `everstep dev`: manifests of files, without a cluster.

use std::{fs, time::Duration};

use crate::support::system::{Payments, Process, Shop, example, order, workflow};

#[tokio::test]
async fn hello_succeeds_and_shows_its_steps() {
    let (code, output, errors) = dev(&[&example("hello.yaml")]).await;
    assert_eq!(code, Some(0), "{errors}");
    for step in ["greet", "nap", "shout"] {
        assert!(output.contains(step), "{output}");
    }
    assert!(output.contains("hello, world!"), "{output}");
}

#[tokio::test]
async fn order_works_with_the_connections_and_secrets_of_its_file() {
    let (shop, payments) = (Shop::new().await, Payments::start(Duration::ZERO).await);
    let (code, output, errors) = dev(&[&order(&shop, &payments)]).await;
    assert_eq!(code, Some(0), "{errors}\n{output}");
    assert_eq!(payments.entries("/v1/charges").len(), 1);
    assert_eq!(payments.entries("/v1/notify")[0].body["result"], "Succeeded");
    assert_eq!(shop.count("SELECT count(*) FROM reservation WHERE confirmed").await, 1);
    let password = crate::support::postgres::server().await.password();
    assert!(!(output + &errors).contains(password));
}

/// For the run of `order-7`.
const SIGNAL: &str = "
apiVersion: everstep.dev/v1alpha1
kind: Signal
metadata: {name: approve}
spec: {target: {run: order-7}, signal: approve, payload: {by: alice}}
";

#[tokio::test]
async fn runs_have_their_input_and_the_signals_that_are_for_them() {
    let waits = "{start: OnDemand, steps: [{name: approval, waitForSignal: {signal: approve}}], \
                 output: {order: =input.id, by: =steps.approval.output.payload.by}}";
    let runs = "
apiVersion: everstep.dev/v1alpha1
kind: WorkflowRun
metadata: {name: order-7}
spec: {workflowRef: {name: order}, input: {id: '7'}}
---
apiVersion: everstep.dev/v1alpha1
kind: WorkflowRun
metadata: {name: inline}
spec: {workflow: {steps: [{name: stop, fail: {code: NOPE}}]}}
";
    let (code, output, errors) = dev(&[SIGNAL, &workflow("order", waits), runs]).await;
    assert_eq!(code, Some(1), "{output}{errors}");
    assert!(
        errors.contains("inline Failed") && !errors.contains("order"),
        "{errors}"
    );
    assert!(output.contains("approval: took its signal"), "{output}");
    let ended = "order-7  succeeded, output {\"by\":\"alice\",\"order\":\"7\"}";
    assert!(output.contains(ended), "{output}");
    assert_eq!(
        output.matches("  started").count(),
        2,
        "order only waits for order-7: {output}"
    );
}

#[tokio::test]
async fn failing_run_is_exit_code_1_and_names_step_and_code() {
    let failing = workflow(
        "failing",
        "{steps: [{name: stop, fail: {code: NOPE, message: not today}}]}",
    );
    let (code, output, errors) = dev(&[&failing, &workflow("fine", "{steps: [{name: a, set: {}}]}")]).await;
    assert_eq!(code, Some(1));
    assert!(output.contains("NOPE") && output.contains("not today"), "{output}");
    assert!(
        errors.contains("failing Failed") && !errors.contains("fine"),
        "{errors}"
    );
}

#[tokio::test]
async fn a_run_without_an_input_has_an_empty_one() {
    let free = workflow(
        "free",
        "{params: [{name: note, type: string}], \
          steps: [{name: a, set: {x: 1}}, {name: b, when: has(input.note), fail: {code: NOPE}}], output: =input}",
    );
    let (code, output, errors) = dev(&[&free]).await;
    assert_eq!(code, Some(0), "{output}{errors}");
    assert!(output.contains("succeeded, output {}"), "{output}");
}

/// Nobody could let it go on: the database ends with the command.
#[tokio::test]
async fn a_run_that_stands_still_after_a_failure_is_at_its_end() {
    let parks = workflow("parks", "{onFailure: Pause, steps: [{name: a, fail: {code: NOPE}}]}");
    let (code, output, errors) = dev(&[&parks]).await;
    assert_eq!(code, Some(1), "{output}{errors}");
    assert!(errors.contains("parks stands still: PausedOnFailure"), "{errors}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_exit_code_2_and_everything_wrong_is_said_at_once() {
    let cases: &[(&[&str], &[&str])] = &[
        (&[""], &["no Workflow here"]),
        (&["hello"], &["not a Kubernetes object"]),
        (&["a: [1, 2"], &["0.yaml"]),
        (&["a: &a [*a, *a]"], &["0.yaml"]),
        (
            &["apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}"],
            &["apps/v1 Deployment is not ours"],
        ),
        (
            &["apiVersion: everstep.dev/v1alpha1\nkind: Schedule\nmetadata: {name: s}"],
            &["kind Schedule cannot be run by `dev`", "WorkflowRun, Signal"],
        ),
        (&[SIGNAL], &["no Workflow here, and no WorkflowRun"]),
        (
            &[SIGNAL, &workflow("other", "{steps: [{name: a, set: {}}]}")],
            &["Signal approve: spec.target: the files start no such run"],
        ),
        (
            &[
                "apiVersion: everstep.dev/v1alpha1\nkind: WorkflowRun\nmetadata: {name: r}\nspec: {workflowRef: {name: w}}",
            ],
            &["WorkflowRun r: spec.workflowRef.name: there is no Workflow default/w in the files"],
        ),
        (
            &[&workflow("held", "{suspend: true, steps: [{name: a, set: {}}]}")],
            &["Workflow held: spec.suspend: `dev` starts every run; remove it"],
        ),
        (
            &["apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: w}"],
            &["argoproj.io/v1alpha1 Workflow is not ours"],
        ),
        (
            &[
                &workflow("a", "{steps: [{name: x, set: {y: =nope}}], timeuot: 1s}"),
                &workflow("b", "{steps: []}"),
            ],
            &[
                "Workflow a: spec.steps[0].set.y",
                "unknown variable `nope`",
                "Workflow a: spec.timeuot: unknown field",
                "Workflow b: spec.steps",
            ],
        ),
        (
            &[&example("race-and-poll.yaml")],
            &["not supported yet", "document 1"][..1],
        ),
    ];
    for (files, said) in cases {
        let (code, output, errors) = dev(files).await;
        assert_eq!(code, Some(2), "{files:?}: {errors}");
        for fragment in *said {
            assert!(errors.contains(fragment), "{fragment:?} is not said by:\n{errors}");
        }
        assert_eq!(output, "", "nothing was run");
        assert!(!errors.contains("panicked"), "{errors}");
    }
    let mut absent = Process::spawn(&["dev", "/absent.yaml"], &[]);
    assert_eq!(absent.ended().await.code(), Some(2));
    assert!(absent.errors().contains("/absent.yaml: "), "{}", absent.errors());
}

/// Runs these texts as files: exit code, output, errors.
async fn dev(texts: &[&str]) -> (Option<i32>, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let mut words = vec!["dev".to_owned()];
    for (index, text) in texts.iter().enumerate() {
        let path = directory.path().join(format!("{index}.yaml"));
        fs::write(&path, text).unwrap();
        words.push(path.to_str().unwrap().to_owned());
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut process = Process::spawn(&words, &[]);
    let status = process.ended().await;
    (status.code(), process.output(), process.errors())
}
