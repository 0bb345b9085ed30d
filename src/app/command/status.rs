//! What the status of a WorkflowRun says of its run. Pure.

use crate::{
    api::v1alpha1::{Condition, ConditionStatus, ConditionType, RunStatus, WorkflowRun},
    engine::Parking,
};

/// Whether its run has ended, or can never begin.
pub(super) fn has_ended(object: &WorkflowRun) -> bool {
    let is = |kind, status| condition(object, kind).is_some_and(|condition| condition.status == status);
    is_observed(object)
        && (is(ConditionType::Finished, ConditionStatus::True) || is(ConditionType::Accepted, ConditionStatus::False))
}

fn is_observed(object: &WorkflowRun) -> bool {
    let observed = object.status.as_ref().and_then(|status| status.observed_generation);
    observed.is_some() && observed == object.metadata.generation
}

/// Whether a compensation has failed for good, as of what the object says now.
pub(super) fn is_stuck(object: &WorkflowRun) -> bool {
    is_observed(object) && standstill(object) == Some(Parking::CompensationFailed)
}

/// What the object's run stands still for.
pub(super) fn standstill(object: &WorkflowRun) -> Option<Parking> {
    let stalled = condition(object, ConditionType::Stalled)?;
    Parking::parse(&stalled.reason).filter(|_| stalled.status == ConditionStatus::True)
}

fn condition(object: &WorkflowRun, kind: ConditionType) -> Option<&Condition> {
    let conditions = &object.status.as_ref()?.conditions;
    conditions.iter().find(|condition| condition.kind == kind)
}

/// Where the run stands, on a line.
pub(super) fn progress(name: &str, run: &RunStatus) -> String {
    let step = run
        .step
        .as_deref()
        .map_or_else(String::new, |step| format!(" at {step}"));
    let waiting = run
        .waiting_for
        .as_deref()
        .map_or_else(String::new, |what| format!(", waits for {what}"));
    let done = run
        .progress
        .as_deref()
        .map_or_else(String::new, |done| format!(", {done} done"));
    format!("{name}  {:?}{step}{waiting}{done}", run.phase)
}

/// How the object's run ended: a phase and why; or why there is none.
pub(super) fn ending(object: &WorkflowRun) -> (String, String) {
    if let Some(refused) = condition(object, ConditionType::Accepted)
        && refused.status == ConditionStatus::False
        // An edit that was refused takes nothing back.
        && condition(object, ConditionType::Finished).is_none()
    {
        return (refused.reason.clone(), refused.message.clone());
    }
    let ended = condition(object, ConditionType::Succeeded);
    let run = object.status.as_ref().and_then(|status| status.run.as_ref());
    let phase = match (run, ended) {
        (Some(run), _) => format!("{:?}", run.phase),
        (None, Some(ended)) => ended.reason.clone(),
        (None, None) => "Unknown".to_owned(),
    };
    let why = run.and_then(|run| run.error.as_ref()).map(|error| {
        let step = error
            .step
            .as_deref()
            .map_or_else(String::new, |step| format!("{step}: "));
        format!("{step}{}: {}", error.code, error.message)
    });
    let why = why.or_else(|| ended.map(|ended| ended.message.clone()));
    (phase, why.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(status: &serde_json::Value) -> WorkflowRun {
        let object = json!({"apiVersion": "everstep.dev/v1alpha1", "kind": "WorkflowRun",
            "metadata": {"name": "r", "generation": 2}, "spec": {"workflowRef": {"name": "w"}}, "status": status});
        serde_json::from_value(object).unwrap()
    }

    fn said(kind: &str, status: &str, reason: &str, message: &str) -> serde_json::Value {
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastTransitionTime": "2026-11-21T12:00:00Z"})
    }

    #[test]
    fn the_end_is_of_the_generation_that_is_there() {
        let finished = said("Finished", "True", "Failed", "");
        let of = |generation| {
            has_ended(&object(
                &json!({"observedGeneration": generation, "conditions": [finished]}),
            ))
        };
        assert!(!of(1) && of(2));
        let going = said("Finished", "False", "Running", "");
        assert!(!has_ended(&object(
            &json!({"observedGeneration": 2, "conditions": [going]})
        )));
        let invalid = said("Accepted", "False", "InvalidSpec", "spec.x: no");
        assert!(has_ended(&object(
            &json!({"observedGeneration": 2, "conditions": [invalid]})
        )));
    }

    #[test]
    fn an_ending_says_why() {
        let run = json!({"id": "i", "phase": "Failed", "error": {"step": "charge", "code": "DECLINED", "message": "no money"}});
        let failed = object(&json!({"observedGeneration": 2, "run": run}));
        let (phase, why) = ending(&failed);
        assert_eq!((&*phase, &*why), ("Failed", "charge: DECLINED: no money"));
        let invalid = object(&json!({"conditions": [said("Accepted", "False", "InvalidSpec", "spec.x: no")]}));
        assert_eq!(ending(&invalid), ("InvalidSpec".to_owned(), "spec.x: no".to_owned()));
        let run = json!({"id": "i", "phase": "Succeeded"});
        let refused = ["Accepted", "Finished"].map(|kind| match kind {
            "Accepted" => said(kind, "False", "InvalidSpec", "spec.x: no"),
            other => said(other, "True", "Succeeded", ""),
        });
        let edited_after_its_end = object(&json!({"run": run, "conditions": refused}));
        assert_eq!(ending(&edited_after_its_end).0, "Succeeded");
    }

    #[test]
    fn progress_is_a_line() {
        let run = json!({"id": "i", "phase": "Waiting", "step": "approval +1", "waitingFor": "signal approve", "progress": "2/5"});
        let object = object(&json!({ "run": run }));
        let run = object.status.unwrap().run.unwrap();
        assert_eq!(
            progress("r", &run),
            "r  Waiting at approval +1, waits for signal approve, 2/5 done"
        );
    }
}
