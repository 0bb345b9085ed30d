//! `runs`, `tree` and `history`: what was done is shown as it was.

use serde_json::json;
use uuid::Uuid;

use crate::{
    person::{Person, call, run},
    pgbouncer::PgBouncer,
    rig::{Rig, eventually},
    support::postgres,
};

/// One run that failed after two attempts, one that succeeded, one that waits.
struct Runs {
    rig: Rig,
    person: Person,
    failed: Uuid,
    waiting: Uuid,
}

async fn runs() -> Runs {
    let rig = Rig::new().await;
    let person = Person::new(&rig).await;
    let worker = rig.worker().await;
    // Nobody listens there.
    let call = json!({"name": "call", "http": {"url": "http://127.0.0.1:9/"},
        "retry": {"maxAttempts": 2, "backoff": {"initial": "10ms", "jitter": 0}}});
    let steps = json!([{"name": "prepare", "set": {"a": 1}}, {"name": "never", "when": "false", "set": {}}, call]);
    let failed = rig.start("broken", json!({ "steps": steps })).await;
    let done = rig.start("done", json!({"steps": [{"name": "a", "set": {}}]})).await;
    let wait = json!([{"name": "approval", "waitForSignal": {"signal": "approve"}}]);
    let waiting = rig.start("order", json!({ "steps": wait })).await;
    assert_eq!(rig.ended(failed).await, "Failed");
    assert_eq!(rig.ended(done).await, "Succeeded");
    eventually("the wait", async || rig.phase(waiting).await == "Waiting").await;
    worker.stop().await;
    Runs {
        rig,
        person,
        failed,
        waiting,
    }
}

