//! From spec-shaped JSON to a [`Definition`], or to all [`Violation`]s at once. Not what a definition does: `decide`.

mod action;
mod duration;
mod http;
mod limits;
mod needs;
mod params;
mod reader;
mod retry;
mod scope;
mod sight;
mod step;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, time::Duration};

use serde_json::{Map, Value};

pub(super) use action::{Action, Fail, Http, Sql, Wait};
pub use duration::parse as parse_duration;
pub(super) use limits::{VALUE_BYTES, VALUE_DEPTH, is_shallow, json_bytes};
pub use reader::Violation;
pub(super) use step::{Step, Work};

use self::{
    needs::{Order, Ordered},
    params::Param,
    reader::{Fields, Node, Sink},
    scope::{Place, Uses},
    sight::{Everywhere, find},
    step::Draft,
};
use super::{event::StepName, formula::Formula, key::Deed};

/// The attempt timeout of a step that does not exist: the default.
const NO_SUCH_STEP_TIMEOUT: Duration = Duration::from_secs(60);

/// A compiled revision of a Workflow: immutable, shared by all its runs.
#[derive(Debug)]
pub struct Definition {
    /// The main list, then `finally`.
    steps: Vec<Step>,
    main: usize,
    positions: HashMap<StepName, usize>,
    output: Option<Formula>,
    input: Value,
    params: Vec<Param>,
    timeout: Option<Duration>,
    on_failure: OnFailure,
}

/// What a failure of the main list leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnFailure {
    /// What was done is undone, and the run fails.
    Compensate,
    /// The run stands still until somebody retries or cancels it.
    Pause,
}

/// The list that a step belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    Main,
    Finally,
}

impl Definition {
    /// Compiles the fields that define the work ([`BODY_FIELDS`](super::BODY_FIELDS)), as the user wrote them.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of reading; at most about a hundred entries. Paths begin with `spec`.
    pub fn compile(body: &Value) -> Result<Self, Vec<Violation>> {
        let sink = Sink::default();
        let definition = read(body, &sink);
        match definition {
            Some(definition) if sink.is_empty() => Ok(definition),
            _ => Err(sink.into_violations()),
        }
    }

    /// The input of a run that brings none; an empty object when the definition has none either.
    pub fn default_input(&self) -> &Value {
        &self.input
    }

    /// Everything in an input that contradicts `params`; paths begin with `input`.
    pub fn check_input(&self, input: &Value) -> Vec<Violation> {
        params::check(&self.params, input)
    }

    /// How long one attempt of a step, or of its compensation, may take.
    pub fn attempt_timeout(&self, step: &str, deed: Deed) -> Duration {
        let work = self.step(step).and_then(|step| step.work(deed));
        work.map_or(NO_SUCH_STEP_TIMEOUT, |work| work.timeout)
    }

    /// How long a run may take, if there is a bound.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Names of all steps: the main list, then `finally`.
    pub fn step_names(&self) -> impl Iterator<Item = &StepName> {
        self.steps.iter().map(|step| &step.name)
    }

    pub(super) fn position(&self, step: &str) -> Option<usize> {
        self.positions.get(step).copied()
    }

