//! Runs of a Workflow that its object does not own: who counts them, and who is told of them.

use everstep::engine::Phase;
use everstep::store::{Append, Facts, FactsOf, StuckReason, Submission, Then};
use uuid::Uuid;

use crate::application::{order, shop, start, started};
use crate::rig::{Rig, finish, park, step, told, wish};

impl Rig {
    async fn facts_of(&self, uid: &str) -> Facts {
        let of = FactsOf {
            uid: uid.to_owned(),
            namespace: "shop".to_owned(),
            workflow: "order".to_owned(),
            start_key: None,
        };
        self.store.facts(&[of]).await.unwrap().remove(0)
    }

    /// The object's counts: active, stuck, succeeded, failed.
    async fn counts(&self, uid: &str) -> [i64; 4] {
        let facts = self.facts_of(uid).await;
        let stuck = facts.stuck.map_or(0, |stuck| stuck.runs);
        [facts.active, stuck, facts.succeeded, facts.failed]
    }

    async fn last(&self, uid: &str) -> Option<Uuid> {
        self.facts_of(uid).await.last.map(|run| run.id)
    }

    /// The run of a WorkflowRun that refers to the Workflow `order`, claimed.
    async fn run_of_reference(&self, uid: &str) -> Uuid {
        let run = self.submit(referring(uid)).await.run.unwrap();
        let worker = self.worker().await;
        assert_eq!(self.store.claim(worker, 10, None).await.unwrap(), 1);
        run
    }
}

fn referring(uid: &str) -> Submission {
    let mut wish = Submission {
        kind: "WorkflowRun".to_owned(),
        workflow: "order".to_owned(),
        ..wish(uid)
    };
    let start = wish.start.as_mut().unwrap();
    start.start_key = format!("run/{uid}");
    start.counted_by = Some("order".to_owned());
    wish
}

/// An end as `phase`, at this second.
fn ended(run: Uuid, seq: i32, phase: Phase, second: i64) -> Append {
    let at = jiff::Timestamp::from_second(1_800_000_000 + second).unwrap();
    let mut told = told(phase);
    told.summary.finished_at = Some(at);
    Append {
        then: Then::Finish { told },
        ..step(run, seq)
    }
}

#[tokio::test]
async fn workflow_counts_runs_of_sql_and_of_workflow_runs_and_shows_the_last_one() {
    let mut shop = shop().await;
    assert_eq!(shop.rig.counts("order").await, [0; 4]);
    assert_eq!(shop.rig.last("order").await, None);
    let of_sql = started(&mut shop, "'shop/order'").await;
    let rig = &shop.rig;
    assert_eq!(rig.counts("order").await, [1, 0, 0, 0]);
    let of_object = rig.run_of_reference("r").await;
    assert_eq!(rig.counts("order").await, [2, 0, 0, 0]);
    assert_eq!(rig.counts("r").await, [1, 0, 0, 0], "its owner counts it as ever");
    assert_eq!(rig.last("order").await, Some(of_object), "the newest that goes on");
    assert_eq!(rig.last("r").await, Some(of_object));

    let failed = ended(of_object, 1, Phase::Failed, 2);
    rig.store.append(&[failed]).await.unwrap();
    assert_eq!(rig.counts("order").await, [1, 0, 0, 1]);
    assert_eq!(rig.last("order").await, Some(of_sql), "it goes on");
    rig.store
        .append(&[ended(of_sql, 1, Phase::Succeeded, 1)])
        .await
        .unwrap();
    assert_eq!(rig.counts("order").await, [0, 0, 1, 1]);
    assert_eq!(rig.last("order").await, Some(of_object), "the one that ended last");
    assert_eq!(rig.facts_of("order").await.run, None, "none of them is its own");
}

#[tokio::test]
async fn own_run_of_a_workflow_stands_beside_those_that_others_started() {
    let mut shop = shop().await;
    let own = Submission {
        generation: 2,
        start: wish("order").start,
        ..order()
    };
    let own = shop.rig.submit(own).await.run.unwrap();
    let worker = shop.rig.worker().await;
    assert_eq!(shop.rig.store.claim(worker, 10, None).await.unwrap(), 1);
    let of_sql = started(&mut shop, "'shop/order'").await;
    let rig = &shop.rig;
    assert_eq!(rig.counts("order").await, [2, 0, 0, 0]);
    let facts = rig.facts_of("order").await;
    assert_eq!(facts.run.map(|run| run.id), Some(own), "its own goes first");
    assert_eq!(facts.last.map(|run| run.id), Some(of_sql));
    rig.store.append(&[finish(of_sql, 1)]).await.unwrap();
    assert_eq!(rig.last("order").await, Some(own), "it goes on");
}

