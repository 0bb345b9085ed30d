//! What a WorkflowRun runs: the definition that it was accepted with, or else what its Workflow says now; and whether it
//! may begin. Reads the cached Workflows, and nothing else.

use std::sync::Arc;

use kube::api::DynamicObject;
use serde_json::Value;

use super::Answer;
use super::intent::{self, Order, Source, Wish};
use crate::controller::cache::Cache;
use crate::controller::key::{Key, Kind};
use crate::controller::workflow;
use crate::engine::Definition;
use crate::store::{Facts, Retrying};

/// Stands for a definition that the database has.
pub(super) const UNREAD: &str = "null";

/// What to run: what was accepted before, or else what the definition says now; of a run that takes up an earlier one
/// again perhaps what that one did.
pub(super) fn order(
    workflows: &Cache,
    key: &Key,
    wish: &Wish,
    facts: &Facts,
    former: Option<&Retrying>,
) -> Result<Order, Answer> {
    let accepted = facts.owner.as_ref();
    let pinned = facts
        .wished
        .as_ref()
        .map(|run| &run.revision)
        .or_else(|| accepted.map(|owner| &owner.revision));
    let found = find(workflows, key, wish, former);
    let order = match (pinned, found) {
        (None, found) => found?,
        (Some(revision), Ok(order)) if order.revision == *revision => order,
        (Some(revision), Ok(_) | Err(_)) => Order {
            revision: revision.clone(),
            // The definition is in the database, since a run of it is, and this is not read.
            body: UNREAD.to_owned(),
            retention: accepted.map(|owner| owner.retention).unwrap_or_default(),
        },
    };
    match begins(wish, facts) && is_suspended(workflows, key, wish)? {
        true => Err(Answer::Suspended),
        false => Ok(order),
    }
}

/// Whether the object's run is still to be started.
fn begins(wish: &Wish, facts: &Facts) -> bool {
    let exists = facts.wished.is_some() || facts.run_row_missing;
    wish.desired.starts() && !exists && !facts.retired
}

/// Whether the Workflow that the run would be one of starts none.
fn is_suspended(workflows: &Cache, key: &Key, wish: &Wish) -> Result<bool, Answer> {
    let workflow = match &wish.source {
        Source::Inline { .. } => None,
        Source::Workflow(name) => look_up(workflows, key, name)?,
        // It is perhaps not of a Workflow at all, and then there is none of that name.
        Source::Retried { workflow } => look_up(workflows, key, workflow)?,
    };
    Ok(workflow.is_some_and(|workflow| workflow.data.get("spec").is_some_and(workflow::intent::is_suspended)))
}

/// The Workflow of that name; none: there is no such Workflow, which only a complete list can say.
fn look_up(workflows: &Cache, key: &Key, name: &str) -> Result<Option<Arc<DynamicObject>>, Answer> {
    // Before the object is looked for: what completes the list brings it, too.
    let is_complete = workflows.is_complete();
    match workflows.get(&Key::new(Kind::Workflow, &key.namespace, name)) {
        None if !is_complete => Err(Answer::NotListed),
        found => Ok(found),
    }
}

/// UID of the Workflow whose status counts the run: the one that is referred to, or that counted the earlier run.
pub(super) fn counted_by(workflows: &Cache, key: &Key, wish: &Wish, former: Option<&Retrying>) -> Option<String> {
    match &wish.source {
        Source::Inline { .. } => None,
        Source::Workflow(name) => {
            let workflow = workflows.get(&Key::new(Kind::Workflow, &key.namespace, name))?;
            workflow.metadata.uid.clone()
        }
        Source::Retried { .. } => former?.counted_by.clone(),
    }
}

fn find(workflows: &Cache, key: &Key, wish: &Wish, former: Option<&Retrying>) -> Result<Order, Answer> {
    let work = match &wish.source {
        Source::Retried { .. } => return as_before(wish, former.ok_or(Answer::NoRun)?),
        Source::Inline { .. } => intent::work(&wish.source, &Value::Null).map_err(Answer::Invalid)?,
        Source::Workflow(name) => {
            let workflow = look_up(workflows, key, name)?.ok_or(Answer::NoWorkflow)?;
            let spec = workflow.data.get("spec").unwrap_or(&Value::Null);
            intent::work(&wish.source, spec).map_err(Answer::BadWorkflow)?
        }
    };
    let ordered = match former {
        Some(former) if wish.input.is_none() && !former.origin.input.is_null() => {
            let input = Some(former.origin.input.clone());
            Wish { input, ..wish.clone() }.order(work)
        }
        Some(_) | None => wish.order(work),
    };
    ordered.map_err(Answer::Invalid)
}

