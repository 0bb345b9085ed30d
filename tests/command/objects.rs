//! `run`, `signal`, `cancel` and `retry` by objects, at a real API server. What a controller would answer is written into
//! the objects' status here: these tests are about the commands.

use std::{
    os::unix::fs::symlink,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    person::{Said, call},
    rig::eventually,
    support::{
        controlplane,
        system::{DEADLINE, Process, System},
    },
};

trait Called {
    /// Begins a call of the binary in the system's namespace.
    fn calls(&self, words: &[&str]) -> Process;
    /// A call of the binary in the system's namespace.
    async fn says(&self, words: &[&str]) -> Said;
    async fn status(&self, kind: &str, name: &str, status: Value);
    /// Waits until there is an object of this kind, and answers its name.
    async fn one(&self, kind: &str) -> String;
    /// Cancels a WorkflowRun that was never told before, and waits; meanwhile its status comes to say so, and then so.
    async fn cancelled(&self, name: &str, flags: &[&str], meanwhile: Value, then: Value) -> Said;
}

impl Called for System {
    fn calls(&self, words: &[&str]) -> Process {
        let words = [words, &["-n", &self.namespace]].concat();
        Process::spawn(&words, &[("KUBECONFIG", self.kubeconfig.to_str().unwrap())])
    }

    async fn says(&self, words: &[&str]) -> Said {
        let words = [words, &["-n", &self.namespace]].concat();
        call(&words, &[("KUBECONFIG", self.kubeconfig.to_str().unwrap())]).await
    }

    async fn status(&self, kind: &str, name: &str, status: Value) {
        let patch = json!({ "status": status }).to_string();
        self.kubectl(&[
            "patch",
            kind,
            name,
            "--subresource=status",
            "--type=merge",
            "-p",
            &patch,
        ])
        .await;
    }

    async fn one(&self, kind: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let names = self.kubectl(&["get", kind, "-o", "name"]).await;
            if let Some(name) = names.lines().next() {
                return name.split_once('/').unwrap().1.to_owned();
            }
            assert!(Instant::now() < until, "no {kind}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn cancelled(&self, name: &str, flags: &[&str], meanwhile: Value, then: Value) -> Said {
        let answer = async {
            let told = |it: &Value| it["metadata"]["generation"] == 2;
            self.until_of("workflowruns", name, "is told", told).await;
            for mut status in [meanwhile, then] {
                status["observedGeneration"] = json!(2);
                self.status("workflowrun", name, status).await;
            }
        };
        let words = [&["cancel", name, "--wait"], flags].concat();
        tokio::join!(self.says(&words), answer).0
    }
}

fn is_there(object: &Value) -> bool {
    !object.is_null()
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": "because",
        "lastTransitionTime": "2026-11-21T12:00:00Z"})
}

fn ran(phase: &str) -> Value {
    let run = json!({"id": "0192f3c4-7d1e-7aaa-8000-000000000000", "phase": phase, "step": "charge", "progress": "1/2",
        "error": {"step": "charge", "code": "DECLINED", "message": "no money"}, "output": {"charge": "ch_1"}});
    let ended = ["Succeeded", "Failed", "Cancelled"].contains(&phase);
    let finished = condition("Finished", if ended { "True" } else { "False" }, phase);
    json!({"observedGeneration": 1, "run": run, "conditions": [finished]})
}

/// A run that stands still until a person acts.
fn still(reason: &str, waits_for: &str) -> Value {
    let mut status = ran("Paused");
    status["run"]["waitingFor"] = json!(waits_for);
    let conditions = status["conditions"].as_array_mut().unwrap();
    conditions.push(condition("Stalled", "True", reason));
    status
}

