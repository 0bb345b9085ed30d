//! Functions of strings. Positions count characters, not bytes, as the language says.

use super::super::error::{Code, EvaluationError};
use super::super::limits::Budget;
use super::super::value::{List, Outcome, Text, Value};
use super::{int_of, refused, text_of};

pub(super) fn size<'a>(value: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let size = match value {
        Value::Text(text) => {
            budget.scan(text.as_str().len())?;
            text.as_str().chars().count()
        }
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        _ => return Err(refused("size", value)),
    };
    Ok(count(size))
}

pub(super) fn contains<'a>(text: &Value<'a>, part: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let (text, part) = pair("contains", text, part, budget)?;
    Ok(Value::Bool(text.contains(part)))
}

pub(super) fn starts_with<'a>(text: &Value<'a>, part: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let (text, part) = ends("startsWith", text, part, budget)?;
    Ok(Value::Bool(text.starts_with(part)))
}

pub(super) fn ends_with<'a>(text: &Value<'a>, part: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let (text, part) = ends("endsWith", text, part, budget)?;
    Ok(Value::Bool(text.ends_with(part)))
}

pub(super) fn char_at<'a>(text: &Value<'a>, index: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let (text, index) = (text_of("charAt", text)?, int_of("charAt", index)?);
    let start = position("charAt", text.as_str(), index, budget)?;
    let width = text.as_str()[start..].chars().next().map_or(0, char::len_utf8);
    text.part(start..start + width, budget)
}

pub(super) fn index_of<'a>(
    text: &Value<'a>,
    part: &Value<'a>,
    from: Option<&Value<'a>>,
    budget: &mut Budget,
) -> Outcome<'a> {
    let (text, part) = pair("indexOf", text, part, budget)?;
    let from = match from {
        Some(from) => position("indexOf", text, int_of("indexOf", from)?, budget)?,
        None => 0,
    };
    Ok(character(text, text[from..].find(part).map(|found| from + found)))
}

pub(super) fn last_index_of<'a>(
    text: &Value<'a>,
    part: &Value<'a>,
    from: Option<&Value<'a>>,
    budget: &mut Budget,
) -> Outcome<'a> {
    let (text, part) = pair("lastIndexOf", text, part, budget)?;
    let end = match from {
        Some(from) => {
            let last = position("lastIndexOf", text, int_of("lastIndexOf", from)?, budget)?;
            let end = (last + part.len()).min(text.len());
            (end..=text.len())
                .find(|end| text.is_char_boundary(*end))
                .unwrap_or(text.len())
        }
        None => text.len(),
    };
    Ok(character(text, text[..end].rfind(part)))
}

pub(super) fn lower_ascii<'a>(text: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let text = text_of("lowerAscii", text)?.as_str();
    budget.allocate(text.len())?;
    Ok(owned(text.to_ascii_lowercase()))
}

pub(super) fn upper_ascii<'a>(text: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let text = text_of("upperAscii", text)?.as_str();
    budget.allocate(text.len())?;
    Ok(owned(text.to_ascii_uppercase()))
}

/// At most `limit` times; a negative limit is none.
pub(super) fn replace<'a>(
    text: &Value<'a>,
    old: &Value<'a>,
    new: &Value<'a>,
    limit: Option<&Value<'a>>,
    budget: &mut Budget,
) -> Outcome<'a> {
    let (text, old) = pair("replace", text, old, budget)?;
    let new = text_of("replace", new)?.as_str();
    let limit = limit_of("replace", limit)?;
    budget.scan(text.len())?;
    let count = text.matches(old).take(limit).count();
    let length = (text.len() - count * old.len()).saturating_add(count.saturating_mul(new.len()));
    budget.allocate(length)?;
    Ok(owned(text.replacen(old, new, count)))
}

