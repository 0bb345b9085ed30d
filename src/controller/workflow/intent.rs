//! What a Workflow's spec asks for. Pure: from a spec as it was written to an [`Intent`], or to all that is wrong.
//!
//! A field that is not supported yet is refused, never ignored: a manifest that is accepted means all that it says.
//! What a definition may hold is the engine's to judge; here are the fields around it.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::engine::{self, BODY_FIELDS, Definition, Violation};
use crate::store;

/// Fields around the definition that the schema knows and this release does not.
const LATER: [&str; 6] = [
    "concurrency",
    "schedules",
    "startingDeadline",
    "missed",
    "maxCatchUp",
    "idempotencyKey",
];
/// Fields around the definition that are supported.
const AROUND: [&str; 7] = [
    "description",
    "start",
    "readiness",
    "retention",
    "onChange",
    "deletionPolicy",
    "suspend",
];

/// What is to be, in the words of engine and store.
#[derive(Debug, Clone, PartialEq)]
pub struct Intent {
    /// The hash of what defines the work.
    pub revision: String,
    /// What defines the work, as JSON text.
    pub body: String,
    /// What starts a run by itself.
    pub start: Start,
    /// When `Ready` turns True.
    pub readiness: Readiness,
    /// How long finished runs are kept.
    pub retention: store::Retention,
    /// What happens to its runs when the object is gone.
    pub deletion_policy: store::DeletionPolicy,
    /// Whether no run starts and no step begins.
    pub suspend: bool,
}

/// What a spec says of the work, whoever starts it.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) definition: Definition,
    /// The hash of `body`.
    pub(crate) revision: String,
    /// What defines the work, as JSON text.
    pub(crate) body: String,
    pub(crate) retention: store::Retention,
}

/// What starts a run by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Applying: one run for each revision, under this key.
    OnApply {
        /// `uid/<uid>/<revision>`.
        start_key: String,
    },
    /// Nothing that the controller does.
    OnDemand,
}

/// When `Ready` turns True.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// As soon as the definition is accepted.
    Accepted,
    /// When the run has succeeded.
    Completed,
}

impl Intent {
    /// The key of the run that the object wants by itself.
    pub fn start_key(&self) -> Option<&str> {
        match &self.start {
            Start::OnApply { start_key } => Some(start_key),
            Start::OnDemand => None,
        }
    }
}

/// What the Workflow with this UID asks for.
///
/// # Errors
/// All violations at once, with paths that begin with `spec`.
pub fn of(uid: &str, spec: &Value) -> Result<Intent, Vec<Violation>> {
    let fields = fields(spec)?;
    let mut violations = unsupported(fields);
    let on_demand = choice(fields, "start", &["OnApply", "OnDemand"], &mut violations) == Some("OnDemand");
    let accepted = choice(fields, "readiness", &["Accepted", "Completed"], &mut violations) == Some("Accepted");
    let deletion_policy = deletion_policy(fields, &mut violations);
    let suspend = switch(fields, "suspend", &mut violations);
    let work = match read(fields) {
        Ok(work) => {
            // An input that a run brings along is checked when it comes; one that starts by itself has only this one.
            if !on_demand {
                violations.extend(work.definition.check_input(work.definition.default_input()));
            }
            Some(work)
        }
        Err(wrong) => {
            violations.extend(wrong);
            None
        }
    };
    let Some(work) = work.filter(|_| violations.is_empty()) else {
        return Err(violations);
    };
    let start = match on_demand {
        true => Start::OnDemand,
        false => Start::OnApply {
            start_key: format!("uid/{uid}/{}", work.revision),
        },
    };
    let readiness = if accepted {
        Readiness::Accepted
    } else {
        Readiness::Completed
    };
    Ok(Intent {
        revision: work.revision,
        body: work.body,
        start,
        readiness,
        retention: work.retention,
        deletion_policy,
        suspend,
    })
}

/// The work that a Workflow describes, for a run that is started by somebody else.
///
/// # Errors
/// As [`of`], except for its own default input.
pub(crate) fn work_of(spec: &Value) -> Result<Work, Vec<Violation>> {
    let fields = fields(spec)?;
    let mut violations = unsupported(fields);
    // A Workflow that is refused is run by nobody.
    deletion_policy(fields, &mut violations);
    match read(fields) {
        Ok(work) if violations.is_empty() => Ok(work),
        Ok(_) => Err(violations),
        Err(wrong) => {
            violations.extend(wrong);
            Err(violations)
        }
    }
}

