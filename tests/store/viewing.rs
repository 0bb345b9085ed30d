//! What the views show.

use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::application::{foreign, row, shop, start};
use crate::rig::{park, step};

#[tokio::test]
async fn views_show_runs_history_and_steps_of_granted_namespaces() {
    let mut shop = shop().await;
    let id = start(&mut shop.app, "'shop/order'").await;
    let none_yet = "SELECT concat_ws(' ', id, phase, trigger, progress) FROM everstep.run_list";
    let pending: String = row(&mut shop.app, none_yet).await.unwrap().get(0);
    assert_eq!(pending, format!("{id} Pending SQL"), "before any worker has met it");
    let worker = shop.rig.worker().await;
    assert_eq!(shop.rig.store.claim(worker, 10, None).await.unwrap(), 1);
    // Of another namespace: it has all that the views show, and none of them shows it.
    let foreign = foreign(&shop.rig).await;
    let mut theirs = step(foreign, 1);
    theirs.events = r#"[{"StepStarted":{"step":"secret","attempt":1,"at":"2026-01-01T00:00:00Z"}}]"#.to_owned();
    shop.rig.store.append(&[theirs]).await.unwrap();
    let at = "2026-01-01T00:00:00Z";
    let events = |text: &str| text.replace("AT", at);
    let mut first = step(id, 1);
    first.events =
        events(r#"[{"RunStarted":{"at":"AT"}},{"StepStarted":{"step":"a","attempt":1,"at":"AT"}},"HoldEnded"]"#);
    let mut second = park(id, 2, None);
    second.events = events(
        r#"[{"StepSucceeded":{"step":"a","output":"\u0000"}},{"StepSkipped":{"step":"b"}},{"StepStarted":{"step":"c","attempt":2,"at":"AT"}},{"StepStarted":{"step":"a","attempt":1,"at":"AT","deed":"Undo"}}]"#,
    );
    shop.rig.store.append(&[first]).await.unwrap();
    shop.rig.store.append(&[second]).await.unwrap();
    let all = async |app: &mut PgConnection, query: &str| -> Vec<String> {
        sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_all(app)
            .await
            .unwrap()
    };
    let listed = "SELECT concat_ws(' ', namespace, workflow, phase, trigger, progress) FROM everstep.run_list ORDER BY id DESC LIMIT 10";
    assert_eq!(all(&mut shop.app, listed).await, ["shop order Sleeping SQL 1/2"]);
    let history = "SELECT concat_ws(' ', seq, place, event, detail ->> 'step') FROM everstep.run_history ORDER BY run_id, seq, place";
    let expected = [
        "1 1 RunStarted",
        "1 2 StepStarted a",
        "1 3 HoldEnded",
        "2 1 StepSucceeded a",
        "2 2 StepSkipped b",
        "2 3 StepStarted c",
        "2 4 StepStarted a",
    ];
    assert_eq!(all(&mut shop.app, history).await, expected);
    let steps =
        "SELECT concat_ws(' ', step, deed, status, attempts) FROM everstep.step_list ORDER BY begun_seq, step, deed";
    let expected = ["a Do Succeeded 1", "a Undo Open 1", "b Do Skipped", "c Do Open 2"];
    assert_eq!(all(&mut shop.app, steps).await, expected);
}

/// What waits has begun; what timed out is over; what failed and is retried by hand is open again.
#[tokio::test]
async fn steps_that_wait_time_out_or_are_retried_are_shown_as_they_are() {
    let mut shop = shop().await;
    let id = start(&mut shop.app, "'shop/order', NULL, 'k'").await;
    let mut first = step(id, 1);
    first.events = r#"[{"TimerArmed":{"step":"nap","fire_at":"2026-01-01T00:00:00Z"}},
        {"SignalAwaited":{"step":"late","signal":"go"}},{"StepTimedOut":{"step":"late"}},
        {"StepStarted":{"step":"again","attempt":1,"at":"2026-01-01T00:00:00Z"}},
        {"StepFailed":{"step":"again","error":{"kind":"Sql","code":"23505","message":"twice"}}}]"#
        .to_owned();
    shop.rig.store.append(&[first]).await.unwrap();
    let steps = format!(
        "SELECT concat_ws(' ', step, status, ended_at IS NOT NULL) FROM everstep.step_list WHERE run_id = '{id}' ORDER BY step"
    );
    let seen = async |app: &mut PgConnection| -> Vec<String> {
        let query = sqlx::query_scalar(AssertSqlSafe(steps.clone()));
        query.fetch_all(app).await.unwrap()
    };
    assert_eq!(
        seen(&mut shop.app).await,
        ["again Failed t", "late TimedOut t", "nap Open f"]
    );
    let mut second = step(id, 2);
    second.events = r#"[{"RunRetried":{"steps":["again"]}},
        {"StepStarted":{"step":"again","attempt":2,"at":"2026-01-01T00:00:01Z"}}]"#
        .to_owned();
    shop.rig.store.append(&[second]).await.unwrap();
    assert_eq!(seen(&mut shop.app).await[0], "again Open f");
}
