//! What a Signal's status says. Pure.
//!
//! ```text
//!              what is known                Stored                  Consumed                Ready
//!   violations                              False/InvalidSpec       False/InvalidSpec       False, Stalled
//!   no database                             Unknown/Store…          –                       Unknown
//!   no such run yet                         Unknown/TargetNotFound  –                       Unknown
//!   no such run in time                     False/TargetNotFound    False/TargetNotFound    False, Stalled
//!   run over                                False/Rejected          False/Rejected          False, Stalled
//!   key used before, same content           True/Duplicate          False/Duplicate         True
//!   key used before, other content          True/Duplicate          False/Duplicate         False, Stalled
//!   in the inbox                            True/Stored             Unknown/Buffered        True
//!   taken by a step                         True/Stored             True/Consumed           True
//!   no step ever will                       True/Stored             False/Undelivered       False, Stalled
//!   stored once, and not known any more     True/Stored             Unknown/Forgotten       Unknown
//! ```

use jiff::Timestamp;

use crate::api::v1alpha1::condition::reason;
use crate::api::v1alpha1::{ConditionStatus, ConditionType, SignalStatus};
use crate::controller::condition::{Draft, follow, get};
use crate::controller::events::{Announcement, Severity, cut};
use crate::controller::run::verdict::violations_message;
use crate::engine::{Phase, Violation};
use crate::store::{SignalFacts, SignalOutcome};

use ConditionStatus::{False, True, Unknown};
use ConditionType::{Consumed, Ready, Stalled, Stored};

