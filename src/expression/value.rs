//! Values while an expression is evaluated: data stays borrowed from the scope, only what is computed is owned.

use std::cmp::Ordering;
use std::ops::Range;
use std::rc::Rc;

use jiff::SignedDuration;
use serde_json::{Map as JsonMap, Value as Json};

use super::error::EvaluationError;
use super::limits::Budget;
use super::time::Instant;

/// What an evaluation of a part yields. Cheap to clone: nothing is copied deeply.
pub(super) type Outcome<'a> = Result<Value<'a>, EvaluationError>;

/// A value; numbers of the data beyond `i64` are `Large`: handed on exactly, computed with as doubles.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Large(u64),
    Double(f64),
    Text(Text<'a>),
    Bytes(Rc<[u8]>),
    List(List<'a>),
    Map(Map<'a>),
    Timestamp(Instant),
    Duration(SignedDuration),
    Type(&'static str),
}

/// A text of the data, of the program, or computed.
#[derive(Debug, Clone)]
pub(super) enum Text<'a> {
    Borrowed(&'a str),
    Owned(Rc<str>),
}

/// A list of the data, or computed.
#[derive(Debug, Clone)]
pub(super) enum List<'a> {
    Borrowed(&'a [Json]),
    Owned(Rc<Vec<Value<'a>>>),
}

/// A map of the data, or computed: then sorted by key.
#[derive(Debug, Clone)]
pub(super) enum Map<'a> {
    Borrowed(&'a JsonMap<String, Json>),
    Owned(Rc<Vec<(Key<'a>, Value<'a>)>>),
}

/// A key of a computed map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key<'a> {
    Bool(bool),
    Int(i64),
    Text(Text<'a>),
}

impl<'a> Value<'a> {
    /// A view of the data.
    pub(super) fn of(json: &'a Json) -> Value<'a> {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), _, _) => Value::Int(number),
                (None, Some(number), _) => Value::Large(number),
                (None, None, number) => Value::Double(number.unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(Text::Borrowed(text)),
            Json::Array(list) => Value::List(List::Borrowed(list)),
            Json::Object(map) => Value::Map(Map::Borrowed(map)),
        }
    }

    /// A computed text, charged.
    pub(super) fn text(text: &str, budget: &mut Budget) -> Outcome<'a> {
        budget.allocate(text.len())?;
        Ok(Value::Text(Text::Owned(text.into())))
    }

    /// A computed list whose elements have been charged.
    pub(super) fn list(elements: Vec<Value<'a>>) -> Value<'a> {
        Value::List(List::Owned(Rc::new(elements)))
    }

    /// The name of the type, as `type()` gives it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Large(_) | Value::Double(_) => "double",
            Value::Text(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Timestamp(_) => "timestamp",
            Value::Duration(_) => "duration",
            Value::Type(_) => "type",
        }
    }

    /// The key that this value is in a map; a double is the integer that it equals.
    pub(super) fn key(&self) -> Option<Key<'a>> {
        match self {
            Value::Bool(value) => Some(Key::Bool(*value)),
            Value::Int(value) => Some(Key::Int(*value)),
            Value::Double(value) => whole(*value).map(Key::Int),
            Value::Text(text) => Some(Key::Text(text.clone())),
            Value::Null
            | Value::Large(_)
            | Value::Bytes(_)
            | Value::List(_)
            | Value::Map(_)
            | Value::Timestamp(_)
            | Value::Duration(_)
            | Value::Type(_) => None,
        }
    }
}

/// The integer that a double equals.
pub(super) fn whole(double: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let fits = double.fract() == 0.0 && (-LIMIT..LIMIT).contains(&double);
    fits.then_some(double as i64)
}

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Owned(text) => text,
        }
    }
}

impl<'a> Text<'a> {
    /// A part of the text, by bytes: borrowed where the text is.
    pub(super) fn part(&self, range: Range<usize>, budget: &mut Budget) -> Outcome<'a> {
        match self {
            Text::Borrowed(text) => Ok(Value::Text(Text::Borrowed(&text[range]))),
            Text::Owned(text) => Value::text(&text[range], budget),
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl<'a> List<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            List::Borrowed(list) => list.len(),
            List::Owned(list) => list.len(),
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<Value<'a>> {
        match self {
            List::Borrowed(list) => list.get(index).map(Value::of),
            List::Owned(list) => list.get(index).cloned(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let list = self.clone();
        (0..self.len()).map_while(move |index| list.get(index))
    }
}

impl<'a> Map<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Map::Borrowed(map) => map.len(),
            Map::Owned(map) => map.len(),
        }
    }

    pub(super) fn get_text(&self, key: &str) -> Option<Value<'a>> {
        match self {
            Map::Borrowed(map) => map.get(key).map(Value::of),
            Map::Owned(map) => position(map, |other| match other {
                Key::Text(text) => text.as_str().cmp(key),
                Key::Bool(_) | Key::Int(_) => Ordering::Less,
            }),
        }
    }

    pub(super) fn get(&self, key: &Key<'_>) -> Option<Value<'a>> {
        match (self, key) {
            (_, Key::Text(text)) => self.get_text(text.as_str()),
            (Map::Borrowed(_), Key::Bool(_) | Key::Int(_)) => None,
            (Map::Owned(map), Key::Bool(_) | Key::Int(_)) => position(map, |other| other.cmp(key)),
        }
    }

    /// Keys and values in the order of the keys.
    pub(super) fn iter(&self) -> Box<dyn Iterator<Item = (Value<'a>, Value<'a>)> + 'a> {
        match self {
            Map::Borrowed(map) => Box::new(
                map.iter()
                    .map(|(key, value)| (Value::Text(Text::Borrowed(key)), Value::of(value))),
            ),
            Map::Owned(map) => {
                let map = Rc::clone(map);
                Box::new((0..map.len()).map(move |index| {
                    let (key, value) = &map[index];
                    let key = match key {
                        Key::Bool(key) => Value::Bool(*key),
                        Key::Int(key) => Value::Int(*key),
                        Key::Text(key) => Value::Text(key.clone()),
                    };
                    (key, value.clone())
                }))
            }
        }
    }
}

fn position<'a>(map: &[(Key<'a>, Value<'a>)], order: impl Fn(&Key<'a>) -> Ordering) -> Option<Value<'a>> {
    map.binary_search_by(|(key, _)| order(key))
        .ok()
        .map(|index| map[index].1.clone())
}
