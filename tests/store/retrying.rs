//! Statements that lose against others are sent again, and not for ever.

use std::collections::BTreeSet;

use everstep::store::{AppendError, Appended, Error};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::rig::{LEASE, Rig, rig, step};

const WAITS: &str = "wait_event_type = 'Lock'";

const ONE: Uuid = Uuid::from_u128(1);
const TWO: Uuid = Uuid::from_u128(2);

/// A rival holds this place in the journal, in a transaction that is open.
async fn rival(rig: &Rig, run: Uuid) -> PgConnection {
    let mut sql = PgConnection::connect(&rig.url).await.unwrap();
    // It is never the one that notices the deadlock.
    say(&mut sql, "SET deadlock_timeout = '1h'").await;
    say(&mut sql, "BEGIN").await;
    say(&mut sql, &take(run)).await;
    sql
}

fn take(run: Uuid) -> String {
    format!("INSERT INTO everstep.journal VALUES ('{run}', 1, '2026-01-01', 1, '[]')")
}

async fn say(sql: &mut PgConnection, statement: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
        .execute(sql)
        .await
        .unwrap();
}

/// 40P01.
#[tokio::test]
async fn an_append_that_is_the_victim_of_a_deadlock_is_sent_again() {
    let mut rig = rig().await;
    let mut rival = rival(&rig, TWO).await;
    let store = rig.store.clone();
    let append = tokio::spawn(async move { store.append(&[step(ONE, 1), step(TWO, 1)]).await });
    rig.waiting(WAITS).await;
    // It holds the first place and waits for the second; the rival gets the first only when it has given up.
    say(&mut rival, &take(ONE)).await;
    say(&mut rival, "ROLLBACK").await;
    assert_eq!(append.await.unwrap().unwrap(), [Appended::Mine, Appended::Mine]);
    assert_eq!(rig.count("journal WHERE nonce = 1007").await, 2);
}

/// 57014, twice.
#[tokio::test]
async fn an_append_that_was_cancelled_is_sent_again() {
    let mut rig = rig().await;
    let mut rival = rival(&rig, ONE).await;
    let store = rig.store.clone();
    let append = tokio::spawn(async move { store.append(&[step(ONE, 1)]).await });
    let mut began = BTreeSet::new();
    while began.len() < 3 {
        let (pid, start) = rig.waiting(WAITS).await;
        if began.insert(start) && began.len() < 3 {
            rig.run(&format!("SELECT pg_cancel_backend({pid})")).await;
        }
    }
    say(&mut rival, "ROLLBACK").await;
    assert_eq!(append.await.unwrap().unwrap(), [Appended::Mine]);
}

/// The limit: five times, and nothing is written.
#[tokio::test]
async fn an_append_that_is_cancelled_again_and_again_fails_after_the_fifth_time() {
    let mut rig = rig().await;
    let _rival = rival(&rig, ONE).await;
    let store = rig.store.clone();
    let append = tokio::spawn(async move { store.append(&[step(ONE, 1), step(TWO, 1)]).await });
    let mut began = BTreeSet::new();
    while began.len() < 5 {
        let (pid, start) = rig.waiting(WAITS).await;
        if began.insert(start) {
            rig.run(&format!("SELECT pg_cancel_backend({pid})")).await;
        }
    }
    let error = append.await.unwrap().unwrap_err();
    assert!(matches!(error, AppendError::Failed(Error::Unavailable(_))), "{error}");
    assert_eq!(rig.count("journal").await, 0);
}

/// 55P03, bounded; and the same batch succeeds once the lock is gone.
#[tokio::test]
async fn an_append_that_gets_no_lock_fails_without_a_trace_and_may_be_sent_again() {
    let mut rig = rig().await;
    let mut rival = rival(&rig, TWO).await;
    rig.set("lock_timeout = '20ms'").await;
    let batch = [step(ONE, 1), step(TWO, 1)];
    let error = rig.store.append(&batch).await.unwrap_err();
    assert!(
        matches!(&error, AppendError::Failed(error @ Error::Unavailable(_)) if error.is_transient()),
        "{error}"
    );
    assert_eq!(rig.count("journal").await, 0);
    say(&mut rival, "ROLLBACK").await;
    assert_eq!(
        rig.store.append(&batch).await.unwrap(),
        [Appended::Mine, Appended::Mine]
    );
}

/// 40001, in a statement that goes the other way to the server: ours do not conflict by themselves, but a trigger of the
/// database's owner may, and a failover does.
#[tokio::test]
async fn a_statement_that_cannot_be_serialised_is_sent_again() {
    let mut rig = rig().await;
    let worker = rig.worker().await;
    rig.run(
        "CREATE SEQUENCE public.tries;
         CREATE FUNCTION public.conflict() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           IF nextval('public.tries') < 3 THEN
             RAISE EXCEPTION USING ERRCODE = 'serialization_failure', MESSAGE = 'a conflict';
           END IF;
           RETURN NULL;
         END $$;
         CREATE TRIGGER conflict AFTER UPDATE ON everstep.workers EXECUTE FUNCTION public.conflict()",
    )
    .await;
    assert!(rig.store.renew(worker, LEASE).await.unwrap());
    assert_eq!(rig.one::<i64>("SELECT last_value FROM public.tries").await, 3);
}
