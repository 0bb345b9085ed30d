//! What a WorkflowRun's spec asks for. Pure: from a spec as it was written to a [`Wish`], and with a definition to the
//! [`Order`] that the store is given.
//!
//! A field that is not supported yet is refused, never ignored.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::controller::signal::intent::duration;
use crate::controller::workflow::intent::{Readiness, Work, deletion_policy, inline, present, violation, work_of};
use crate::engine::Violation;
use crate::store::{Command, DeletionPolicy, Retention};

/// Fields that this release knows.
const FIELDS: [&str; 9] = [
    "workflowRef",
    "workflow",
    "input",
    "idempotencyKey",
    "readiness",
    "deletionPolicy",
    "ttlAfterFinished",
    "desiredState",
    "retryOf",
];

/// What is to be, whatever the definition says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Wish {
    /// Where the definition is.
    pub(crate) source: Source,
    /// What makes the start unique.
    pub(crate) start_key: String,
    /// The run's input; none: the definition's, or that of the run that is taken up again.
    pub(crate) input: Option<Value>,
    /// The run that is taken up again.
    pub(crate) retry: Option<Retry>,
    pub(crate) readiness: Readiness,
    pub(crate) deletion_policy: DeletionPolicy,
    pub(crate) desired: Desired,
    /// How long after its end the object is deleted.
    pub(crate) ttl: Option<Duration>,
}

/// Where the definition is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Source {
    /// In the Workflow of that name.
    Workflow(String),
    /// In the object itself, whose name the definition gets.
    Inline {
        /// The object's name.
        name: String,
        /// The definition.
        spec: Value,
    },
    /// With the run that is taken up again.
    Retried {
        /// Name of the Workflow that this run was one of, as soon as it is known.
        workflow: String,
    },
}

/// An earlier run that is taken up again.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Retry {
    /// Name of its WorkflowRun.
    pub(crate) name: String,
    /// The first step that is done again.
    pub(crate) from_step: Option<String>,
}

/// What the run is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Desired {
    /// Go on.
    Running,
    /// Begin nothing new.
    Paused,
    /// End, and undo what was done.
    Cancelled,
    /// End, and undo nothing.
    Terminated,
}

/// What the store is to run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order {
    pub(crate) revision: String,
    pub(crate) body: String,
    pub(crate) retention: Retention,
}

impl Wish {
    /// Name of the Workflow that the run counts as one of.
    pub(crate) fn workflow(&self) -> &str {
        match &self.source {
            Source::Workflow(name) | Source::Inline { name, .. } | Source::Retried { workflow: name } => name,
        }
    }

    /// The definition to run, of a Workflow with this spec or of its own.
    ///
    /// # Errors
    /// What is wrong with the object's own definition or input.
    pub(crate) fn order(&self, work: Work) -> Result<Order, Vec<Violation>> {
        let input = self.input.as_ref().unwrap_or_else(|| work.definition.default_input());
        let violations = work.definition.check_input(input);
        if !violations.is_empty() {
            return Err(violations.into_iter().map(within_spec).collect());
        }
        Ok(Order {
            revision: work.revision,
            body: work.body,
            retention: work.retention,
        })
    }
}

impl Desired {
    /// What a live run is to be told; that it may go on only when it was told otherwise.
    pub(crate) fn commands(self, resume: bool) -> Vec<Command> {
        let reason = || "desiredState of its object".to_owned();
        match self {
            Self::Running if resume => vec![Command::Resume],
            Self::Running => Vec::new(),
            Self::Paused => vec![Command::Pause],
            Self::Cancelled => vec![Command::Cancel { reason: reason() }],
            Self::Terminated => vec![Command::Terminate { reason: reason() }],
        }
    }

    /// Whether a run that was not started yet is to be started.
    pub(crate) fn starts(self) -> bool {
        match self {
            Self::Running => true,
            Self::Paused | Self::Cancelled | Self::Terminated => false,
        }
    }