/// Whether a Workflow with this spec starts no run, whoever asks for it.
pub(crate) fn is_suspended(spec: &Value) -> bool {
    spec.get("suspend") == Some(&Value::Bool(true))
}

/// The work that a run describes itself. What a Workflow says about starting has no meaning here, and is refused.
///
/// # Errors
/// As [`of`].
pub(crate) fn inline(spec: &Value) -> Result<Work, Vec<Violation>> {
    let elsewhere = |field: &str| !matches!(field, "description" | "retention") && !BODY_FIELDS.contains(&field);
    let mut violations: Vec<Violation> = present(fields(spec)?)
        .filter(|(field, _)| elsewhere(field))
        .map(|(field, _)| violation(&format!("spec.{field}"), "has no meaning in a run; remove it"))
        .collect();
    match work_of(spec) {
        Ok(work) if violations.is_empty() => Ok(work),
        Ok(_) => Err(violations),
        Err(wrong) => {
            violations.extend(wrong);
            Err(violations)
        }
    }
}

fn fields(spec: &Value) -> Result<&Map<String, Value>, Vec<Violation>> {
    spec.as_object()
        .ok_or_else(|| vec![violation("spec", "must be an object; write at least `steps`")])
}

fn read(fields: &Map<String, Value>) -> Result<Work, Vec<Violation>> {
    let mut violations = Vec::new();
    let retention = retention(fields, &mut violations);
    let body = body(fields);
    match Definition::compile(&body) {
        Ok(definition) if violations.is_empty() => Ok(Work {
            definition,
            revision: engine::revision(&body),
            body: body.to_string(),
            retention,
        }),
        Ok(_) => Err(violations),
        Err(wrong) => {
            violations.extend(wrong);
            Err(violations)
        }
    }
}

/// The fields that define the work, as the user wrote them.
fn body(spec: &Map<String, Value>) -> Value {
    let fields = present(spec).filter(|(field, _)| BODY_FIELDS.contains(field));
    Value::Object(fields.map(|(field, value)| (field.to_owned(), value.clone())).collect())
}

fn unsupported(spec: &Map<String, Value>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (field, value) in present(spec) {
        let path = format!("spec.{field}");
        if LATER.contains(&field) {
            violations.push(violation(&path, "not supported yet; remove it"));
        } else if field == "onChange" && value != "Finish" {
            violations.push(violation(
                &path,
                "only `Finish` is supported yet; write that, or remove it",
            ));
        } else if !AROUND.contains(&field) && !BODY_FIELDS.contains(&field) {
            violations.push(violation(&path, "unknown field"));
        }
    }
    violations
}

/// Fields that say something: an explicit null is what Kubernetes makes of an absent one.
pub(crate) fn present(spec: &Map<String, Value>) -> impl Iterator<Item = (&str, &Value)> {
    spec.iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(field, value)| (field.as_str(), value))
}

fn choice<'a>(
    spec: &'a Map<String, Value>,
    field: &str,
    allowed: &[&str],
    violations: &mut Vec<Violation>,
) -> Option<&'a str> {
    let value = spec.get(field).filter(|value| !value.is_null())?;
    let chosen = value.as_str().filter(|chosen| allowed.contains(chosen));
    if chosen.is_none() {
        violations.push(violation(
            &format!("spec.{field}"),
            &format!("must be one of {}", allowed.join(", ")),
        ));
    }
    chosen
}

/// What happens to the runs of a Workflow or a WorkflowRun when the object is gone.
pub(crate) fn deletion_policy(spec: &Map<String, Value>, violations: &mut Vec<Violation>) -> store::DeletionPolicy {
    let given = spec.get("deletionPolicy").filter(|value| !value.is_null());
    match given.map(Value::as_str) {
        None | Some(Some("Background")) => store::DeletionPolicy::Background,
        Some(Some("Orphan")) => store::DeletionPolicy::Orphan,
        Some(_) => {
            let message = "must be one of Background, Orphan; Foreground is not supported yet";
            violations.push(violation("spec.deletionPolicy", message));
            store::DeletionPolicy::Background
        }
    }
}

