//! Which names an expression may use, by the place where it stands, and which steps it may read.

use crate::{
    engine::formula::{Condition, Formula},
    expression::{Program, Reference, Segment, Template},
};

use super::reader::{Node, Sink};

const RUN_FIELDS: [&str; 7] = [
    "id",
    "name",
    "namespace",
    "workflow",
    "revision",
    "startedAt",
    "scheduledAt",
];
const ENDED_RUN_FIELDS: [&str; 2] = ["result", "error"];
const STEP_FIELDS: [&str; 4] = ["output", "status", "attempts", "error"];
const ERROR_FIELDS: [&str; 4] = ["kind", "code", "message", "status"];

/// Where an expression stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A step's `when` and the values of its action.
    Step,
    /// After the action: `output` and `successWhen`.
    AfterAction,
    /// A step's `retry.when`.
    StepRetry,
    /// `spec.retry.when`: for every step, so it can name none.
    SpecRetry,
    /// `spec.output`.
    RunOutput,
}

impl Place {
    fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Step | Self::RunOutput => &["input", "steps", "run"],
            Self::AfterAction => &["input", "steps", "run", "result"],
            Self::StepRetry => &["input", "steps", "run", "error"],
            Self::SpecRetry => &["input", "run", "error"],
        }
    }
}

/// The references of expressions, kept until all steps and their order are known.
#[derive(Debug, Default)]
pub(super) struct Uses(Vec<Use>);

#[derive(Debug)]
struct Use {
    path: String,
    place: Place,
    reference: Reference,
}

impl Uses {
    /// Compiles a condition field; a wrong one is reported.
    pub(super) fn condition(&mut self, node: &Node<'_>, place: Place) -> Option<Condition> {
        match Program::compile(node.string()?) {
            Ok(program) => {
                for reference in program.references() {
                    self.0.push(Use {
                        path: node.path.clone(),
                        place,
                        reference: reference.clone(),
                    });
                }
                Some(Condition::new(program))
            }
            Err(error) => {
                node.report(error.to_string());
                None
            }
        }
    }

    /// Compiles a value; every wrong expression in it is reported.
    pub(super) fn formula(&mut self, node: &Node<'_>, place: Place) -> Option<Formula> {
        match Template::compile(node.value) {
            Ok(template) => {
                for (below, reference) in template.references() {
                    self.0.push(Use {
                        path: format!("{}{below}", node.path),
                        place,
                        reference: reference.clone(),
                    });
                }
                Some(Formula::new(template))
            }
            Err(errors) => {
                for (below, error) in errors {
                    node.sink().report(format!("{}{below}", node.path), error.to_string());
                }
                None
            }
        }
    }
}

/// What an expression may know of the steps, from where it stands.
pub(super) trait Sight {
    /// Why the step cannot be read here; nothing when it can.
    fn hidden(&self, step: &str) -> Option<String>;
    /// The run's result is known here.
    fn after_the_end(&self) -> bool;
}

/// Reports every reference that has no value where it stands.
pub(super) fn check(uses: &Uses, sight: &impl Sight, sink: &Sink) {
    for used in &uses.0 {
        if let Some(message) = wrong(used, sight) {
            sink.report(
                used.path.as_str(),
                format!("at character {}: {message}", used.reference.offset),
            );
        }
    }
}

fn wrong(used: &Use, sight: &impl Sight) -> Option<String> {
    let path = &used.reference.path;
    let key = |i: usize| match path.get(i) {
        Some(Segment::Key(key)) => Some(key.as_str()),
        Some(Segment::Index(_)) | None => None,
    };
    let variable = key(0)?;
    let variables = used.place.variables();
    if !variables.contains(&variable) {
        return Some(format!(
            "unknown variable `{variable}`; known here: {}",
            variables.join(", ")
        ));
    }
    match variable {
        "steps" => {
            let Some(step) = key(1) else {
                return Some(
                    "name the step, as in `steps.name.output`: which steps an expression reads must be known"
                        .to_owned(),
                );
            };
            sight.hidden(step).or_else(|| {
                let field = path.get(2)?;
                unknown_field(&format!("steps.{step}"), field, &STEP_FIELDS)
            })
        }
        "run" => {
            let ended = sight.after_the_end() || used.place == Place::RunOutput;
            match key(1) {
                Some(field) if ENDED_RUN_FIELDS.contains(&field) && !ended => {
                    Some(format!("`run.{field}` is known only in `finally` and `output`"))
                }
                Some(field) if ENDED_RUN_FIELDS.contains(&field) => None,
                _ => unknown_field("run", path.get(1)?, &RUN_FIELDS),
            }
        }
        "error" => unknown_field("error", path.get(1)?, &ERROR_FIELDS),
        _ => None,
    }
}

fn unknown_field(object: &str, segment: &Segment, fields: &[&str]) -> Option<String> {
    match segment {
        Segment::Key(key) if fields.contains(&key.as_str()) => None,
        Segment::Key(key) => Some(format!("`{object}` has no field `{key}`; it has {}", fields.join(", "))),
        Segment::Index(_) => Some(format!("`{object}` is no list; it has {}", fields.join(", "))),
    }
}
