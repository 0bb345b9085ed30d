//! WorkflowRuns that could not begin because of their Workflow, which tells them nothing of itself: they are looked at
//! again when its watch shows a change.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::key::Key;

/// Who waits for which Workflow.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// WorkflowRuns by Workflow.
    runs: HashMap<Key, HashSet<Key>>,
    /// Workflows by WorkflowRun.
    workflows: HashMap<Key, Key>,
}

impl Waiting {
    /// `run` is about to look at `workflow`: whoever changes it from now on finds the run here.
    pub(crate) fn add(&self, run: &Key, workflow: &Key) {
        let mut state = self.lock();
        state.runs.entry(workflow.clone()).or_default().insert(run.clone());
        // A WorkflowRun of the same name may have waited for another one.
        match state.workflows.insert(run.clone(), workflow.clone()) {
            Some(earlier) if earlier != *workflow => state.leave(run, &earlier),
            Some(_) | None => {}
        }
    }

    /// `run` waits no more.
    pub(crate) fn remove(&self, run: &Key) {
        let mut state = self.lock();
        if let Some(workflow) = state.workflows.remove(run) {
            state.leave(run, &workflow);
        }
    }

    /// All that wait for `workflow`, which has changed.
    pub(crate) fn of(&self, workflow: &Key) -> Vec<Key> {
        let state = self.lock();
        state.runs.get(workflow).into_iter().flatten().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn leave(&mut self, run: &Key, workflow: &Key) {
        if let Some(runs) = self.runs.get_mut(workflow) {
            runs.remove(run);
            if runs.is_empty() {
                self.runs.remove(workflow);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::Kind;
    use super::*;

    #[test]
    fn who_waits_is_found_by_its_workflow_until_it_leaves() {
        let waiting = Waiting::default();
        let [a, b] = ["a", "b"].map(|name| Key::new(Kind::WorkflowRun, "n", name));
        let [v, w] = ["v", "w"].map(|name| Key::new(Kind::Workflow, "n", name));
        for _ in 0..2 {
            waiting.add(&a, &v);
        }
        waiting.add(&b, &v);
        let mut found = waiting.of(&v);
        found.sort();
        assert_eq!(found, [a.clone(), b.clone()]);
        assert!(waiting.of(&w).is_empty());
        waiting.add(&b, &w);
        assert_eq!((waiting.of(&v), waiting.of(&w)), (vec![a.clone()], vec![b.clone()]));
        for run in [&a, &b, &b] {
            waiting.remove(run);
        }
        let state = waiting.lock();
        assert!(state.runs.is_empty() && state.workflows.is_empty(), "{state:?}");
    }
}
