//! A start that takes over what an earlier run did: with it in one transaction, and never by two.

use everstep::store::{Append, Former, FormerOf, Handover, Start, Submission, Submitted};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rig::{Rig, finish, rig, wish};

fn run_of(uid: &str) -> Submission {
    Submission {
        kind: "WorkflowRun".to_owned(),
        workflow: "order".to_owned(),
        start: Some(Start {
            start_key: format!("run/{uid}"),
            input: None,
            trigger: "WorkflowRun".to_owned(),
            counted_by: None,
        }),
        only_when_idle: false,
        ..wish(uid)
    }
}

fn named(uid: &str) -> FormerOf {
    FormerOf {
        namespace: "shop".to_owned(),
        name: format!("name-{uid}"),
        uid: None,
    }
}

/// The run of a WorkflowRun, over, with one row of its journal.
async fn ended(rig: &Rig, uid: &str) -> Uuid {
    let run = rig.submit(run_of(uid)).await.run.unwrap();
    let appended = rig.store.append(&[finish(run, 1)]).await.unwrap();
    assert_eq!(appended.len(), 1);
    run
}

/// The WorkflowRun `b`, which takes over the work of this run.
async fn retried(rig: &Rig, from: Uuid) -> Submitted {
    let submitted = rig.store.submit_retry(&run_of("b"), &work(from)).await;
    submitted.unwrap().expect("the work is there")
}

fn work(from: Uuid) -> Handover {
    let reused = json!([{"StepReused": {
        "step": "charge", "from": from, "name": "name-a", "status": "Succeeded", "attempts": 2, "output": {"id": "ch_1"}
    }}]);
    Handover {
        from,
        events: reused.to_string(),
    }
}

#[tokio::test]
async fn run_is_born_with_what_it_takes_over() {
    let mut rig = rig().await;
    let from = ended(&rig, "a").await;
    let born = retried(&rig, from).await;
    assert!(born.started);
    let one = "SELECT count(DISTINCT xmin::text) FROM (
        SELECT xmin FROM everstep.runs WHERE owner_uid = 'b' UNION ALL SELECT xmin FROM everstep.active UNION ALL
        SELECT j.xmin FROM everstep.journal AS j JOIN everstep.runs AS r ON r.id = j.run_id WHERE r.owner_uid = 'b' UNION ALL
        SELECT xmin FROM everstep.runs WHERE owner_uid = 'a') AS written";
    assert_eq!(rig.one::<i64>(one).await, 1, "one transaction");
    let (_, loaded) = rig.owned().await;
    assert_eq!((loaded.run, loaded.seq), (born.run.unwrap(), 1));
    assert_eq!(
        serde_json::to_value(&loaded.tail[0].events).unwrap()[0]["StepReused"]["step"],
        "charge"
    );

    let again = retried(&rig, from).await;
    assert_eq!((again.run, again.started), (born.run, false));
    assert_eq!(rig.count(&format!("journal WHERE run_id = '{}'", loaded.run)).await, 1);
}

#[tokio::test]
async fn of_many_that_want_the_work_of_a_run_one_has_it_and_the_others_leave_nothing() {
    let mut rig = rig().await;
    let from = ended(&rig, "a").await;
    let wishes: Vec<Submission> = (0..8).map(|n| run_of(&format!("b{n}"))).collect();
    let work = work(from);
    let answers = futures::future::join_all(wishes.iter().map(|wish| rig.store.submit_retry(wish, &work))).await;
    let started = answers
        .into_iter()
        .filter_map(|answer| answer.unwrap())
        .collect::<Vec<_>>();
    assert_eq!(started.len(), 1);
    for rows in ["runs", "starts", "owners"] {
        assert_eq!(rig.count(rows).await, 2, "{rows}");
    }
    let Former::Found(former) = rig.store.former(&named("a")).await.unwrap() else {
        panic!("it is there")
    };
    let taken = former.taken.unwrap();
    assert_eq!(taken.by, Some(format!("name-{}", started[0].uid)));
    assert!(taken.is("order", &format!("run/{}", started[0].uid)));
}

