//! What faults do to runs: nothing.

use std::time::{Duration, Instant};

use everstep::{
    dev::postgres::{Options, Postgres, Shutdown},
    store::{Bell, Store},
};
use serde_json::{Value, json};

use super::{
    rig::{LEASE, Process, Rig, connect, eventually, migrate, options},
    support::submission::submission,
    target::Target,
};

fn two_steps(target: &Target, first: &str) -> Value {
    json!({"steps": [
        {"name": "first", "http": {"url": target.url(first)}},
        {"name": "second", "http": {"url": target.url("/ok/second")}},
    ]})
}

/// I-16, P8: what the worker holds is aborted and dropped, and comes back under another id.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_lease_expired_stops_and_the_run_is_taken_over() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let worker = rig.worker().await;
    let run = rig.start("fenced", two_steps(&target, "/hold")).await;
    eventually("the attempt", async || target.seen("/hold").len() == 1).await;

    rig.execute("UPDATE everstep.workers SET expires_at = everstep.now() - interval '1 second'")
        .await;
    eventually("the abort", async || target.given_up("/hold").len() == 1).await;
    eventually("a new registration", async || worker.counters.registrations.get() == 2).await;
    target.release();
    assert_eq!(rig.ended(run).await, "Succeeded");

    let journal = rig.journal(run).await;
    assert_eq!(
        journal.iter().filter(|event| *event == "TakenOver").count(),
        1,
        "{journal:?}"
    );
    let keys = target.seen("/hold");
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1], "the same effect under the same key");
    assert_eq!(target.seen("/ok/second").len(), 1);
    rig.is_clean().await;
    worker.stop().await;
}

/// I-16: a silent worker's run goes on elsewhere within the lease and two seconds; also when that elsewhere is alone and
/// has just been started, for its licence to call others dead grows while the dead one's lease runs out.
#[tokio::test(flavor = "multi_thread")]
async fn the_rescuer_takes_over_from_a_worker_that_is_gone() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    // The dead worker: registered, owner of the run, and never heard of again.
    let dead = rig.store.register("dead", LEASE).await.unwrap();
    let run = rig.start("orphaned", two_steps(&target, "/ok/first")).await;
    assert_eq!(rig.store.claim(dead, 10, None).await.unwrap(), 1);
    let silent = Instant::now();

    let other = rig
        .start("unhurt", json!({"steps": [{"name": "a", "set": {"x": 1}}]}))
        .await;
    let worker = rig.worker().await;
    assert_eq!(rig.ended(other).await, "Succeeded");
    assert_eq!(rig.ended(run).await, "Succeeded");
    assert!(
        silent.elapsed() < LEASE + Duration::from_secs(2),
        "took {:?}",
        silent.elapsed()
    );
    assert_eq!(rig.journal(run).await.first().map(String::as_str), Some("TakenOver"));
    rig.is_clean().await;
    worker.stop().await;
}

/// P11, I-15: the statement was executed and its answer lost, many times over.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_whose_answer_is_lost_is_neither_lost_nor_doubled() {
    let (rig, target) = (Rig::new().await, Target::start().await);
    let (proxy, store) = rig.through_proxy("INSERT INTO everstep.journal").await;
    let long = everstep::worker::WorkerOptions {
        lease: Duration::from_secs(20),
        ..options()
    };
    let worker = Process::start(store, long);

    let mut runs = Vec::new();
    for i in 0..6 {
        proxy.lose(1);
        runs.push(
            rig.start(&format!("ambiguous-{i}"), two_steps(&target, "/ok/first"))
                .await,
        );
    }
    for run in &runs {
        assert_eq!(rig.ended(*run).await, "Succeeded");
    }
    assert!(proxy.lost() > 0, "answers were lost");
    assert!(worker.counters.settle_retries.get() > 0, "and asked for again");
    assert_eq!(worker.counters.lost.get(), 0, "the nonce told whose rows they were");
    for path in ["/ok/first", "/ok/second"] {
        let mut keys = target.seen(path);
        assert_eq!(keys.len(), runs.len(), "no effect twice at {path}");
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), runs.len(), "no effect lost at {path}");
    }
    rig.is_clean().await;
    worker.stop().await;
}

