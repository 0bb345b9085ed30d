//! Runs that ended, by namespace, Workflow and phase: as many series as are bearable, however many names there are.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::engine::{Phase, Run};

/// Series of their own at most: each costs memory here, and more in whatever scrapes it.
const SERIES: usize = 2_000;
/// Namespace and Workflow of whatever came after these.
const OTHER: &str = "other";

/// Totals. Counting takes a lock that nobody else wants but a scrape, once a run.
#[derive(Debug, Default)]
pub struct Finished(Mutex<Totals>);

/// How many runs ended so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Their namespace.
    pub namespace: String,
    /// Their Workflow; of a WorkflowRun with a definition of its own, its name.
    pub workflow: String,
    /// The terminal phase.
    pub phase: Phase,
    /// How many.
    pub runs: u64,
}

#[derive(Debug, Default)]
struct Totals {
    /// By namespace, then by Workflow.
    own: HashMap<String, HashMap<String, Vec<(Phase, u64)>>>,
    series: usize,
    other: Vec<(Phase, u64)>,
}

impl Finished {
    /// All of them, in no order.
    pub fn get(&self) -> Vec<Ended> {
        let totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = totals.own.iter().flat_map(|(namespace, workflows)| {
            let of = move |(workflow, phases): (&String, &Vec<_>)| ended(namespace, workflow, phases);
            workflows.iter().flat_map(of)
        });
        own.chain(ended(OTHER, OTHER, &totals.other)).collect()
    }

    /// One more.
    pub(super) fn run(&self, run: &Run) {
        let of = run.origin();
        self.add(&of.namespace, &of.workflow, run.phase());
    }

    fn add(&self, namespace: &str, workflow: &str, phase: Phase) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        totals.add(namespace, workflow, phase);
    }
}

impl Totals {
    fn add(&mut self, namespace: &str, workflow: &str, phase: Phase) {
        let known = self.own.get_mut(namespace).and_then(|all| all.get_mut(workflow));
        if let Some(phases) = known
            && let Some((_, runs)) = phases.iter_mut().find(|(known, _)| *known == phase)
        {
            *runs += 1;
            return;
        }
        let phases = if self.series < SERIES {
            self.series += 1;
            let workflows = self.own.entry(namespace.to_owned()).or_default();
            workflows.entry(workflow.to_owned()).or_default()
        } else {
            &mut self.other
        };
        match phases.iter_mut().find(|(known, _)| *known == phase) {
            Some((_, runs)) => *runs += 1,
            None => phases.push((phase, 1)),
        }
    }
}

fn ended(namespace: &str, workflow: &str, phases: &[(Phase, u64)]) -> Vec<Ended> {
    let of = |&(phase, runs)| Ended {
        namespace: namespace.to_owned(),
        workflow: workflow.to_owned(),
        phase,
        runs,
    };
    phases.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(all: &'a [Ended], namespace: &str, workflow: &str) -> Vec<(&'a Phase, u64)> {
        let mut found: Vec<_> = all
            .iter()
            .filter(|ended| ended.namespace == namespace && ended.workflow == workflow)
            .map(|ended| (&ended.phase, ended.runs))
            .collect();
        found.sort_by_key(|(phase, _)| phase.as_str());
        found
    }

    #[test]
    fn runs_are_counted_by_namespace_workflow_and_phase() {
        let finished = Finished::default();
        for (namespace, workflow, phase) in [
            ("shop", "order", Phase::Succeeded),
            ("shop", "order", Phase::Failed),
            ("shop", "order", Phase::Succeeded),
            ("shop", "refund", Phase::Succeeded),
            ("billing", "order", Phase::Succeeded),
        ] {
            finished.add(namespace, workflow, phase);
        }
        let all = finished.get();
        assert_eq!(of(&all, "shop", "order"), [(&Phase::Failed, 1), (&Phase::Succeeded, 2)]);
        assert_eq!(of(&all, "shop", "refund"), [(&Phase::Succeeded, 1)]);
        assert_eq!(of(&all, "billing", "order"), [(&Phase::Succeeded, 1)]);
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn of_10_000_namespaces_and_names_the_first_2_000_series_are_kept_apart_and_none_is_lost() {
        let finished = Finished::default();
        let count = |n: u32| {
            let phase = if n.is_multiple_of(2) {
                Phase::Succeeded
            } else {
                Phase::Failed
            };
            finished.add(&format!("namespace-{n}"), &format!("workflow-{n}"), phase);
        };
        (0..10_000).for_each(count);
        // Known ones go on being counted apart, also now.
        (0..10).for_each(count);
        // A further phase of a known one is a further series.
        finished.add("namespace-0", "workflow-0", Phase::Cancelled);

        let all = finished.get();
        assert_eq!(all.len(), SERIES + 3);
        assert_eq!(all.iter().map(|ended| ended.runs).sum::<u64>(), 10_011);
        assert_eq!(of(&all, "namespace-0", "workflow-0"), [(&Phase::Succeeded, 2)]);
        assert_eq!(of(&all, "namespace-1999", "workflow-1999"), [(&Phase::Failed, 1)]);
        assert_eq!(
            of(&all, OTHER, OTHER),
            [
                (&Phase::Cancelled, 1),
                (&Phase::Failed, 4_000),
                (&Phase::Succeeded, 4_000)
            ]
        );
    }
}
