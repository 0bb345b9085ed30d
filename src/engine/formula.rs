//! Compiled expressions of a definition, and what they read. Not where they may stand: that is `definition::scope`.

use serde_json::Value;

use crate::expression::{EvaluationError, Program, Reference, Scope, Segment, Template};

/// A condition: one CEL expression that must yield a boolean.
#[derive(Debug)]
pub(super) struct Condition {
    program: Program,
    pub(super) reads: Reads,
}

impl Condition {
    pub(super) fn new(program: Program) -> Self {
        let reads = Reads::of(program.references().iter());
        Self { program, reads }
    }

    pub(super) fn holds(&self, scope: &Scope<'_>) -> Result<bool, EvaluationError> {
        self.program.evaluate_condition(scope)
    }
}

/// A value: JSON in which strings that begin with `=` are computed.
#[derive(Debug)]
pub(super) struct Formula {
    template: Template,
    pub(super) reads: Reads,
}

impl Formula {
    pub(super) fn new(template: Template) -> Self {
        let reads = Reads::of(template.references().map(|(_, reference)| reference));
        Self { template, reads }
    }

    /// Nothing in it is computed, so its value is known when the definition is compiled.
    pub(super) fn is_literal(&self) -> bool {
        self.template.is_literal()
    }

    pub(super) fn evaluate(&self, scope: &Scope<'_>) -> Result<Value, EvaluationError> {
        self.template.evaluate(scope)
    }
}

/// What an expression reads of a run.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// The variable `run`.
    pub(super) run: bool,
    /// Steps, and the path below each: `output.x` of `steps.a.output.x`.
    pub(super) steps: Vec<(String, Vec<Segment>)>,
}

impl Reads {
    fn of<'a>(references: impl Iterator<Item = &'a Reference>) -> Self {
        let mut reads = Self::default();
        for reference in references {
            match reference.path.as_slice() {
                [Segment::Key(variable), ..] if variable == "run" => reads.run = true,
                [Segment::Key(variable), Segment::Key(step), below @ ..] if variable == "steps" => {
                    let read = (step.clone(), below.to_vec());
                    if !reads.steps.contains(&read) {
                        reads.steps.push(read);
                    }
                }
                _ => {}
            }
        }
        reads
    }
}
