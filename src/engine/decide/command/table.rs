//! What every kind of mail means in every state that a run can be in.

use serde_json::json;

use super::tests::{at_step, at_step_of, first, get, pausing};
use crate::engine::{testing::*, *};

/// Every state that a run can be in, by name.
fn states() -> Vec<(&'static str, Driven)> {
    let wait = || json!({"name": "s", "waitForSignal": {"signal": "go"}});
    let nap = || json!({"name": "s", "sleep": {"for": "1m"}});
    let told = |mut run: Driven, tell: fn(&mut Driven)| {
        tell(&mut run);
        run
    };
    let pause = |run: &mut Driven| drop(run.mail(Mail::Pause { generation: 1 }));
    let fail = |run: &mut Driven| drop(run.succeed("s", http(404)));
    let finish = |run: &mut Driven| drop(run.succeed("z", http(200)));
    let compensating = || told(at_step(get("s")), |run| drop(run.succeed("s", http(404))));
    let failed_undo = || told(compensating(), |run| drop(run.succeed("done", http(404))));
    let finally = || told(at_step(get("s")), |run| drop(run.succeed("s", http(200))));
    let cancelling = || told(Driven::new(&first(get("s"))), |run| drop(run.cancel()));
    let mut failing = first(get("s"));
    failing["steps"].as_array_mut().unwrap().push({
        let mut beside = get("beside");
        beside["needs"] = json!(["done"]);
        beside
    });
    vec![
        ("pending", Driven::new(&first(get("s")))),
        ("running", at_step(get("s"))),
        (
            "retrying",
            told(at_step(get("s")), |run| drop(run.succeed("s", http(503)))),
        ),
        ("sleeping", at_step(nap())),
        ("waiting", at_step(wait())),
        (
            "held",
            told(at_step(get("s")), |run| {
                run.tell(Input::TakenOver);
                run.tell(Input::TakenOver);
            }),
        ),
        ("failing", told(at_step_of(&failing), fail)),
        ("paused, pending", told(Driven::new(&first(get("s"))), pause)),
        ("paused, running", told(at_step(get("s")), pause)),
        ("paused, sleeping", told(at_step(nap()), pause)),
        ("paused, waiting", told(at_step(wait()), pause)),
        ("parked", told(pausing(get("s")), fail)),
        ("parked and paused", told(told(pausing(get("s")), fail), pause)),
        ("compensating", compensating()),
        ("compensating, paused", told(compensating(), pause)),
        ("compensation failed", failed_undo()),
        ("compensation failed, paused", told(failed_undo(), pause)),
        ("finally", finally()),
        ("finally, paused", told(finally(), pause)),
        ("cancelling", cancelling()),
        ("succeeded", told(finally(), finish)),
        ("failed", told(told(failed_undo(), |run| drop(run.terminate())), finish)),
        ("cancelled", told(cancelling(), finish)),
        (
            "timed out",
            told(
                told(Driven::claimed(&first(get("s"))), |run| drop(run.timers_at(3600))),
                finish,
            ),
        ),
    ]
}

fn mails() -> [Mail; 6] {
    let reason = || "enough".to_owned();
    [
        Mail::Cancel { reason: reason() },
        Mail::Terminate { reason: reason() },
        Mail::Pause { generation: 1 },
        Mail::Resume { generation: 1 },
        Mail::Retry { from: None },
        Mail::Signal(signal(9, "go", json!(1))),
    ]
}

