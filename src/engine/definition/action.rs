//! The one action of a step: what each kind holds, and how it is read.

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    http, limits,
    reader::{Fields, Node},
    scope::{Place, Uses},
    valid_object_name,
};
use crate::engine::{
    formula::{Condition, Formula},
    request::{Expect, HttpTarget},
};

/// What a step does.
#[derive(Debug)]
pub(in crate::engine) enum Action {
    /// One statement.
    Sql(Sql),
    /// One request.
    Http(Http),
    /// Wait for so long.
    SleepFor(Duration),
    /// Wait until then.
    SleepUntil(Formula),
    /// Compute values.
    Set(Formula),
    /// End the run.
    Fail(Fail),
    /// Wait for a signal.
    WaitForSignal(Wait),
    /// Answered at once by the worker, for the benchmark.
    #[cfg(feature = "bench")]
    Noop,
}

/// A `sql` action.
#[derive(Debug)]
pub(in crate::engine) struct Sql {
    pub(in crate::engine) connection: String,
    pub(in crate::engine) query: String,
    pub(in crate::engine) args: Option<Formula>,
    pub(in crate::engine) read_only: bool,
    pub(in crate::engine) expect: Option<Expect>,
}

/// An `http` action.
#[derive(Debug)]
pub(in crate::engine) struct Http {
    pub(in crate::engine) target: HttpTarget,
    pub(in crate::engine) method: String,
    pub(in crate::engine) path_params: Option<Formula>,
    pub(in crate::engine) query: Option<Formula>,
    pub(in crate::engine) headers: Option<Formula>,
    pub(in crate::engine) body: Option<Formula>,
    pub(in crate::engine) success_when: Option<Condition>,
    pub(in crate::engine) repeatable: bool,
}

/// A `fail` action.
#[derive(Debug)]
pub(in crate::engine) struct Fail {
    pub(in crate::engine) code: String,
    pub(in crate::engine) message: Option<Formula>,
}

/// A `waitForSignal` action.
#[derive(Debug)]
pub(in crate::engine) struct Wait {
    pub(in crate::engine) signal: Arc<str>,
    pub(in crate::engine) timeout: Option<Duration>,
    /// `onTimeout: Continue`.
    pub(in crate::engine) may_time_out: bool,
}

/// Actions of the API that this release refuses.
const UNSUPPORTED: [&str; 6] = ["job", "parallel", "race", "forEach", "repeat", "call"];
/// Actions that a compensation can hold later than a step: what waits.
const WAITING: [&str; 2] = ["sleep", "waitForSignal"];

