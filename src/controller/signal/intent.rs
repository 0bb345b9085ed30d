//! What a Signal's spec asks for. Pure: from a spec as it was written to an [`Intent`], or to all that is wrong.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::controller::key::Key;
use crate::controller::workflow::intent::{present, violation};
use crate::engine::{self, MAX_PAYLOAD_BYTES, Violation};
use crate::store::{SignalWish, Target};

/// How long a target that is not there is looked for.
const EXPIRES_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// The field that says when the object may go.
const TTL: &str = "ttlAfterFinished";
/// What the database's index takes of a name or a key.
const MAX_NAME: usize = 253;

/// What is to be, in the words of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) wish: SignalWish,
    /// How long a target that is not there yet is looked for.
    pub(crate) expires_after: Duration,
}

/// What the Signal with this UID asks for.
///
/// # Errors
/// All violations at once, with paths that begin with `spec`.
pub(crate) fn of(uid: &str, key: &Key, generation: i64, spec: &Value) -> Result<Intent, Vec<Violation>> {
    let Some(spec) = spec.as_object() else {
        return Err(vec![violation(
            "spec",
            "must be an object; write `target` and `signal`",
        )]);
    };
    let mut violations = Vec::new();
    let target = target(spec, &mut violations);
    let signal = text(spec, "signal", &mut violations);
    if signal.is_none() && violations.iter().all(|violation| violation.path != "spec.signal") {
        violations.push(violation("spec.signal", "is missing: the name that a step waits for"));
    }
    let by = text(spec, "by", &mut violations);
    let dedup_key = text(spec, "dedupKey", &mut violations).unwrap_or_else(|| uid.to_owned());
    let payload = payload(spec, &mut violations);
    let expires_after = duration(spec, "expiresAfter", &mut violations).unwrap_or(EXPIRES_AFTER);
    duration(spec, TTL, &mut violations);
    match (target, signal) {
        (Some(target), Some(signal)) if violations.is_empty() => Ok(Intent {
            wish: SignalWish {
                uid: uid.to_owned(),
                namespace: key.namespace.to_string(),
                name: key.name.to_string(),
                target,
                signal,
                payload,
                by,
                dedup_key,
                generation,
            },
            expires_after,
        }),
        _ => Err(violations),
    }
}

/// How long after its end the object is deleted: also one that is refused for something else.
pub(crate) fn ttl(spec: &Value) -> Option<Duration> {
    duration(spec.as_object()?, TTL, &mut Vec::new())
}

fn target(spec: &Map<String, Value>, violations: &mut Vec<Violation>) -> Option<Target> {
    let Some(target) = spec.get("target").and_then(Value::as_object) else {
        violations.push(violation("spec.target", "is missing: write `workflow` or `run`"));
        return None;
    };
    let named = |field: &str| target.get(field).and_then(Value::as_str).map(str::to_owned);
    match (named("workflow"), named("run"), named("key")) {
        (Some(workflow), None, None) => Some(Target::Workflow(workflow)),
        (Some(workflow), None, Some(key)) => Some(Target::Key { workflow, key }),
        (None, Some(run), None) => Some(Target::WorkflowRun(run)),
        (None, Some(_), Some(_)) => {
            violations.push(violation(
                "spec.target.key",
                "needs the `workflow` that the run was started of",
            ));
            None
        }
        (Some(_), Some(_), _) | (None, None, _) => {
            violations.push(violation(
                "spec.target",
                "must have exactly one of `workflow` and `run`",
            ));
            None
        }
    }
}

fn text(spec: &Map<String, Value>, field: &str, violations: &mut Vec<Violation>) -> Option<String> {
    let value = spec.get(field).filter(|value| !value.is_null())?;
    let text = value
        .as_str()
        .filter(|text| !text.is_empty() && text.len() <= MAX_NAME && !text.contains('\0'));
    if text.is_none() {
        let message = format!("must be a text of at most {MAX_NAME} bytes that is not empty");
        violations.push(violation(&format!("spec.{field}"), &message));
    }
    text.map(str::to_owned)
}