fn lines(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_listed_newest_first_and_filtered() {
    let Runs {
        person,
        failed,
        waiting,
        ..
    } = runs().await;
    let table = person.says(&["runs"]).await.ok();
    let rows = lines(&table);
    assert_eq!(
        rows[0],
        [
            "ID", "WORKFLOW", "OBJECT", "PHASE", "STEP", "WAITING", "PROGRESS", "AGE"
        ]
    );
    let names: Vec<&str> = rows[1..].iter().map(|row| row[1]).collect();
    assert_eq!(names, ["order", "done", "broken"]);
    assert_eq!(
        rows[1][..7],
        [
            &*waiting.to_string(),
            "order",
            "ewf/order",
            "Waiting",
            "approval",
            "signal",
            "approve"
        ]
    );
    assert!(!table.contains('\u{1b}'), "no colours in a pipe");

    let only = |output: String| output.lines().map(str::to_owned).collect::<Vec<_>>();
    let by_phase = person
        .says(&["runs", "--phase", "failed,TimedOut", "-o", "name"])
        .await
        .ok();
    assert_eq!(only(by_phase), [failed.to_string()]);
    let by_workflow = person.says(&["runs", "--workflow", "order", "-o", "name"]).await.ok();
    assert_eq!(only(by_workflow), [waiting.to_string()]);
    let wide = person.says(&["runs", "-A", "-o", "wide"]).await.ok();
    assert!(wide.starts_with("NAMESPACE") && wide.contains("call: "), "{wide}");

    let elsewhere = person.says(&["runs", "-n", "elsewhere"]).await;
    assert_eq!((elsewhere.code, &*elsewhere.output), (Some(0), ""));
    assert!(elsewhere.errors.contains("namespace elsewhere"), "{}", elsewhere.errors);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_one_another_without_gap_or_overlap() {
    let Runs { person, .. } = runs().await;
    let all = person.says(&["runs", "-o", "json"]).await.json();
    assert_eq!(all["continue"], json!(null), "one page has them all");
    let (mut seen, mut token) = (Vec::new(), None::<String>);
    loop {
        let mut words = vec!["runs", "--limit", "1", "-o", "json"];
        if let Some(token) = &token {
            words.extend(["--continue", token]);
        }
        let page = person.says(&words).await.json();
        seen.extend(page["items"].as_array().unwrap().clone());
        match page["continue"].as_str() {
            Some(next) => token = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(json!(seen), all["items"]);
    let table = person.says(&["runs", "--limit", "2"]).await;
    assert!(table.errors.contains("--continue "), "the token is not in the pipe");
    assert_eq!(table.output.lines().count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_shows_steps_attempts_and_waits() {
    let Runs {
        person,
        failed,
        waiting,
        ..
    } = runs().await;
    let tree = person.says(&["tree", &failed.to_string()]).await.ok();
    for words in [
        "Workflow:   default/broken",
        "Phase:      Failed after ",
        "├─ prepare ",
        "├─ never ",
        "└─ call ",
        "   ├─ attempt 1 ",
        "   └─ attempt 2 ",
        "Skipped",
        "Connect",
    ] {
        assert!(tree.contains(words), "{words:?} in\n{tree}");
    }
    // By name, and by the beginning of the id.
    let by_name = person.says(&["tree", "ewf/order"]).await.ok();
    assert!(
        by_name.contains("approval   Waiting") && by_name.contains("signal approve"),
        "{by_name}"
    );
    let beginning = &waiting.to_string()[..35];
    assert!(person.says(&["tree", beginning]).await.ok().contains("signal approve"));

    let tree = person.says(&["tree", "broken", "-o", "json"]).await.json();
    assert_eq!(tree["run"]["id"], failed.to_string());
    let steps: Vec<(&str, &str)> = tree["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| (step["name"].as_str().unwrap(), step["status"].as_str().unwrap()))
        .collect();
    assert_eq!(
        steps,
        [("prepare", "Succeeded"), ("never", "Skipped"), ("call", "Failed")]
    );
    assert_eq!(tree["steps"][2]["attempts"].as_array().unwrap().len(), 2);
    let yaml = person.says(&["tree", "broken", "-o", "yaml"]).await.ok();
    assert_eq!(serde_saphyr::from_str::<serde_json::Value>(&yaml).unwrap(), tree);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_has_every_event_in_words_and_as_data() {
    let Runs {
        rig, person, failed, ..
    } = runs().await;
    let table = person.says(&["history", "broken"]).await.ok();
    for words in [
        "started",
        "never     skipped",
        "call      attempt 1 failed, next at",
        "Failed: Connect",
    ] {
        assert!(table.contains(words), "{words:?} in\n{table}");
    }
    assert!(table.trim_end().ends_with("finished"), "{table}");

    let events = person.says(&["history", "broken", "-o", "json"]).await.json();
    let names: Vec<&str> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    let journal = rig.journal(failed).await;
    let expected: Vec<&str> = journal.iter().map(|event| event.split(' ').next().unwrap()).collect();
    assert_eq!(names, expected);
    let first = events[0]["seq"].as_i64().unwrap();
    let rest = person
        .says(&["history", "broken", "--after", &first.to_string(), "-o", "json"])
        .await
        .json();
    let after: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| event["seq"] != first)
        .cloned()
        .collect();
    assert!(after.len() < names.len());
    assert_eq!(rest, json!(after));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_was_granted_is_seen() {
    let Runs {
        rig, person, failed, ..
    } = runs().await;
    let mut sql = rig.sql().await;
    run(
        &mut sql,
        "UPDATE everstep.runs SET namespace = 'secret' WHERE workflow = 'broken'",
    )
    .await;
    let all = person.says(&["runs", "-A", "-o", "json"]).await.json();
    assert_eq!(all["items"].as_array().unwrap().len(), 2);
    for words in [["tree", &failed.to_string()], ["history", &failed.to_string()]] {
        person.says(&words).await.refused(1, &["no run", "not granted"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_works_behind_a_pooler() {
    let Runs { rig, waiting, .. } = runs().await;
    // The pooler's login is the server's owner.
    run(
        &mut rig.sql().await,
        "SELECT everstep.grant_namespace('postgres', 'default')",
    )
    .await;
    let settings = ["pool_mode = transaction", "default_pool_size = 2"];
    let server = postgres::server().await;
    let pooler = tokio::task::spawn_blocking(move || PgBouncer::start(server, "", &settings))
        .await
        .unwrap();
    let url = pooler.before(&rig.url);
    let said = call(&["tree", &waiting.to_string(), "--database-url", &url], &[]).await;
    assert!(said.ok().contains("signal approve"));
}

#[tokio::test(flavor = "multi_thread")]
async fn colours_are_for_terminals_and_never_with_no_color() {
    let Runs { person, .. } = runs().await;
    let on_terminal = async |no_color: &str| {
        let program = env!("CARGO_BIN_EXE_everstep");
        let output = tokio::process::Command::new("script")
            .args(["-qec", &format!("{program} runs"), "/dev/null"])
            .env("EVERSTEP_DATABASE_URL", &person.url)
            .env("KUBECONFIG", "/nonexistent")
            .env("TERM", "xterm")
            .env("NO_COLOR", no_color)
            .stdin(std::process::Stdio::null())
            .output()
            .await
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let coloured = on_terminal("").await;
    assert!(coloured.contains("\u{1b}[31mFailed\u{1b}[0m"), "{coloured:?}");
    let plain = on_terminal("1").await;
    assert!(plain.contains("Failed") && !plain.contains('\u{1b}'), "{plain:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_works_where_nothing_can_be_written() {
    let Runs {
        rig, person, waiting, ..
    } = runs().await;
    let database: String = rig
        .url
        .rsplit('/')
        .next()
        .unwrap()
        .split('?')
        .next()
        .unwrap()
        .to_owned();
    run(
        &mut rig.sql().await,
        &format!("ALTER DATABASE {database} SET default_transaction_read_only = on"),
    )
    .await;
    assert!(person.says(&["tree", "order"]).await.ok().contains("signal approve"));
    assert_eq!(person.says(&["runs", "-o", "name"]).await.ok().lines().count(), 3);
    person
        .says(&["signal", &waiting.to_string(), "approve"])
        .await
        .refused(3, &["read-only", "primary"]);
}