#[tokio::test]
async fn a_run_is_an_object_with_what_was_typed() {
    let system = System::new("cli-run").await;
    let words = [
        "run",
        "order",
        "-i",
        "orderId=1042",
        "-i",
        "amount:=2",
        "--key",
        "k",
        "--name",
        "r",
    ];
    let said = system.says(&words).await.ok();
    assert_eq!(said, "workflowrun.everstep.dev/r created\n");
    let object = system.get("workflowruns", "r").await;
    let expected =
        json!({"workflowRef": {"name": "order"}, "input": {"orderId": "1042", "amount": 2}, "idempotencyKey": "k"});
    assert_eq!(object["spec"], expected);
    assert_eq!(object["metadata"]["managedFields"][0]["manager"], "everstep-command");

    let again = system.says(&words).await;
    again.refused(1, &["already exists"]);
    let name = system.says(&["run", "order", "-o", "name"]).await.ok();
    assert!(name.starts_with("workflowrun.everstep.dev/order-"), "{name}");
    // What was printed can be given to the next command.
    system.says(&["cancel", name.trim()]).await.ok();
    let made = system.says(&["run", "order", "-o", "json"]).await.json();
    assert_eq!(made["kind"], "WorkflowRun");
    let generated = made["metadata"]["name"].as_str().unwrap();
    assert_eq!(system.get("workflowruns", generated).await["spec"], made["spec"]);
}

#[tokio::test]
async fn waiting_for_an_object_ends_with_its_run() {
    let system = System::new("cli-wait").await;
    let cases = [
        ("good", "Succeeded", 0, "good Succeeded, output {\"charge\":\"ch_1\"}"),
        ("bad", "Failed", 1, "bad Failed: charge: DECLINED: no money"),
    ];
    for (name, phase, code, expected) in cases {
        let mut called = system.calls(&["run", "order", "--name", name, "--follow"]);
        system.until_of("workflowruns", name, "is there", is_there).await;
        system.status("workflowrun", name, ran("Running")).await;
        let line = format!("{name}  Running at charge, 1/2 done\n");
        eventually("the line", async || called.output().contains(&line)).await;
        system.status("workflowrun", name, ran(phase)).await;
        assert_eq!(called.ended().await.code(), Some(code), "{}", called.errors());
        assert_eq!(called.output().matches(&line).count(), 1, "{}", called.output());
        let said = called.output() + &called.errors();
        assert!(said.contains(expected), "{expected}: {said}");
    }
    // Neither has ever begun, and the objects say why.
    let end = async {
        system.until_of("workflowruns", "wrong", "is there", is_there).await;
        let refused = json!({"observedGeneration": 1, "conditions": [condition("Accepted", "False", "InvalidSpec")]});
        system.status("workflowrun", "wrong", refused).await;
    };
    let (said, ()) = tokio::join!(system.says(&["run", "order", "--name", "wrong", "--wait"]), end);
    assert!(
        said.code == Some(1) && said.errors.contains("wrong InvalidSpec: because"),
        "{said:?}"
    );
    let late = system
        .says(&["run", "order", "--name", "late", "--wait", "--timeout", "300ms"])
        .await;
    assert!(late.code == Some(1) && late.errors.contains("it goes on"), "{late:?}");
}

/// A run that ends before its object was ever written: the one status that comes is the last.
#[tokio::test]
async fn following_ends_also_when_the_first_status_is_the_last() {
    let system = System::new("cli-quick").await;
    let id = "0192f3c4-7d1e-7aaa-8000-000000000000";
    let over = format!(
        "SELECT everstep.grant_namespace(current_user::text, '{0}');
         INSERT INTO everstep.runs (id, namespace, workflow, start_key, definition_id, trigger, phase, finished_at)
         VALUES ('{id}', '{0}', 'order', 'k', '{id}', 'Run', 'Succeeded', everstep.now())",
        system.namespace
    );
    crate::person::run(&mut system.sql().await, &over).await;
    let words = ["run", "order", "--name", "quick", "--follow", "-n", &system.namespace];
    let kubeconfig = system.kubeconfig.to_str().unwrap();
    let environment = [
        ("KUBECONFIG", kubeconfig),
        ("EVERSTEP_DATABASE_URL", &*system.database_url),
    ];
    let end = async {
        system.one("workflowruns").await;
        system.status("workflowrun", "quick", ran("Succeeded")).await;
    };
    let (said, ()) = tokio::join!(call(&words, &environment), end);
    assert!(said.ok().contains("quick Succeeded"));
}

