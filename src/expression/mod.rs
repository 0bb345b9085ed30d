//! CEL with a budget, over borrowed JSON. Pure: no clock, no randomness, no I/O; knows nothing of workflows.
//!
//! A [`Program`] is compiled once and evaluated often, each time in a [`Scope`] of borrowed JSON values. A [`Template`]
//! is a JSON value with expressions in it. What is promised:
//!
//! - **Bounded.** At most 4 KiB of text, 64 levels of nesting, 2,500 nodes, a tree of height 96, 16 macros inside one
//!   another; at most 10,000 steps and 1 MiB of computed values for an evaluation. Everything is counted and charged
//!   before it is done, so whatever the expression and the data are, an evaluation ends soon, at the same place on every
//!   machine, without deep recursion. Running out is [`Code::Budget`], and no operator absorbs it.
//! - **Deterministic.** Maps are walked in the order of their keys. What the name of a time zone means is part of the
//!   release, whatever the machine has installed.
//! - **Numbers behave as people expect.** JSON integers are `int`, other numbers `double`; both mix (`1 == 1.0`,
//!   `1 + 0.5 == 1.5`). Overflow and division of integers by zero are errors. `1u` is read as `1`.
//! - **Errors commute.** `&&`, `||`, `all` and `exists` give the same result whichever side fails. An absent key is an
//!   error, null is a value, `has()` is false only for the last key of its path.
//! - **Data is never code.** Nothing that is read is evaluated, and regular expressions are literals.
//!
//! The language is that of the CEL specification without protocol buffers, with the macros `has`, `all`, `exists`,
//! `exists_one`, `map`, `filter`, the string functions, and `sum`, `min`, `max`, `join`, `split`, `round`, `ceil`,
//! `floor`, `abs` and some `math.` names.
//!
//! ```text
//! text ─ lexer → parser → arena ─ references
//!                           └──── evaluate ─ operators, compare, functions ─ value ─ json
//! ```

mod ast;
mod compare;
mod error;
mod evaluate;
mod functions;
mod json;
mod lexer;
mod limits;
mod operators;
mod parser;
mod pattern;
mod references;
mod scope;
mod template;
mod time;
mod value;
mod zone;

use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

pub use self::error::{Code, EvaluationError, SyntaxError};
pub use self::references::{Reference, Segment};
pub use self::scope::Scope;
pub use self::template::Template;

use self::ast::{Arena, NodeId};
use self::limits::Budget;
use self::value::Value;

/// A compiled expression. Cheap to clone; two programs are equal when their texts are.
#[derive(Clone)]
pub struct Program(Arc<Compiled>);

struct Compiled {
    source: String,
    arena: Arena,
    root: NodeId,
    references: Vec<Reference>,
}

/// What an evaluation used of its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Evaluation steps, of 10,000.
    pub steps: usize,
    /// Bytes of computed values, of 1 MiB.
    pub bytes: usize,
}

impl Cost {
    fn of(budget: &Budget) -> Cost {
        Cost {
            steps: budget.steps_used(),
            bytes: budget.bytes_used(),
        }
    }
}

impl Program {
    /// Compiles a text.
    ///
    /// # Errors
    /// The first place where the text is no expression, names an unknown function, or goes beyond a limit.
    pub fn compile(source: &str) -> Result<Program, SyntaxError> {
        let (arena, root) = parser::parse(source)?;
        let references = references::references(&arena);
        Ok(Program(Arc::new(Compiled {
            source: source.to_owned(),
            arena,
            root,
            references,
        })))
    }

    /// The text that it was compiled from.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Every path that is read from the scope, in the order of appearance. Whatever lies outside of these paths cannot
    /// change the result.
    pub fn references(&self) -> &[Reference] {
        &self.0.references
    }

    /// The value for this scope. A timestamp becomes RFC 3339, a duration seconds such as `3.5s`.
    ///
    /// # Errors
    /// Any [`Code`]; a result that JSON does not have is [`Code::Type`], an infinite number [`Code::Overflow`].
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Json, EvaluationError> {
        self.run(scope, &mut Budget::new())
    }

    /// As [`Program::evaluate`], with what it cost.
    pub fn measure(&self, scope: &Scope<'_>) -> (Result<Json, EvaluationError>, Cost) {
        let mut budget = Budget::new();
        let result = self.run(scope, &mut budget);
        (result, Cost::of(&budget))
    }

    /// Whether the condition holds for this scope.
    ///
    /// # Errors
    /// As [`Program::evaluate`]; a result that is no bool is [`Code::Type`].
    pub fn evaluate_condition(&self, scope: &Scope<'_>) -> Result<bool, EvaluationError> {
        match evaluate::evaluate(&self.0.arena, self.0.root, scope, &mut Budget::new())? {
            Value::Bool(value) => Ok(value),
            other => {
                let message = format!("the condition is of type {}, and must be a bool", other.type_name());
                Err(EvaluationError::new(Code::Type, message))
            }
        }
    }

    fn run(&self, scope: &Scope<'_>, budget: &mut Budget) -> Result<Json, EvaluationError> {
        let value = evaluate::evaluate(&self.0.arena, self.0.root, scope, budget)?;
        json::to_json(&value, budget)
    }
}

impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

impl Eq for Program {}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Program").field(&self.0.source).finish()
    }
}
