//! What a Connection's status says: what the last worker found. Pure.

use jiff::Timestamp;
use serde_json::Value;

use crate::api::v1alpha1::condition::reason;
use crate::api::v1alpha1::{ConditionStatus, ConditionType, ConnectionKind, ConnectionStatus};
use crate::controller::condition::{Draft, follow};
use crate::store::Finding;

/// The status of a Connection at `generation`.
///
/// One that no worker has tried in this generation is `Unknown/NotChecked`: it must not look healthy, and nobody has
/// to act on it. One that does not work is not `Stalled`: its Secret or its server may come right without an edit.
pub(crate) fn of(
    before: &ConnectionStatus,
    generation: i64,
    spec: &Value,
    finding: Option<&Finding>,
    now: Timestamp,
) -> ConnectionStatus {
    let draft = match finding.filter(|finding| finding.generation == generation) {
        None => {
            let message = "no worker has tried this Connection yet; a step that names it does";
            Draft::new(
                ConditionType::Ready,
                ConditionStatus::Unknown,
                reason::NOT_CHECKED,
                message,
            )
        }
        Some(finding) => {
            let status = if finding.ready {
                ConditionStatus::True
            } else {
                ConditionStatus::False
            };
            Draft::new(ConditionType::Ready, status, &*finding.reason, &*finding.message)
        }
    };
    ConnectionStatus {
        observed_generation: Some(generation),
        kind: kind(spec),
        conditions: follow(vec![draft], &before.conditions, generation, now),
    }
}

fn kind(spec: &Value) -> Option<ConnectionKind> {
    if spec.get("postgres").is_some() {
        Some(ConnectionKind::Postgres)
    } else if spec.get("http").is_some() {
        Some(ConnectionKind::Http)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn finding(generation: i64, ready: bool) -> Finding {
        Finding {
            uid: "u".to_owned(),
            namespace: "shop".to_owned(),
            name: "db".to_owned(),
            generation,
            ready,
            reason: if ready { "Connected" } else { "AuthenticationFailed" }.to_owned(),
            message: String::new(),
            checked_at: at(5),
        }
    }

    fn ready(finding: Option<&Finding>) -> (ConditionStatus, String) {
        let status = of(
            &ConnectionStatus::default(),
            2,
            &json!({"postgres": {}}),
            finding,
            at(9),
        );
        let [condition] = &status.conditions[..] else {
            panic!("{status:?}")
        };
        assert_eq!(condition.kind, ConditionType::Ready);
        (condition.status, condition.reason.clone())
    }

    #[test]
    fn ready_says_what_the_last_worker_found_of_this_generation() {
        assert_eq!(ready(None), (ConditionStatus::Unknown, "NotChecked".to_owned()));
        assert_eq!(
            ready(Some(&finding(1, true))),
            (ConditionStatus::Unknown, "NotChecked".to_owned())
        );
        assert_eq!(
            ready(Some(&finding(2, true))),
            (ConditionStatus::True, "Connected".to_owned())
        );
        assert_eq!(
            ready(Some(&finding(2, false))),
            (ConditionStatus::False, "AuthenticationFailed".to_owned())
        );
    }

    #[test]
    fn kind_is_the_one_that_the_spec_describes() {
        let kind = |spec| of(&ConnectionStatus::default(), 1, &spec, None, at(1)).kind;
        assert_eq!(kind(json!({"postgres": {}})), Some(ConnectionKind::Postgres));
        assert_eq!(kind(json!({"http": {}})), Some(ConnectionKind::Http));
        assert_eq!(kind(json!({})), None);
    }

    #[test]
    fn same_finding_checked_again_changes_nothing() {
        let status = |before: &ConnectionStatus, now| of(before, 2, &json!({}), Some(&finding(2, true)), now);
        let first = status(&ConnectionStatus::default(), at(9));
        assert_eq!(status(&first, at(900)), first);
    }
}