/// At most `limit` parts, the last of which is the rest; a negative limit is none.
pub(super) fn split<'a>(
    text: &Value<'a>,
    separator: &Value<'a>,
    limit: Option<&Value<'a>>,
    budget: &mut Budget,
) -> Outcome<'a> {
    let (_, separator) = pair("split", text, separator, budget)?;
    let text = text_of("split", text)?;
    let limit = limit_of("split", limit)?;
    let whole = text.as_str();
    // Without a separator the parts are the characters.
    let cuts: &mut dyn Iterator<Item = usize> = if separator.is_empty() {
        &mut whole.char_indices().map(|(at, _)| at).skip(1)
    } else {
        &mut whole.match_indices(separator).map(|(at, _)| at)
    };
    let mut parts = Vec::new();
    let mut start = 0;
    if limit == 0 || (whole.is_empty() && separator.is_empty()) {
        return Ok(Value::list(parts));
    }
    for cut in cuts.take(limit - 1) {
        budget.step(1)?;
        budget.allocate(size_of::<Value<'_>>())?;
        parts.push(text.part(start..cut, budget)?);
        start = cut + separator.len();
    }
    budget.allocate(size_of::<Value<'_>>())?;
    parts.push(text.part(start..whole.len(), budget)?);
    Ok(Value::list(parts))
}

pub(super) fn join<'a>(list: &Value<'a>, separator: Option<&Value<'a>>, budget: &mut Budget) -> Outcome<'a> {
    let Value::List(list) = list else {
        return Err(refused("join", list));
    };
    let separator = match separator {
        Some(separator) => text_of("join", separator)?.as_str(),
        None => "",
    };
    let length = joined_length(list, separator.len(), budget)?;
    budget.allocate(length)?;
    let mut joined = String::with_capacity(length);
    for (index, element) in list.iter().enumerate() {
        if index > 0 {
            joined.push_str(separator);
        }
        joined.push_str(text_of("join", &element)?.as_str());
    }
    Ok(owned(joined))
}

fn joined_length(list: &List<'_>, separator: usize, budget: &mut Budget) -> Result<usize, EvaluationError> {
    budget.step(list.len())?;
    let mut length = list.len().saturating_sub(1).saturating_mul(separator);
    for element in list.iter() {
        let Value::Text(text) = &element else {
            let message = format!(
                "join() takes a list of strings, and one element is of type {}: convert it with string()",
                element.type_name()
            );
            return Err(EvaluationError::new(Code::Type, message));
        };
        length = length.saturating_add(text.as_str().len());
    }
    Ok(length)
}

pub(super) fn substring<'a>(
    text: &Value<'a>,
    from: &Value<'a>,
    to: Option<&Value<'a>>,
    budget: &mut Budget,
) -> Outcome<'a> {
    let (text, from) = (text_of("substring", text)?, int_of("substring", from)?);
    let start = position("substring", text.as_str(), from, budget)?;
    let end = match to {
        Some(to) => position("substring", text.as_str(), int_of("substring", to)?, budget)?,
        None => text.as_str().len(),
    };
    if start > end {
        return Err(EvaluationError::new(
            Code::IndexOutOfBounds,
            "substring() ends before it begins",
        ));
    }
    text.part(start..end, budget)
}

pub(super) fn trim<'a>(text: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let text = text_of("trim", text)?;
    let whole = text.as_str();
    budget.scan(whole.len())?;
    let start = whole.len() - whole.trim_start().len();
    text.part(start..start + whole.trim().len(), budget)
}

pub(super) fn reverse<'a>(text: &Value<'a>, budget: &mut Budget) -> Outcome<'a> {
    let text = text_of("reverse", text)?.as_str();
    budget.allocate(text.len())?;
    Ok(owned(text.chars().rev().collect()))
}

/// Two texts of which the first will be searched for the second.
fn pair<'v>(
    function: &str,
    text: &'v Value<'_>,
    part: &'v Value<'_>,
    budget: &mut Budget,
) -> Result<(&'v str, &'v str), EvaluationError> {
    let (text, part) = (text_of(function, text)?.as_str(), text_of(function, part)?.as_str());
    budget.scan(text.len() + part.len())?;
    Ok((text, part))
}

/// Two texts of which only as much is read as the second is long.
fn ends<'v>(
    function: &str,
    text: &'v Value<'_>,
    part: &'v Value<'_>,
    budget: &mut Budget,
) -> Result<(&'v str, &'v str), EvaluationError> {
    let (text, part) = (text_of(function, text)?.as_str(), text_of(function, part)?.as_str());
    budget.scan(part.len())?;
    Ok((text, part))
}

/// The byte at which a character begins; one past the last character is allowed.
fn position(function: &str, text: &str, index: i64, budget: &mut Budget) -> Result<usize, EvaluationError> {
    let outside = || {
        EvaluationError::new(
            Code::IndexOutOfBounds,
            format!("{function}(): position {index} is outside of the string"),
        )
    };
    let index = usize::try_from(index).map_err(|_| outside())?;
    budget.scan(index.min(text.len()))?;
    let starts = text.char_indices().map(|(start, _)| start);
    starts.chain([text.len()]).nth(index).ok_or_else(outside)
}

/// The number of the character that begins at a byte, −1 where nothing was found.
fn character<'a>(text: &str, byte: Option<usize>) -> Value<'a> {
    byte.map_or(Value::Int(-1), |byte| count(text[..byte].chars().count()))
}

fn limit_of(function: &str, limit: Option<&Value<'_>>) -> Result<usize, EvaluationError> {
    match limit {
        Some(limit) => Ok(usize::try_from(int_of(function, limit)?).unwrap_or(usize::MAX)),
        None => Ok(usize::MAX),
    }
}

fn count<'a>(count: usize) -> Value<'a> {
    Value::Int(i64::try_from(count).expect("sizes fit into an i64"))
}

fn owned<'a>(text: String) -> Value<'a> {
    Value::Text(Text::Owned(text.into()))
}
