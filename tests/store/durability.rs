//! A commit that was not replicated as asked for is not a success.

use everstep::store::{AppendError, Appended, Store};
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use crate::rig::{Rig, private, step};

const WAITS: &str = "wait_event = 'SyncRep'";

fn append_again(store: &Store, run: Uuid) -> tokio::task::JoinHandle<Result<Vec<Appended>, AppendError>> {
    let store = store.clone();
    tokio::spawn(async move { store.append_again(&[step(run, 1)]).await })
}

/// The server warns (01000), and says that the commit is done: on the primary alone.
async fn cancel_the_wait(rig: &mut Rig) {
    let (pid, _) = rig.waiting(WAITS).await;
    rig.run(&format!("SELECT pg_cancel_backend({pid})")).await;
}

/// A changed setting reaches each process of the server in its own time, and it is the checkpointer that makes commits
/// wait: commits are tried until one does.
async fn until_commits_wait(rig: &mut Rig) {
    loop {
        let mut probe = PgConnection::connect(&rig.url).await.unwrap();
        let probe = tokio::spawn(async move {
            let commit = sqlx::raw_sql("SELECT pg_logical_emit_message(true, 'probe', '')");
            commit.execute(&mut probe).await.unwrap();
        });
        while !probe.is_finished() {
            let cancelled = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
            if rig.one::<i64>(cancelled).await > 0 {
                return probe.await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_commit_whose_wait_for_the_standby_was_cancelled_is_ambiguous_until_it_is_replicated() {
    let (_server, mut rig) = private(&[]).await;
    let run = Uuid::from_u128(1);
    rig.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").await;
    rig.run("SELECT pg_reload_conf()").await;
    until_commits_wait(&mut rig).await;

    let store = rig.store.clone();
    let first = tokio::spawn(async move { store.append(&[step(run, 1)]).await });
    cancel_the_wait(&mut rig).await;
    let error = first.await.unwrap().unwrap_err();
    assert!(matches!(error, AppendError::Ambiguous(_)), "{error}");
    assert_eq!(rig.count("journal").await, 1, "it is there, on this server");

    // That the row is ours does not say that it is safe: the second append waits for the standby too.
    let second = append_again(&rig.store, run);
    cancel_the_wait(&mut rig).await;
    assert!(matches!(second.await.unwrap(), Err(AppendError::Ambiguous(_))));

    let third = append_again(&rig.store, run);
    rig.waiting(WAITS).await;
    rig.run("ALTER SYSTEM RESET synchronous_standby_names").await;
    rig.run("SELECT pg_reload_conf()").await;
    assert_eq!(third.await.unwrap().unwrap(), [Appended::Mine]);
}

/// Other warnings are no reason to doubt a commit.
#[tokio::test]
async fn a_warning_that_has_nothing_to_do_with_the_commit_changes_nothing() {
    let (_server, mut rig) = private(&[]).await;
    rig.run(
        "CREATE FUNCTION public.warn() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE WARNING 'beware'; RETURN NEW; END $$;
         CREATE TRIGGER warn BEFORE INSERT ON everstep.journal FOR EACH ROW EXECUTE FUNCTION public.warn()",
    )
    .await;
    let run = Uuid::from_u128(1);
    assert_eq!(rig.store.append(&[step(run, 1)]).await.unwrap(), [Appended::Mine]);
}
