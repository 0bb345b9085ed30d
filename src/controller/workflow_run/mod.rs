//! Reconciles a WorkflowRun: the same four steps as a Workflow's, for one run that was asked for by name.
//!
//! The definition is looked up once: the object is pinned to what it was accepted with, also when its run starts later,
//! and a Workflow that changes or goes afterwards is nothing to it. One that takes up an earlier run again (`retry`) begins
//! with what that one did.

pub(crate) mod intent;
mod order;
mod retry;
mod status;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use self::intent::{Order, Source, Wish};
use self::status::Known;
use super::backoff::patience;
use super::key::{Key, Kind};
use super::run::pace::FIRST_LOOK;
use super::run::show;
use super::workflow::is_held;
use super::{Error, Next, Shared, expiry, seen};
use crate::api::v1alpha1::WorkflowRunStatus;
use crate::engine::Violation;
use crate::store::{self, Facts, FactsOf, Retrying, Submission};

/// Between two looks at a run that another object, or nobody, is told of.
const FOREIGN: Duration = Duration::from_secs(2);

type Seen = seen::Seen<WorkflowRunStatus>;

/// What a reconcile came to know.
enum Answer {
    /// How things are.
    Facts(Box<Facts>),
    /// This very call started the run: it is too early to look at it.
    JustStarted,
    /// The database has seen a newer generation than we have.
    Stale,
    /// The object cannot be run.
    Invalid(Vec<Violation>),
    /// There is no such Workflow.
    NoWorkflow,
    /// The Workflow cannot be run.
    BadWorkflow(Vec<Violation>),
    /// The Workflow starts no run now.
    Suspended,
    /// There is no such run to take up again, or none was started yet.
    NoRun,
    /// The run to take up again has not ended; what to do.
    NotEnded(String),
    /// That run cannot be taken up again.
    Refused {
        /// A CamelCase constant.
        reason: &'static str,
        /// What is in the way, and what to do.
        message: String,
    },
    /// We have not seen all Workflows yet, nor this one: nothing can be said of it.
    NotListed,
}

/// Brings one WorkflowRun nearer to what it asks for.
pub(super) async fn reconcile(shared: &Shared, key: &Key) -> Result<Next, Error> {
    let Some(seen) = shared.runs.get(key).and_then(Seen::of) else {
        return Ok(Next::Forget);
    };
    // Before the facts are read, so that they are at least as new.
    let changed = shared.unprojected.of(key);
    let mut wish = match seen.spec().and_then(|spec| intent::of(&seen.uid, &key.name, spec)) {
        Ok(wish) => wish,
        Err(violations) => return refuse(shared, key, &seen, &violations, changed).await,
    };
    let submitted = match retry::name(shared, key, &seen.uid, &mut wish).await {
        Ok(true) => submit(shared, key, &seen, &wish).await,
        // Nothing is to begin, or all has been said.
        Ok(false) if wish.desired.ends() || status::has_ended(&seen.status) => {
            Ok(Answer::Facts(Box::new(Facts::none(&seen.uid))))
        }
        Ok(false) => Ok(Answer::NoRun),
        Err(error) => Err(error),
    };
    let facts = match submitted {
        Ok(Answer::Facts(facts)) => facts,
        Ok(Answer::JustStarted | Answer::NotListed) => return Ok(Next::After(FIRST_LOOK.unsigned_abs())),
        Ok(Answer::Stale) => return Ok(Next::Soon),
        Ok(Answer::Invalid(violations)) => {
            return project(shared, key, &seen, Known::Invalid(&violations, None)).await;
        }
        Ok(Answer::NoWorkflow) => return await_other(shared, key, &seen, Known::NoWorkflow(wish.workflow())).await,
        Ok(Answer::BadWorkflow(violations)) => {
            return await_other(shared, key, &seen, Known::BadWorkflow(&violations)).await;
        }
        Ok(Answer::NoRun) => {
            let name = wish.retry.as_ref().map_or("", |retry| &*retry.name);
            return await_other(shared, key, &seen, Known::NoRun(name)).await;
        }
        Ok(Answer::NotEnded(message)) => return await_other(shared, key, &seen, Known::NotEnded(&message)).await,
        Ok(Answer::Refused { reason, message }) => {
            return project(shared, key, &seen, Known::Refused(reason, &message)).await;
        }
        Ok(Answer::Suspended) => return await_other(shared, key, &seen, Known::Suspended(wish.workflow())).await,
        Err(error) => {
            project(shared, key, &seen, Known::StoreUnavailable(&error.to_string())).await?;
            return Err(error.into());
        }
    };
    let next = project(shared, key, &seen, Known::Accepted(&wish, &facts)).await?;
    if !next.is_settled() {
        return Ok(next);
    }
    if status::is_foreign(&facts) {
        // Whoever it belongs to is told of it, and says what was shown.
        let goes_on = facts.wished.as_ref().is_some_and(|run| !run.phase.is_terminal());
        if goes_on && !status::is_over(&seen.status, &facts) {
            return Ok(Next::After(FOREIGN));
        }
    } else {
        shared
            .projected(key, changed, facts.run.iter().chain(&facts.wished))
            .await?;
    }
    // As it was written.
    match shared.runs.get(key).and_then(Seen::of) {
        Some(Seen { object, status, .. }) => {
            let ended_at = status::ended_at(&status, &facts);
            expiry::next(shared, key, &object, wish.ttl, ended_at).await
        }
        None => Ok(Next::Forget),
    }
}