#[tokio::test]
async fn run_that_was_lost_is_written_again_with_what_it_took_over() {
    let mut rig = rig().await;
    let from = ended(&rig, "a").await;
    let born = retried(&rig, from).await;
    let run = born.run.unwrap();
    rig.run(&format!(
        "DELETE FROM everstep.runs WHERE id = '{run}'; DELETE FROM everstep.active; DELETE FROM everstep.journal WHERE run_id = '{run}'"
    ))
    .await;
    let again = retried(&rig, from).await;
    assert_eq!((again.run, again.started), (Some(run), false));
    let (_, loaded) = rig.owned().await;
    assert_eq!((loaded.run, loaded.seq, loaded.tail.len()), (run, 1, 1));
}

#[tokio::test]
async fn what_is_not_kept_any_more_is_not_taken_over() {
    let mut rig = rig().await;
    assert_eq!(rig.store.former(&named("a")).await.unwrap(), Former::NotStarted);
    let from = ended(&rig, "a").await;
    let Former::Found(former) = rig.store.former(&named("a")).await.unwrap() else {
        panic!("it is there")
    };
    assert_eq!((former.origin.run, former.input.as_deref()), (from, Some(r#"{"n":1}"#)));
    assert_eq!((former.journal.len(), former.taken), (1, None));

    rig.later("400 days").await;
    rig.store.retire(100).await.unwrap();
    assert_eq!(rig.store.former(&named("a")).await.unwrap(), Former::Forgotten);
    let refused = rig.store.submit_retry(&run_of("b"), &work(from)).await.unwrap();
    assert_eq!(refused, None);
    assert_eq!(rig.count("owners WHERE uid = 'b'").await, 0, "nothing was done");
}

#[tokio::test]
async fn run_that_names_no_definition_is_one_of_the_workflow_of_the_earlier_one() {
    let mut rig = rig().await;
    let of = |uid: &'static str| (uid, named("a"));
    let workflow = async |rig: &Rig, (uid, of): (&str, FormerOf)| rig.store.retried_workflow(uid, &of).await.unwrap();
    assert_eq!(workflow(&rig, of("b")).await, None);
    let from = ended(&rig, "a").await;
    assert_eq!(workflow(&rig, of("b")).await.as_deref(), Some("order"));
    rig.store.submit_retry(&run_of("b"), &work(from)).await.unwrap();
    rig.run("DELETE FROM everstep.owners WHERE uid = 'a'").await;
    assert_eq!(
        workflow(&rig, of("b")).await.as_deref(),
        Some("order"),
        "what it was accepted with"
    );
}

#[tokio::test]
async fn steps_that_were_taken_over_are_listed_with_the_run_that_did_them() {
    let mut rig = rig().await;
    let from = ended(&rig, "a").await;
    let run = retried(&rig, from).await.run.unwrap();
    rig.run("SELECT everstep.grant_namespace(session_user, 'shop')").await;
    let listed = format!(
        "SELECT json_build_array(step, status, reused_from, attempts, ended_at IS NOT NULL)::text FROM everstep.step_list
         WHERE run_id = '{run}'"
    );
    let row: Value = serde_json::from_str(&rig.one::<String>(&listed).await).unwrap();
    assert_eq!(row, json!(["charge", "Succeeded", "name-a", null, true]));
    // Undone by the run that took it over.
    let undone = Append {
        events: r#"[{"StepStarted":{"step":"charge","attempt":3,"at":"2026-01-01T00:00:00Z","deed":"Undo"}}]"#
            .to_owned(),
        ..crate::rig::step(run, 2)
    };
    rig.store.append(&[undone]).await.unwrap();
    let undo = format!(
        "SELECT concat_ws(' ', status, reused_from) FROM everstep.step_list WHERE run_id = '{run}' AND deed = 'Undo'"
    );
    assert_eq!(rig.one::<String>(&undo).await, "Open");
}