/// The role may read another namespace only.
#[tokio::test]
async fn following_goes_by_the_object_where_the_database_shows_no_such_run() {
    let system = System::new("cli-unseen").await;
    let granted = "SELECT everstep.grant_namespace(current_user::text, 'elsewhere')";
    crate::person::run(&mut system.sql().await, granted).await;
    let words = ["run", "order", "--name", "unseen", "--follow", "-n", &system.namespace];
    let environment = [
        ("KUBECONFIG", system.kubeconfig.to_str().unwrap()),
        ("EVERSTEP_DATABASE_URL", &*system.database_url),
    ];
    let mut called = Process::spawn(&words, &environment);
    system.one("workflowruns").await;
    system.status("workflowrun", "unseen", ran("Running")).await;
    eventually("the line", async || {
        called.output().contains("unseen  Running at charge, 1/2 done\n")
    })
    .await;
    system.status("workflowrun", "unseen", ran("Succeeded")).await;
    assert_eq!(called.ended().await.code(), Some(0), "{}", called.errors());
    assert_eq!(
        called.errors().matches("shows no run").count(),
        1,
        "{}",
        called.errors()
    );
}

#[tokio::test]
async fn what_cannot_be_followed_is_not_begun() {
    let system = System::new("cli-away").await;
    let words = ["run", "order", "--follow", "-n", &system.namespace];
    let environment = [
        ("KUBECONFIG", system.kubeconfig.to_str().unwrap()),
        ("EVERSTEP_DATABASE_URL", "postgres://u@127.0.0.1:9/d"),
    ];
    call(&words, &environment)
        .await
        .refused(1, &["PostgreSQL is not available"]);
    assert_eq!(system.kubectl(&["get", "workflowruns", "-o", "name"]).await, "");
}

#[tokio::test]
async fn a_signal_is_an_object_for_whom_was_meant() {
    let system = System::new("cli-signal").await;
    let words = [
        "signal",
        "ewf/order",
        "Approve It",
        "-p",
        "approved:=true",
        "--by",
        "alice",
        "--dedup-key",
        "t-1",
        "--expires-after",
        "1h",
        "--key",
        "o-1",
        "-o",
        "name",
    ];
    let name = system.says(&words).await.ok();
    assert!(name.starts_with("signal.everstep.dev/order-approve-it-"), "{name}");
    let object = system.get("signals", name.trim().split_once('/').unwrap().1).await;
    let expected = json!({"target": {"workflow": "order", "key": "o-1"}, "signal": "Approve It",
        "payload": {"approved": true}, "by": "alice", "dedupKey": "t-1", "expiresAfter": "1h"});
    assert_eq!(object["spec"], expected);

    // A bare name is that of what there is.
    let target = async |words: &[&str]| {
        let made = system.says(&[words, &["-o", "json"]].concat()).await;
        (made.errors.clone(), made.json()["spec"]["target"].clone())
    };
    let (said, nobody) = target(&["signal", "ghost", "go"]).await;
    assert_eq!(nobody, json!({"workflow": "ghost"}));
    assert!(said.contains("no Workflow ghost") && said.contains("yet"), "{said}");
    system.says(&["run", "order", "--name", "solo"]).await.ok();
    assert_eq!(
        target(&["signal", "solo", "go"]).await,
        (String::new(), json!({"run": "solo"}))
    );
    let hello = "apiVersion: everstep.dev/v1alpha1\nkind: Workflow\nmetadata: {name: solo}\nspec: {steps: [{name: a, set: {}}]}";
    system.apply(hello).await;
    system
        .says(&["signal", "solo", "go"])
        .await
        .refused(2, &["ewf/solo or erun/solo"]);
    assert_eq!(target(&["signal", "erun/solo", "go"]).await.1, json!({"run": "solo"}));
    system
        .says(&["signal", "erun/solo", "go", "--key", "k"])
        .await
        .refused(2, &["--key"]);
    system
        .says(&["signal", "ewf/solo", "go", "--expires-after", "soon"])
        .await
        .refused(2, &["expiresAfter"]);
}

