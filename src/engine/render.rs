//! The request of an open step: its action with all values evaluated.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{
    definition::{Action, Definition, Http, Sql},
    error::{ErrorKind, StepError},
    formula::Formula,
    key::Deed,
    request::{HttpRequest, Request, SqlRequest},
    run::{Activity, Run},
    scope::{self, Answer},
};

/// What a worker is to perform for an open attempt, of a step or of its compensation. The same for every attempt.
///
/// # Errors
/// A value has no result (the attempt fails with it), or the step has no open attempt (`NotOpen`).
pub fn request(run: &Run, def: &Definition, step: &str) -> Result<Request, StepError> {
    let open = run.open_step(step).filter(|open| open.activity == Activity::Attempt);
    match open.and_then(|open| def.step(step)?.work(open.deed)) {
        Some(work) => render(run, &work.action)?.ok_or_else(|| not_open(step)),
        None => Err(not_open(step)),
    }
}

/// How long the open attempt of a step may take: its own, or that of its compensation.
pub fn attempt_timeout(run: &Run, def: &Definition, step: &str) -> Duration {
    let deed = run.open_step(step).map_or(Deed::Do, |open| open.deed);
    def.attempt_timeout(step, deed)
}

/// The request of an action; nothing for what the engine does itself.
pub(super) fn render(run: &Run, action: &Action) -> Result<Option<Request>, StepError> {
    match action {
        Action::Sql(action) => sql(run, action).map(Request::Sql).map(Some),
        Action::Http(action) => http(run, action).map(Request::Http).map(Some),
        Action::SleepFor(_) | Action::SleepUntil(_) | Action::WaitForSignal(_) | Action::Set(_) | Action::Fail(_) => {
            Ok(None)
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::{Expect, HttpTarget, testing::*};

    fn rendered(step: &Value) -> Result<Request, StepError> {
        let run = Driven::claimed(&json!({ "steps": [step] }));
        request(&run.run, &run.def, "a")
    }

    #[test]
    fn values_of_a_request_are_evaluated_and_string_positions_hold_strings() {
        let found = rendered(&json!({"name": "a", "http": {
            "connection": "c", "path": "/x/{id}", "method": "POST",
            "pathParams": {"id": "=input.n"},
            "query": {"q": ["=input.who", 2, true], "s": "==literal", "o": {"a": 1}},
            "headers": {"X-N": 1.5},
            "body": {"n": "=input.n", "list": "=input.items"}
        }}));
        let Ok(Request::Http(found)) = found else {
            panic!("{found:?}")
        };
        assert_eq!(
            found.target,
            HttpTarget::Connection {
                name: "c".to_owned(),
                path: "/x/{id}".to_owned()
            }
        );
        assert_eq!((found.method.as_str(), found.repeatable), ("POST", false));
        assert_eq!(Value::Object(found.path_params), json!({"id": "3"}));
        assert_eq!(
            Value::Object(found.query),
            json!({"q": ["world", "2", "true"], "s": "=literal", "o": "{\"a\":1}"})
        );
        assert_eq!(Value::Object(found.headers), json!({"X-N": "1.5"}));
        assert_eq!(found.body, Some(json!({"n": 3, "list": [1, 2]})));
    }

    #[test]
    fn a_request_defaults_to_get_without_body_and_tells_null_from_none() {
        let Ok(Request::Http(bare)) = rendered(&json!({"name": "a", "http": {"url": "https://h/"}})) else {
            panic!()
        };
        assert_eq!((bare.method.as_str(), bare.repeatable, bare.body), ("GET", true, None));
        let Ok(Request::Http(null)) = rendered(&json!({"name": "a", "http": {"url": "https://h/", "body": null}}))
        else {
            panic!()
        };
        assert_eq!(null.body, Some(Value::Null));
    }

    #[test]
    fn a_statement_keeps_its_text_and_gets_its_arguments() {
        let found = rendered(&json!({"name": "a", "sql": {
            "connection": "db", "query": "SELECT '=input.n', $1, $2", "args": ["=input.who", {"n": "=input.n"}], "readOnly": true,
            "expect": {"minRows": 1, "code": "NONE"}
        }}));
        let expected = SqlRequest {
            connection: "db".to_owned(),
            query: "SELECT '=input.n', $1, $2".to_owned(),
            args: vec![json!("world"), json!({"n": 3})],
            read_only: true,
            expect: Some(Expect {
                min_rows: Some(1),
                max_rows: None,
                code: Some("NONE".to_owned()),
            }),
        };
        assert_eq!(found, Ok(Request::Sql(expected)));
    }

    #[test]
    fn only_an_open_attempt_has_a_request() {
        let run = Driven::claimed(
            &json!({"steps": [{"name": "a", "sleep": {"for": "1m"}}, {"name": "b", "http": {"url": "https://h/"}}]}),
        );
        for step in ["a", "b", "nobody"] {
            assert_eq!(request(&run.run, &run.def, step).unwrap_err().code, "NotOpen", "{step}");
        }
    }
}
