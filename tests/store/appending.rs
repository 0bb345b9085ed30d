//! The one write path: the fence, what follows from a decision, poison, and the ambiguous end.

use std::time::Duration;

use everstep::engine::Phase;
use everstep::store::{Append, AppendError, Appended, Options, Store, Then};
use sqlx::Connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

use crate::rig::{Rig, finish, options, park, rig, step, told};

#[tokio::test]
async fn a_place_in_the_journal_is_given_once() {
    let mut rig = rig().await;
    let run = Uuid::from_u128(1);
    assert_eq!(rig.store.append(&[step(run, 1)]).await.unwrap(), [Appended::Mine]);
    let rival = Append {
        nonce: 99,
        ..finish(run, 1)
    };
    assert_eq!(rig.store.append(&[rival]).await.unwrap(), [Appended::Lost]);
    assert_eq!(rig.one::<i64>("SELECT nonce FROM everstep.journal").await, 1007);
}

#[tokio::test]
async fn answers_come_in_the_order_given_whatever_the_order_of_the_runs() {
    let rig = rig().await;
    let runs = [Uuid::from_u128(3), Uuid::from_u128(1), Uuid::from_u128(2)];
    rig.store.append(&[step(runs[1], 1)]).await.unwrap();
    let answers = rig.store.append(&runs.map(|run| step(run, 1))).await.unwrap();
    assert_eq!(answers, [Appended::Mine, Appended::Lost, Appended::Mine]);
}

#[tokio::test]
async fn a_middle_step_is_one_inserted_row_and_no_other_write() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    rig.owned().await;
    let before = writes(&mut rig).await;
    rig.store.append(&[step(run, 1)]).await.unwrap();
    let after = writes(&mut rig).await;
    let changed: Vec<_> = after.iter().filter(|table| !before.contains(table)).collect();
    assert_eq!(changed, [&("journal".to_owned(), 1)]);
}

/// By either statement: the straight one, and the one that also takes mail.
#[tokio::test]
async fn a_finish_ends_everything_of_the_run_and_sets_its_expiry() {
    for with_mail in [false, true] {
        let mut rig = rig().await;
        let run = rig.start("a").await;
        rig.owned().await;
        rig.run(&format!("INSERT INTO everstep.timers VALUES ('{run}', now())"))
            .await;
        let taken = if with_mail {
            vec![rig.mail(run, "k").await]
        } else {
            Vec::new()
        };
        let finish = Append {
            taken,
            ..finish(run, 1)
        };
        assert_eq!(rig.store.append(&[finish]).await.unwrap(), [Appended::Mine]);
        assert_eq!((rig.count("active").await, rig.count("timers").await), (0, 0));
        let row =
            "SELECT concat_ws(' ', phase, summary_seq, summary ->> 'progress', expires_at - finished_at, snapshot_seq)
             FROM everstep.runs";
        assert_eq!(rig.one::<String>(row).await, "Succeeded 1 1/2 30 days");
        let row =
            "SELECT concat_ws(' ', actor, run_id, epoch, detail) FROM everstep.audit WHERE operation = 'finished'";
        let audited = format!(r#"worker {run} 1 {{"phase":"Succeeded"}}"#);
        assert_eq!(rig.one::<String>(row).await, audited);
    }
}

#[tokio::test]
async fn a_park_keeps_the_state_and_the_earliest_timer_and_a_claim_brings_both_back() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let (worker, _) = rig.owned().await;
    rig.store.append(&[step(run, 1)]).await.unwrap();
    rig.store
        .append(&[park(run, 2, Some("2020-01-01T00:00:00Z"))])
        .await
        .unwrap();
    assert_eq!((rig.count("active").await, rig.count("timers").await), (0, 1));

    assert_eq!(rig.store.timer_sweep().await.unwrap(), 1);
    assert_eq!(rig.store.claim(worker, 1, None).await.unwrap(), 1);
    let loaded = rig.loaded(worker).await;
    assert_eq!((loaded.seq, loaded.phase, loaded.tail.len()), (2, Phase::Sleeping, 0));
    assert_eq!(loaded.snapshot.unwrap().state["seq"], 2);
}

#[tokio::test]
async fn a_park_without_a_timer_disarms_the_old_one() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    rig.store
        .append(&[park(run, 1, Some("2040-01-01T00:00:00Z"))])
        .await
        .unwrap();
    rig.store.append(&[park(run, 2, None)]).await.unwrap();
    assert_eq!(rig.count("timers").await, 0);
}

/// P10: what a loser wanted to happen does not happen.
#[tokio::test]
async fn a_lost_finish_changes_nothing() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    rig.owned().await;
    let letter = rig.mail(run, "k").await;
    rig.store.append(&[step(run, 1)]).await.unwrap();
    let late = Append {
        nonce: 1,
        taken: vec![letter],
        ..finish(run, 1)
    };
    assert_eq!(rig.store.append(&[late]).await.unwrap(), [Appended::Lost]);
    assert_eq!(rig.count("active").await, 1);
    assert_eq!(rig.count("runs WHERE finished_at IS NULL").await, 1);
    assert_eq!(rig.count("inbox WHERE taken_seq IS NULL").await, 1);
}

