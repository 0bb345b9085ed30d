//! A step: its place in the order, how it is tried, and its one action.

use std::time::Duration;

use super::{
    List,
    action::{self, Action},
    reader::{Fields, Node},
    retry::{self, Written},
    scope::{Place, Uses},
    valid_name,
};
use crate::engine::{
    event::StepName,
    formula::{Condition, Formula},
    key::Deed,
    retry::Retry,
};

/// A compiled step. Positions are those in the definition's one list of steps.
#[derive(Debug)]
pub(in crate::engine) struct Step {
    pub(in crate::engine) name: StepName,
    pub(in crate::engine) list: List,
    pub(in crate::engine) needs: Vec<usize>,
    pub(in crate::engine) dependants: Vec<usize>,
    pub(in crate::engine) when: Option<Condition>,
    pub(in crate::engine) does: Work,
    pub(in crate::engine) output: Option<Formula>,
    pub(in crate::engine) continue_on_error: bool,
    pub(in crate::engine) undo: Option<Work>,
}

/// What is performed, and how it is tried: a step's own action, or its compensation.
#[derive(Debug)]
pub(in crate::engine) struct Work {
    pub(in crate::engine) action: Action,
    pub(in crate::engine) retry: Retry,
    /// Of one attempt.
    pub(in crate::engine) timeout: Duration,
}

impl Step {
    /// The step's own work, or its compensation if it has one.
    pub(in crate::engine) fn work(&self, deed: Deed) -> Option<&Work> {
        match deed {
            Deed::Do => Some(&self.does),
            Deed::Undo => self.undo.as_ref(),
        }
    }
}

/// A step as it is written; its order and its expressions' references are still to be checked.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) path: String,
    pub(super) name: Option<String>,
    pub(super) needs: Option<Vec<(String, String)>>,
    pub(super) uses: Uses,
    /// What the expressions of its compensation use.
    pub(super) undo_uses: Uses,
    /// Where its compensation stands, if it has one.
    pub(super) undo_path: Option<String>,
    does: Trial,
    when: Option<Condition>,
    output: Option<Formula>,
    continue_on_error: bool,
    undo: Option<Trial>,
}

/// [`Work`] as it is written.
#[derive(Debug)]
struct Trial {
    action: Option<Action>,
    retry: Written,
    timeout: Duration,
}

impl Default for Trial {
    fn default() -> Self {
        Self {
            action: None,
            retry: Written::default(),
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads one step of a list.
pub(super) fn parse(node: &Node<'_>) -> Draft {
    let mut draft = Draft {
        path: node.path.clone(),
        name: None,
        needs: None,
        uses: Uses::default(),
        undo_uses: Uses::default(),
        undo_path: None,
        does: Trial::default(),
        when: None,
        output: None,
        continue_on_error: false,
        undo: None,
    };
    let Some(mut fields) = node.fields() else { return draft };
    let uses = &mut draft.uses;
    draft.name = fields
        .required("name")
        .and_then(|name| valid_name(&name))
        .map(str::to_owned);
    draft.needs = fields.get("needs").and_then(|needs| {
        let names = needs.items()?;
        Some(
            names
                .iter()
                .filter_map(|name| Some((name.string()?.to_owned(), name.path.clone())))
                .collect(),
        )
    });
    draft.when = fields.get("when").and_then(|when| uses.condition(&when, Place::Step));
    draft.does.action = action::parse(&mut fields, uses);
    if let Some(node) = fields.get_value("output") {
        if matches!(draft.does.action, Some(Action::Fail(_))) {
            node.report("a `fail` step has no output");
        }
        draft.output = uses.formula(&node, Place::AfterAction);
    }
    draft.does.tried(&mut fields, uses);
    draft.continue_on_error = fields
        .get("continueOnError")
        .and_then(|node| node.boolean())
        .unwrap_or(false);
    if let Some(node) = fields.get("compensate") {
        if matches!(draft.does.action, Some(Action::Fail(_))) {
            node.report("a `fail` step never succeeds, so there is nothing to undo");
        }
        draft.undo = compensation(&node, &mut draft.undo_uses);
        draft.undo_path = Some(node.path);
    }
    fields.finish();
    draft
}

/// What undoes the step: an action, and how it is tried.
fn compensation(node: &Node<'_>, uses: &mut Uses) -> Option<Trial> {
    let mut fields = node.fields()?;
    let mut trial = Trial {
        action: action::parse_undo(&mut fields, uses),
        ..Trial::default()
    };
    trial.tried(&mut fields, uses);
    fields.finish();
    Some(trial)
}

impl Trial {
    fn tried(&mut self, fields: &mut Fields<'_>, uses: &mut Uses) {
        if let Some(node) = self.of_attempts(fields.get("retry")) {
            self.retry = retry::parse(&node, Place::StepRetry, uses);
        }
        let timeout = self.of_attempts(fields.get("timeout"));
        if let Some(timeout) = timeout.and_then(|timeout| timeout.positive_duration()) {
            self.timeout = timeout;
        }
    }

    /// A field that says something of attempts: beside an action that has none it would say nothing, and is refused.
    fn of_attempts<'a>(&self, node: Option<Node<'a>>) -> Option<Node<'a>> {
        let why = match &self.action {
            Some(Action::WaitForSignal(_)) => "a wait has none; how long it lasts is `waitForSignal.timeout`",
            Some(action) if !action.has_attempts() => "this action has none; remove it",
            Some(_) | None => return node,
        };
        node?.report(format!("is of attempts, and {why}"));
        None
    }

    fn finish(self, spec_retry: &Written) -> Option<Work> {
        Some(Work {
            action: self.action?,
            retry: retry::merge(&self.retry, spec_retry),
            timeout: self.timeout,
        })
    }
}

impl Draft {
    /// The step, of a draft without violations.
    pub(super) fn finish(self, list: List, needs: Vec<usize>, spec_retry: &Written) -> Option<Step> {
        Some(Step {
            name: StepName::from(self.name?),
            list,
            needs,
            dependants: Vec::new(),
            when: self.when,
            does: self.does.finish(spec_retry)?,
            output: self.output,
            continue_on_error: self.continue_on_error,
            undo: match self.undo {
                Some(undo) => Some(undo.finish(spec_retry)?),
                None => None,
            },
        })
    }
}