#[tokio::test]
async fn waiting_for_a_signal_ends_when_a_step_has_it_or_none_will() {
    let system = System::new("cli-consumed").await;
    let consumed = json!({"step": "approval", "conditions": [condition("Consumed", "True", "Consumed")]});
    let end = async {
        let name = system.one("signals").await;
        let buffered = json!({"conditions": [condition("Consumed", "Unknown", "Buffered")]});
        system.status("signal", &name, buffered).await;
        system.status("signal", &name, consumed).await;
    };
    let words = ["signal", "ewf/order", "go", "--wait"];
    let (said, ()) = tokio::join!(system.says(&words), end);
    assert!(said.ok().ends_with("consumed by step approval\n"));
    system.kubectl(&["delete", "signals", "--all"]).await;

    let end = async {
        let name = system.one("signals").await;
        let lost = [
            condition("Consumed", "False", "Rejected"),
            condition("Ready", "False", "Rejected"),
        ];
        system.status("signal", &name, json!({ "conditions": lost })).await;
    };
    let (said, ()) = tokio::join!(system.says(&words), end);
    assert!(
        said.code == Some(1) && said.errors.contains("Rejected: because"),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_cancel_sets_what_the_object_is_to_be() {
    let system = System::new("cli-cancel").await;
    for (name, flags, desired) in [("a", &[][..], "Cancelled"), ("b", &["--terminate"], "Terminated")] {
        system.says(&["run", "order", "--name", name]).await.ok();
        let target = format!("erun/{name}");
        system.says(&[&["cancel", &target][..], flags].concat()).await.ok();
        assert_eq!(system.get("workflowruns", name).await["spec"]["desiredState"], desired);
    }
    // Final, says the API server.
    system.says(&["cancel", "b"]).await.refused(2, &["are final"]);

    system.says(&["run", "order", "--name", "over"]).await.ok();
    system.status("workflowrun", "over", ran("Succeeded")).await;
    system
        .says(&["cancel", "over"])
        .await
        .refused(1, &["is over (Succeeded)", "nothing left to cancel"]);
    system
        .says(&["cancel", "ghost"])
        .await
        .refused(1, &["no WorkflowRun ghost in namespace"]);
    system
        .says(&["cancel", "ewf/order"])
        .await
        .refused(2, &["no object of its own", "--via sql", "delete the Workflow"]);
    system
        .says(&["cancel", "over", "--reason", "x"])
        .await
        .refused(2, &["--reason"]);

    system.says(&["run", "order", "--name", "c"]).await.ok();
    let said = system.cancelled("c", &[], ran("Running"), ran("Cancelled")).await;
    assert_eq!(
        said.ok(),
        "workflowrun.everstep.dev/c told to cancel\nworkflowrun.everstep.dev/c Cancelled\n"
    );
}

#[tokio::test]
async fn a_cancel_that_does_not_end_the_run_is_refused_and_keeps_the_way_by_object() {
    let system = System::new("cli-stuck").await;
    system.says(&["run", "order", "--name", "r"]).await.ok();
    system
        .status("workflowrun", "r", still("CompensationFailed", "retry or terminate"))
        .await;
    system.says(&["cancel", "r"]).await.refused(
        1,
        &[
            "erun/r --via sql",
            "everstep retry erun/r",
            "cancel it with --terminate",
            "everstep cancel erun/r --terminate",
            "charge: DECLINED",
        ],
    );
    let object = system.get("workflowruns", "r").await;
    assert_eq!(object["spec"]["desiredState"], Value::Null, "Cancelled is final");
    let said = system
        .cancelled(
            "r",
            &["--terminate"],
            still("CompensationFailed", "retry or terminate"),
            ran("Failed"),
        )
        .await;
    assert!(
        said.ok()
            .contains("r ended as Failed, for the failure that it stood still after: charge: DECLINED")
    );
    assert_eq!(
        system.get("workflowruns", "r").await["spec"]["desiredState"],
        "Terminated"
    );
}

#[tokio::test]
async fn a_cancel_is_waited_for_until_it_has_ended_the_run_or_cannot() {
    let system = System::new("cli-undone").await;
    system.says(&["run", "order", "--name", "p"]).await.ok();
    let paused = || still("PausedOnFailure", "retry or cancel");
    system.status("workflowrun", "p", paused()).await;
    let said = system.cancelled("p", &[], paused(), ran("Failed")).await.ok();
    assert!(
        said.contains("p ended as Failed, for the failure that it stood still after: charge: DECLINED: no money"),
        "{said}"
    );

    system.says(&["run", "order", "--name", "s"]).await.ok();
    system.status("workflowrun", "s", ran("Running")).await;
    let stuck = || still("CompensationFailed", "retry or terminate");
    let said = system.cancelled("s", &[], ran("Compensating"), stuck()).await;
    assert_eq!(said.code, Some(1), "{said:?}");
    let way = "everstep cancel erun/s --via sql --terminate";
    assert!(
        said.errors.contains("s stands still") && said.errors.contains(way),
        "{said:?}"
    );
    // `Terminated` would not be taken any more.
    system
        .says(&["cancel", "s", "--terminate"])
        .await
        .refused(2, &["Cancelled already", "final", way]);
    system.says(&["cancel", "s"]).await.refused(1, &["stands still", way]);
}

#[tokio::test]
async fn a_retry_of_a_run_that_has_ended_is_another_run_that_takes_up_its_work() {
    let system = System::new("cli-retry").await;
    system
        .says(&["run", "order", "--name", "r", "-i", "a=1", "--key", "k"])
        .await
        .ok();
    system.says(&["retry", "r"]).await.refused(1, &["has not been started"]);
    system.status("workflowrun", "r", ran("Running")).await;
    system
        .says(&["retry", "r"])
        .await
        .refused(1, &["is Running", "nothing to retry"]);
    system.status("workflowrun", "r", ran("Paused")).await;
    system
        .says(&["retry", "r"])
        .await
        .refused(2, &["stands still", "--database-url"]);
    for phase in ["Failed", "Succeeded", "Cancelled", "TimedOut"] {
        system.status("workflowrun", "r", ran(phase)).await;
        let said = system.says(&["retry", "r", "--from", "charge"]).await.ok();
        let made = said.trim().strip_suffix(" created").unwrap();
        let name = made.strip_prefix("workflowrun.everstep.dev/").unwrap();
        assert!(name.starts_with("r-retry-"), "{name}");
        let object = system.get("workflowruns", name).await;
        let again = json!({"retryOf": {"name": "r", "fromStep": "charge"}});
        assert_eq!(object["spec"], again, "all else is the earlier run's");
    }
    let said = system.says(&["retry", "erun/r"]).await.ok();
    let name = said.trim().split(['/', ' ']).nth(1).unwrap().to_owned();
    assert_eq!(
        system.get("workflowruns", &name).await["spec"],
        json!({"retryOf": {"name": "r"}})
    );
    let objects = system.kubectl(&["get", "workflowruns", "-o", "name"]).await;
    assert_eq!(objects.lines().count(), 6, "one each time");
    system
        .says(&["retry", "ghost"])
        .await
        .refused(1, &["no WorkflowRun ghost"]);
    system
        .says(&["retry", "ewf/order"])
        .await
        .refused(2, &["everstep retry ewf/order --via sql"]);
}

#[tokio::test]
async fn an_api_server_that_refuses_or_is_away_is_named() {
    let system = System::new("cli-refused").await;
    let file = std::fs::read_to_string(&system.kubeconfig).unwrap();
    let config: Value = serde_saphyr::from_str(&file).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let with = |name: &str, config: &Value| {
        let path = directory.path().join(name);
        std::fs::write(&path, config.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };

    system.kubectl(&["create", "serviceaccount", "nobody"]).await;
    let token = system.kubectl(&["create", "token", "nobody"]).await;
    let mut nobody = config.clone();
    nobody["users"][0]["user"] = json!({"token": token.trim()});
    let nobody = with("nobody", &nobody);
    let flags = ["-n", &*system.namespace, "--kubeconfig", &nobody];
    for words in [
        &["run", "order"][..],
        &["signal", "ewf/order", "go"],
        &["cancel", "r"],
        &["retry", "r"],
    ] {
        let said = call(&[words, &flags].concat(), &[]).await;
        said.refused(1, &["forbidden", "administers the cluster"]);
    }
    let mut stranger = config.clone();
    stranger["users"][0]["user"] = json!({"token": "wrong"});
    let stranger = with("stranger", &stranger);
    call(&["run", "order", "--kubeconfig", &stranger], &[])
        .await
        .refused(1, &["does not know you"]);

    let mut away = config.clone();
    away["clusters"][0]["cluster"]["server"] = json!("https://127.0.0.1:9");
    let away = with("away", &away);
    call(&["run", "order", "--kubeconfig", &away], &[])
        .await
        .refused(1, &["the API server gave no answer"]);
    call(&["run", "order", "--kubeconfig", "/nonexistent"], &[])
        .await
        .refused(2, &["no way to the API server"]);
    system
        .says(&["run", "order", "--context", "elsewhere"])
        .await
        .refused(2, &["no way to the API server", "elsewhere"]);
    system
        .says(&["run", "Order!"])
        .await
        .refused(2, &["the API server refused it"]);
    // The namespace is the context's when none is given.
    let mut here = config.clone();
    here["contexts"][0]["context"]["namespace"] = json!(system.namespace);
    let here = with("here", &here);
    call(&["run", "order", "--name", "here", "--kubeconfig", &here], &[])
        .await
        .ok();
    assert_eq!(system.get("workflowruns", "here").await["metadata"]["name"], "here");
    let no_namespace = call(
        &["run", "order", "-n", "nowhere"],
        &[("KUBECONFIG", system.kubeconfig.to_str().unwrap())],
    )
    .await;
    no_namespace.refused(1, &["there is no namespace nowhere"]);
}

#[tokio::test]
async fn kubectl_finds_it_as_a_plugin() {
    let system = System::new("cli-plugin").await;
    let directory = tempfile::tempdir().unwrap();
    symlink(
        env!("CARGO_BIN_EXE_everstep"),
        directory.path().join("kubectl-everstep"),
    )
    .unwrap();
    let kubectl = async |words: &[&str]| {
        tokio::process::Command::new(controlplane::shared().await.programs().join("kubectl"))
            .args(words)
            .env("PATH", directory.path())
            .env("KUBECONFIG", &system.kubeconfig)
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap()
    };
    let help = kubectl(&["everstep", "run", "--help"]).await;
    assert!(
        String::from_utf8(help.stdout)
            .unwrap()
            .contains("Usage: kubectl everstep run")
    );
    let made = kubectl(&["everstep", "run", "order", "--name", "plugged", "-n", &system.namespace]).await;
    assert!(made.status.success(), "{made:?}");
    assert_eq!(
        system.get("workflowruns", "plugged").await["spec"]["workflowRef"]["name"],
        "order"
    );
}