/// The payload as JSON text. How deep it may be is the store's to say.
fn payload(spec: &Map<String, Value>, violations: &mut Vec<Violation>) -> String {
    let payload = spec.get("payload").filter(|payload| !payload.is_null());
    let text = payload.map_or_else(|| "{}".to_owned(), Value::to_string);
    if payload.is_some_and(|payload| !payload.is_object()) {
        violations.push(violation("spec.payload", "must be an object"));
    }
    if text.len() > MAX_PAYLOAD_BYTES {
        let message = format!("has {} bytes as JSON, more than {MAX_PAYLOAD_BYTES}", text.len());
        violations.push(violation("spec.payload", &message));
    }
    text
}

/// A duration, if there is one.
pub(crate) fn duration(spec: &Map<String, Value>, field: &str, violations: &mut Vec<Violation>) -> Option<Duration> {
    let (_, value) = present(spec).find(|(name, _)| *name == field)?;
    let duration = match value.as_str() {
        Some(text) => engine::parse_duration(text),
        None => Err("must be a duration, for example 24h".to_owned()),
    };
    duration
        .map_err(|message| violations.push(violation(&format!("spec.{field}"), &message)))
        .ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::key::Kind;

    fn read(spec: &Value) -> Result<Intent, Vec<Violation>> {
        of("u-1", &Key::new(Kind::Signal, "shop", "yes"), 1, spec)
    }

    fn paths(spec: &Value) -> Vec<String> {
        read(spec)
            .unwrap_err()
            .into_iter()
            .map(|violation| violation.path)
            .collect()
    }

    #[test]
    fn absent_fields_have_their_defaults() {
        let intent = read(&json!({"target": {"workflow": "order"}, "signal": "approve"})).unwrap();
        assert_eq!(intent.wish.target, Target::Workflow("order".to_owned()));
        assert_eq!(
            (intent.wish.dedup_key.as_str(), intent.wish.payload.as_str()),
            ("u-1", "{}")
        );
        assert_eq!(intent.expires_after, Duration::from_secs(86_400));
        assert_eq!(intent.wish.by, None);
    }

    #[test]
    fn time_to_live_is_read_whatever_else_is_wrong() {
        assert_eq!(ttl(&json!({"ttlAfterFinished": "1h"})), Some(Duration::from_secs(3600)));
        for none in [
            json!(null),
            json!({}),
            json!({"ttlAfterFinished": null}),
            json!({"ttlAfterFinished": "5000d"}),
        ] {
            assert_eq!(ttl(&none), None, "{none}");
        }
        let spec = json!({"target": {"run": "r"}, "signal": "go", "ttlAfterFinished": "5000d"});
        assert_eq!(paths(&spec), ["spec.ttlAfterFinished"]);
    }

    #[test]
    fn target_is_exactly_one_run() {
        let of = |target: Value| read(&json!({"target": target, "signal": "go"})).map(|intent| intent.wish.target);
        assert_eq!(of(json!({"run": "r"})).unwrap(), Target::WorkflowRun("r".to_owned()));
        let (workflow, key) = ("w".to_owned(), "k".to_owned());
        assert_eq!(
            of(json!({"workflow": "w", "key": "k"})).unwrap(),
            Target::Key { workflow, key }
        );
        for wrong in [
            json!({}),
            json!({"key": "k"}),
            json!({"run": "r", "workflow": "w"}),
            json!({"run": "r", "key": "k"}),
            json!(null),
        ] {
            assert!(of(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn payload_of_64_kib_fits_and_a_byte_more_does_not() {
        let with = |bytes: usize| {
            // {"a":"…"} is eight bytes around the text.
            let payload = json!({"a": "x".repeat(bytes - 8)});
            json!({"target": {"run": "r"}, "signal": "go", "payload": payload})
        };
        assert_eq!(read(&with(65_536)).unwrap().wish.payload.len(), 65_536);
        assert_eq!(paths(&with(65_537)), ["spec.payload"]);
    }

    #[test]
    fn all_violations_come_at_once() {
        let spec = json!({"target": {}, "payload": [1], "by": "", "dedupKey": 5, "expiresAfter": "soon"});
        let expected = [
            "spec.target",
            "spec.signal",
            "spec.by",
            "spec.dedupKey",
            "spec.payload",
            "spec.expiresAfter",
        ];
        let mut found = paths(&spec);
        found.sort();
        let mut expected = expected.map(str::to_owned).to_vec();
        expected.sort();
        assert_eq!(found, expected);
        for spec in [json!(null), json!([]), json!({"signal": null})] {
            assert!(read(&spec).is_err(), "{spec}");
        }
    }
}