/// P10: what a loser wanted does not happen, and what others of its batch wanted does.
#[tokio::test]
async fn a_loser_does_not_spoil_its_batch() {
    let mut rig = rig().await;
    let (lost, won) = (rig.start("a").await, rig.start("b").await);
    rig.store.append(&[step(lost, 1)]).await.unwrap();
    let late = Append {
        nonce: 1,
        ..finish(lost, 1)
    };
    let answers = rig.store.append(&[late, finish(won, 1)]).await.unwrap();
    assert_eq!(answers, [Appended::Lost, Appended::Mine]);
    let live = rig
        .one::<Uuid>("SELECT id FROM everstep.runs WHERE finished_at IS NULL")
        .await;
    assert_eq!(
        (live, rig.one::<Uuid>("SELECT run_id FROM everstep.active").await),
        (lost, lost)
    );
    assert_eq!(rig.count("journal").await, 2);
    assert_eq!(rig.count("audit WHERE operation = 'finished'").await, 1);
}

/// P6: the backstop.
#[tokio::test]
async fn mail_is_taken_once_also_by_an_owner_that_was_told_twice() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    let letter = rig.mail(run, "k").await;
    let first = Append {
        taken: vec![letter],
        ..step(run, 1)
    };
    assert_eq!(rig.store.append(&[first]).await.unwrap(), [Appended::Mine]);
    let again = Append {
        taken: vec![letter],
        ..step(run, 2)
    };
    assert_eq!(rig.store.append(&[again]).await.unwrap(), [Appended::Lost]);
    let row = "SELECT concat_ws(' ', taken_seq, consumed_seq, outcome) FROM everstep.inbox";
    assert_eq!(rig.one::<String>(row).await, "1 1 Consumed");
}

#[tokio::test]
async fn one_poisoned_decision_does_not_spoil_its_batch() {
    let mut rig = rig().await;
    let runs: Vec<Uuid> = (1..=9).map(Uuid::from_u128).collect();
    let mut batch: Vec<Append> = runs.iter().map(|&run| step(run, 1)).collect();
    batch[4].events = "[not json".to_owned();
    batch[7].seq = 0;
    let answers = rig.store.append(&batch).await.unwrap();
    let poisoned: Vec<usize> = (0..9)
        .filter(|&place| matches!(answers[place], Appended::Poison(_)))
        .collect();
    assert_eq!(poisoned, [4, 7]);
    assert_eq!(answers.iter().filter(|answer| **answer == Appended::Mine).count(), 7);
    assert_eq!(rig.count("journal").await, 7);
}

#[tokio::test]
async fn text_that_jsonb_would_refuse_is_kept_as_it_is() {
    let mut rig = rig().await;
    let events = r#"[{"x":"\u0000","n":1e16}]"#;
    rig.store
        .append(&[Append {
            events: events.to_owned(),
            ..step(Uuid::from_u128(1), 1)
        }])
        .await
        .unwrap();
    assert_eq!(
        rig.one::<String>("SELECT events::text FROM everstep.journal").await,
        events
    );
}

#[tokio::test]
async fn the_identical_append_again_knows_its_own_row_and_a_foreign_one() {
    let rig = rig().await;
    let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
    rig.store
        .append(&[step(a, 1), Append { nonce: 5, ..step(b, 1) }])
        .await
        .unwrap();
    let answers = rig.store.append_again(&[step(a, 1), step(b, 1)]).await.unwrap();
    assert_eq!(answers, [Appended::Mine, Appended::Lost]);
}

/// It neither proves absence by looking, nor loses to itself: it waits for the transaction that is still committing.
#[tokio::test]
async fn the_identical_append_again_waits_for_the_first_one() {
    let mut rig = rig().await;
    let run = Uuid::from_u128(1);
    rig.run(&format!(
        "BEGIN; INSERT INTO everstep.journal VALUES ('{run}', 1, '2026-01-01', 1007, '[]')"
    ))
    .await;
    let store = rig.store.clone();
    let again = tokio::spawn(async move { store.append_again(&[step(run, 1)]).await });
    wait_until_somebody_waits(&rig.url).await;
    rig.run("COMMIT").await;
    assert_eq!(again.await.unwrap().unwrap(), [Appended::Mine]);
}