/// Shows what is wrong with an object, and the run that it started before it was edited.
async fn refuse(
    shared: &Shared,
    key: &Key,
    seen: &Seen,
    violations: &[Violation],
    changed: Vec<(Uuid, i32)>,
) -> Result<Next, Error> {
    // By the object's UID: what it asks for is not known.
    let of = FactsOf {
        uid: seen.uid.clone(),
        namespace: key.namespace.to_string(),
        workflow: String::new(),
        start_key: None,
    };
    let facts = match shared.facts.ask(of).await {
        Ok(facts) => facts,
        Err(error) => {
            project(shared, key, seen, Known::Invalid(violations, None)).await?;
            return Err(error.into());
        }
    };
    let next = project(shared, key, seen, Known::Invalid(violations, Some(&facts))).await?;
    if next.is_settled() {
        shared.projected(key, changed, facts.run.iter()).await?;
    }
    Ok(next)
}

/// Hands in what the object asks for, unless the database knows it already.
async fn submit(shared: &Shared, key: &Key, seen: &Seen, wish: &Wish) -> Result<Answer, Arc<store::Error>> {
    let known = facts(shared, key, &seen.uid, wish).await?;
    match wants(wish, seen.generation, &seen.status, &known) {
        Wants::Nothing => return Ok(Answer::Facts(Box::new(known))),
        Wants::NewerObject => return Ok(Answer::Stale),
        Wants::Submission => {}
    }
    if let Some(other) = awaited(key, wish) {
        shared.waiting.add(key, &other);
    }
    let former = match retry::former(shared, key, wish, &known).await? {
        Ok(former) => former,
        Err(answer) => return Ok(answer),
    };
    let former = former.as_deref();
    let order = match order::order(&shared.workflows, key, wish, &known, former) {
        Ok(order) => order,
        Err(answer) => return Ok(answer),
    };
    let starts = wish.desired.starts() || known.run_row_missing;
    let work = match former.filter(|_| starts) {
        None => None,
        Some(former) => match retry::handover(shared, wish, &order, &known, former).await? {
            Ok(work) => work,
            Err(answer) => return Ok(answer),
        },
    };
    shared.waiting.remove(key);
    let counted_by = order::counted_by(&shared.workflows, key, wish, former);
    let submission = submission(key, seen, wish, order, &known, former, counted_by);
    let submitted = match work {
        None => shared.submit.ask(submission).await?,
        Some(work) => match shared.store.submit_retry(&submission, &work).await? {
            Some(submitted) => submitted,
            // Somebody was quicker, or retention was: the next look says who.
            None => return Ok(Answer::Stale),
        },
    };
    if submitted.stale {
        return Ok(Answer::Stale);
    }
    if submitted.started {
        let run = submitted.run.map(tracing::field::display);
        tracing::info!(workflow_run = %key, uid = seen.uid, run, workflow = wish.workflow(), "run started");
        return Ok(Answer::JustStarted);
    }
    let facts = facts(shared, key, &seen.uid, wish).await?;
    Ok(Answer::Facts(Box::new(facts)))
}

/// What the database lacks.
#[derive(Debug, PartialEq, Eq)]
enum Wants {
    /// Nothing: this object has been accepted as it is, or there is nothing to accept.
    Nothing,
    /// To be told of the object.
    Submission,
    /// It knows a newer generation than this one: ours is old news.
    NewerObject,
}