    /// Whether the run is to end, or never to begin.
    pub(crate) fn ends(self) -> bool {
        match self {
            Self::Running | Self::Paused => false,
            Self::Cancelled | Self::Terminated => true,
        }
    }
}

/// What the WorkflowRun with this UID and name asks for.
///
/// # Errors
/// All violations at once, with paths that begin with `spec`.
pub(crate) fn of(uid: &str, name: &str, spec: &Value) -> Result<Wish, Vec<Violation>> {
    let Some(spec) = spec.as_object() else {
        let message = "must be an object; write `workflowRef` or `workflow`";
        return Err(vec![violation("spec", message)]);
    };
    let mut violations = unknown(spec);
    let retry = retry(name, spec, &mut violations);
    let source = source(name, spec, retry.is_some(), &mut violations);
    let key = text(spec, "idempotencyKey", &mut violations);
    let readiness = match text(spec, "readiness", &mut violations).as_deref() {
        None | Some("Completed") => Readiness::Completed,
        Some("Accepted") => Readiness::Accepted,
        Some(_) => wrong(
            &mut violations,
            "readiness",
            "Accepted, Completed",
            Readiness::Completed,
        ),
    };
    let deletion_policy = deletion_policy(spec, &mut violations);
    let desired = match text(spec, "desiredState", &mut violations).as_deref() {
        None | Some("Running") => Desired::Running,
        Some("Paused") => Desired::Paused,
        Some("Cancelled") => Desired::Cancelled,
        Some("Terminated") => Desired::Terminated,
        Some(_) => wrong(
            &mut violations,
            "desiredState",
            "Running, Paused, Cancelled, Terminated",
            Desired::Running,
        ),
    };
    let ttl = duration(spec, "ttlAfterFinished", &mut violations);
    match source {
        Some(source) if violations.is_empty() => Ok(Wish {
            source,
            start_key: key.map_or_else(|| format!("run/{uid}"), |key| format!("key/{key}")),
            input: spec.get("input").filter(|input| !input.is_null()).cloned(),
            retry,
            readiness,
            deletion_policy,
            desired,
            ttl,
        }),
        Some(_) | None => Err(violations),
    }
}

/// The work of a Workflow with this spec, or of the object's own definition.
///
/// # Errors
/// What is wrong with it; paths of an own definition begin with `spec.workflow`.
pub(crate) fn work(source: &Source, workflow: &Value) -> Result<Work, Vec<Violation>> {
    match source {
        Source::Workflow(_) | Source::Retried { .. } => work_of(workflow),
        Source::Inline { spec, .. } => {
            inline(spec).map_err(|violations| violations.into_iter().map(within_workflow).collect())
        }
    }
}

fn unknown(spec: &Map<String, Value>) -> Vec<Violation> {
    let unknown = present(spec).filter(|(field, _)| !FIELDS.contains(field));
    unknown
        .map(|(field, _)| violation(&format!("spec.{field}"), "unknown field"))
        .collect()
}

fn retry(name: &str, spec: &Map<String, Value>, violations: &mut Vec<Violation>) -> Option<Retry> {
    let (_, given) = present(spec).find(|(field, _)| *field == "retryOf")?;
    let mut wrong = |field: &str, message: &str| violations.push(violation(&format!("spec.retryOf{field}"), message));
    let Some(given) = given.as_object() else {
        wrong(
            "",
            "must be an object: `name` of a WorkflowRun, and `fromStep` if need be",
        );
        return None;
    };
    for (field, _) in present(given).filter(|(field, _)| !["name", "fromStep"].contains(field)) {
        wrong(&format!(".{field}"), "unknown field");
    }
    let text = |field| given.get(field).filter(|value| !value.is_null());
    let step = text("fromStep").map(|step| step.as_str().filter(|step| !step.is_empty()));
    if step == Some(None) {
        wrong(".fromStep", "must be the name of a step");
    }
    let earlier = text("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    match earlier {
        None => wrong(".name", "is missing: the name of a WorkflowRun"),
        Some(earlier) if earlier == name => wrong(".name", "is this object's own: name an earlier WorkflowRun"),
        Some(_) => {}
    }
    Some(Retry {
        name: earlier.unwrap_or_default().to_owned(),
        from_step: step.flatten().map(str::to_owned),
    })
}

