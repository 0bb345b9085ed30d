//! Values of a manifest: JSON in which every string that begins with `=` is an expression.

use serde_json::{Map as JsonMap, Value as Json};

use super::error::{EvaluationError, SyntaxError};
use super::limits::{Budget, DEPTH};
use super::references::Reference;
use super::scope::Scope;
use super::{Cost, Program};

/// A value of a manifest: JSON in which every string that begins with `=` is an expression, and `==` stands for a
/// literal `=`. Keys are never expressions.
#[derive(Debug, Clone)]
pub struct Template {
    root: Part,
}

#[derive(Debug, Clone)]
enum Part {
    /// Nothing in it is computed.
    Literal(Json),
    Computed(Program),
    List(Vec<Part>),
    Map(Vec<(String, Part)>),
}

impl Template {
    /// Compiles all expressions of a value.
    ///
    /// # Errors
    /// Every expression that is wrong, with its path inside the value (`""`, `.a.b`, `[2].c`). Offsets count from
    /// behind the `=`.
    pub fn compile(value: &Json) -> Result<Template, Vec<(String, SyntaxError)>> {
        let mut errors = Vec::new();
        let root = compile(value, &mut Vec::new(), &mut errors);
        if errors.is_empty() {
            Ok(Template { root })
        } else {
            Err(errors)
        }
    }

    /// Every path that is read, with the path of the expression inside the value.
    pub fn references(&self) -> impl Iterator<Item = (String, &Reference)> {
        let mut found = Vec::new();
        collect(&self.root, &mut Vec::new(), &mut found);
        found.into_iter()
    }

    /// The value with every expression replaced by its result. All results share one budget of memory, each
    /// expression has its own steps; literal parts are copied and cost nothing.
    ///
    /// # Errors
    /// The first expression without a value; the message says where it stands.
    pub fn evaluate(&self, scope: &Scope<'_>) -> Result<Json, EvaluationError> {
        self.measure(scope).0
    }

    /// As [`Template::evaluate`], with what it cost: the steps of the last expression, the memory of all.
    pub fn measure(&self, scope: &Scope<'_>) -> (Result<Json, EvaluationError>, Cost) {
        let mut budget = Budget::new();
        let result = evaluate(&self.root, &mut Vec::new(), scope, &mut budget);
        (result, Cost::of(&budget))
    }

    /// Whether nothing is computed.
    pub fn is_literal(&self) -> bool {
        matches!(self.root, Part::Literal(_))
    }
}

/// A place inside the value, from the root; written out only when somebody asks.
#[derive(Clone, Copy)]
enum Place<'t> {
    Key(&'t str),
    Position(usize),
}

fn compile<'t>(value: &'t Json, places: &mut Vec<Place<'t>>, errors: &mut Vec<(String, SyntaxError)>) -> Part {
    if places.len() > DEPTH {
        errors.push((
            suffix(&places[..8]),
            SyntaxError::new(0, format!("nested deeper than {DEPTH} levels")),
        ));
        return Part::Literal(Json::Null);
    }
    match value {
        Json::Null | Json::Bool(_) | Json::Number(_) => Part::Literal(value.clone()),
        Json::String(text) => match text.strip_prefix('=') {
            None => Part::Literal(value.clone()),
            Some(escaped) if escaped.starts_with('=') => Part::Literal(Json::from(escaped)),
            Some(source) => match Program::compile(source) {
                Ok(program) => Part::Computed(program),
                Err(error) => {
                    errors.push((suffix(places), error));
                    Part::Literal(Json::Null)
                }
            },
        },
        Json::Array(list) => {
            let parts = list.iter().enumerate().map(|(position, element)| {
                places.push(Place::Position(position));
                let part = compile(element, places, errors);
                places.pop();
                part
            });
            list_of(parts.collect())
        }
        Json::Object(map) => {
            let parts = map.iter().map(|(key, value)| {
                places.push(Place::Key(key));
                let part = compile(value, places, errors);
                places.pop();
                (key.clone(), part)
            });
            map_of(parts.collect())
        }
    }
}

fn list_of(parts: Vec<Part>) -> Part {
    if parts.iter().any(|part| !matches!(part, Part::Literal(_))) {
        return Part::List(parts);
    }
    let values = parts.into_iter().filter_map(|part| match part {
        Part::Literal(value) => Some(value),
        Part::Computed(_) | Part::List(_) | Part::Map(_) => None,
    });
    Part::Literal(Json::Array(values.collect()))
}

fn map_of(parts: Vec<(String, Part)>) -> Part {
    if parts.iter().any(|(_, part)| !matches!(part, Part::Literal(_))) {
        return Part::Map(parts);
    }
    let values = parts.into_iter().filter_map(|(key, part)| match part {
        Part::Literal(value) => Some((key, value)),
        Part::Computed(_) | Part::List(_) | Part::Map(_) => None,
    });
    Part::Literal(Json::Object(values.collect()))
}

fn collect<'t>(part: &'t Part, places: &mut Vec<Place<'t>>, found: &mut Vec<(String, &'t Reference)>) {
    match part {
        Part::Literal(_) => {}
        Part::Computed(program) => {
            let suffix = suffix(places);
            found.extend(program.references().iter().map(|reference| (suffix.clone(), reference)));
        }
        Part::List(parts) => {
            for (position, part) in parts.iter().enumerate() {
                places.push(Place::Position(position));
                collect(part, places, found);
                places.pop();
            }
        }
        Part::Map(parts) => {
            for (key, part) in parts {
                places.push(Place::Key(key));
                collect(part, places, found);
                places.pop();
            }
        }
    }
}

fn evaluate<'t>(
    part: &'t Part,
    places: &mut Vec<Place<'t>>,
    scope: &Scope<'_>,
    budget: &mut Budget,
) -> Result<Json, EvaluationError> {
    match part {
        Part::Literal(value) => Ok(value.clone()),
        Part::Computed(program) => {
            budget.renew_steps();
            program.run(scope, budget).map_err(|error| at(places, error))
        }
        Part::List(parts) => {
            let mut list = Vec::with_capacity(parts.len());
            for (position, part) in parts.iter().enumerate() {
                places.push(Place::Position(position));
                list.push(evaluate(part, places, scope, budget)?);
                places.pop();
            }
            Ok(Json::Array(list))
        }
        Part::Map(parts) => {
            let mut map = JsonMap::new();
            for (key, part) in parts {
                places.push(Place::Key(key));
                map.insert(key.clone(), evaluate(part, places, scope, budget)?);
                places.pop();
            }
            Ok(Json::Object(map))
        }
    }
}

fn at(places: &[Place<'_>], error: EvaluationError) -> EvaluationError {
    if places.is_empty() {
        return error;
    }
    EvaluationError::new(error.code, format!("at {}: {}", suffix(places), error.message))
}

/// `.a.b`, `[2].c`, `["x y"]`
fn suffix(places: &[Place<'_>]) -> String {
    let mut suffix = String::new();
    for place in places {
        match place {
            Place::Position(position) => suffix += &format!("[{position}]"),
            Place::Key(key) if is_plain(key) => suffix += &format!(".{key}"),
            Place::Key(key) => suffix += &format!("[{}]", Json::from(*key)),
        }
    }
    suffix
}

fn is_plain(key: &str) -> bool {
    !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}
