//! `retry` as it is written, and how the step's, the spec's and the default's fields become one policy.

use std::{sync::Arc, time::Duration};

use super::{
    limits,
    reader::Node,
    scope::{Place, Uses},
};
use crate::engine::{formula::Condition, retry::Retry};

/// The fields that one `retry` names; the rest comes from the level above.
#[derive(Debug, Default, Clone)]
pub(super) struct Written {
    max_attempts: Option<u32>,
    initial: Option<Duration>,
    factor: Option<f64>,
    max: Option<Duration>,
    jitter: Option<f64>,
    when: Option<Arc<Condition>>,
}

/// Reads a `retry`. The uses of its `when` are recorded under `place`.
pub(super) fn parse(node: &Node<'_>, place: Place, uses: &mut Uses) -> Written {
    let mut written = Written::default();
    let Some(mut fields) = node.fields() else {
        return written;
    };
    written.max_attempts = fields
        .get("maxAttempts")
        .and_then(|attempts| attempts.integer(1, limits::ATTEMPTS))
        .and_then(|attempts| u32::try_from(attempts).ok());
    written.when = fields
        .get("when")
        .and_then(|when| uses.condition(&when, place))
        .map(Arc::new);
    if let Some(backoff) = fields.get("backoff")
        && let Some(mut fields) = backoff.fields()
    {
        written.initial = fields.get("initial").and_then(|initial| initial.positive_duration());
        written.factor = fields
            .get("factor")
            .and_then(|factor| factor.number(1.0, limits::FACTOR));
        let max = fields.get("max");
        written.max = max.as_ref().and_then(|max| max.positive_duration());
        written.jitter = fields.get("jitter").and_then(|jitter| jitter.number(0.0, 1.0));
        fields.finish();
        if let (Some(initial), Some(longest), Some(max)) = (written.initial, written.max, max)
            && longest < initial
        {
            max.report("must not be shorter than `initial`");
        }
    }
    fields.finish();
    written
}

/// Field by field: the step's, else the spec's, else the default.
pub(super) fn merge(step: &Written, spec: &Written) -> Retry {
    let default = Retry::default();
    let initial = step.initial.or(spec.initial).unwrap_or(default.initial);
    Retry {
        max_attempts: step.max_attempts.or(spec.max_attempts).unwrap_or(default.max_attempts),
        initial,
        factor: step.factor.or(spec.factor).unwrap_or(default.factor),
        // Nobody who writes `initial: 5m` and no `max` means one minute.
        max: step.max.or(spec.max).unwrap_or(default.max.max(initial)),
        jitter: step.jitter.or(spec.jitter).unwrap_or(default.jitter),
        when: step.when.clone().or_else(|| spec.when.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::reader::Sink, *};

    fn written(value: &serde_json::Value) -> Result<Written, Vec<String>> {
        let sink = Sink::default();
        let written = parse(
            &Node::root(value, "retry", &sink),
            Place::StepRetry,
            &mut Uses::default(),
        );
        if sink.is_empty() {
            Ok(written)
        } else {
            Err(sink.into_violations().iter().map(ToString::to_string).collect())
        }
    }

    #[test]
    fn retry_is_merged_field_by_field() {
        let step = written(&json!({"maxAttempts": 2, "backoff": {"initial": "3s", "jitter": 0}})).unwrap();
        let spec = written(&json!({"maxAttempts": 9, "backoff": {"initial": "7s", "factor": 3}})).unwrap();
        let merged = merge(&step, &spec);
        assert_eq!(merged.max_attempts, 2);
        assert_eq!(merged.initial, Duration::from_secs(3));
        assert_eq!(merged.factor, 3.0);
        assert_eq!(merged.max, Duration::from_secs(60));
        assert_eq!(merged.jitter, 0.0);
        assert_eq!(merge(&Written::default(), &spec).max_attempts, 9);
        assert_eq!(merge(&Written::default(), &Written::default()).max_attempts, 5);
        let long = written(&json!({"backoff": {"initial": "5m"}})).unwrap();
        assert_eq!(merge(&long, &Written::default()).max, Duration::from_secs(300));
    }

    #[test]
    fn bounds_are_held() {
        let value = json!({"maxAttempts": 0, "tries": 1, "backoff": {"initial": "0s", "factor": 0.5, "jitter": 1.5, "max": "x"}});
        assert_eq!(
            written(&value).unwrap_err(),
            [
                "retry.maxAttempts: must be a whole number from 1 to 100000, not this number",
                "retry.backoff.initial: must be longer than zero",
                "retry.backoff.factor: must be a number from 1 to 100, not this number",
                "retry.backoff.max: `x` is not a duration; write for example 300ms, 30s, 1h30m or 7d",
                "retry.backoff.jitter: must be a number from 0 to 1, not this number",
                "retry.tries: unknown field",
            ]
        );
        let value = json!({"backoff": {"initial": "10s", "max": "5s"}});
        assert_eq!(
            written(&value).unwrap_err(),
            ["retry.backoff.max: must not be shorter than `initial`"]
        );
    }
}