fn source(name: &str, spec: &Map<String, Value>, is_retry: bool, violations: &mut Vec<Violation>) -> Option<Source> {
    let given = |field: &str| spec.get(field).filter(|value| !value.is_null());
    match (given("workflowRef"), given("workflow")) {
        (Some(reference), None) => {
            let workflow = reference
                .get("name")
                .and_then(Value::as_str)
                .filter(|name| !name.is_empty());
            if workflow.is_none() {
                violations.push(violation("spec.workflowRef.name", "is missing: the name of a Workflow"));
            }
            Some(Source::Workflow(workflow?.to_owned()))
        }
        (None, Some(definition)) => Some(Source::Inline {
            name: name.to_owned(),
            spec: definition.clone(),
        }),
        (None, None) if is_retry => Some(Source::Retried {
            workflow: String::new(),
        }),
        (Some(_), Some(_)) | (None, None) => {
            violations.push(violation(
                "spec",
                "must have exactly one of `workflowRef` and `workflow`; neither with `retryOf`, for the same definition",
            ));
            None
        }
    }
}

fn text(spec: &Map<String, Value>, field: &str, violations: &mut Vec<Violation>) -> Option<String> {
    let (_, value) = present(spec).find(|(name, _)| *name == field)?;
    let text = value
        .as_str()
        .filter(|text| !text.is_empty() && text.len() <= 253 && !text.contains('\0'));
    if text.is_none() {
        let message = "must be a text of at most 253 bytes that is not empty";
        violations.push(violation(&format!("spec.{field}"), message));
    }
    text.map(str::to_owned)
}

fn wrong<T>(violations: &mut Vec<Violation>, field: &str, allowed: &str, instead: T) -> T {
    violations.push(violation(
        &format!("spec.{field}"),
        &format!("must be one of {allowed}"),
    ));
    instead
}

/// `check_input` speaks of `input`.
pub(super) fn within_spec(violation: Violation) -> Violation {
    Violation {
        path: match violation.path.starts_with("spec") {
            true => violation.path,
            false => format!("spec.{}", violation.path),
        },
        ..violation
    }
}