/// The answer of a commit is dropped by a proxy between us and the server.
#[tokio::test]
async fn an_answer_that_is_lost_after_the_commit_is_ambiguous_and_found_again() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    rig.owned().await;
    let proxy = Proxy::before(&rig.url).await;
    let store = Store::connect(&Options {
        max_connections: 1,
        ..options(&proxy.url)
    })
    .await
    .unwrap();
    store.append(&[step(run, 1)]).await.unwrap();
    proxy.drop_answers.store(true, std::sync::atomic::Ordering::SeqCst);
    let batch = [finish(run, 2)];
    let error = store.append(&batch).await.unwrap_err();
    assert!(matches!(error, AppendError::Ambiguous(_)), "{error}");
    proxy.drop_answers.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(store.append_again(&batch).await.unwrap(), [Appended::Mine]);
    assert_eq!((rig.count("journal").await, rig.count("active").await), (2, 0));
    // A park that was already done is not done twice either: nobody else's claim is undone by the copy.
    assert_eq!(store.append(&batch).await.unwrap(), [Appended::Lost]);
}

#[tokio::test]
async fn two_appends_of_the_same_runs_in_opposite_orders_do_not_deadlock() {
    let rig = rig().await;
    let runs: Vec<Uuid> = (1..=200).map(Uuid::from_u128).collect();
    for seq in 1..=5 {
        let forth: Vec<Append> = runs.iter().map(|&run| step(run, seq)).collect();
        let back: Vec<Append> = runs.iter().rev().map(|&run| step(run, seq)).collect();
        let (one, other) = tokio::join!(rig.store.append(&forth), rig.store.append(&back));
        let mine = |answers: Vec<Appended>| answers.iter().filter(|answer| **answer == Appended::Mine).count();
        assert_eq!(mine(one.unwrap()) + mine(other.unwrap()), 200);
    }
}

#[tokio::test]
async fn a_summary_of_a_run_that_goes_on_leaves_claim_and_state_alone() {
    let mut rig = rig().await;
    let run = rig.start("a").await;
    rig.store.append(&[park(run, 1, None)]).await.unwrap();
    rig.run("UPDATE everstep.runs SET projected_seq = 1").await;
    rig.run(&format!(
        "INSERT INTO everstep.active (run_id, namespace) VALUES ('{run}', 'shop')"
    ))
    .await;
    let then = Then::Keep {
        told: Some(told(Phase::Running)),
    };
    rig.store.append(&[Append { then, ..step(run, 2) }]).await.unwrap();
    let row = "SELECT concat_ws(' ', phase, summary_seq, snapshot_seq) FROM everstep.runs";
    assert_eq!(rig.one::<String>(row).await, "Running 2 1");
    assert_eq!(rig.count("active").await, 1);
}

/// Rows written so far, by table. Sessions report what they wrote when they end, so the store gets new ones.
async fn writes(rig: &mut Rig) -> Vec<(String, i64)> {
    rig.store = Store::connect(&options(&rig.url)).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    let sessions = "SELECT count(*) FROM pg_stat_activity
                    WHERE application_name = 'test' AND datname = current_database()";
    while rig.one::<i64>(sessions).await > 0 {
        assert!(tokio::time::Instant::now() < deadline, "sessions do not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sqlx::query_as(
        "SELECT relname::text, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables
         WHERE schemaname = 'everstep' ORDER BY relname",
    )
    .fetch_all(&mut rig.sql)
    .await
    .unwrap()
}

async fn wait_until_somebody_waits(url: &str) {
    let mut sql = sqlx::PgConnection::connect(url).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()",
        )
        .fetch_one(&mut sql)
        .await
        .unwrap();
        if waiting > 0 {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "nobody waits");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Passes bytes on; on demand it swallows the server's next answer and cuts the connection.
struct Proxy {
    url: String,
    drop_answers: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Proxy {
    async fn before(url: &str) -> Self {
        let server = url::Url::parse(url).unwrap();
        let target = format!("{}:{}", server.host_str().unwrap(), server.port().unwrap());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut url = server.clone();
        url.set_port(Some(listener.local_addr().unwrap().port())).unwrap();
        let drop_answers = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let flag = std::sync::Arc::clone(&drop_answers);
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = tokio::net::TcpStream::connect(&target).await.unwrap();
                let flag = std::sync::Arc::clone(&flag);
                tokio::spawn(async move {
                    let (mut from_client, mut to_client) = client.into_split();
                    let (mut from_server, mut to_server) = server.into_split();
                    let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
                    let mut buffer = [0; 65536];
                    loop {
                        let read = from_server.read(&mut buffer).await.unwrap_or(0);
                        // An answer that ends with ReadyForQuery in state idle comes after the commit.
                        let committed = buffer[..read].ends_with(&[b'Z', 0, 0, 0, 5, b'I']);
                        if read == 0
                            || (flag.load(std::sync::atomic::Ordering::SeqCst)
                                && committed_data(&buffer[..read], committed))
                        {
                            break;
                        }
                        to_client.write_all(&buffer[..read]).await.unwrap();
                    }
                    up.abort();
                });
            }
        });
        Self {
            url: url.to_string(),
            drop_answers,
        }
    }
}

/// Of a statement that was executed, not one that was only prepared: it holds a CommandComplete.
fn committed_data(answer: &[u8], ready: bool) -> bool {
    ready && answer.windows(6).any(|bytes| bytes == b"SELECT" || bytes == b"INSERT")
}
