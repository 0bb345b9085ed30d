//! Commands: sent once for each generation of an object, to its runs only, and read before anything begins.

use everstep::engine::Mail;
use everstep::store::{Command, Start, Submission};
use uuid::Uuid;

use crate::rig::{Rig, edited, finish, rig, wish};

fn commanded(generation: i64, commands: Vec<Command>) -> Submission {
    Submission {
        commands,
        start: None,
        ..edited("a", generation)
    }
}

async fn kinds(rig: &mut Rig, run: Uuid) -> Vec<String> {
    let select = "SELECT dedup_key || ' ' || payload FROM everstep.inbox WHERE run_id = $1 ORDER BY id";
    sqlx::query_scalar(select)
        .bind(run)
        .fetch_all(&mut rig.sql)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_command_is_sent_once_for_each_generation_and_never_by_a_stale_replica() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let all = vec![
        Command::Pause,
        Command::Resume,
        Command::Cancel { reason: "c".to_owned() },
        Command::Cancel { reason: "d".to_owned() },
        Command::Terminate { reason: "t".to_owned() },
    ];
    rig.submit(commanded(2, all.clone())).await;
    let expected = [
        r#"a/2/Pause {"generation":2}"#,
        r#"a/2/Resume {"generation":2}"#,
        r#"a/2/Cancel {"reason":"c"}"#,
        r#"a/2/Terminate {"reason":"t"}"#,
    ];
    assert_eq!(kinds(&mut rig, run).await, expected);
    let written =
        "SELECT concat_ws(' ', (SELECT count(*) FROM everstep.audit), (SELECT last_value FROM everstep.inbox_id_seq))";
    let before: String = rig.one(written).await;
    rig.submit(commanded(2, all.clone())).await;
    assert!(rig.submit(commanded(1, vec![Command::Pause])).await.stale);
    assert_eq!(rig.one::<String>(written).await, before);
    rig.submit(commanded(3, vec![Command::Pause])).await;
    assert_eq!(kinds(&mut rig, run).await.len(), 5);
    let (_, loaded) = rig.owned().await;
    assert_eq!(loaded.mail.len(), 5);
    assert_eq!(loaded.mail[0].mail, Mail::Pause { generation: 2 });
    assert_eq!(rig.count("audit WHERE operation = 'pause'").await, 2);
}

#[tokio::test]
async fn a_command_reaches_the_run_that_the_same_call_starts_and_none_that_is_over() {
    let mut rig = rig().await;
    let run = rig
        .submit(Submission {
            commands: vec![Command::Pause],
            ..wish("a")
        })
        .await
        .run
        .unwrap();
    assert_eq!(kinds(&mut rig, run).await.len(), 1);
    rig.store.append(&[finish(run, 1)]).await.unwrap();
    rig.submit(commanded(2, vec![Command::Cancel { reason: "x".to_owned() }]))
        .await;
    assert_eq!(kinds(&mut rig, run).await.len(), 1);
}

#[tokio::test]
async fn what_replaces_a_run_is_not_cancelled_with_it_however_often_the_call_is_made() {
    let mut rig = rig().await;
    let old = rig.start("a").await;
    let replace = Submission {
        only_when_idle: false,
        commands: vec![Command::Cancel { reason: "r".to_owned() }],
        ..edited("a", 2)
    };
    let new = rig.submit(replace.clone()).await.run.unwrap();
    rig.submit(replace).await;
    assert_ne!(old, new);
    assert_eq!(
        (kinds(&mut rig, old).await.len(), kinds(&mut rig, new).await.len()),
        (1, 0)
    );
}

#[tokio::test]
async fn a_run_of_a_workflow_run_belongs_to_that_object_and_runs_the_workflow() {
    let mut rig = rig().await;
    let of_run = Submission {
        kind: "WorkflowRun".to_owned(),
        name: "run-1".to_owned(),
        workflow: "order".to_owned(),
        start: Some(Start {
            start_key: "run/r".to_owned(),
            input: None,
            trigger: "Run".to_owned(),
            counted_by: None,
        }),
        ..wish("r")
    };
    let submitted = rig.submit(of_run.clone()).await;
    assert!(submitted.started);
    assert_eq!(rig.submit(of_run).await.run, submitted.run);
    let row = "SELECT concat_ws(' ', owner_kind, owner_name, owner_uid, workflow) FROM everstep.runs";
    assert_eq!(rig.one::<String>(row).await, "WorkflowRun run-1 r order");
    assert_eq!(rig.count("starts WHERE workflow = 'order'").await, 1);
    let (_, loaded) = rig.owned().await;
    assert_eq!((&*loaded.origin.workflow, &*loaded.origin.name), ("order", "run-1"));
}

/// Else a run that is paused or cancelled would go on, because signals lie before the command.
#[tokio::test]
async fn a_load_has_every_command_however_many_signals_there_are() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    rig.run(&format!(
        "INSERT INTO everstep.inbox (run_id, kind, signal, dedup_key, payload)
         SELECT '{run}', 'Signal', 'go', n, '{{}}' FROM generate_series(1, 1500) AS n"
    ))
    .await;
    let cancel = rig.mail(run, "k").await;
    let (_, loaded) = rig.owned().await;
    let ids: Vec<i64> = loaded.mail.iter().map(|row| row.id).collect();
    assert_eq!((ids.len(), ids.last()), (1000, Some(&cancel)));
    assert!(ids.is_sorted(), "the order of arrival");
}
