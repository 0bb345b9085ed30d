//! What a WorkflowRun takes over from an earlier one (`retryOf`): finds that run, and has the engine decide.

use std::sync::Arc;

use serde_json::Value;

use super::Answer;
use super::intent::{Order, Retry, Source, Wish};
use super::order::UNREAD;
use crate::api::v1alpha1::condition::reason;
use crate::controller::Shared;
use crate::controller::key::{Key, Kind};
use crate::engine::{Definition, Earlier, NoReuse};
use crate::store::{self, Facts, Former, FormerOf, Handover, Retrying};

/// Names the Workflow of a run that is one of whatever the earlier run was; false: that is not known yet.
pub(super) async fn name(shared: &Shared, key: &Key, uid: &str, wish: &mut Wish) -> Result<bool, Arc<store::Error>> {
    let (Source::Retried { workflow }, Some(retry)) = (&mut wish.source, &wish.retry) else {
        return Ok(true);
    };
    let found = shared.store.retried_workflow(uid, &of(shared, key, retry)).await?;
    let is_known = found.is_some();
    *workflow = found.unwrap_or_default();
    Ok(is_known)
}

/// The run to take up again, when that is still to be done.
pub(super) async fn former(
    shared: &Shared,
    key: &Key,
    wish: &Wish,
    facts: &Facts,
) -> Result<Result<Option<Box<Retrying>>, Answer>, Arc<store::Error>> {
    let Some(retry) = wish.retry.as_ref().filter(|_| is_wanted(wish, facts)) else {
        return Ok(Ok(None));
    };
    let refused = |reason, message| Err(Answer::Refused { reason, message });
    Ok(match shared.store.former(&of(shared, key, retry)).await? {
        Former::Found(former) => Ok(Some(former)),
        Former::NotStarted => Err(Answer::NoRun),
        Former::Forgotten => refused(
            reason::RUN_FORGOTTEN,
            format!(
                "what the run of WorkflowRun {} did is not kept any more: start a new one, without retryOf",
                retry.name
            ),
        ),
        Former::TooLarge(bytes) => refused(
            reason::HISTORY_TOO_LARGE,
            format!(
                "the history of WorkflowRun {} takes {bytes} bytes, which is too much to take it up again",
                retry.name
            ),
        ),
    })
}

/// What the run takes over; none: nothing, for it begins with its first step.
pub(super) async fn handover(
    shared: &Shared,
    wish: &Wish,
    order: &Order,
    facts: &Facts,
    former: &Retrying,
) -> Result<Result<Option<Handover>, Answer>, Arc<store::Error>> {
    let body = match (&*order.body, &facts.owner) {
        (UNREAD, Some(owner)) => shared.store.definition(owner.definition).await?,
        (body, _) => serde_json::from_str(body).unwrap_or_default(),
    };
    Ok(plan(wish, former, &body))
}

/// Pure.
fn plan(wish: &Wish, former: &Retrying, body: &Value) -> Result<Option<Handover>, Answer> {
    let def = Definition::compile(body).map_err(Answer::BadWorkflow)?;
    let before: Value = serde_json::from_str(&former.body).unwrap_or_default();
    let earlier = Earlier::new(Arc::clone(&former.origin), &before, &former.journal);
    let from = wish.retry.as_ref().and_then(|retry| retry.from_step.as_deref());
    let events = earlier.reuse(&def, body, from).map_err(|refusal| match refusal {
        NoReuse::NotEnded(_) => Answer::NotEnded(refusal.to_string()),
        _ => Answer::Refused {
            reason: refusal.reason(),
            message: refusal.to_string(),
        },
    })?;
    if events.is_empty() {
        return Ok(None);
    }
    if let Some(taken) = &former.taken
        && !taken.is(wish.workflow(), &wish.start_key)
    {
        let by = taken
            .by
            .as_deref()
            .map_or_else(|| "another run".to_owned(), |by| format!("WorkflowRun {by}"));
        return Err(Answer::Refused {
            reason: reason::ALREADY_RETRIED,
            message: format!("{by} has taken over what the run did, and may have undone it: retry that one"),
        });
    }
    Ok(Some(Handover {
        from: former.origin.run,
        events: serde_json::to_string(&events).expect("a list of events has JSON text"),
    }))
}

/// Whether the earlier run has a say: nothing was started yet, or it must be started again.
fn is_wanted(wish: &Wish, facts: &Facts) -> bool {
    let is_open = facts.wished.is_none() && !facts.retired;
    let is_undefined = facts.owner.is_none() && matches!(wish.source, Source::Retried { .. });
    is_open && (wish.desired.starts() || facts.run_row_missing || is_undefined)
}

