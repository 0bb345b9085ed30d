//! The corpus of bad input: each file beside this one is a manifest, and says in its first line what must come of it.
//!
//! ```text
//! # expect: refused: MESSAGE    the API server does not take it (schema or CEL rule); MESSAGE is part of its answer
//! # expect: invalid: MESSAGE    Accepted=False/InvalidSpec with this in its message, and no run
//! # expect: fails: CODE         the run fails with this error code
//! # expect: works: OUTPUT       the run succeeds; with this output (JSON), if one is given
//! # expect: dev: MESSAGE        `everstep dev` ends with code 2 and says this
//! ```
//!
//! A file of several documents is applied document by document; the last one is judged, those before it must be taken.
//! A `status` is written to the status subresource right after the object was created, as somebody with the right to do
//! so might. All objects are handed to one process at once, which must stay up and still run another object well.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod case;
#[path = "../actions/http_server.rs"]
#[allow(dead_code, reason = "the tests of actions use all of it")]
mod http_server;
mod servers;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::BTreeMap,
    fs,
    time::{Duration, Instant},
};

use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::{Value, json};

use case::{Case, Expected};
use servers::{Servers, TENANT_PASSWORD};
use support::system::{Process, System, condition, observed, workflow};

/// A category with fewer files hides what it is about.
const FILES_PER_CATEGORY: usize = 3;
/// What `dev` may take to say no.
const SOON: Duration = Duration::from_secs(10);
/// The run that presets in the corpus claim.
const NO_RUN: &str = "00000000-0000-0000-0000-000000000000";

#[test]
fn every_category_has_its_files() {
    let mut categories = BTreeMap::<String, usize>::new();
    for case in case::all() {
        *categories.entry(case.category).or_default() += 1;
    }
    for (category, files) in &categories {
        assert!(*files >= FILES_PER_CATEGORY, "{category} has {files} files");
    }
    assert!(categories.len() >= 12, "{categories:?}");
}

#[tokio::test]
async fn dev_says_no_to_every_file_that_it_cannot_use() {
    let mut wrong = Vec::new();
    for case in case::all() {
        let Expected::Dev(fragment) = &case.expected else {
            continue;
        };
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bad.yaml");
        fs::write(&file, &case.text).unwrap();
        let asked = Instant::now();
        let mut process = Process::spawn(&["dev", file.to_str().unwrap()], &[]);
        let status = process.ended().await;
        let errors = process.errors();
        if status.code() != Some(2) || !errors.contains(fragment) || asked.elapsed() > SOON {
            let took = asked.elapsed();
            wrong.push(format!("{}: {status} after {took:?}, said {errors}", case.place));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn every_object_gets_its_answer_and_another_one_still_works() {
    let system = System::new("corpus").await;
    let servers = Servers::start(&system).await;
    let mut process = system.start("all", &[]).await;
    system.apply(&servers.manifests()).await;
    let cases: Vec<Case> = case::all()
        .into_iter()
        .filter(|case| !matches!(case.expected, Expected::Dev(_)))
        .map(|case| {
            case.with("<<server>>", &servers.address())
                .with("<<port>>", &servers.port())
        })
        .collect();

    let (mut wrong, mut runs) = (Vec::new(), 0);
    let mut taken = Vec::new();
    for case in &cases {
        match (hand_in(&system, case).await, &case.expected) {
            (Err(message), Expected::Refused(fragment)) if message.contains(fragment) => {
                // What an edit was refused of had its run before.
                runs += case
                    .documents()
                    .iter()
                    .rev()
                    .skip(1)
                    .filter(|before| before["kind"] == "Workflow")
                    .count();
            }
            (Ok(_), Expected::Refused(_)) => wrong.push(format!("{}: was taken", case.place)),
            (Err(message), _) => wrong.push(format!("{}: refused: {message}", case.place)),
            (Ok(name), _) => taken.push((case, name)),
        }
    }
    for (case, name) in &taken {
        let object = system.until(name, "an answer", answered).await;
        runs += usize::from(!object["status"]["run"].is_null());
        if let Err(difference) = judge(case, &object) {
            wrong.push(format!("{}: {difference}", case.place));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );

    system
        .apply(&workflow("bystander", "{steps: [{name: a, set: {}}]}"))
        .await;
    let bystander = system.finished("bystander").await;
    assert_eq!(bystander["status"]["run"]["phase"], "Succeeded");
    assert!(process.is_running());
    let logs = process.errors();
    assert!(!logs.contains("panicked"), "{logs}");
    assert!(!logs.contains(TENANT_PASSWORD), "a secret is in the logs");
    let rows = system.count("SELECT count(*) FROM everstep.runs").await;
    assert_eq!(
        rows,
        i64::try_from(runs).unwrap() + 1,
        "what is refused or invalid has no run"
    );
    process.stop().await;
}

/// Applies a case's documents. Answers the name of the object, or why the last document was not taken.
async fn hand_in(system: &System, case: &Case) -> Result<String, String> {
    let client = support::controlplane::shared().await.client().await.unwrap();
    let apply = PatchParams::apply("corpus").force().validation_strict();
    let documents = case.documents();
    let mut outcome = Err("no document".to_owned());
    for (index, document) in documents.iter().enumerate() {
        let kind = document["kind"].as_str().unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("everstep.dev", "v1alpha1", kind));
        let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), &system.namespace, &resource);
        let name = document["metadata"]["name"].as_str().unwrap();
        outcome = objects
            .patch(name, &apply, &Patch::Apply(document))
            .await
            .map(|_| name.to_owned())
            .map_err(|error| error.to_string());
        if index + 1 < documents.len() {
            assert!(outcome.is_ok(), "{}: {outcome:?}", case.place);
            if kind == "Workflow" {
                system.until(name, "an answer before the edit", answered).await;
            }
        }
        if outcome.is_ok() && !document["status"].is_null() {
            let status = json!({
                "apiVersion": document["apiVersion"], "kind": kind,
                "metadata": {"name": name}, "status": document["status"],
            });
            let written = objects.patch_status(name, &apply, &Patch::Apply(&status)).await;
            outcome = written.map(|_| name.to_owned()).map_err(|error| error.to_string());
        }
    }
    outcome
}

/// Whether we said the last word on the object's present generation.
fn answered(object: &Value) -> bool {
    let over = condition(object, "Finished")["status"] == "True" && object["status"]["run"]["id"] != NO_RUN;
    let invalid = condition(object, "Accepted")["reason"] == "InvalidSpec";
    observed(object) && (over || invalid)
}

fn judge(case: &Case, object: &Value) -> Result<(), String> {
    let (accepted, run) = (condition(object, "Accepted"), &object["status"]["run"]);
    // What ran before an edit is still shown.
    let edited = case.documents().len() > 1;
    let as_expected = match &case.expected {
        Expected::Invalid(fragment) => {
            accepted["reason"] == "InvalidSpec"
                && accepted["status"] == "False"
                && (edited || run.is_null())
                && accepted["message"]
                    .as_str()
                    .is_some_and(|message| message.contains(fragment))
        }
        Expected::Fails(code) => run["phase"] == "Failed" && run["error"]["code"] == **code,
        Expected::Works(output) => {
            run["phase"] == "Succeeded" && output.as_ref().is_none_or(|output| *output == run["output"])
        }
        Expected::Refused(_) | Expected::Dev(_) => false,
    };
    if as_expected {
        return Ok(());
    }
    Err(format!(
        "expected {:?}, got {} {run}",
        case.expected, accepted["message"]
    ))
}
