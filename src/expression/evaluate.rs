//! The evaluator: walks the tree, charges each node and each look-up, never copies data. Its recursion is bounded by
//! the height of the tree.

use super::ast::{Arena, Comprehension, Constant, Kind, NodeId, Quantifier, Range};
use super::compare::look_up;
use super::error::{Code, EvaluationError, shown};
use super::functions::{self, ARGUMENTS, Function};
use super::limits::Budget;
use super::operators;
use super::scope::Scope;
use super::value::{Key, List, Map, Outcome, Text, Value};

/// The value of a node for this scope.
pub(super) fn evaluate<'a>(arena: &'a Arena, root: NodeId, scope: &'a Scope<'a>, budget: &mut Budget) -> Outcome<'a> {
    Evaluator {
        arena,
        scope,
        locals: Vec::new(),
        budget,
    }
    .node(root)
}

struct Evaluator<'a, 'b> {
    arena: &'a Arena,
    scope: &'a Scope<'a>,
    /// Variables of the macros around, outermost first.
    locals: Vec<Value<'a>>,
    budget: &'b mut Budget,
}

impl<'a> Evaluator<'a, '_> {
    fn node(&mut self, id: NodeId) -> Outcome<'a> {
        self.budget.step(1)?;
        match self.arena.kind(id) {
            Kind::Constant(constant) => self.literal(constant),
            Kind::Free(name) => match self.scope.get(name) {
                Some(value) => Ok(Value::of(value)),
                None => Err(unknown(name)),
            },
            Kind::Local(slot) => Ok(self.locals[*slot as usize].clone()),
            Kind::Select(target, key) => self.select(*target, key),
            Kind::Has(target, key) => self.has(*target, key),
            Kind::Index(target, index) => self.index(*target, *index),
            Kind::Not(operand) => self.truth(*operand, "!").map(|value| Value::Bool(!value)),
            Kind::Negate(operand) => operators::negate(&self.node(*operand)?),
            Kind::And(left, right) => self.junction(*left, *right, false),
            Kind::Or(left, right) => self.junction(*left, *right, true),
            Kind::Binary(operator, left, right) => {
                let left = self.node(*left)?;
                let right = self.node(*right)?;
                operators::apply(*operator, &left, &right, self.budget)
            }
            Kind::Conditional(condition, yes, no) => {
                let branch = if self.truth(*condition, "?")? { yes } else { no };
                self.node(*branch)
            }
            Kind::List(range) => self.list(*range),
            Kind::Map(range) => self.map(*range),
            Kind::Call(function, arguments) => self.call(*function, *arguments),
            Kind::Matches(text, pattern) => match self.node(*text)? {
                Value::Text(text) => pattern.is_match(text.as_str(), self.budget).map(Value::Bool),
                other => Err(EvaluationError::new(
                    Code::Type,
                    format!("matches() does not take a value of type {}", other.type_name()),
                )),
            },
            Kind::Comprehension(comprehension) => self.comprehension(comprehension),
        }
    }

    fn literal(&mut self, constant: &'a Constant) -> Outcome<'a> {
        Ok(match constant {
            Constant::Null => Value::Null,
            Constant::Bool(value) => Value::Bool(*value),
            Constant::Int(value) => Value::Int(*value),
            Constant::Double(value) => Value::Double(*value),
            Constant::Text(text) => Value::Text(Text::Borrowed(text)),
            Constant::Bytes(bytes) => {
                self.budget.allocate(bytes.len())?;
                Value::Bytes(bytes[..].into())
            }
            Constant::Type(name) => Value::Type(name),
        })
    }

    #[inline]
    fn select(&mut self, target: NodeId, key: &str) -> Outcome<'a> {
        let value = self.node(target)?;
        self.budget.step(1)?;
        match &value {
            Value::Map(map) => match map.get_text(key) {
                Some(value) => Ok(value),
                None => Err(self.no_such_key(target, key)),
            },
            _ => Err(self.no_fields(target, key, &value)),
        }
    }

    fn has(&mut self, target: NodeId, key: &str) -> Outcome<'a> {
        let value = self.node(target)?;
        self.budget.step(1)?;
        match &value {
            Value::Map(map) => Ok(Value::Bool(map.get_text(key).is_some())),
            _ => Err(self.no_fields(target, key, &value)),
        }
    }

    fn index(&mut self, target: NodeId, index: NodeId) -> Outcome<'a> {
        let collection = self.node(target)?;
        let index = self.node(index)?;
        match &collection {
            Value::List(list) => {
                self.budget.step(1)?;
                let Some(Key::Int(position)) = index.key() else {
                    let message = format!("a list is indexed by int, not by {}", index.type_name());
                    return Err(EvaluationError::new(Code::Type, message));
                };
                let found = usize::try_from(position).ok().and_then(|position| list.get(position));
                found.ok_or_else(|| {
                    let message = format!("position {position} is outside of a list of {} elements", list.len());
                    EvaluationError::new(Code::IndexOutOfBounds, message)
                })
            }
            Value::Map(map) => {
                let Some(key) = index.key() else {
                    let message = format!("a map has no keys of type {}", index.type_name());
                    return Err(EvaluationError::new(Code::Type, message));
                };
                look_up(&key, map.len(), self.budget)?;
                map.get(&key).ok_or_else(|| match &key {
                    Key::Text(text) => self.no_such_key(target, text.as_str()),
                    Key::Int(number) => self.no_such_key(target, &number.to_string()),
                    Key::Bool(value) => self.no_such_key(target, &value.to_string()),
                })
            }
            other => {
                let message = format!(
                    "{} is of type {}, which has no elements",
                    self.place(target),
                    other.type_name()
                );
                Err(EvaluationError::new(Code::Type, message))
            }
        }
    }

    fn truth(&mut self, id: NodeId, operator: &str) -> Result<bool, EvaluationError> {
        match self.node(id)? {
            Value::Bool(value) => Ok(value),
            other => {
                let message = format!("`{operator}` takes a bool, not a value of type {}", other.type_name());
                Err(EvaluationError::new(Code::Type, message))
            }
        }
    }

    /// `||` where `decisive` is true, `&&` where it is false: a decisive side makes the result whatever the other
    /// side is, an error included. Errors of the budget are never absorbed.
    fn junction(&mut self, left: NodeId, right: NodeId, decisive: bool) -> Outcome<'a> {
        let operator = if decisive { "||" } else { "&&" };
        let first = self.truth(left, operator);
        match first {
            Ok(value) if value == decisive => return Ok(Value::Bool(decisive)),
            Err(error) if error.is_fatal() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        match (first, self.truth(right, operator)) {
            (_, Ok(value)) if value == decisive => Ok(Value::Bool(decisive)),
            (_, Err(error)) if error.is_fatal() => Err(error),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            (Ok(_), Ok(_)) => Ok(Value::Bool(!decisive)),
        }
    }

    fn list(&mut self, range: Range) -> Outcome<'a> {
        let children = self.arena.children(range);
        self.budget.allocate(children.len() * size_of::<Value<'_>>())?;
        let mut elements = Vec::with_capacity(children.len());
        for child in children {
            elements.push(self.node(*child)?);
        }
        Ok(Value::list(elements))
    }

    fn map(&mut self, range: Range) -> Outcome<'a> {
        let children = self.arena.children(range);
        self.budget
            .allocate(children.len() / 2 * size_of::<(Key<'_>, Value<'_>)>())?;
        let mut entries: Vec<(Key<'a>, Value<'a>)> = Vec::with_capacity(children.len() / 2);
        for pair in children.chunks_exact(2) {
            let key = self.node(pair[0])?;
            let value = self.node(pair[1])?;
            let key = match key {
                Value::Bool(_) | Value::Int(_) | Value::Text(_) => key.key(),
                _ => None,
            };
            let Some(key) = key else {
                return Err(EvaluationError::new(
                    Code::Type,
                    "a key of a map is a string, an int or a bool",
                ));
            };
            look_up(&key, entries.len(), self.budget)?;
            match entries.binary_search_by(|(other, _)| other.cmp(&key)) {
                Ok(_) => return Err(EvaluationError::new(Code::Invalid, "a map has the same key twice")),
                Err(place) => entries.insert(place, (key, value)),
            }
        }
        Ok(Value::Map(Map::Owned(entries.into())))
    }

    fn call(&mut self, function: Function, range: Range) -> Outcome<'a> {
        let children = self.arena.children(range);
        let mut arguments: [Value<'a>; ARGUMENTS] = std::array::from_fn(|_| Value::Null);
        for (argument, child) in arguments.iter_mut().zip(children) {
            *argument = self.node(*child)?;
        }
        functions::call(function, &arguments, children.len(), self.budget)
    }

    fn comprehension(&mut self, comprehension: &'a Comprehension) -> Outcome<'a> {
        match self.node(comprehension.range)? {
            Value::List(list) => self.over(comprehension, list.iter()),
            Value::Map(map) => self.over(comprehension, map.iter().map(|(key, _)| key)),
            other => {
                let message = format!("a macro goes over a list or a map, not over {}", other.type_name());
                Err(EvaluationError::new(Code::Type, message))
            }
        }
    }

    fn over(&mut self, comprehension: &'a Comprehension, elements: impl Iterator<Item = Value<'a>>) -> Outcome<'a> {
        let slot = comprehension.slot as usize;
        let mut gathered = Gathered {
            found: 0,
            error: None,
            results: Vec::new(),
        };
        for element in elements {
            self.budget.step(1)?;
            self.locals.truncate(slot);
            self.locals.push(element);
            if self.visit(comprehension, &mut gathered)? {
                break;
            }
        }
        self.locals.truncate(slot);
        gathered.finish(comprehension.quantifier)
    }

    /// One element, which is the last local. Says whether the result is known.
    fn visit(&mut self, comprehension: &Comprehension, gathered: &mut Gathered<'a>) -> Result<bool, EvaluationError> {
        let condition = match comprehension.condition {
            Some(condition) => self.truth(condition, "the condition of a macro"),
            None => Ok(true),
        };
        let decisive = match comprehension.quantifier {
            Quantifier::All => false,
            Quantifier::Exists => true,
            Quantifier::ExistsOne => {
                gathered.found += usize::from(condition?);
                return Ok(false);
            }
            Quantifier::Filter | Quantifier::Map => {
                if condition? {
                    self.budget.allocate(size_of::<Value<'_>>())?;
                    let result = match comprehension.transform {
                        Some(transform) => self.node(transform)?,
                        None => self.locals[comprehension.slot as usize].clone(),
                    };
                    gathered.results.push(result);
                }
                return Ok(false);
            }
        };
        match condition {
            Ok(value) => {
                gathered.found += usize::from(value == decisive);
                Ok(value == decisive)
            }
            Err(error) if error.is_fatal() => Err(error),
            Err(error) => {
                gathered.error.get_or_insert(error);
                Ok(false)
            }
        }
    }

    #[cold]
    fn no_such_key(&self, target: NodeId, key: &str) -> EvaluationError {
        EvaluationError::new(
            Code::NoSuchKey,
            format!("{} has no key {}", self.place(target), shown(key)),
        )
    }

    #[cold]
    fn no_fields(&self, target: NodeId, key: &str, value: &Value<'_>) -> EvaluationError {
        let message = format!(
            "{} is of type {} and has no key {}",
            self.place(target),
            value.type_name(),
            shown(key)
        );
        EvaluationError::new(Code::Type, message)
    }

    /// How a value is called in a message: its path where it is a short one.
    fn place(&self, id: NodeId) -> String {
        let mut names: Vec<&str> = Vec::new();
        let mut id = id;
        loop {
            match self.arena.kind(id) {
                Kind::Select(target, key) if names.len() < 4 && key.len() <= 64 => {
                    names.push(key);
                    id = *target;
                }
                Kind::Free(name) if name.len() <= 64 => {
                    names.push(name);
                    names.reverse();
                    return format!("`{}`", names.join("."));
                }
                _ => return "the value".into(),
            }
        }
    }
}

/// What a macro has seen so far.
struct Gathered<'a> {
    /// How many elements decided (`all`, `exists`) or matched (`exists_one`).
    found: usize,
    /// The first error, which stands if nothing decides.
    error: Option<EvaluationError>,
    results: Vec<Value<'a>>,
}

impl<'a> Gathered<'a> {
    fn finish(self, quantifier: Quantifier) -> Outcome<'a> {
        match (quantifier, self.error) {
            (Quantifier::All | Quantifier::Exists, Some(error)) if self.found == 0 => Err(error),
            (Quantifier::All, _) => Ok(Value::Bool(self.found == 0)),
            (Quantifier::Exists, _) => Ok(Value::Bool(self.found > 0)),
            (Quantifier::ExistsOne, _) => Ok(Value::Bool(self.found == 1)),
            (Quantifier::Filter | Quantifier::Map, _) => Ok(Value::List(List::Owned(self.results.into()))),
        }
    }
}

#[cold]
fn unknown(name: &str) -> EvaluationError {
    EvaluationError::new(Code::UnknownVariable, format!("there is no variable {}", shown(name)))
}