fn of(shared: &Shared, key: &Key, retry: &Retry) -> FormerOf {
    let object = shared
        .runs
        .get(&Key::new(Kind::WorkflowRun, &key.namespace, &retry.name));
    FormerOf {
        namespace: key.namespace.to_string(),
        name: retry.name.clone(),
        uid: object.and_then(|object| object.metadata.uid.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::intent;
    use super::*;
    use crate::controller::workflow::fixtures::{facts as facts_of, no_facts, run};
    use crate::engine::{Event, Origin, Phase, RunResult};
    use crate::store::{Retention, Taken};

    fn wish(spec: &Value) -> Wish {
        intent::of("u", "again", spec).unwrap()
    }

    fn body() -> Value {
        json!({"steps": [{"name": "a", "set": {}}, {"name": "b", "fail": {"code": "NO"}}]})
    }

    /// `a` succeeded, and the run has failed if it is said to have ended.
    fn former(ended: bool) -> Retrying {
        let at = "2026-11-21T09:00:00Z".parse().unwrap();
        let mut journal = vec![
            Event::RunStarted { at, deadline: None },
            serde_json::from_value(json!({"StepSucceeded": {"step": "a", "output": {}}})).unwrap(),
        ];
        if ended {
            journal.push(Event::RunEnding {
                result: RunResult::Failed,
                error: None,
                output: None,
                undo: false,
            });
            journal.push(Event::RunFinished { at });
        }
        Retrying {
            origin: Arc::new(Origin {
                run: uuid::Uuid::from_u128(1),
                cluster: "c".into(),
                namespace: "n".to_owned(),
                workflow: "w".to_owned(),
                name: "first".to_owned(),
                start_key: "run/1".to_owned(),
                revision: "r".to_owned(),
                input: Value::Null,
                scheduled_at: None,
            }),
            body: body().to_string(),
            input: None,
            counted_by: None,
            retention: Retention::default(),
            journal,
            taken: None,
        }
    }

    #[test]
    fn work_is_taken_over_by_one_start_and_refused_to_every_other() {
        let wish = wish(&json!({"workflowRef": {"name": "w"}, "retryOf": {"name": "first"}}));
        let work = plan(&wish, &former(true), &body()).ok().flatten().unwrap();
        assert_eq!(work.from, uuid::Uuid::from_u128(1));
        assert!(work.events.contains("StepReused"), "{}", work.events);
        for (start_key, refused) in [("run/u", false), ("run/other", true)] {
            let taken = Taken {
                workflow: "w".to_owned(),
                start_key: start_key.to_owned(),
                by: Some("second".to_owned()),
            };
            let former = Retrying {
                taken: Some(taken),
                ..former(true)
            };
            match plan(&wish, &former, &body()) {
                Err(Answer::Refused { reason, message }) => {
                    assert!(refused && reason == "AlreadyRetried" && message.contains("WorkflowRun second"));
                }
                Ok(Some(_)) => assert!(!refused, "its own, said twice"),
                Ok(None) | Err(_) => panic!("{start_key}"),
            }
        }
    }

    #[test]
    fn run_that_goes_on_is_waited_for_and_what_cannot_be_reused_is_refused() {
        let from = |step: &str| wish(&json!({"retryOf": {"name": "first", "fromStep": step}}));
        assert!(matches!(
            plan(&from("b"), &former(false), &body()),
            Err(Answer::NotEnded(_))
        ));
        assert!(
            matches!(plan(&from("a"), &former(true), &body()), Ok(None)),
            "nothing is reused"
        );
        match plan(&from("x"), &former(true), &body()) {
            Err(Answer::Refused { reason, .. }) => assert_eq!(reason, "StepUnknown"),
            _ => panic!("there is no such step"),
        }
    }

    #[test]
    fn earlier_run_is_asked_for_until_there_is_a_run_of_the_object() {
        let spec = |desired: &str| wish(&json!({"retryOf": {"name": "first"}, "desiredState": desired}));
        let lost = Facts {
            run_row_missing: true,
            ..no_facts()
        };
        assert!(is_wanted(&spec("Running"), &no_facts()));
        assert!(
            is_wanted(&spec("Cancelled"), &lost),
            "it is written again, with all that it took over"
        );
        assert!(is_wanted(&spec("Paused"), &no_facts()), "for its definition");
        assert!(!is_wanted(
            &spec("Paused"),
            &super::super::tests::accepted(1, no_facts())
        ));
        assert!(!is_wanted(&spec("Running"), &facts_of(&run("r", Phase::Running))));
    }
}
