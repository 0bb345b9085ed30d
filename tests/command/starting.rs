//! `run` in PostgreSQL: what it starts, how it waits, what it refuses.

use serde_json::{Value, json};

use crate::{
    person::{Person, Said, run},
    rig::{Rig, eventually},
    support::system::Process,
};

const HELLO: &str = "hello";

/// A database with the accepted Workflow `hello`, whose first run is over.
async fn accepted(body: Value) -> (Rig, Person) {
    let rig = Rig::new().await;
    let person = Person::new(&rig).await;
    rig.start(HELLO, body).await;
    rig.execute("UPDATE everstep.runs SET phase = 'Cancelled', finished_at = everstep.now()")
        .await;
    rig.execute("DELETE FROM everstep.active").await;
    (rig, person)
}

fn greeting() -> Value {
    json!({"steps": [{"name": "greet", "set": {"text": "='hello, ' + input.name"}}], "output": "=steps.greet.output.text"})
}

impl Person {
    /// In PostgreSQL, since the database is on the command line.
    async fn starts(&self, words: &[&str]) -> Said {
        let all = [&["run", HELLO, "--database-url", &self.url], words].concat();
        crate::person::call(&all, &[]).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_starts_one_run_and_input_is_what_was_typed() {
    let (rig, person) = accepted(greeting()).await;
    let key = ["--key", "k", "-i", "name=world", "-i", "n:=2"];
    let said = person.starts(&key).await.ok();
    let id = said
        .strip_prefix("run ")
        .unwrap()
        .strip_suffix(" started\n")
        .unwrap()
        .to_owned();
    let again = person.starts(&[&key[..], &["-o", "name"]].concat()).await.ok();
    assert_eq!(again, format!("{id}\n"));
    let json = person.starts(&[&key[..], &["-o", "json"]].concat()).await.json();
    assert_eq!(json, json!({"id": id, "namespace": "default", "workflow": HELLO}));
    assert_eq!(
        rig.count("SELECT count(*) FROM everstep.runs WHERE trigger = 'SQL'")
            .await,
        1
    );
    let input =
        "SELECT count(*) FROM everstep.runs WHERE trigger = 'SQL' AND input::jsonb = '{\"name\": \"world\", \"n\": 2}'";
    assert_eq!(rig.count(input).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_with_the_run_and_has_its_result() {
    let (rig, person) = accepted(greeting()).await;
    let worker = rig.worker().await;
    let said = person.starts(&["--wait", "-i", "name=world"]).await.ok();
    assert!(said.ends_with("Succeeded, output \"hello, world\"\n"), "{said}");
    let row = person.starts(&["--wait", "-o", "json", "-i", "name=you"]).await.json();
    assert_eq!(
        (&row["phase"], &row["output"]),
        (&json!("Succeeded"), &json!("hello, you"))
    );
    // Without its input the greeting fails.
    let failed = person.starts(&["--wait", "-i", "nobody=here"]).await;
    assert_eq!(failed.code, Some(1));
    assert!(failed.errors.contains(" Failed: greet: "), "{}", failed.errors);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn following_prints_every_step_once() {
    let (rig, person) = accepted(greeting()).await;
    let worker = rig.worker().await;
    let said = person.starts(&["--follow", "-i", "name=world"]).await.ok();
    for words in [
        "hello  started",
        "hello  greet: succeeded",
        "hello  succeeded, output \"hello, world\"",
    ] {
        assert_eq!(said.matches(words).count(), 1, "{words:?} in\n{said}");
    }
    // Beside a document, which has the pipe for itself.
    let aside = person.starts(&["--follow", "-o", "json", "-i", "name=world"]).await;
    assert!(aside.errors.contains("greet: succeeded"), "{}", aside.errors);
    assert_eq!(aside.json()["phase"], "Succeeded");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn impatience_ends_the_waiting_and_not_the_run() {
    let wait = json!({"steps": [{"name": "approval", "waitForSignal": {"signal": "approve"}}]});
    let (rig, person) = accepted(wait).await;
    let worker = rig.worker().await;
    let said = person.starts(&["--follow", "--timeout", "2s"]).await;
    assert_eq!(said.code, Some(1));
    assert!(said.output.contains("approval: waits for signal approve"), "{said:?}");
    assert!(
        said.errors.contains("--timeout") && said.errors.contains("it goes on"),
        "{said:?}"
    );
    let waiting = "SELECT count(*) FROM everstep.runs WHERE phase = 'Waiting'";
    eventually("the wait", async || rig.count(waiting).await == 1).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_says_why() {
    let (rig, person) = accepted(greeting()).await;
    let url = &*person.url;
    let call = async |words: &[&str]| crate::person::call(&[words, &["--database-url", url]].concat(), &[]).await;
    call(&["run", "ghost"])
        .await
        .refused(1, &["no Workflow default/ghost is accepted", "Accepted condition"]);
    call(&["run", HELLO, "-n", "elsewhere"])
        .await
        .refused(1, &["may not use namespace elsewhere", "everstep.grant_namespace"]);
    call(&["run", HELLO, "-i", "a:=x"])
        .await
        .refused(2, &["a:=x", "not JSON"]);
    call(&["run", HELLO, "-i", "nowhere.yaml"])
        .await
        .refused(2, &["nowhere.yaml"]);
    call(&["run", HELLO, "--name", "n"])
        .await
        .refused(2, &["--name", "has no object"]);
    call(&["run", HELLO, "--key", ""]).await.refused(1, &["key is empty"]);
    let huge = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(huge.path(), json!({"a": "x".repeat(300_000)}).to_string()).unwrap();
    call(&["run", HELLO, "-i", huge.path().to_str().unwrap()])
        .await
        .refused(1, &["more than 262144"]);
    run(&mut rig.sql().await, "UPDATE everstep.owners SET suspended = true").await;
    call(&["run", HELLO]).await.refused(1, &["suspended"]);
    let runs = "SELECT count(*) FROM everstep.runs WHERE trigger = 'SQL'";
    assert_eq!(rig.count(runs).await, 0, "nothing half done");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_on_the_command_line_it_is_the_api_server() {
    let (_rig, person) = accepted(greeting()).await;
    // The variable alone does not say so.
    person
        .says(&["run", HELLO])
        .await
        .refused(2, &["no way to the API server", "--kubeconfig"]);
    person.says(&["run", HELLO, "--via", "sql"]).await.ok();
}

/// The accepted Workflow waits for `approve`; a person waits for a run of it.
async fn awaited() -> (Rig, Person, crate::rig::Process, Process) {
    let wait = json!({"steps": [{"name": "approval", "waitForSignal": {"signal": "approve"}}]});
    let (rig, person) = accepted(wait).await;
    let worker = rig.worker().await;
    let words = ["run", HELLO, "--follow", "--database-url", &person.url];
    let called = Process::spawn(&words, &[("KUBECONFIG", "/nonexistent")]);
    eventually("the wait", async || called.output().contains("approval: waits")).await;
    (rig, person, worker, called)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_ends_the_waiting_and_not_the_run() {
    let (rig, _person, worker, mut called) = awaited().await;
    called.signal(nix::sys::signal::Signal::SIGINT);
    assert_eq!(called.ended().await.code(), Some(1));
    assert!(
        called.errors().contains("interrupted; what was asked for goes on"),
        "{}",
        called.errors()
    );
    let live = "SELECT count(*) FROM everstep.runs WHERE finished_at IS NULL";
    assert_eq!(rig.count(live).await, 1);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_lost_meanwhile_is_opened_again() {
    let (rig, person, worker, mut called) = awaited().await;
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'everstep command' AND datname = current_database()";
    // Between two looks nobody may be connected but the one who waits.
    assert_eq!(rig.count(cut).await, 1);
    let newest = person.says(&["runs", "--phase", "Waiting", "-o", "name"]).await.ok();
    person.says(&["signal", newest.trim(), "approve"]).await.ok();
    assert_eq!(called.ended().await.code(), Some(0), "{}", called.errors());
    assert_eq!(called.output().matches("approval: took its signal").count(), 1);
    worker.stop().await;
}

#[tokio::test]
async fn completion_knows_the_commands_for_people() {
    for shell in ["bash", "zsh", "fish"] {
        let script = crate::person::call(&["completion", shell], &[]).await.ok();
        for word in ["history", "retry", "terminate", "dedup-key"] {
            assert!(script.contains(word), "{word} in {shell}");
        }
    }
}
