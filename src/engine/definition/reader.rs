//! A walk over spec-shaped JSON that knows where it is and collects every violation instead of stopping at the first.

use std::{cell::RefCell, time::Duration};

use serde_json::{Map, Value};

use super::{duration, limits};

/// One thing that is wrong with a definition or an input, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, as in `spec.steps[2].http.path`.
    pub path: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Where violations are collected; shared by all readers of one walk.
#[derive(Debug, Default)]
pub(super) struct Sink(RefCell<Vec<Violation>>);

impl Sink {
    pub(super) fn report(&self, path: impl Into<String>, message: impl Into<String>) {
        self.0.borrow_mut().push(Violation {
            path: path.into(),
            message: message.into(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Everything that was reported; past the limit one last entry says how many more there are.
    pub(super) fn into_violations(self) -> Vec<Violation> {
        let mut violations = self.0.into_inner();
        if let Some(more) = violations
            .len()
            .checked_sub(limits::VIOLATIONS)
            .filter(|more| *more > 0)
        {
            violations.truncate(limits::VIOLATIONS);
            violations.push(Violation {
                path: "spec".to_owned(),
                message: format!("and {more} more violations"),
            });
        }
        violations
    }
}

/// A value and where it stands.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) value: &'a Value,
    pub(super) path: String,
    sink: &'a Sink,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value, path: &str, sink: &'a Sink) -> Self {
        Self {
            value,
            path: path.to_owned(),
            sink,
        }
    }

    pub(super) fn report(&self, message: impl Into<String>) {
        self.sink.report(self.path.as_str(), message);
    }

    pub(super) fn sink(&self) -> &'a Sink {
        self.sink
    }

    pub(super) fn fields(&self) -> Option<Fields<'a>> {
        let map = self.expect(self.value.as_object(), "an object")?;
        Some(Fields {
            map,
            path: self.path.clone(),
            sink: self.sink,
            known: Vec::new(),
        })
    }

    pub(super) fn items(&self) -> Option<Vec<Node<'a>>> {
        let items = self.expect(self.value.as_array(), "a list")?;
        let item = |(i, value)| Node {
            value,
            path: format!("{}[{i}]", self.path),
            sink: self.sink,
        };
        Some(items.iter().enumerate().map(item).collect())
    }

    pub(super) fn string(&self) -> Option<&'a str> {
        self.expect(self.value.as_str(), "a string")
    }

    /// A string of 1 to `limit` bytes.
    pub(super) fn text(&self, limit: usize) -> Option<&'a str> {
        let text = self.string()?;
        if text.is_empty() {
            self.report("must not be empty");
            return None;
        }
        if text.len() > limit {
            self.report(format!("is longer than {limit} bytes"));
            return None;
        }
        Some(text)
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        self.expect(self.value.as_bool(), "true or false")
    }

    pub(super) fn integer(&self, least: u64, most: u64) -> Option<u64> {
        let found = self.value.as_u64().filter(|number| (least..=most).contains(number));
        self.expect(found, &format!("a whole number from {least} to {most}"))
    }

    pub(super) fn number(&self, least: f64, most: f64) -> Option<f64> {
        let found = self.value.as_f64().filter(|number| (least..=most).contains(number));
        self.expect(found, &format!("a number from {least} to {most}"))
    }

    /// A duration; `0s` only where it makes sense is the caller's to allow.
    pub(super) fn duration(&self) -> Option<Duration> {
        match duration::parse(self.string()?) {
            Ok(duration) => Some(duration),
            Err(message) => {
                self.report(message);
                None
            }
        }
    }

    pub(super) fn positive_duration(&self) -> Option<Duration> {
        let duration = self.duration()?;
        if duration.is_zero() {
            self.report("must be longer than zero");
            return None;
        }
        Some(duration)
    }

    fn expect<T>(&self, found: Option<T>, what: &str) -> Option<T> {
        if found.is_none() {
            self.report(format!("must be {what}, not {}", describe(self.value)));
        }
        found
    }
}

/// The fields of an object. What was never asked for is unknown, and [`finish`](Self::finish) says so.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    map: &'a Map<String, Value>,
    path: String,
    sink: &'a Sink,
    known: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The field, if it is there and not null: Kubernetes treats both alike.
    pub(super) fn get(&mut self, name: &'static str) -> Option<Node<'a>> {
        self.get_value(name).filter(|node| !node.value.is_null())
    }

    /// The field, if it is there, where null is a value like any other.
    pub(super) fn get_value(&mut self, name: &'static str) -> Option<Node<'a>> {
        self.known.push(name);
        let value = self.map.get(name)?;
        Some(Node {
            value,
            path: format!("{}.{name}", self.path),
            sink: self.sink,
        })
    }

    pub(super) fn required(&mut self, name: &'static str) -> Option<Node<'a>> {
        let node = self.get(name);
        if node.is_none() {
            self.sink.report(format!("{}.{name}", self.path), "is required");
        }
        node
    }

    /// Refuses a field that exists in the API and that this release does not perform.
    pub(super) fn unsupported(&mut self, name: &'static str) {
        if let Some(node) = self.get(name) {
            node.report("not supported yet");
        }
    }

    pub(super) fn report(&self, message: impl Into<String>) {
        self.sink.report(self.path.as_str(), message);
    }

    /// The field is there, whether or not it was asked for.
    pub(super) fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    pub(super) fn finish(self) {
        for name in self.map.keys().filter(|name| !self.known.contains(&name.as_str())) {
            let shown: String = name.chars().take(64).collect();
            self.sink.report(format!("{}.{shown}", self.path), "unknown field");
        }
    }
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "this number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
