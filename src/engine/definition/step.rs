//! A step: its place in the order, how it is tried, and its one action.

use std::time::Duration;

use super::{
    List,
    action::{self, Action},
    reader::Node,
    retry::{self, Written},
    scope::{Place, Uses},
    valid_name,
};
use crate::engine::{
    event::StepName,
    formula::{Condition, Formula},
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
    pub(in crate::engine) action: Action,
    pub(in crate::engine) output: Option<Formula>,
    pub(in crate::engine) retry: Retry,
    pub(in crate::engine) timeout: Duration,
    pub(in crate::engine) continue_on_error: bool,
}

/// A step as it is written; its order and its expressions' references are still to be checked.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) path: String,
    pub(super) name: Option<String>,
    pub(super) needs: Option<Vec<(String, String)>>,
    pub(super) uses: Uses,
    pub(super) retry: Written,
    when: Option<Condition>,
    action: Option<Action>,
    output: Option<Formula>,
    timeout: Duration,
    continue_on_error: bool,
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads one step of a list.
pub(super) fn parse(node: &Node<'_>) -> Draft {
    let mut draft = Draft {
        path: node.path.clone(),
        name: None,
        needs: None,
        uses: Uses::default(),
        retry: Written::default(),
        when: None,
        action: None,
        output: None,
        timeout: DEFAULT_TIMEOUT,
        continue_on_error: false,
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
    draft.action = action::parse(&mut fields, uses);
    if let Some(node) = fields.get_value("output") {
        if matches!(draft.action, Some(Action::Fail(_))) {
            node.report("a `fail` step has no output");
        }
        draft.output = uses.formula(&node, Place::AfterAction);
    }
    if let Some(node) = fields.get("retry") {
        draft.retry = retry::parse(&node, Place::StepRetry, uses);
    }
    if let Some(timeout) = fields.get("timeout").and_then(|timeout| timeout.positive_duration()) {
        draft.timeout = timeout;
    }
    draft.continue_on_error = fields
        .get("continueOnError")
        .and_then(|node| node.boolean())
        .unwrap_or(false);
    fields.unsupported("compensate");
    fields.finish();
    draft
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
            action: self.action?,
            output: self.output,
            retry: retry::merge(&self.retry, spec_retry),
            timeout: self.timeout,
            continue_on_error: self.continue_on_error,
        })
    }
}