#[tokio::test]
async fn stuck_run_that_others_started_is_one_of_its_workflow() {
    let mut shop = shop().await;
    let of_sql = started(&mut shop, "'shop/order'").await;
    let rig = &mut shop.rig;
    let of_object = rig.run_of_reference("r").await;
    let paused = Append {
        then: Then::Park {
            wake_at: None,
            snapshot: serde_json::json!({}),
            told: told(Phase::Paused),
        },
        ..step(of_object, 1)
    };
    let overdue = park(of_sql, 1, Some("2020-01-01T00:00:00Z"));
    rig.store.append(&[overdue, paused]).await.unwrap();
    assert_eq!(rig.counts("order").await, [2, 2, 0, 0]);
    assert_eq!(rig.counts("r").await, [1, 1, 0, 0]);
    let stuck = rig.facts_of("order").await.stuck.unwrap();
    assert_eq!(stuck.reason, StuckReason::TimerOverdue, "for longest");
    let found = rig.store.stuck_owners("", 10, None).await.unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|owner| (&*owner.uid, &*owner.kind, &*owner.name, owner.reason))
        .collect();
    let expected = [
        ("order", "Workflow", "order", StuckReason::TimerOverdue),
        ("r", "WorkflowRun", "name-r", StuckReason::Paused),
    ];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn trace_of_a_workflow_changes_whenever_a_run_begins_moves_or_ends_and_not_otherwise() {
    let mut shop = shop().await;
    let uids = ["order".to_owned(), "other".to_owned()];
    assert!(shop.rig.store.traces(&uids).await.unwrap().is_empty());
    let mut seen = vec![None];
    let first = started(&mut shop, "'shop/order'").await;
    seen.push(shop.rig.store.traces(&uids).await.unwrap().remove("order"));
    let rig = &shop.rig;
    let second = rig.run_of_reference("r").await;
    let steps = [
        park(second, 1, None),
        finish(first, 1),
        ended(second, 2, Phase::Failed, 9),
    ];
    seen.push(rig.store.traces(&uids).await.unwrap().remove("order"));
    for step in steps {
        rig.store.append(&[step]).await.unwrap();
        let mut traces = rig.store.traces(&uids).await.unwrap();
        seen.push(traces.remove("order"));
        assert!(traces.is_empty());
    }
    for (place, trace) in seen.iter().enumerate() {
        assert!(!seen[..place].contains(trace), "{place}: {seen:#?}");
    }
    let again = rig.store.traces(&uids).await.unwrap().remove("order");
    assert_eq!(again.as_ref(), seen.last().unwrap().as_ref());
}

/// What is counted reaches the run in no other way: neither its Workflow's suspension, nor its deletion.
#[tokio::test]
async fn run_of_a_workflow_run_is_not_told_what_its_workflow_is_told() {
    let mut shop = shop().await;
    start(&mut shop.app, "'shop/order'").await;
    let rig = &mut shop.rig;
    let worker = rig.worker().await;
    assert_eq!(rig.store.claim(worker, 10, None).await.unwrap(), 1);
    rig.run_of_reference("r").await;
    let suspended = Submission {
        generation: 2,
        suspended: true,
        commands: vec![everstep::store::Command::Pause],
        ..order()
    };
    rig.submit(suspended).await;
    rig.store.suspect(&["order".to_owned()]).await.unwrap();
    let gone = rig
        .store
        .cancel_orphans(&["order".to_owned()], 10, std::time::Duration::from_secs(60), "test")
        .await
        .unwrap();
    assert_eq!(gone.len(), 1);
    let told = "SELECT string_agg(i.kind || ' ' || r.trigger, ', ' ORDER BY i.id)
                FROM everstep.inbox AS i JOIN everstep.runs AS r ON r.id = i.run_id";
    assert_eq!(rig.one::<String>(told).await, "Pause SQL, Cancel SQL");
}
