//! The commands for people against the whole system: objects, controller, worker, database.

use std::time::Instant;

use crate::support::system::{DEADLINE, Process, System, workflow};

const APPROVAL: &str = "{start: OnDemand, steps: [
  {name: ask, set: {q: '=input.question'}},
  {name: approval, waitForSignal: {signal: approve}}],
  output: '=steps.approval.output.payload'}";
const PAUSES: &str =
    "{start: OnDemand, onFailure: Pause, steps: [{name: stop, fail: {code: NOPE, message: not today}}]}";

const COUNTS: &str = "{start: OnDemand, params: [{name: number, type: integer, required: true}],
  steps: [{name: count, set: {n: '=input.number'}}]}";

/// A system with both roles up, and what its people have in their environment.
struct Office {
    system: System,
    _all: Process,
}

async fn office(name: &str) -> Office {
    let system = System::new(name).await;
    let all = system.start("all", &[]).await;
    let grant = format!(
        "SELECT everstep.grant_namespace(current_user::text, '{}')",
        system.namespace
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(grant))
        .execute(&mut system.sql().await)
        .await
        .unwrap();
    let workflows = [("order", APPROVAL), ("stops", PAUSES), ("counts", COUNTS)];
    let workflows = workflows.map(|(name, spec)| workflow(name, spec));
    system.apply(&workflows.join("\n---\n")).await;
    Office { system, _all: all }
}

impl Office {
    fn begin(&self, words: &[&str]) -> Process {
        let words = [words, &["-n", &self.system.namespace]].concat();
        let kubeconfig = self.system.kubeconfig.to_str().unwrap();
        let environment = [
            ("KUBECONFIG", kubeconfig),
            ("EVERSTEP_DATABASE_URL", &*self.system.database_url),
        ];
        Process::spawn(&words, &environment)
    }

    /// Code, output, errors.
    async fn call(&self, words: &[&str]) -> (Option<i32>, String, String) {
        let mut process = self.begin(words);
        let code = process.ended().await.code();
        (code, process.output(), process.errors())
    }

    /// Calls until the output contains these words.
    async fn until(&self, words: &[&str], expected: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let (_, output, errors) = self.call(words).await;
            if output.contains(expected) {
                return output;
            }
            assert!(
                Instant::now() < until,
                "{words:?} does not say {expected:?}: {output}{errors}"
            );
        }
    }
}

#[tokio::test]
async fn a_run_is_followed_signalled_and_ends_with_what_the_signal_said() {
    let office = office("people").await;
    let mut run = office.begin(&["run", "order", "--name", "o-1", "-i", "question=why", "--follow"]);
    office.until(&["tree", "erun/o-1"], "signal approve").await;
    let runs = office.until(&["runs"], "erun/o-1").await;
    assert!(runs.contains("Waiting"), "{runs}");

    let (code, said, errors) = office
        .call(&["signal", "o-1", "approve", "-p", "approved:=true", "--wait"])
        .await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(said.ends_with("consumed by step approval\n"), "{said}");
    let ended = run.ended().await;
    let said = run.output();
    assert_eq!(ended.code(), Some(0), "{said}{}", run.errors());
    for words in [
        "workflowrun.everstep.dev/o-1 created",
        "o-1  ask: succeeded",
        "o-1  approval: waits for signal approve",
        "o-1  approval: took its signal",
        "workflowrun.everstep.dev/o-1 Succeeded, output {\"approved\":true}",
    ] {
        assert_eq!(said.matches(words).count(), 1, "{words:?} in\n{said}");
    }
    let (_, history, _) = office.call(&["history", "o-1"]).await;
    assert!(history.trim_end().ends_with("finished"), "{history}");
    // There is nobody to hear it.
    let (code, _, errors) = office.call(&["signal", "erun/o-1", "approve", "--wait"]).await;
    assert!(code == Some(1) && errors.contains("Rejected"), "{errors}");
}

#[tokio::test]
async fn a_run_is_cancelled_and_its_end_awaited() {
    let office = office("people-cancel").await;
    let (code, _, errors) = office
        .call(&["run", "order", "--name", "o-2", "-i", "question=why"])
        .await;
    assert_eq!(code, Some(0), "{errors}");
    office.until(&["tree", "erun/o-2"], "signal approve").await;
    let (code, said, errors) = office.call(&["cancel", "o-2", "--wait"]).await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(said.ends_with("workflowrun.everstep.dev/o-2 Cancelled\n"), "{said}");
}

#[tokio::test]
async fn a_run_that_fails_or_cannot_begin_says_why() {
    let office = office("people-invalid").await;
    let (code, _, errors) = office
        .call(&["run", "order", "--name", "o-3", "--key", "k", "--wait"])
        .await;
    // Without its question the first step fails.
    assert!(code == Some(1) && errors.contains("o-3 Failed: ask: "), "{errors}");

    let (code, _, errors) = office
        .call(&["run", "counts", "--name", "c-1", "-i", "number=many", "--wait"])
        .await;
    let said = errors.contains("c-1 InvalidSpec: spec.input.number: ");
    assert!(code == Some(1) && said, "{errors}");
}

#[tokio::test]
async fn a_run_that_stands_still_is_retried_by_the_name_of_its_object() {
    let office = office("people-retry").await;
    office.call(&["run", "stops", "--name", "s-1"]).await;
    office.until(&["tree", "erun/s-1"], "Paused").await;
    let until = Instant::now() + DEADLINE;
    loop {
        // The object's status follows the run.
        let (code, said, errors) = office.call(&["retry", "s-1"]).await;
        if code == Some(0) {
            assert!(said.contains("told to retry"), "{said}");
            break;
        }
        assert!(Instant::now() < until, "{errors}");
    }
    office.until(&["history", "erun/s-1"], "retried").await;
    // What failed before it was cancelled has failed; and to end it was what was wanted.
    let (code, said, errors) = office.call(&["cancel", "s-1", "--wait"]).await;
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        said.contains("s-1 ended as Failed, for the failure that it stood still after: stop: NOPE"),
        "{said}"
    );
    // It stays as it ended: another one takes up its work, and stops at the same step.
    let (code, said, errors) = office.call(&["retry", "s-1"]).await;
    assert_eq!(code, Some(0), "{errors}");
    let again = said.trim_end().strip_suffix(" created").unwrap();
    let again = again.strip_prefix("workflowrun.everstep.dev/").unwrap();
    assert!(again.starts_with("s-1-retry-"), "{again}");
    office.until(&["tree", &format!("erun/{again}")], "Paused").await;
}
