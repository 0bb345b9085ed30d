//! Conditions as they are written: one of each type, in a fixed order, each with the time of its last flip.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::events::cut;
use crate::api::v1alpha1::{Condition, ConditionStatus, ConditionType};

/// The schema takes 4096 characters.
const MAX_MESSAGE: usize = 4096;
/// The schema takes 256 characters.
const MAX_REASON: usize = 256;

/// A condition without its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) kind: ConditionType,
    pub(crate) status: ConditionStatus,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Draft {
    pub(crate) fn new(
        kind: ConditionType,
        status: ConditionStatus,
        reason: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            status,
            reason: reason.into(),
            message: message.into(),
        }
    }
}

/// The conditions that follow `before`: a condition whose status is unchanged keeps its transition time, one that is
/// not drafted any more is gone.
pub(crate) fn follow(drafts: Vec<Draft>, before: &[Condition], generation: i64, now: Timestamp) -> Vec<Condition> {
    let mut conditions: Vec<Condition> = drafts
        .into_iter()
        .map(|draft| Condition {
            kind: draft.kind,
            status: draft.status,
            observed_generation: Some(generation),
            last_transition_time: get(before, draft.kind)
                .filter(|earlier| earlier.status == draft.status)
                .map_or_else(|| time(now), |earlier| earlier.last_transition_time.clone()),
            reason: cut(&draft.reason, MAX_REASON).to_owned(),
            message: cut(&draft.message, MAX_MESSAGE).to_owned(),
        })
        .collect();
    conditions.sort_by_key(|condition| condition.kind);
    conditions
}

/// The condition of that type.
pub(crate) fn get(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.kind == kind)
}

/// An instant as Kubernetes writes it: whole seconds. What was written and read again compares equal.
pub(crate) fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn ready(status: ConditionStatus, reason: &str) -> Vec<Draft> {
        vec![Draft::new(ConditionType::Ready, status, reason, "")]
    }

    #[test]
    fn transition_time_is_that_of_the_last_flip_of_the_status() {
        let first = follow(ready(ConditionStatus::False, "Pending"), &[], 1, at(10));
        let reason = follow(ready(ConditionStatus::False, "Running"), &first, 2, at(20));
        let flip = follow(ready(ConditionStatus::True, "Succeeded"), &reason, 2, at(30));
        let times = [&first, &reason, &flip].map(|of| of[0].last_transition_time.0.as_second());
        assert_eq!(times, [10, 10, 30]);
        assert_eq!(reason[0].reason, "Running");
        assert_eq!(reason[0].observed_generation, Some(2));
    }

    #[test]
    fn conditions_come_in_one_order_whatever_the_drafts_order() {
        let draft = |kind| Draft::new(kind, ConditionStatus::True, "X", "");
        let a = follow(
            vec![draft(ConditionType::Stalled), draft(ConditionType::Accepted)],
            &[],
            1,
            at(1),
        );
        let b = follow(
            vec![draft(ConditionType::Accepted), draft(ConditionType::Stalled)],
            &[],
            1,
            at(1),
        );
        assert_eq!(a, b);
    }

    #[test]
    fn times_survive_being_written_and_read() {
        let exact: Timestamp = "2026-11-21T10:00:00.987654Z".parse().unwrap();
        let written = serde_json::to_value(time(exact)).unwrap();
        assert_eq!(serde_json::from_value::<Time>(written).unwrap(), time(exact));
    }
}