fn wants(wish: &Wish, generation: i64, status: &WorkflowRunStatus, facts: &Facts) -> Wants {
    let exists = facts.wished.is_some() || facts.run_row_missing;
    let is_over = status::is_over(status, facts);
    let Some(owner) = &facts.owner else {
        // A run that was cancelled before it was started needs no definition, and may have none.
        return match is_over || facts.retired || !exists && wish.desired.ends() {
            true => Wants::Nothing,
            false => Wants::Submission,
        };
    };
    if owner.generation > generation {
        return Wants::NewerObject;
    }
    let started = exists || facts.retired || !wish.desired.starts();
    let held = wish.desired.starts() && is_held_by_nobody(facts);
    let converged = owner.generation == generation && started && !facts.run_row_missing && !held;
    match is_over || converged {
        true => Wants::Nothing,
        false => Wants::Submission,
    }
}

/// Whether the object's own run is paused; one of somebody else takes no commands from here.
fn is_held_by_nobody(facts: &Facts) -> bool {
    !status::is_foreign(facts) && is_held(false, facts)
}

/// Whether the object's run was told to stand still, or stands still.
fn was_held(facts: &Facts) -> bool {
    let told = facts.owner.as_ref().is_some_and(|owner| owner.suspended);
    told || is_held_by_nobody(facts)
}