/// What each of [`mails`] leads to: what is decided, and the phase then.
const TABLE: &[(&str, [&str; 6])] = &[
    (
        "pending",
        [
            "started cancel =Cancelled z#1 => Cancelling",
            "started terminate =Cancelled z#1 => Cancelling",
            "paused1 => Paused",
            "resumed1 started done#1 => Running",
            "no-retry started done#1 => Running",
            "kept9 started done#1 => Running",
        ],
    ),
    (
        "running",
        [
            "cancel sx =Cancelled un-done#2 => Compensating",
            "terminate sx =Cancelled z#1 => Cancelling",
            "paused1 => Paused",
            "resumed1 => Running",
            "no-retry => Running",
            "kept9 => Running",
        ],
    ),
    (
        "retrying",
        [
            "cancel sx =Cancelled un-done#2 => Compensating",
            "terminate sx =Cancelled z#1 => Cancelling",
            "paused1 => Paused",
            "resumed1 => Running",
            "no-retry => Running",
            "kept9 => Running",
        ],
    ),
    (
        "sleeping",
        [
            "cancel sx =Cancelled un-done#2 => Compensating",
            "terminate sx =Cancelled z#1 => Cancelling",
            "paused1 => Paused",
            "resumed1 => Sleeping",
            "no-retry => Sleeping",
            "kept9 => Sleeping",
        ],
    ),
    (
        "waiting",
        [
            "cancel sx =Cancelled un-done#2 => Compensating",
            "terminate sx =Cancelled z#1 => Cancelling",
            "paused1 => Paused",
            "resumed1 => Waiting",
            "no-retry => Waiting",
            "s<9 s+ =Succeeded z#1 => Running",
        ],
    ),
    (
        "held",
        [
            "cancel sx => Cancelling",
            "terminate sx => Cancelling",
            "paused1 => Paused",
            "resumed1 => Running",
            "no-retry => Running",
            "kept9 => Running",
        ],
    ),
    (
        "failing",
        [
            "cancel besidex =Failed un-done#2 => Compensating",
            "terminate besidex =Failed z#1 => Running",
            "paused1 => Paused",
            "resumed1 => Running",
            "no-retry => Running",
            "kept9 => Running",
        ],
    ),
    (
        "paused, pending",
        [
            "started cancel =Cancelled z#1 => Cancelling",
            "started terminate =Cancelled z#1 => Cancelling",
            "=> Paused",
            "resumed1 started done#1 => Running",
            "no-retry => Paused",
            "kept9 => Paused",
        ],
    ),
    (
        "paused, running",
        [
            "cancel sx =Cancelled un-done#2 => Compensating",
            "terminate sx =Cancelled z#1 => Cancelling",
            "=> Paused",
            "resumed1 => Running",
            "no-retry => Paused",
            "kept9 => Paused",
        ],
    ),
    (
        "paused, sleeping",
        [
            "cancel sx =Cancelled un-done#2 => Compensating",
            "terminate sx =Cancelled z#1 => Cancelling",
            "=> Paused",
            "resumed1 => Sleeping",
            "no-retry => Paused",
            "kept9 => Paused",
        ],
    ),
    (
        "paused, waiting",
        [
            "cancel sx =Cancelled un-done#2 => Compensating",
            "terminate sx =Cancelled z#1 => Cancelling",
            "=> Paused",
            "resumed1 => Waiting",
            "no-retry => Paused",
            "s<9 s+ => Paused",
        ],
    ),
    (
        "parked",
        [
            "cancel =Failed un-done#2 => Compensating",
            "terminate =Failed z#1 => Running",
            "paused1 => Paused",
            "resumed1 => Paused",
            "retried s#2 => Running",
            "kept9 => Paused",
        ],
    ),
    (
        "parked and paused",
        [
            "cancel =Failed un-done#2 => Compensating",
            "terminate =Failed z#1 => Running",
            "=> Paused",
            "resumed1 => Paused",
            "retried => Paused",
            "kept9 => Paused",
        ],
    ),
    (
        "compensating",
        [
            "cancel => Compensating",
            "terminate un-donex undone z#1 => Running",
            "paused1 => Paused",
            "resumed1 => Compensating",
            "no-retry => Compensating",
            "kept9 => Compensating",
        ],
    ),
    (
        "compensating, paused",
        [
            "cancel => Compensating",
            "terminate un-donex undone z#1 => Running",
            "=> Paused",
            "resumed1 => Compensating",
            "no-retry => Paused",
            "kept9 => Paused",
        ],
    ),
    (
        "compensation failed",
        [
            "cancel => Paused",
            "terminate undone z#1 => Running",
            "paused1 => Paused",
            "resumed1 => Paused",
            "retried un-done#3 => Compensating",
            "kept9 => Paused",
        ],
    ),
    (
        "compensation failed, paused",
        [
            "cancel => Paused",
            "terminate undone z#1 => Running",
            "=> Paused",
            "resumed1 => Paused",
            "retried => Paused",
            "kept9 => Paused",
        ],
    ),
    (
        "finally",
        [
            "cancel => Running",
            "terminate zx finished => Succeeded",
            "paused1 => Paused",
            "resumed1 => Running",
            "no-retry => Running",
            "kept9 => Running",
        ],
    ),
    (
        "finally, paused",
        [
            "cancel => Running",
            "terminate zx finished => Succeeded",
            "=> Paused",
            "resumed1 => Running",
            "no-retry => Paused",
            "kept9 => Paused",
        ],
    ),
    (
        "cancelling",
        [
            "=> Cancelling",
            "terminate zx finished => Cancelled",
            "paused1 => Paused",
            "resumed1 => Cancelling",
            "no-retry => Cancelling",
            "kept9 => Cancelling",
        ],
    ),
    (
        "succeeded",
        [
            "=> Succeeded",
            "=> Succeeded",
            "=> Succeeded",
            "=> Succeeded",
            "=> Succeeded",
            "=> Succeeded",
        ],
    ),
    (
        "failed",
        [
            "=> Failed",
            "=> Failed",
            "=> Failed",
            "=> Failed",
            "=> Failed",
            "=> Failed",
        ],
    ),
    (
        "cancelled",
        [
            "=> Cancelled",
            "=> Cancelled",
            "=> Cancelled",
            "=> Cancelled",
            "=> Cancelled",
            "=> Cancelled",
        ],
    ),
    (
        "timed out",
        [
            "=> TimedOut",
            "=> TimedOut",
            "=> TimedOut",
            "=> TimedOut",
            "=> TimedOut",
            "=> TimedOut",
        ],
    ),
];

#[test]
fn every_mail_means_what_the_table_says_in_every_state() {
    let names: Vec<&str> = states().iter().map(|(name, _)| *name).collect();
    assert_eq!(names, TABLE.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    let mut phases: Vec<Phase> = Vec::new();
    for (i, (name, expected)) in TABLE.iter().enumerate() {
        for (mail, expected) in mails().into_iter().zip(expected) {
            let mut run = states().swap_remove(i).1;
            phases.push(run.run.phase());
            let decided = run.mail(mail.clone());
            let found = format!("{decided} => {}", run.run.phase().as_str());
            assert_eq!(found.trim_start(), *expected, "{name}: {mail:?}");
            let moves = !run.run.is_terminal() && run.run.phase() != Phase::Paused;
            assert!(!moves || !run.wants().is_empty(), "{name}: {mail:?}: nothing is open");
            let is_retry = matches!(mail, Mail::Retry { .. });
            let again = run.mail(mail);
            assert!(again.is_empty() || is_retry, "{name}: twice is not once: {again}");
        }
    }
    for phase in Phase::ALL {
        assert!(phases.contains(&phase), "no state of the table has the phase {phase:?}");
    }
}