    pub(super) fn step(&self, step: &str) -> Option<&Step> {
        self.steps.get(self.position(step)?)
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Positions of a list's steps.
    pub(super) fn range(&self, list: List) -> std::ops::Range<usize> {
        match list {
            List::Main => 0..self.main,
            List::Finally => self.main..self.steps.len(),
        }
    }

    pub(super) fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    pub(super) fn output(&self) -> Option<&Formula> {
        self.output.as_ref()
    }
}

fn read(body: &Value, sink: &Sink) -> Option<Definition> {
    let root = Node::root(body, "spec", sink);
    if !is_shallow(body, VALUE_DEPTH) {
        root.report(format!("is nested deeper than {VALUE_DEPTH} levels"));
        return None;
    }
    if json_bytes(body) > limits::BODY_BYTES {
        root.report(format!("is larger than {} KiB", limits::BODY_BYTES / 1024));
        return None;
    }
    if let Some(path) = limits::zero_character(body, "spec") {
        sink.report(
            path,
            "holds the character U+0000, which PostgreSQL cannot store; remove it",
        );
        return None;
    }
    let mut fields = root.fields()?;
    let mut drafts = [
        read_list(&mut fields, "steps", true)?,
        read_list(&mut fields, "finally", false)?,
    ];
    let count = drafts[0].len() + drafts[1].len();
    if count > limits::STEPS {
        root.report(format!("has {count} steps, more than {}", limits::STEPS));
        return None;
    }
    let mut uses = Uses::default();
    let output = fields
        .get_value("output")
        .and_then(|node| uses.formula(&node, Place::RunOutput));
    let input = fields.get_value("input");
    if let Some(input) = &input
        && json_bytes(input.value) > VALUE_BYTES
    {
        input.report(format!("is larger than {} KiB", VALUE_BYTES / 1024));
    }
    let input = input.map_or(Value::Null, |node| node.value.clone());
    let params = fields
        .get("params")
        .map(|node| params::parse(&node))
        .unwrap_or_default();
    let timeout = fields.get("timeout").and_then(|timeout| timeout.positive_duration());
    let mut retry_uses = Uses::default();
    let retry = fields
        .get("retry")
        .map(|node| retry::parse(&node, Place::SpecRetry, &mut retry_uses))
        .unwrap_or_default();
    fields.unsupported("blocks");
    let on_failure = fields.get("onFailure").and_then(|node| on_failure(&node));
    fields.finish();

    check_names(&drafts, sink);
    let orders = [order(&drafts[0], &drafts[1], sink), order(&drafts[1], &drafts[0], sink)];
    sight::check_steps(&drafts, &orders, sink);
    let everything = Everywhere { main: &drafts[0] };
    scope::check(&uses, &everything, sink);
    scope::check(&retry_uses, &everything, sink);
    if !sink.is_empty() {
        return None;
    }
    let main = drafts[0].len();
    let [main_order, finally_order] = orders;
    let main_drafts = std::mem::take(&mut drafts[0])
        .into_iter()
        .zip(main_order.direct)
        .map(|(d, n)| (List::Main, d, n));
    let shifted = finally_order
        .direct
        .into_iter()
        .map(|needs| needs.into_iter().map(|need| main + need).collect());
    let finally_drafts = std::mem::take(&mut drafts[1])
        .into_iter()
        .zip(shifted)
        .map(|(d, n)| (List::Finally, d, n));
    let steps = link(
        main_drafts
            .chain(finally_drafts)
            .map(|(list, draft, needs)| draft.finish(list, needs, &retry)),
    )?;
    Some(Definition {
        main,
        positions: steps
            .iter()
            .enumerate()
            .map(|(i, step)| (step.name.clone(), i))
            .collect(),
        steps,
        output,
        input: if input.is_null() {
            Value::Object(Map::new())
        } else {
            input
        },
        params,
        timeout,
        on_failure: on_failure.unwrap_or(OnFailure::Compensate),
    })
}

fn on_failure(node: &Node<'_>) -> Option<OnFailure> {
    match node.string()? {
        "Compensate" => Some(OnFailure::Compensate),
        "Pause" => Some(OnFailure::Pause),
        _ => {
            node.report("must be `Compensate` or `Pause`");
            None
        }
    }
}

fn read_list(fields: &mut Fields<'_>, name: &'static str, required: bool) -> Option<Vec<Draft>> {
    let node = if required {
        fields.required(name)
    } else {
        fields.get(name)
    };
    let Some(node) = node else { return Some(Vec::new()) };
    let items = node.items().unwrap_or_default();
    if required && items.is_empty() && node.value.is_array() {
        node.report("must hold at least one step");
    }
    if items.len() > limits::STEPS_PER_LIST {
        node.report(format!(
            "has {} steps, more than {}",
            items.len(),
            limits::STEPS_PER_LIST
        ));
        return None;
    }
    Some(items.iter().map(step::parse).collect())
}

/// A name belongs to one step of the whole definition.
fn check_names(drafts: &[Vec<Draft>; 2], sink: &Sink) {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for draft in drafts.iter().flatten() {
        if let Some(name) = &draft.name
            && let Some(first) = seen.insert(name, &draft.path)
        {
            sink.report(
                format!("{}.name", draft.path),
                format!("`{name}` is also the name of {first}"),
            );
            seen.insert(name, first);
        }
    }
}

fn order(list: &[Draft], other: &[Draft], sink: &Sink) -> Order {
    let ordered: Vec<Ordered<'_>> = list
        .iter()
        .map(|draft| Ordered {
            // A step without a name has been reported; nobody can need it.
            name: draft.name.as_deref().unwrap_or(""),
            needs: draft.needs.as_deref(),
            path: &draft.path,
        })
        .collect();
    let elsewhere = |name: &str| find(other, name).is_some();
    needs::resolve(&ordered, elsewhere, &mut |path, message| sink.report(path, message))
}

/// Gives each step its dependants.
fn link(steps: impl Iterator<Item = Option<Step>>) -> Option<Vec<Step>> {
    let mut steps: Vec<Step> = steps.collect::<Option<_>>()?;
    for i in 0..steps.len() {
        for need in steps[i].needs.clone() {
            steps[need].dependants.push(i);
        }
    }
    Some(steps)
}

/// A name that is a CEL identifier.
fn valid_name<'a>(node: &Node<'a>) -> Option<&'a str> {
    let name = node.string()?;
    let mut bytes = name.bytes();
    let valid = name.len() <= 63
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !valid {
        node.report("must be a letter followed by at most 62 letters, digits or underscores");
        return None;
    }
    Some(name)
}

/// The name of a Kubernetes object (RFC 1123 subdomain).
fn valid_object_name<'a>(node: &Node<'a>) -> Option<&'a str> {
    let name = node.string()?;
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        node.report("must be the name of an object in this namespace: lower-case letters, digits, `-` and `.`");
        return None;
    }
    Some(name)
}