fn submission(
    key: &Key,
    seen: &Seen,
    wish: &Wish,
    order: Order,
    facts: &Facts,
    former: Option<&Retrying>,
    counted_by: Option<String>,
) -> Submission {
    let input = wish.input.as_ref().map(Value::to_string);
    let exists = facts.wished.is_some() || facts.run_row_missing;
    Submission {
        uid: seen.uid.clone(),
        kind: key.kind.as_str().to_owned(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        workflow: wish.workflow().to_owned(),
        generation: seen.generation,
        deletion_policy: wish.deletion_policy,
        retention: order.retention,
        suspended: wish.desired == intent::Desired::Paused,
        revision: order.revision,
        body: order.body,
        start: (exists || wish.desired.starts()).then(|| store::Start {
            start_key: wish.start_key.clone(),
            input: input.or_else(|| former?.input.clone()),
            trigger: "WorkflowRun".to_owned(),
            counted_by,
        }),
        only_when_idle: false,
        commands: wish.desired.commands(was_held(facts)),
    }
}

async fn facts(shared: &Shared, key: &Key, uid: &str, wish: &Wish) -> Result<Facts, Arc<store::Error>> {
    let of = FactsOf {
        uid: uid.to_owned(),
        namespace: key.namespace.to_string(),
        workflow: wish.workflow().to_owned(),
        start_key: Some(wish.start_key.clone()),
    };
    shared.facts.ask(of).await
}

/// Whose change may let the run begin.
fn awaited(key: &Key, wish: &Wish) -> Option<Key> {
    let other = |kind, name: &str| Some(Key::new(kind, &key.namespace, name));
    match (&wish.retry, &wish.source) {
        (Some(retry), _) => other(Kind::WorkflowRun, &retry.name),
        (None, Source::Workflow(name)) => other(Kind::Workflow, name),
        (None, Source::Inline { .. } | Source::Retried { .. }) => None,
    }
}

/// Shows why the run has not started, and looks again after a while, should no change of what it waits for wake us before.
async fn await_other(shared: &Shared, key: &Key, seen: &Seen, known: Known<'_>) -> Result<Next, Error> {
    let created = seen.object.metadata.creation_timestamp.as_ref().map(|at| at.0);
    let waited = created.and_then(|created| Duration::try_from(shared.store.now().duration_since(created)).ok());
    let waited = waited.unwrap_or_default();
    // Objects that were created together come in any order.
    if waited > FIRST_LOOK.unsigned_abs() {
        match project(shared, key, seen, known).await? {
            Next::Resync => {}
            next @ (Next::After(_) | Next::Soon | Next::Forget) => return Ok(next),
        }
    }
    Ok(Next::After(patience(waited)))
}

/// Writes the status that follows from what is known, when it is time, and tells what is new in it.
async fn project(shared: &Shared, key: &Key, seen: &Seen, known: Known<'_>) -> Result<Next, Error> {
    let now = shared.store.now();
    let next = status::of(&seen.status, seen.generation, known, now);
    if status::says_the_same(&seen.status, &next) {
        return Ok(Next::Resync);
    }
    let since = match known {
        Known::Accepted(_, facts) => facts.wished.as_ref().map(|run| run.created_at),
        Known::Invalid(..)
        | Known::NoWorkflow(_)
        | Known::BadWorkflow(_)
        | Known::Suspended(_)
        | Known::NoRun(_)
        | Known::NotEnded(_)
        | Known::Refused(..)
        | Known::StoreUnavailable(_) => None,
    };
    show::show(shared, key, seen, &next, since, now).await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::controller::workflow::fixtures::{REVISION, at, facts as facts_of, no_facts, run};
    use crate::engine::Phase;
    use crate::store::{DefinitionId, DeletionPolicy, OwnerFacts, Retention};

    pub(super) fn wish(desired: &str) -> Wish {
        let spec = json!({"workflowRef": {"name": "w"}, "desiredState": desired});
        intent::of("u", "r", &spec).unwrap()
    }

    pub(super) fn accepted(generation: i64, facts: Facts) -> Facts {
        let owner = OwnerFacts {
            generation,
            definition: DefinitionId(uuid::Uuid::nil()),
            revision: REVISION.to_owned(),
            deletion_policy: DeletionPolicy::Background,
            retention: Retention::default(),
            suspended: false,
            suspected_at: None,
            gone_at: None,
        };
        Facts {
            owner: Some(owner),
            ..facts
        }
    }

    #[test]
    fn converged_object_wants_nothing_and_every_difference_wants_something() {
        let live = |phase| facts_of(&run("r", phase));
        let lost = Facts {
            run_row_missing: true,
            ..no_facts()
        };
        let table = [
            ("never seen", "Running", no_facts(), Wants::Submission),
            ("never seen, and not to start", "Paused", no_facts(), Wants::Submission),
            ("ended before it was seen", "Cancelled", no_facts(), Wants::Nothing),
            ("ended before it was seen", "Terminated", no_facts(), Wants::Nothing),
            (
                "converged",
                "Running",
                accepted(2, live(Phase::Running)),
                Wants::Nothing,
            ),
            ("converged", "Paused", accepted(2, live(Phase::Paused)), Wants::Nothing),
            ("converged", "Paused", accepted(2, no_facts()), Wants::Nothing),
            (
                "to start at last",
                "Running",
                accepted(2, no_facts()),
                Wants::Submission,
            ),
            (
                "held by nobody",
                "Running",
                accepted(2, live(Phase::Paused)),
                Wants::Submission,
            ),
            (
                "new generation",
                "Running",
                accepted(1, live(Phase::Running)),
                Wants::Submission,
            ),
            (
                "new generation",
                "Cancelled",
                accepted(1, live(Phase::Running)),
                Wants::Submission,
            ),
            (
                "old news",
                "Running",
                accepted(3, live(Phase::Running)),
                Wants::NewerObject,
            ),
            ("row vanished", "Running", accepted(2, lost), Wants::Submission),
        ];
        for (name, desired, facts, expected) in table {
            let fresh = WorkflowRunStatus::default();
            assert_eq!(wants(&wish(desired), 2, &fresh, &facts), expected, "{name}, {desired}");
        }
    }

    #[test]
    fn paused_run_is_told_to_go_on_by_nobody_but_its_own_object() {
        let own = accepted(2, facts_of(&run("r", Phase::Paused)));
        let foreign = Facts {
            active: 0,
            ..own.clone()
        };
        let wants = |facts| wants(&wish("Running"), 2, &WorkflowRunStatus::default(), facts);
        assert_eq!((wants(&own), was_held(&own)), (Wants::Submission, true));
        assert_eq!((wants(&foreign), was_held(&foreign)), (Wants::Nothing, false));
    }

    #[test]
    fn object_that_has_ended_wants_no_other_run_when_its_start_is_forgotten() {
        let ended = status::of(
            &WorkflowRunStatus::default(),
            2,
            Known::Accepted(&wish("Running"), &facts_of(&run("r", Phase::Failed))),
            at(10),
        );
        for facts in [no_facts(), accepted(2, no_facts()), accepted(1, no_facts())] {
            assert_eq!(wants(&wish("Running"), 2, &ended, &facts), Wants::Nothing, "{facts:?}");
        }
        let news = accepted(3, no_facts());
        assert_eq!(wants(&wish("Running"), 2, &ended, &news), Wants::NewerObject);
    }
}
