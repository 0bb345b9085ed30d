//! Controllers of some namespaces beside much that is none of their business.

use crate::fixture::{Field, Fixture, HELLO, eventually};

/// More than one scan reads, of objects in a namespace that no controller looks at.
const ELSEWHERE: &str = "
INSERT INTO everstep.runs (id, namespace, workflow, owner_kind, owner_uid, owner_name, start_key, definition_id, trigger,
  phase, finished_at)
SELECT everstep.uuidv7(), 'elsewhere', 'w', 'Workflow', 'uid-' || n, 'w', 'k' || n,
  (SELECT id FROM everstep.definitions LIMIT 1), 'OnApply', 'Succeeded', now()
FROM generate_series(1, 1001) AS n;
INSERT INTO everstep.inbox (run_id, kind, signal, dedup_key, source_uid, source_name, payload, outcome)
SELECT id, 'Signal', 'go', 'k', 'signal of ' || id, 'go', '{}', 'Undelivered'
FROM everstep.runs WHERE namespace = 'elsewhere'";

const GO: &str = "
apiVersion: everstep.dev/v1alpha1
kind: Signal
metadata: {name: go}
spec: {target: {workflow: late}, signal: go}
";

#[tokio::test]
async fn changes_of_other_namespaces_do_not_stand_in_the_way_of_ours() {
    let fixture = Fixture::new("scoped").await;
    let _controller = fixture.controller();
    fixture.apply(HELLO).await;
    fixture.condition("hello", "Accepted").await;
    fixture.execute(ELSEWHERE).await;

    let late = HELLO.replace("name: hello", "name: late");
    fixture.apply(&format!("{late}---{GO}")).await;
    fixture.condition("late", "Accepted").await;
    let consumed = async || {
        let object = fixture.object("esig", "go").await;
        let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let consumed = conditions.into_iter().find(|condition| condition["type"] == "Consumed");
        consumed.unwrap_or_default().text("reason").to_owned()
    };
    eventually("stored", || async { consumed().await == "Buffered" }).await;
    let taken = "UPDATE everstep.inbox SET outcome = 'Undelivered' WHERE outcome IS NULL";
    fixture.execute(taken).await;
    fixture.finish_all("Succeeded").await;
    fixture.condition("late", "Finished").await;
    eventually("told", || async { consumed().await == "Undelivered" }).await;
    let foreign = "SELECT count(*) FROM everstep.inbox WHERE source_name = 'go' AND NOT shown";
    assert_eq!(fixture.count(foreign).await, 1001, "what is not ours was left alone");
}