type Parse = fn(&Node<'_>, &mut Uses) -> Option<Action>;
const SUPPORTED: &[(&str, Parse)] = &[
    ("sql", sql),
    ("http", |node, uses| http::parse(node, uses).map(Action::Http)),
    ("sleep", sleep),
    ("waitForSignal", wait_for_signal),
    ("set", set),
    ("fail", fail),
    #[cfg(feature = "bench")]
    ("noop", noop),
];

/// Reads the action among a compensation's fields: exactly one, and none that waits.
pub(super) fn parse_undo(fields: &mut Fields<'_>, uses: &mut Uses) -> Option<Action> {
    for name in WAITING {
        fields.unsupported(name);
    }
    one_of("sql, http, set, fail", fields, uses)
}

/// Reads the action among a step's fields: exactly one.
pub(super) fn parse(fields: &mut Fields<'_>, uses: &mut Uses) -> Option<Action> {
    one_of("sql, http, sleep, waitForSignal, set, fail", fields, uses)
}

/// `names` are those that may be given.
fn one_of(names: &str, fields: &mut Fields<'_>, uses: &mut Uses) -> Option<Action> {
    let mut found = Vec::new();
    let mut action = None;
    for (name, parse) in SUPPORTED {
        if let Some(node) = fields.get(name) {
            found.push(*name);
            action = parse(&node, uses);
        }
    }
    for name in UNSUPPORTED {
        if let Some(node) = fields.get(name) {
            found.push(name);
            node.report("not supported yet");
        }
    }
    match found.as_slice() {
        [_] => action,
        [] => {
            fields.report(format!("has no action; give it exactly one of {names}"));
            None
        }
        several => {
            fields.report(format!(
                "has {} actions ({}); a step has exactly one",
                several.len(),
                several.join(", ")
            ));
            None
        }
    }
}

fn sql(node: &Node<'_>, uses: &mut Uses) -> Option<Action> {
    let mut fields = node.fields()?;
    let connection = fields
        .required("connection")
        .and_then(|connection| valid_object_name(&connection));
    let query = fields.required("query").and_then(|query| {
        let text = query.text(limits::QUERY_BYTES)?;
        if text.trim().is_empty() {
            query.report("must hold a statement");
        }
        Some(text)
    });
    let args = fields.get("args").and_then(|args| {
        let items = args.items()?;
        if items.len() > limits::ARGS {
            args.report(format!("has {} entries, more than {}", items.len(), limits::ARGS));
        }
        uses.formula(&args, Place::Step)
    });
    let read_only = fields
        .get("readOnly")
        .and_then(|read_only| read_only.boolean())
        .unwrap_or(false);
    let expect = fields.get("expect").and_then(|expect| expectation(&expect));
    fields.finish();
    Some(Action::Sql(Sql {
        connection: connection?.to_owned(),
        query: query?.to_owned(),
        args,
        read_only,
        expect,
    }))
}

fn expectation(node: &Node<'_>) -> Option<Expect> {
    let mut fields = node.fields()?;
    let min_rows = fields.get("minRows").and_then(|rows| rows.integer(0, 1_000_000));
    let max_rows = fields.get("maxRows").and_then(|rows| rows.integer(0, 1_000_000));
    let code = fields
        .get("code")
        .and_then(|code| code.text(limits::CODE_BYTES))
        .map(str::to_owned);
    if let (Some(min), Some(max)) = (min_rows, max_rows)
        && min > max
    {
        fields.report(format!("minRows {min} is more than maxRows {max}"));
    }
    fields.finish();
    Some(Expect {
        min_rows,
        max_rows,
        code,
    })
}

fn sleep(node: &Node<'_>, uses: &mut Uses) -> Option<Action> {
    let mut fields = node.fields()?;
    let length = fields.get("for");
    let until = fields.get("until");
    let action = match (length, until) {
        (Some(length), None) => length.duration().map(Action::SleepFor),
        (None, Some(until)) => instant(&until, uses).map(Action::SleepUntil),
        (None, None) => {
            fields.report("needs `for` (a duration) or `until` (a point in time)");
            None
        }
        (Some(_), Some(_)) => {
            fields.report("has both `for` and `until`; keep one");
            None
        }
    };
    fields.finish();
    action
}

/// A point in time: computed, or a literal that is checked now.
fn instant(node: &Node<'_>, uses: &mut Uses) -> Option<Formula> {
    let text = node.string()?;
    let formula = uses.formula(node, Place::Step)?;
    if formula.is_literal() && text.parse::<jiff::Timestamp>().is_err() {
        node.report(
            "is no point in time; write RFC 3339 as in 2026-11-23T09:00:00Z, or an expression that begins with `=`",
        );
        return None;
    }
    Some(formula)
}

fn set(node: &Node<'_>, uses: &mut Uses) -> Option<Action> {
    // Only for its report: the keys are the author's.
    node.fields()?;
    uses.formula(node, Place::Step).map(Action::Set)
}

fn fail(node: &Node<'_>, uses: &mut Uses) -> Option<Action> {
    let mut fields = node.fields()?;
    let code = fields.required("code").and_then(|code| code.text(limits::CODE_BYTES));
    let message = fields.get("message").and_then(|message| {
        message.string()?;
        uses.formula(&message, Place::Step)
    });
    fields.finish();
    Some(Action::Fail(Fail {
        code: code?.to_owned(),
        message,
    }))
}

fn wait_for_signal(node: &Node<'_>, _: &mut Uses) -> Option<Action> {
    let mut fields = node.fields()?;
    let signal = fields
        .required("signal")
        .and_then(|signal| signal.text(limits::SIGNAL_BYTES));
    let timeout = fields.get("timeout").and_then(|timeout| timeout.positive_duration());
    let may_time_out = fields
        .get("onTimeout")
        .is_some_and(|node| may_time_out(&node, fields.has("timeout")));
    fields.finish();
    Some(Action::WaitForSignal(Wait {
        signal: signal?.into(),
        timeout,
        may_time_out,
    }))
}

fn may_time_out(on_timeout: &Node<'_>, has_timeout: bool) -> bool {
    match on_timeout.string() {
        Some("Continue") if has_timeout => true,
        Some("Continue") => {
            on_timeout.report("`Continue` needs a `timeout`: without one the wait is for ever");
            false
        }
        Some("Fail") | None => false,
        Some(_) => {
            on_timeout.report("must be `Fail` or `Continue`");
            false
        }
    }
}

#[cfg(feature = "bench")]
fn noop(node: &Node<'_>, _: &mut Uses) -> Option<Action> {
    node.fields()?.finish();
    Some(Action::Noop)
}

impl Action {
    /// Repeating an attempt whose outcome is unknown is safe, or made safe by the step's key.
    pub(in crate::engine) fn is_repeatable(&self) -> bool {
        match self {
            Self::Http(http) => http.repeatable,
            Self::Sql(_)
            | Self::SleepFor(_)
            | Self::SleepUntil(_)
            | Self::WaitForSignal(_)
            | Self::Set(_)
            | Self::Fail(_) => true,
            #[cfg(feature = "bench")]
            Self::Noop => true,
        }
    }

    /// It is performed by a worker in attempts, which can be cut off and repeated.
    pub(super) fn has_attempts(&self) -> bool {
        match self {
            Self::Sql(_) | Self::Http(_) => true,
            Self::SleepFor(_) | Self::SleepUntil(_) | Self::WaitForSignal(_) | Self::Set(_) | Self::Fail(_) => false,
            #[cfg(feature = "bench")]
            Self::Noop => true,
        }
    }

    /// The formulas that are evaluated when the step begins, and again for the worker.
    pub(in crate::engine) fn formulas(&self) -> Vec<&Formula> {
        match self {
            Self::Sql(sql) => sql.args.iter().collect(),
            Self::Http(http) => [&http.path_params, &http.query, &http.headers, &http.body]
                .into_iter()
                .flatten()
                .collect(),
            Self::SleepUntil(formula) | Self::Set(formula) => vec![formula],
            Self::Fail(fail) => fail.message.iter().collect(),
            Self::SleepFor(_) | Self::WaitForSignal(_) => Vec::new(),
            #[cfg(feature = "bench")]
            Self::Noop => Vec::new(),
        }
    }

    /// The condition that judges the action's result.
    pub(in crate::engine) fn success_when(&self) -> Option<&Condition> {
        match self {
            Self::Http(http) => http.success_when.as_ref(),
            Self::Sql(_)
            | Self::SleepFor(_)
            | Self::SleepUntil(_)
            | Self::WaitForSignal(_)
            | Self::Set(_)
            | Self::Fail(_) => None,
            #[cfg(feature = "bench")]
            Self::Noop => None,
        }
    }
}

/// A literal object of values: its keys are never computed.
pub(super) fn object<'a>(node: &Node<'a>, uses: &mut Uses) -> Option<(Vec<&'a String>, Option<Formula>)> {
    let keys = match node.value {
        Value::Object(fields) => fields.keys().collect(),
        _ => {
            node.fields()?;
            Vec::new()
        }
    };
    Some((keys, uses.formula(node, Place::Step)))
}