fn switch(spec: &Map<String, Value>, field: &str, violations: &mut Vec<Violation>) -> bool {
    match spec.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(value)) => *value,
        Some(_) => {
            violations.push(violation(&format!("spec.{field}"), "must be true or false"));
            false
        }
    }
}

fn retention(spec: &Map<String, Value>, violations: &mut Vec<Violation>) -> store::Retention {
    let mut retention = store::Retention::default();
    let Some(given) = spec.get("retention").filter(|given| !given.is_null()) else {
        return retention;
    };
    let Some(given) = given.as_object() else {
        violations.push(violation(
            "spec.retention",
            "must be an object with `succeeded` and `failed`",
        ));
        return retention;
    };
    for (field, value) in present(given) {
        let path = format!("spec.retention.{field}");
        let duration: Result<Duration, String> = match value.as_str() {
            Some(text) => engine::parse_duration(text),
            None => Err("must be a duration, for example 30d".to_owned()),
        };
        match (field, duration) {
            ("succeeded", Ok(duration)) => retention.succeeded = duration,
            ("failed", Ok(duration)) => retention.failed = duration,
            ("succeeded" | "failed", Err(message)) => violations.push(violation(&path, &message)),
            _ => violations.push(violation(&path, "unknown field")),
        }
    }
    retention
}