/// The lease outlives the outage: memory is kept, attempts go on, and their results are settled afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn runs_go_on_after_a_restart_of_postgresql() {
    let mut server = tokio::task::spawn_blocking(|| Postgres::start(Options::default()).unwrap())
        .await
        .unwrap();
    server.create_database("engine").unwrap();
    migrate(server.url("engine")).await;
    let (rig, target) = (Rig::on(server.url("engine")).await, Target::start().await);
    let long = everstep::worker::WorkerOptions {
        lease: Duration::from_secs(15),
        ..options()
    };
    let worker = Process::start(connect(&rig.url).await, long);
    let run = rig.start("outage", two_steps(&target, "/hold")).await;
    eventually("the attempt", async || target.seen("/hold").len() == 1).await;

    let mut server = tokio::task::spawn_blocking(move || {
        server.stop(Shutdown::Immediate).unwrap();
        server
    })
    .await
    .unwrap();
    target.release();
    eventually("an unanswered append", async || {
        worker.counters.settle_retries.get() > 0
    })
    .await;
    let server = tokio::task::spawn_blocking(move || {
        server.resume().unwrap();
        server
    })
    .await
    .unwrap();

    let back = Instant::now();
    assert_eq!(rig.ended(run).await, "Succeeded");
    assert!(back.elapsed() < Duration::from_secs(5), "took {:?}", back.elapsed());
    assert_eq!(target.seen("/hold").len(), 1, "the result was kept through the outage");
    assert_eq!(worker.counters.registrations.get(), 1, "under the same registration");
    rig.is_clean().await;
    worker.stop().await;
    drop(server);
}

/// The outage outlives the lease: everything is dropped and loaded again.
#[tokio::test(flavor = "multi_thread")]
async fn runs_go_on_after_an_outage_longer_than_the_lease() {
    let mut server = tokio::task::spawn_blocking(|| Postgres::start(Options::default()).unwrap())
        .await
        .unwrap();
    server.create_database("engine").unwrap();
    migrate(server.url("engine")).await;
    let (rig, target) = (Rig::on(server.url("engine")).await, Target::start().await);
    let worker = rig.worker().await;
    let run = rig.start("outage", two_steps(&target, "/hold")).await;
    eventually("the attempt", async || target.seen("/hold").len() == 1).await;

    server.stop(Shutdown::Immediate).unwrap();
    eventually("the abort", async || target.given_up("/hold").len() == 1).await;
    target.release();
    server.resume().unwrap();
    assert_eq!(rig.ended(run).await, "Succeeded");
    assert!(worker.counters.registrations.get() >= 2);
    let keys = target.seen("/hold");
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    rig.is_clean().await;
    worker.stop().await;
}

/// I-31. More runs than a process has turns for HTTP go to an endpoint that does not answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_never_answers_leaves_turns_for_the_others() {
    let (rig, silent, other) = (Rig::new().await, Target::start().await, Target::start().await);
    let worker = rig.patient_worker().await;
    let waits = json!({"steps": [{"name": "wait", "http": {"url": silent.url("/hold")}}]});
    let waiting: Vec<_> = (0..600)
        .map(|number| submission("default", &format!("waits-{number}"), &waits))
        .collect();
    for some in waiting.chunks(Store::MAX_SUBMISSIONS) {
        rig.store.submit(some).await.unwrap();
    }
    rig.store.ring(Bell::Work);
    eventually("its share of the turns", async || silent.seen("/hold").len() >= 342).await;

    let began = Instant::now();
    let run = rig
        .start(
            "other",
            json!({"steps": [{"name": "call", "http": {"url": other.url("/ok")}}]}),
        )
        .await;
    assert_eq!(rig.ended(run).await, "Succeeded");
    let took = began.elapsed();
    assert!(
        took < Duration::from_secs(5),
        "{took:?}: the attempts that hang have a minute"
    );
    assert_eq!(silent.seen("/hold").len(), 342, "two thirds of 512");

    silent.release();
    eventually("the end of all", async || {
        rig.count("SELECT count(*) FROM everstep.runs WHERE phase = 'Succeeded'")
            .await
            == 601
    })
    .await;
    rig.is_clean().await;
    worker.stop().await;
}