/// What is known of a Signal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Known<'a> {
    /// Its spec cannot be stored.
    Invalid(&'a [Violation]),
    /// The database cannot be asked.
    StoreUnavailable(&'a str),
    /// There is no such run yet.
    NotFound,
    /// There was no such run for as long as was to be looked for it.
    Expired,
    /// The run has a signal with this dedup key.
    Duplicate { run: uuid::Uuid, same_payload: bool },
    /// The run is over.
    Rejected { run: uuid::Uuid, phase: Phase },
    /// It is in the inbox of its run.
    Stored(&'a SignalFacts),
    /// It was there, and the database does not know it any more.
    Forgotten,
}

/// The status of a Signal whose status is `before`.
pub(crate) fn of(before: &SignalStatus, generation: i64, known: Known<'_>, now: Timestamp) -> SignalStatus {
    let (run, step, drafts) = match known {
        Known::Invalid(violations) => {
            let message = violations_message(violations);
            (None, None, lost(False, reason::INVALID_SPEC, &message))
        }
        // What was true when the database was last asked is the best we know.
        Known::StoreUnavailable(_) if is_stored(before) => return before.clone(),
        Known::StoreUnavailable(why) => (None, None, unsure(reason::STORE_UNAVAILABLE, why)),
        Known::NotFound => {
            let message = "there is no such run yet; looking for it again";
            (None, None, unsure(reason::TARGET_NOT_FOUND, message))
        }
        Known::Expired => {
            let message = "there was no such run for as long as expiresAfter says";
            (None, None, lost(False, reason::TARGET_NOT_FOUND, message))
        }
        Known::Duplicate { run, same_payload } => (Some(run), None, duplicate(same_payload)),
        Known::Rejected { run, phase } => {
            let message = format!("run {run} is over: {}", phase.as_str());
            (Some(run), None, lost(False, reason::REJECTED, &message))
        }
        Known::Stored(facts) => {
            let (step, drafts) = stored(facts);
            (Some(facts.run), step, drafts)
        }
        Known::Forgotten => (None, None, forgotten()),
    };
    // Which run it was is known from the status alone by then.
    let kept = before.run.clone().filter(|_| matches!(known, Known::Forgotten));
    SignalStatus {
        observed_generation: Some(generation),
        run: run.map(|run| run.to_string()).or(kept),
        step: step.map(|step| cut(step, 256).to_owned()),
        conditions: follow(drafts, &before.conditions, generation, now),
    }
}

/// Whether nothing about it will ever change, and since when.
pub(crate) fn ended_at(status: &SignalStatus) -> Option<Timestamp> {
    let consumed = get(&status.conditions, Consumed)?;
    let said = match consumed.status {
        True | False => Some(consumed),
        // As unknown as before, but for ever.
        Unknown if consumed.reason == reason::FORGOTTEN => get(&status.conditions, Ready),
        Unknown => None,
    };
    said.map(|condition| condition.last_transition_time.0)
}

/// What is told once `after` is written.
pub(crate) fn announcement(before: &SignalStatus, after: &SignalStatus) -> Option<Announcement> {
    let end = |status: &SignalStatus| {
        ended_at(status)?;
        get(&status.conditions, Consumed).map(|condition| (condition.reason.clone(), condition.message.clone()))
    };
    let run = after.run.as_deref().unwrap_or_default();
    let warning = |reason, note: String| (Severity::Warning, reason, note);
    let (severity, reason, note) = match end(after).filter(|_| end(before).is_none()) {
        Some((reason, message)) => match reason.as_str() {
            reason::INVALID_SPEC => warning(reason::INVALID_SPEC, message),
            reason::TARGET_NOT_FOUND => warning("SignalTargetNotFound", message),
            reason::REJECTED => warning("SignalRejected", message),
            reason::UNDELIVERED => warning("SignalUndelivered", message),
            reason::DUPLICATE => (Severity::Normal, "SignalDuplicate", message),
            reason::FORGOTTEN => return None,
            // One Event for a signal on its way: it was told when it was stored, or is now.
            _ if is_stored(before) => return None,
            _ => (
                Severity::Normal,
                "SignalStored",
                format!("stored for run {run}, and consumed"),
            ),
        },
        None if is_stored(after) && !is_stored(before) => {
            (Severity::Normal, "SignalStored", format!("stored for run {run}"))
        }
        None => return None,
    };
    Some(Announcement {
        severity,
        reason,
        note,
        about: run.to_owned(),
    })
}

/// What a new status says that the old one did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum News {
    /// It lies in an inbox.
    Stored,
    /// A step has taken it.
    Consumed,
    /// The run had seen its dedup key.
    Duplicate,
    /// It was not stored, and never will be.
    Refused,
    /// It was stored, and no step will ever take it.
    Undelivered,
}

/// What `after` says that `before` did not, to be counted once `after` is written.
pub(crate) fn news(before: &SignalStatus, after: &SignalStatus) -> Vec<News> {
    let reason = |status: &SignalStatus, kind| get(&status.conditions, kind).map(|it| it.reason.clone());
    let stored = |status: &SignalStatus| reason(status, Stored).as_deref() == Some(reason::STORED);
    let mut news = Vec::new();
    if stored(after) && !stored(before) {
        news.push(News::Stored);
    }
    if ended_at(after).is_some() && ended_at(before).is_none() {
        news.extend(match reason(after, Consumed).as_deref() {
            Some(reason::CONSUMED) => Some(News::Consumed),
            Some(reason::DUPLICATE) => Some(News::Duplicate),
            Some(reason::UNDELIVERED) => Some(News::Undelivered),
            // What became of it, nobody knows.
            Some(reason::FORGOTTEN) => None,
            Some(_) | None => Some(News::Refused),
        });
    }
    news
}

/// Whether the status says that it is in an inbox.
pub(crate) fn is_stored(status: &SignalStatus) -> bool {
    get(&status.conditions, Stored).is_some_and(|condition| condition.status == True)
}

fn unsure(reason: &str, message: &str) -> Vec<Draft> {
    vec![
        Draft::new(Stored, Unknown, reason, message),
        Draft::new(Ready, Unknown, reason, message),
    ]
}

/// No step will ever see it.
fn lost(stored: ConditionStatus, why: &str, message: &str) -> Vec<Draft> {
    let stored_reason = if stored == True { reason::STORED } else { why };
    vec![
        Draft::new(Stored, stored, stored_reason, message),
        Draft::new(Consumed, False, why, message),
        Draft::new(Ready, False, why, message),
        Draft::new(
            Stalled,
            True,
            why,
            "this Signal does nothing any more; create another one",
        ),
    ]
}

/// The same thing said twice is as good as once; another thing under the same key is lost.
fn duplicate(same_payload: bool) -> Vec<Draft> {
    let message = match same_payload {
        true => "the run has this signal already, under the same dedupKey",
        false => "the run has a signal under the same dedupKey, and its payload or its name differs from this one's",
    };
    let mut drafts = vec![
        Draft::new(Stored, True, reason::DUPLICATE, message),
        Draft::new(Consumed, False, reason::DUPLICATE, message),
        Draft::new(
            Ready,
            if same_payload { True } else { False },
            reason::DUPLICATE,
            message,
        ),
    ];
    if !same_payload {
        drafts.push(Draft::new(
            Stalled,
            True,
            reason::DUPLICATE,
            "this Signal does nothing; create another one with another dedupKey",
        ));
    }
    drafts
}

fn stored(facts: &SignalFacts) -> (Option<&str>, Vec<Draft>) {
    match &facts.outcome {
        None => {
            let drafts = vec![
                Draft::new(Stored, True, reason::STORED, ""),
                Draft::new(Consumed, Unknown, reason::BUFFERED, "no step has waited for it yet"),
                Draft::new(Ready, True, reason::STORED, ""),
            ];
            (None, drafts)
        }
        Some(SignalOutcome::Consumed { step }) => {
            let by = step.as_ref().map(|step| format!("by step {step}")).unwrap_or_default();
            let drafts = vec![
                Draft::new(Stored, True, reason::STORED, ""),
                Draft::new(Consumed, True, reason::CONSUMED, by),
                Draft::new(Ready, True, reason::CONSUMED, ""),
            ];
            (step.as_deref(), drafts)
        }
        Some(SignalOutcome::Undelivered { reason: why }) => {
            let message = match why {
                None => "the run ended, and no step had waited for it".to_owned(),
                Some(why) => format!("the run could not keep it: {}", why.as_str()),
            };
            (None, lost(True, reason::UNDELIVERED, &message))
        }
    }
}

/// Whether a step took it, nobody can say.
fn forgotten() -> Vec<Draft> {
    let message = "the run was removed before this Signal showed what became of it";
    vec![
        Draft::new(Stored, True, reason::STORED, ""),
        Draft::new(Consumed, Unknown, reason::FORGOTTEN, message),
        Draft::new(Ready, Unknown, reason::FORGOTTEN, message),
    ]
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::engine::Rejection;

    const RUN: Uuid = Uuid::from_u128(7);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn facts(outcome: Option<SignalOutcome>) -> SignalFacts {
        SignalFacts {
            uid: "u".to_owned(),
            id: 1,
            run: RUN,
            stored_at: at(1),
            outcome,
        }
    }

    fn consumed() -> SignalFacts {
        facts(Some(SignalOutcome::Consumed {
            step: Some("approval".to_owned()),
        }))
    }

    fn first(known: Known<'_>) -> SignalStatus {
        of(&SignalStatus::default(), 1, known, at(10))
    }

    fn row(status: &SignalStatus) -> String {
        let conditions = status.conditions.iter();
        let words = conditions.map(|c| format!("{:?}={:?}/{}", c.kind, c.status, c.reason));
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn conditions_follow_the_table() {
        let violation = Violation {
            path: "spec.payload".to_owned(),
            message: "too much".to_owned(),
        };
        let late = facts(Some(SignalOutcome::Undelivered { reason: None }));
        let full = facts(Some(SignalOutcome::Undelivered {
            reason: Some(Rejection::BufferFull),
        }));
        let (run, phase) = (RUN, Phase::Succeeded);
        let twice = |same_payload| Known::Duplicate { run, same_payload };
        let table = [
            (
                Known::Invalid(std::slice::from_ref(&violation)),
                "Ready=False/InvalidSpec Stalled=True/InvalidSpec Stored=False/InvalidSpec Consumed=False/InvalidSpec",
            ),
            (
                Known::StoreUnavailable("refused"),
                "Ready=Unknown/StoreUnavailable Stored=Unknown/StoreUnavailable",
            ),
            (
                Known::NotFound,
                "Ready=Unknown/TargetNotFound Stored=Unknown/TargetNotFound",
            ),
            (
                Known::Expired,
                "Ready=False/TargetNotFound Stalled=True/TargetNotFound Stored=False/TargetNotFound \
                 Consumed=False/TargetNotFound",
            ),
            (
                Known::Rejected { run, phase },
                "Ready=False/Rejected Stalled=True/Rejected Stored=False/Rejected Consumed=False/Rejected",
            ),
            (
                twice(true),
                "Ready=True/Duplicate Stored=True/Duplicate Consumed=False/Duplicate",
            ),
            (
                twice(false),
                "Ready=False/Duplicate Stalled=True/Duplicate Stored=True/Duplicate Consumed=False/Duplicate",
            ),
            (
                Known::Stored(&facts(None)),
                "Ready=True/Stored Stored=True/Stored Consumed=Unknown/Buffered",
            ),
            (
                Known::Stored(&consumed()),
                "Ready=True/Consumed Stored=True/Stored Consumed=True/Consumed",
            ),
            (
                Known::Stored(&late),
                "Ready=False/Undelivered Stalled=True/Undelivered Stored=True/Stored Consumed=False/Undelivered",
            ),
            (
                Known::Stored(&full),
                "Ready=False/Undelivered Stalled=True/Undelivered Stored=True/Stored Consumed=False/Undelivered",
            ),
            (
                Known::Forgotten,
                "Ready=Unknown/Forgotten Stored=True/Stored Consumed=Unknown/Forgotten",
            ),
        ];
        for (known, expected) in table {
            assert_eq!(row(&first(known)), expected, "{known:?}");
        }
    }

    #[test]
    fn outage_takes_back_nothing_that_was_stored() {
        let before = first(Known::Stored(&facts(None)));
        assert_eq!(of(&before, 1, Known::StoreUnavailable("refused"), at(99)), before);
    }

    #[test]
    fn consumer_and_run_are_named() {
        let status = first(Known::Stored(&consumed()));
        assert_eq!(status.step.as_deref(), Some("approval"));
        assert_eq!(status.run, Some(RUN.to_string()));
        assert_eq!(ended_at(&status), Some(at(10)));
        assert_eq!(ended_at(&first(Known::Stored(&facts(None)))), None);
        assert_eq!(ended_at(&first(Known::NotFound)), None);
        let forgotten = of(&status, 1, Known::Forgotten, at(11));
        assert_eq!(forgotten.run, Some(RUN.to_string()), "what was shown of it stays");
        let buffered = first(Known::Stored(&facts(None)));
        let forgotten = of(&buffered, 1, Known::Forgotten, at(11));
        assert_eq!(ended_at(&forgotten), Some(at(11)), "nothing more will be known");
    }

    #[test]
    fn each_transition_is_counted_once() {
        let fresh = SignalStatus::default();
        let stored = first(Known::Stored(&facts(None)));
        let done = first(Known::Stored(&consumed()));
        let lost = first(Known::Stored(&facts(Some(SignalOutcome::Undelivered { reason: None }))));
        let twice = first(Known::Duplicate {
            run: RUN,
            same_payload: true,
        });
        let table = [
            (&fresh, &stored, &[News::Stored][..]),
            (&stored, &done, &[News::Consumed]),
            (&fresh, &done, &[News::Stored, News::Consumed]),
            (&stored, &lost, &[News::Undelivered]),
            (&fresh, &twice, &[News::Duplicate]),
            (&fresh, &first(Known::NotFound), &[]),
            (&first(Known::NotFound), &first(Known::Expired), &[News::Refused]),
            (&done, &done, &[]),
            (&stored, &of(&stored, 1, Known::Forgotten, at(20)), &[]),
        ];
        for (before, after, expected) in table {
            assert_eq!(news(before, after), expected, "{} -> {}", row(before), row(after));
        }
    }

    #[test]
    fn stored_signal_is_told_once_and_a_lost_one_with_its_reason() {
        let reason = |before: &SignalStatus, after: &SignalStatus| announcement(before, after).map(|told| told.reason);
        let fresh = SignalStatus::default();
        let stored = first(Known::Stored(&facts(None)));
        let done = first(Known::Stored(&consumed()));
        assert_eq!(reason(&fresh, &stored), Some("SignalStored"));
        assert_eq!(reason(&stored, &done), None);
        assert_eq!(reason(&fresh, &done), Some("SignalStored"), "a quick one is told once");
        assert_eq!(reason(&done, &done), None);
        let lost = first(Known::Stored(&facts(Some(SignalOutcome::Undelivered { reason: None }))));
        assert_eq!(reason(&stored, &lost), Some("SignalUndelivered"));
        assert_eq!(reason(&fresh, &first(Known::NotFound)), None);
        assert_eq!(
            reason(&first(Known::NotFound), &first(Known::Expired)),
            Some("SignalTargetNotFound")
        );
    }
}
