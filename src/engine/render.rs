//! The request of an open step: its action with all values evaluated.

use serde_json::{Map, Value};

use super::{
    definition::{Action, Definition, Http, Sql},
    error::{ErrorKind, StepError},
    formula::Formula,
    request::{HttpRequest, Request, SqlRequest},
    run::{Activity, Run},
    scope::{self, Answer},
};

/// What a worker is to perform for an open attempt. The same for every attempt of a step.
///
/// # Errors
/// A value has no result (the attempt fails with it), or the step has no open attempt (`NotOpen`).
pub fn request(run: &Run, def: &Definition, step: &str) -> Result<Request, StepError> {
    let open = run
        .open_step(step)
        .is_some_and(|open| open.activity == Activity::Attempt);
    match def.step(step) {
        Some(found) if open => render(run, &found.action)?.ok_or_else(|| not_open(step)),
        _ => Err(not_open(step)),
    }
}

/// The request of an action; nothing for what the engine does itself.
pub(super) fn render(run: &Run, action: &Action) -> Result<Option<Request>, StepError> {
    match action {
        Action::Sql(action) => sql(run, action).map(Request::Sql).map(Some),
        Action::Http(action) => http(run, action).map(Request::Http).map(Some),
        Action::SleepFor(_) | Action::SleepUntil(_) | Action::Set(_) | Action::Fail(_) => Ok(None),
        #[cfg(feature = "bench")]
        Action::Noop => Ok(Some(Request::Noop)),
    }
}

fn sql(run: &Run, action: &Sql) -> Result<SqlRequest, StepError> {
    let args = match &action.args {
        None => Vec::new(),
        Some(args) => match scope::value(run, args, Answer::None)? {
            Value::Array(args) => args,
            other => vec![other],
        },
    };
    Ok(SqlRequest {
        connection: action.connection.clone(),
        query: action.query.clone(),
        args,
        read_only: action.read_only,
        expect: action.expect.clone(),
    })
}

fn http(run: &Run, action: &Http) -> Result<HttpRequest, StepError> {
    let mut query = fields(run, action.query.as_ref())?;
    for (name, value) in &mut query {
        match value {
            Value::Array(items) => items.iter_mut().try_for_each(|item| stringify("query", name, item))?,
            other => stringify("query", name, other)?,
        }
    }
    Ok(HttpRequest {
        target: action.target.clone(),
        method: action.method.clone(),
        path_params: strings(run, "pathParams", action.path_params.as_ref())?,
        query,
        headers: strings(run, "headers", action.headers.as_ref())?,
        body: action
            .body
            .as_ref()
            .map(|body| scope::value(run, body, Answer::None))
            .transpose()?,
        repeatable: action.repeatable,
    })
}

/// An object in which every value stands in a string position.
fn strings(run: &Run, field: &str, formula: Option<&Formula>) -> Result<Map<String, Value>, StepError> {
    let mut fields = fields(run, formula)?;
    fields
        .iter_mut()
        .try_for_each(|(name, value)| stringify(field, name, value))?;
    Ok(fields)
}

fn fields(run: &Run, formula: Option<&Formula>) -> Result<Map<String, Value>, StepError> {
    match formula
        .map(|formula| scope::value(run, formula, Answer::None))
        .transpose()?
    {
        Some(Value::Object(fields)) => Ok(fields),
        Some(_) | None => Ok(Map::new()),
    }
}

fn stringify(field: &str, name: &str, value: &mut Value) -> Result<(), StepError> {
    *value = Value::String(text(&format!("{field}.{name}"), value)?);
    Ok(())
}

/// A value in a string position: a string as it is, other types as JSON.
///
/// # Errors
/// Null: it is nearly always a mistake, and an empty string would hide it.
pub(super) fn text(field: &str, value: &Value) -> Result<String, StepError> {
    match value {
        Value::Null => Err(StepError::new(
            ErrorKind::Expression,
            "Null",
            format!("`{field}` is null, and must be text"),
        )),
        Value::String(text) => Ok(text.clone()),
        other => Ok(other.to_string()),
    }
}

fn not_open(step: &str) -> StepError {
    StepError::new(
        ErrorKind::Refused,
        "NotOpen",
        format!("step `{step}` has no open attempt"),
    )
}
