use serde_json::json;

use super::*;
use crate::engine::Origin;
use uuid::Uuid;

/// A run whose only step sends a request that must not be repeated, at the head of its journal.
fn posting() -> Carried {
    carried(&json!({"steps": [{"name": "pay", "http": {"method": "POST", "url": "http://example.com/pay"}}]}))
}

fn carried(body: &serde_json::Value) -> Carried {
    let origin = Origin {
        run: Uuid::from_u128(1),
        cluster: "c".into(),
        namespace: "shop".to_owned(),
        workflow: "order".to_owned(),
        name: "order".to_owned(),
        start_key: "uid/1/1".to_owned(),
        revision: "1".to_owned(),
        input: json!({}),
        scheduled_at: None,
    };
    let definition = Arc::new(Definition::compile(body).unwrap());
    Carried::new(Run::new(Arc::new(origin)), definition, 0, 0, Instant::now())
}

fn now() -> Now {
    Now {
        at: "2026-11-21T10:00:00Z".parse().unwrap(),
        instant: Instant::now(),
        draining: false,
    }
}

fn begun() -> Carried {
    let mut carried = posting();
    carried.decide(now(), 1).expect("the run starts");
    assert_eq!(carried.mine(1), None);
    carried
}

fn later(seconds: i64) -> Now {
    let at = now().at + SignedDuration::from_secs(seconds);
    Now { at, ..now() }
}

/// A run that sleeps for ten seconds, as it is loaded again.
fn sleeping() -> Carried {
    let mut before = carried(&json!({"steps": [{"name": "nap", "sleep": {"for": "10s"}}]}));
    before.decide(now(), 1).expect("the run starts");
    assert_eq!(before.mine(1), Some(Leaving::Parked));
    Carried::new(before.run.clone(), Arc::clone(&before.definition), 1, 1, Instant::now())
}

#[test]
fn a_timer_is_as_late_as_the_decision_on_it() {
    let mut carried = sleeping();
    assert_eq!(carried.lateness(later(9)), None, "not due");
    assert_eq!(carried.lateness(later(12)), Some(Duration::from_secs(2)));
    carried.decide(later(12), 2).expect("the sleep is over");
    carried.mine(2);
    assert_eq!(carried.lateness(later(12)), None, "decided on");
}

#[test]
fn a_timer_that_was_due_during_a_pause_is_late_from_the_resume_on() {
    let mut carried = sleeping();
    let pause = engine::Mail::Pause { generation: 1 };
    carried.arrive(1, vec![InboxRow { id: 7, mail: pause }]);
    carried.decide(now(), 2).expect("a decision");
    carried.mine(2);
    assert_eq!(carried.lateness(later(60)), None, "no timer wakes a run that is paused");

    let resume = engine::Mail::Resume { generation: 2 };
    assert!(carried.tell(3, InboxRow { id: 8, mail: resume }));
    assert_eq!(carried.lateness(later(60)), None);
    carried.decide(later(60), 3).expect("a decision");
    carried.mine(3);
    assert_eq!(carried.lateness(later(61)), Some(Duration::from_secs(1)));
}

#[test]
fn an_attempt_that_was_not_begun_begins_after_a_load() {
    let before = begun();
    let mut again = Carried::new(before.run.clone(), Arc::clone(&before.definition), 1, 1, Instant::now());
    assert_eq!(again.decide(now(), 2), None);
    assert_eq!(again.to_start().len(), 1);
}

/// P7: it may be a cancel, and it is decided on first.
#[test]
fn no_attempt_begins_while_mail_is_pending() {
    let mut carried = begun();
    assert_eq!(carried.to_start().len(), 1);
    let reason = "enough".to_owned();
    let mail = engine::Mail::Cancel { reason };
    assert!(carried.tell(1, InboxRow { id: 7, mail }));
    assert!(carried.to_start().is_empty());

    let append = carried.decide(now(), 2).expect("a decision");
    assert_eq!((append.seq, append.taken), (2, vec![7]));
    assert!(carried.is_unanswered() && carried.to_start().is_empty());
    assert_eq!(carried.mine(2), Some(Leaving::Finished));
}

/// What came together with the start is known before anything begins.
#[test]
fn a_run_that_was_paused_or_cancelled_before_it_began_begins_no_step() {
    let pause = engine::Mail::Pause { generation: 1 };
    let mut carried = posting();
    carried.arrive(1, vec![InboxRow { id: 7, mail: pause }]);
    let append = carried.decide(now(), 1).expect("a decision");
    assert_eq!(append.taken, [7]);
    assert!(!append.events.contains("StepStarted"), "{}", append.events);
    assert!(
        matches!(append.then, Then::Park { wake_at: None, .. }),
        "{:?}",
        append.then
    );
    assert_eq!(carried.run.phase(), engine::Phase::Paused);

    let reason = "enough".to_owned();
    let mut carried = posting();
    carried.arrive(
        1,
        vec![InboxRow {
            id: 8,
            mail: engine::Mail::Cancel { reason },
        }],
    );
    let append = carried.decide(now(), 1).expect("a decision");
    assert!(!append.events.contains("StepStarted"), "{}", append.events);
    assert!(matches!(append.then, Then::Finish { .. }), "{:?}", append.then);
}

#[test]
fn a_summary_that_the_worker_before_left_behind_is_written_while_the_attempt_runs() {
    let before = begun();
    let loaded = |summary_seq| {
        let definition = Arc::clone(&before.definition);
        Carried::new(before.run.clone(), definition, 1, summary_seq, Instant::now())
    };
    assert_eq!(loaded(1).next_look(now()), None);
    let mut behind = loaded(0);
    assert!(behind.next_look(now()).is_some());
    let later = Now {
        instant: Instant::now() + SUMMARY_EVERY,
        ..now()
    };
    let append = behind.decide(later, 2).expect("a summary");
    assert!(matches!(append.then, Then::Keep { told: Some(_) }), "{:?}", append.then);
}

#[test]
fn an_attempt_that_was_cut_off_here_is_judged_as_after_a_takeover() {
    let before = begun();
    let mut again = Carried::new(before.run.clone(), Arc::clone(&before.definition), 1, 1, Instant::now());
    again.was_cut_off();
    let append = again.decide(now(), 2).expect("a decision");
    assert!(
        append.events.contains("TakenOver") && append.events.contains("Ambiguous"),
        "{}",
        append.events
    );
    assert!(again.to_start().is_empty());
}