pub(crate) fn violation(path: &str, message: &str) -> Violation {
    Violation {
        path: path.to_owned(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hello() -> Value {
        json!({"steps": [{"name": "greet", "set": {"text": "hello"}}]})
    }

    fn with(field: &str, value: Value) -> Value {
        let mut spec = hello();
        spec[field] = value;
        spec
    }

    fn paths(spec: &Value) -> Vec<String> {
        of("u", spec)
            .unwrap_err()
            .into_iter()
            .map(|violation| violation.path)
            .collect()
    }

    #[test]
    fn smallest_workflow_starts_on_apply_and_is_ready_when_completed() {
        let intent = of("u-1", &hello()).unwrap();
        assert_eq!(
            intent.start,
            Start::OnApply {
                start_key: format!("uid/u-1/{}", intent.revision)
            }
        );
        assert_eq!(intent.readiness, Readiness::Completed);
        assert_eq!(intent.retention, store::Retention::default());
        assert_eq!(intent.revision.len(), 16);
        assert_eq!(serde_json::from_str::<Value>(&intent.body).unwrap(), hello());
    }

    #[test]
    fn revision_follows_what_defines_the_work_and_nothing_else() {
        let revision = |spec: &Value| of("u", spec).unwrap().revision;
        let hello = revision(&hello());
        for (field, value) in [
            ("description", json!("greets")),
            ("readiness", json!("Accepted")),
            ("retention", json!({"succeeded": "1h"})),
            ("onChange", json!("Finish")),
            ("start", json!("OnDemand")),
            ("deletionPolicy", json!("Orphan")),
            ("suspend", json!(true)),
            ("timeout", Value::Null),
        ] {
            assert_eq!(revision(&with(field, value)), hello, "{field}");
        }
        for (field, value) in [
            ("input", json!({"a": 1})),
            ("timeout", json!("7d")),
            ("output", json!({"b": 2})),
        ] {
            assert_ne!(revision(&with(field, value)), hello, "{field}");
        }
    }

    #[test]
    fn field_that_is_not_supported_yet_is_refused_and_never_ignored() {
        for field in LATER {
            let violations = of("u", &with(field, json!("x"))).unwrap_err();
            let [violation] = &violations[..] else {
                panic!("{field}: {violations:?}")
            };
            assert_eq!(violation.path, format!("spec.{field}"));
            assert!(violation.message.contains("not supported yet"), "{violation}");
        }
        let violations = of("u", &with("blocks", json!({"b": {"steps": []}}))).unwrap_err();
        assert!(
            violations.iter().any(|v| v.message.contains("not supported yet")),
            "{violations:?}"
        );
        assert!(
            of("u", &with("onChange", json!("Adopt"))).unwrap_err()[0]
                .message
                .contains("Finish")
        );
        assert_eq!(paths(&with("colour", json!("red"))), ["spec.colour"]);
    }

    #[test]
    fn every_field_of_the_schema_is_supported_or_refused() {
        let crd = <crate::api::v1alpha1::Workflow as kube::CustomResourceExt>::crd();
        let schema = crd.spec.versions[0]
            .schema
            .as_ref()
            .unwrap()
            .open_api_v3_schema
            .as_ref()
            .unwrap();
        let spec = &schema.properties.as_ref().unwrap()["spec"];
        for field in spec.properties.as_ref().unwrap().keys() {
            let known = [&LATER[..], &AROUND[..], &BODY_FIELDS[..]].concat();
            assert!(known.contains(&field.as_str()), "{field}");
        }
    }

    #[test]
    fn all_violations_come_at_once() {
        let spec = json!({
            "suspend": "yes",
            "start": "Sometimes",
            "retention": {"failed": "soon"},
            "steps": [{"name": "a", "set": {}}, {"name": "a", "set": {}}],
        });
        let paths = paths(&spec);
        for path in ["spec.suspend", "spec.start", "spec.retention.failed"] {
            assert!(paths.iter().any(|found| found == path), "{path}: {paths:?}");
        }
        assert!(paths.iter().any(|path| path.starts_with("spec.steps")), "{paths:?}");
    }

    #[test]
    fn suspend_is_read_and_on_failure_defines_the_work() {
        assert!(!of("u", &hello()).unwrap().suspend);
        assert!(of("u", &with("suspend", json!(true))).unwrap().suspend);
        let pausing = of("u", &with("onFailure", json!("Pause"))).unwrap();
        assert_ne!(pausing.revision, of("u", &hello()).unwrap().revision);
    }

    #[test]
    fn deletion_policy_is_read_and_foreground_is_refused_whoever_starts_the_work() {
        use store::DeletionPolicy::{Background, Orphan};
        let read = |value| of("u", &with("deletionPolicy", value)).map(|intent| intent.deletion_policy);
        assert_eq!(of("u", &hello()).unwrap().deletion_policy, Background);
        assert_eq!(read(Value::Null), Ok(Background));
        assert_eq!(read(json!("Background")), Ok(Background));
        assert_eq!(read(json!("Orphan")), Ok(Orphan));
        for wrong in [json!("Foreground"), json!("orphan"), json!(1)] {
            let spec = with("deletionPolicy", wrong);
            for violations in [of("u", &spec).unwrap_err(), work_of(&spec).unwrap_err()] {
                let [violation] = &violations[..] else {
                    panic!("{violations:?}")
                };
                assert_eq!(violation.path, "spec.deletionPolicy");
                assert!(
                    violation.message.contains("Foreground is not supported yet"),
                    "{violation}"
                );
            }
        }
    }

    #[test]
    fn input_is_held_against_params_only_when_the_run_starts_with_it() {
        let mut spec = with("params", json!([{"name": "order", "type": "string", "required": true}]));
        assert!(!paths(&spec).is_empty());
        spec["start"] = json!("OnDemand");
        assert_eq!(of("u", &spec).unwrap().start, Start::OnDemand);
        spec["start"] = json!("OnApply");
        spec["input"] = json!({"order": "42"});
        assert!(of("u", &spec).is_ok());
    }

    #[test]
    fn retention_is_read_field_by_field() {
        let intent = of("u", &with("retention", json!({"succeeded": "1h30m"}))).unwrap();
        assert_eq!(intent.retention.succeeded, Duration::from_secs(5400));
        assert_eq!(intent.retention.failed, store::Retention::default().failed);
    }

    #[test]
    fn work_of_its_own_has_no_fields_about_starting() {
        assert_eq!(inline(&hello()).unwrap().revision, of("u", &hello()).unwrap().revision);
        for field in ["start", "suspend", "readiness", "onChange", "schedules"] {
            let violations = inline(&with(field, json!("x"))).unwrap_err();
            assert!(
                violations
                    .iter()
                    .any(|violation| violation.path == format!("spec.{field}")),
                "{violations:?}"
            );
        }
    }

    #[test]
    fn spec_of_any_shape_is_an_answer_and_no_panic() {
        for spec in [
            json!(null),
            json!(1),
            json!([]),
            json!({}),
            json!({"steps": 1}),
            json!({"retention": [], "start": {}}),
        ] {
            assert!(of("u", &spec).is_err(), "{spec}");
        }
    }
}