/// The definition of the earlier run: the database has it, and what it was accepted with is right for its input.
fn as_before(wish: &Wish, former: &Retrying) -> Result<Order, Answer> {
    if let Some(input) = &wish.input {
        let body: Value = serde_json::from_str(&former.body).unwrap_or_default();
        let definition = Definition::compile(&body).map_err(Answer::BadWorkflow)?;
        let violations = definition.check_input(input);
        if !violations.is_empty() {
            return Err(Answer::Invalid(
                violations.into_iter().map(intent::within_spec).collect(),
            ));
        }
    }
    Ok(Order {
        revision: former.origin.revision.clone(),
        body: former.body.clone(),
        retention: former.retention,
    })
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::super::tests::{accepted, wish};
    use super::*;
    use crate::controller::cache::Listing;
    use crate::controller::lenient::Lenient;
    use crate::controller::workflow::fixtures::{facts as facts_of, no_facts, run};
    use crate::engine::Phase;

    fn workflows(spec: Option<Value>) -> Cache {
        let (cache, mut listing) = (Cache::new(Kind::Workflow, 1), Listing::default());
        if let Some(spec) = spec {
            let object = json!({
                "apiVersion": "everstep.dev/v1alpha1", "kind": "Workflow",
                "metadata": {"namespace": "n", "name": "w", "uid": "1", "generation": 1}, "spec": spec,
            });
            let object = Lenient(serde_json::from_value(object).unwrap());
            cache.apply(Event::InitApply(object), None, &mut listing);
        }
        cache
    }

    fn listed(spec: Option<Value>) -> Cache {
        let cache = workflows(spec);
        cache.apply(Event::InitDone, None, &mut Listing::default());
        cache
    }

    fn ordered(workflows: &Cache, desired: &str, facts: &Facts) -> Result<Order, Answer> {
        order(
            workflows,
            &Key::new(Kind::WorkflowRun, "n", "r"),
            &wish(desired),
            facts,
            None,
        )
    }

    #[test]
    fn suspended_workflow_holds_the_runs_that_were_not_started_and_no_others() {
        let suspended = workflows(Some(json!({"suspend": true, "steps": [{"name": "a", "set": {}}]})));
        let lost = Facts {
            run_row_missing: true,
            ..no_facts()
        };
        for facts in [no_facts(), accepted(1, no_facts())] {
            let answer = ordered(&suspended, "Running", &facts);
            assert!(matches!(answer, Err(Answer::Suspended)), "{facts:?}");
            assert!(ordered(&suspended, "Paused", &facts).is_ok(), "it does not begin");
        }
        for facts in [facts_of(&run("r", Phase::Running)), accepted(2, lost)] {
            assert!(ordered(&suspended, "Running", &facts).is_ok(), "{facts:?}");
        }
        let resumed = workflows(Some(json!({"suspend": false, "steps": [{"name": "a", "set": {}}]})));
        assert!(ordered(&resumed, "Running", &no_facts()).is_ok());
        let broken = workflows(Some(json!({"suspend": true, "steps": []})));
        let answer = ordered(&broken, "Running", &no_facts());
        assert!(
            matches!(answer, Err(Answer::BadWorkflow(_))),
            "what is wrong comes first"
        );
    }

    #[test]
    fn workflow_is_missing_when_all_were_listed_and_not_before() {
        let pinned = accepted(1, no_facts());
        let order = |workflows: &Cache, facts: &Facts| ordered(workflows, "Running", facts);
        assert!(matches!(order(&workflows(None), &no_facts()), Err(Answer::NotListed)));
        assert!(matches!(order(&listed(None), &no_facts()), Err(Answer::NoWorkflow)));
        // What to run is known, and whether it may begin is not.
        assert!(matches!(order(&workflows(None), &pinned), Err(Answer::NotListed)));
        assert!(order(&listed(None), &pinned).is_ok());
        let here = Some(json!({"steps": [{"name": "a", "set": {}}]}));
        assert!(
            order(&workflows(here), &no_facts()).is_ok(),
            "it need not wait for the others"
        );
        let going_on = facts_of(&run("r", Phase::Running));
        assert!(order(&workflows(None), &going_on).is_ok());
    }
}