fn within_workflow(violation: Violation) -> Violation {
    Violation {
        path: violation.path.replacen("spec", "spec.workflow", 1),
        ..violation
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(spec: &Value) -> Result<Wish, Vec<Violation>> {
        of("u-1", "again", spec)
    }

    fn with(field: &str, value: Value) -> Value {
        let mut spec = json!({"workflowRef": {"name": "order"}});
        spec[field] = value;
        spec
    }

    #[test]
    fn absent_fields_have_their_defaults() {
        let wish = read(&with("input", Value::Null)).unwrap();
        assert_eq!(wish.source, Source::Workflow("order".to_owned()));
        assert_eq!(wish.start_key, "run/u-1");
        assert_eq!((wish.readiness, wish.desired), (Readiness::Completed, Desired::Running));
        assert_eq!((wish.input, wish.ttl), (None, None));
        assert_eq!(wish.deletion_policy, DeletionPolicy::Background);
    }

    #[test]
    fn key_is_shared_by_whoever_has_it() {
        assert_eq!(
            read(&with("idempotencyKey", json!("o-1"))).unwrap().start_key,
            "key/o-1"
        );
    }

    #[test]
    fn what_is_not_supported_yet_is_refused_and_never_ignored() {
        let violations = read(&with("deletionPolicy", json!("Foreground"))).unwrap_err();
        let [violation] = &violations[..] else {
            panic!("{violations:?}")
        };
        assert_eq!(violation.path, "spec.deletionPolicy");
        assert!(violation.message.contains("not supported yet"), "{violation}");
        assert_eq!(read(&with("colour", json!(1))).unwrap_err()[0].path, "spec.colour");
    }

    #[test]
    fn earlier_run_is_named_with_or_without_a_definition() {
        let retry = |spec: Value| read(&spec).map(|wish| (wish.source, wish.retry.unwrap()));
        let (source, named) = retry(json!({"retryOf": {"name": "order-7", "fromStep": "ship"}})).unwrap();
        assert_eq!(
            source,
            Source::Retried {
                workflow: String::new()
            }
        );
        assert_eq!((&*named.name, named.from_step.as_deref()), ("order-7", Some("ship")));
        let (source, named) = retry(with("retryOf", json!({"name": "order-7"}))).unwrap();
        assert_eq!((source, named.from_step), (Source::Workflow("order".to_owned()), None));
        for (wrong, path) in [
            (json!({}), "spec.retryOf.name"),
            (json!({"name": "again"}), "spec.retryOf.name"),
            (json!({"name": "r", "fromStep": 1}), "spec.retryOf.fromStep"),
            (json!({"name": "r", "namespace": "other"}), "spec.retryOf.namespace"),
            (json!("r"), "spec.retryOf"),
        ] {
            let violations = read(&with("retryOf", wrong)).unwrap_err();
            assert_eq!(violations[0].path, path, "{violations:?}");
        }
        assert!(read(&json!({"workflowRef": {"name": "w"}, "workflow": {}, "retryOf": {"name": "r"}})).is_err());
    }

    #[test]
    fn every_field_of_the_schema_is_known() {
        let crd = <crate::api::v1alpha1::WorkflowRun as kube::CustomResourceExt>::crd();
        let schema = crd.spec.versions[0].schema.as_ref().unwrap();
        let spec = &schema.open_api_v3_schema.as_ref().unwrap().properties.as_ref().unwrap()["spec"];
        for field in spec.properties.as_ref().unwrap().keys() {
            assert!(FIELDS.contains(&field.as_str()), "{field}");
        }
    }

    #[test]
    fn own_definition_is_judged_where_it_stands() {
        let wish = read(&json!({"workflow": {"start": "OnApply", "steps": [{"name": "a", "set": {}}]}})).unwrap();
        assert_eq!(wish.workflow(), "again");
        let paths: Vec<String> = work(&wish.source, &Value::Null)
            .unwrap_err()
            .into_iter()
            .map(|violation| violation.path)
            .collect();
        assert_eq!(paths, ["spec.workflow.start"]);
    }

    #[test]
    fn input_is_held_against_params() {
        let workflow = json!({
            "params": [{"name": "order", "type": "string", "required": true}],
            "steps": [{"name": "a", "set": {}}],
        });
        let order = |spec: &Value| {
            let wish = read(spec).unwrap();
            wish.order(work(&wish.source, &workflow).unwrap())
        };
        assert!(order(&with("input", json!({"order": "1"}))).is_ok());
        for wrong in [json!({"order": 1}), json!({})] {
            let violations = order(&with("input", wrong)).unwrap_err();
            assert!(violations[0].path.starts_with("spec.input"), "{violations:?}");
        }
        assert!(order(&with("readiness", json!("Accepted"))).is_err(), "no input at all");
    }

    #[test]
    fn states_tell_the_run_what_to_do() {
        let kinds = |desired: Desired, resume| desired.commands(resume).len();
        assert_eq!(kinds(Desired::Running, false), 0);
        assert_eq!(Desired::Running.commands(true), [Command::Resume]);
        assert_eq!(Desired::Paused.commands(false), [Command::Pause]);
        assert!(matches!(
            Desired::Cancelled.commands(true)[..],
            [Command::Cancel { .. }]
        ));
        assert!(matches!(
            Desired::Terminated.commands(true)[..],
            [Command::Terminate { .. }]
        ));
    }
}
