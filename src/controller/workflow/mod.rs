//! Reconciles a Workflow in four steps: read, submit, project, requeue. The same path for create, edit, resync and
//! repair.
//!
//! It owns nothing but the projection: it starts runs and writes status, and never appends to a journal.

#[cfg(test)]
pub(crate) mod fixtures;
pub mod intent;
mod status;

use std::sync::Arc;

use self::intent::Intent;
use self::status::Known;
use super::key::Key;
use super::run::pace::FIRST_LOOK;
use super::run::{show, verdict};
use super::{Error, Next, Shared, seen};
use crate::api::v1alpha1::WorkflowStatus;
use crate::engine::{Phase, Violation};
use crate::store::{self, Command, Facts, FactsOf, Submission};

type Seen = seen::Seen<WorkflowStatus>;

/// What the database answered.
enum Answer {
    /// How things are.
    Facts(Box<Facts>),
    /// This very call started the run: it is too early to look at it.
    JustStarted,
    /// The database has seen a newer generation than we have.
    Stale,
}

/// Brings one Workflow nearer to what it asks for.
pub(super) async fn reconcile(shared: &Shared, key: &Key) -> Result<Next, Error> {
    let Some(seen) = shared.workflows.get(key).and_then(Seen::of) else {
        return Ok(Next::Forget);
    };
    // Before the facts are read, so that they are at least as new.
    let changed = shared.unprojected.of(key);
    let intent = seen.spec().and_then(|spec| intent::of(&seen.uid, spec));
    let answer = match &intent {
        Ok(intent) => submit(shared, key, &seen, intent).await,
        Err(_) => facts(shared, key, &seen.uid, None).await.map(Answer::facts),
    };
    let facts = match answer {
        Ok(Answer::Facts(facts)) => facts,
        Ok(Answer::JustStarted) => return Ok(Next::After(FIRST_LOOK.unsigned_abs())),
        Ok(Answer::Stale) => return Ok(Next::Soon),
        Err(error) => {
            let why = error.to_string();
            let known = match &intent {
                Err(violations) => Known::Invalid(violations, None),
                Ok(_) => Known::StoreUnavailable(&why),
            };
            project(shared, key, &seen, known).await?;
            return Err(error.into());
        }
    };
    let next = project(shared, key, &seen, known(&intent, &facts)).await?;
    if next.is_settled() {
        shared
            .projected(key, changed, facts.run.iter().chain(&facts.wished))
            .await?;
    }
    Ok(next)
}

fn known<'a>(intent: &'a Result<Intent, Vec<Violation>>, facts: &'a Facts) -> Known<'a> {
    match intent {
        Ok(intent) => Known::Accepted(intent, facts),
        Err(violations) => Known::Invalid(violations, Some(facts)),
    }
}

/// Hands in what the object asks for, unless the database knows it already.
async fn submit(shared: &Shared, key: &Key, seen: &Seen, intent: &Intent) -> Result<Answer, Arc<store::Error>> {
    let mut tell = commands(intent.suspend, None);
    // Nobody has looked at the object yet, so it is news: a question less.
    if seen
        .status
        .observed_generation
        .is_some_and(|generation| generation >= 0)
    {
        let facts = facts(shared, key, &seen.uid, Some(intent)).await?;
        match wants(intent, seen.generation, &facts) {
            Wants::Nothing => return Ok(Answer::facts(facts)),
            Wants::NewerObject => return Ok(Answer::Stale),
            Wants::Submission => tell = commands(intent.suspend, Some(&facts)),
        }
    }
    let submitted = shared.submit.ask(submission(key, seen, intent, tell)).await?;
    if submitted.stale {
        return Ok(Answer::Stale);
    }
    if submitted.started {
        let run = submitted.run.map(tracing::field::display);
        tracing::info!(workflow = %key, uid = seen.uid, run, revision = intent.revision, "run started");
        return Ok(Answer::JustStarted);
    }
    facts(shared, key, &seen.uid, Some(intent)).await.map(Answer::facts)
}

/// What the database lacks.
#[derive(Debug, PartialEq, Eq)]
enum Wants {
    /// Nothing: this object has been accepted as it is.
    Nothing,
    /// To be told of the object.
    Submission,
    /// It knows a newer generation than this one: ours is old news.
    NewerObject,
}

fn wants(intent: &Intent, generation: i64, facts: &Facts) -> Wants {
    let Some(owner) = &facts.owner else {
        return Wants::Submission;
    };
    if owner.generation > generation {
        return Wants::NewerObject;
    }
    let known = owner.generation == generation && owner.revision == intent.revision;
    let goes_on = facts.run.as_ref().is_some_and(|run| !run.phase.is_terminal());
    let started = intent.start_key().is_none() || facts.wished.is_some() || facts.retired || goes_on;
    let converged = match intent.suspend {
        // Nothing starts meanwhile, nor again.
        true => !facts.unpaused,
        false => started && !facts.run_row_missing && !is_held(false, facts),
    };
    match known && converged {
        true => Wants::Nothing,
        false => Wants::Submission,
    }
}

/// Whether the live run is paused though nobody wants that any more: a replica with older news may have been first.
pub(super) fn is_held(wanted: bool, facts: &Facts) -> bool {
    let held = |run: &store::RunFacts| run.phase == Phase::Paused && verdict::standstill(run).is_none();
    !wanted && facts.run.as_ref().is_some_and(held)
}

/// What the live run is to be told, so that it does what `pause` says. One that was never told otherwise need not be
/// told to go on.
pub(super) fn commands(pause: bool, facts: Option<&Facts>) -> Vec<Command> {
    let told = |facts: &Facts| facts.owner.as_ref().is_some_and(|owner| owner.suspended);
    if pause {
        vec![Command::Pause]
    } else if facts.is_some_and(|facts| told(facts) || is_held(pause, facts)) {
        vec![Command::Resume]
    } else {
        Vec::new()
    }
}

fn submission(key: &Key, seen: &Seen, intent: &Intent, commands: Vec<Command>) -> Submission {
    Submission {
        uid: seen.uid.clone(),
        kind: key.kind.as_str().to_owned(),
        namespace: key.namespace.to_string(),
        name: key.name.to_string(),
        workflow: key.name.to_string(),
        generation: seen.generation,
        deletion_policy: intent.deletion_policy,
        retention: intent.retention,
        suspended: intent.suspend,
        revision: intent.revision.clone(),
        body: intent.body.clone(),
        start: intent
            .start_key()
            .filter(|_| !intent.suspend)
            .map(|start_key| store::Start {
                start_key: start_key.to_owned(),
                input: None,
                trigger: "OnApply".to_owned(),
                counted_by: None,
            }),
        only_when_idle: true,
        commands,
    }
}

async fn facts(shared: &Shared, key: &Key, uid: &str, intent: Option<&Intent>) -> Result<Facts, Arc<store::Error>> {
    let of = FactsOf {
        uid: uid.to_owned(),
        namespace: key.namespace.to_string(),
        workflow: key.name.to_string(),
        start_key: intent.and_then(Intent::start_key).map(str::to_owned),
    };
    shared.facts.ask(of).await
}

/// Writes the status that follows from what is known, when it is time, and tells what is new in it.
async fn project(shared: &Shared, key: &Key, seen: &Seen, known: Known<'_>) -> Result<Next, Error> {
    let now = shared.store.now();
    let next = status::of(&seen.status, seen.generation, known, now);
    let since = match known {
        Known::Accepted(intent, facts) => status::began(&intent.start, facts),
        Known::Invalid(..) | Known::StoreUnavailable(_) => None,
    };
    if status::says_the_same(&seen.status, &next) {
        return Ok(Next::Resync);
    }
    show::show(shared, key, seen, &next, since, now).await
}

impl Answer {
    fn facts(facts: Facts) -> Self {
        Self::Facts(Box::new(facts))
    }
}

#[cfg(test)]
mod tests {
    use super::fixtures::{REVISION, facts as facts_of, intent, no_facts, run};
    use super::*;
    use crate::engine::Phase;
    use crate::store::{DeletionPolicy, OwnerFacts};

    fn owner(generation: i64, revision: &str) -> Option<OwnerFacts> {
        Some(OwnerFacts {
            generation,
            definition: store::DefinitionId(uuid::Uuid::nil()),
            revision: revision.to_owned(),
            deletion_policy: DeletionPolicy::Background,
            retention: store::Retention::default(),
            suspended: false,
            suspected_at: None,
            gone_at: None,
        })
    }

    #[test]
    fn converged_object_wants_nothing_and_every_difference_wants_something() {
        let ended = facts_of(&run("r", Phase::Succeeded));
        let live = Facts {
            run: Some(run("old", Phase::Running)),
            ..no_facts()
        };
        let here = owner(2, REVISION);
        let table = [
            ("never seen", no_facts(), Wants::Submission),
            (
                "converged",
                Facts {
                    owner: here.clone(),
                    ..ended.clone()
                },
                Wants::Nothing,
            ),
            (
                "new generation",
                Facts {
                    owner: owner(1, REVISION),
                    ..ended.clone()
                },
                Wants::Submission,
            ),
            (
                "old news",
                Facts {
                    owner: owner(3, REVISION),
                    ..ended.clone()
                },
                Wants::NewerObject,
            ),
            (
                "waits for the earlier run",
                Facts {
                    owner: here.clone(),
                    ..live
                },
                Wants::Nothing,
            ),
            (
                "the earlier run has ended",
                Facts {
                    owner: here.clone(),
                    ..no_facts()
                },
                Wants::Submission,
            ),
            (
                "retired",
                Facts {
                    owner: here.clone(),
                    retired: true,
                    ..no_facts()
                },
                Wants::Nothing,
            ),
            (
                "row vanished",
                Facts {
                    owner: here,
                    run_row_missing: true,
                    ..ended
                },
                Wants::Submission,
            ),
        ];
        for (name, facts, expected) in table {
            assert_eq!(wants(&intent(), 2, &facts), expected, "{name}");
        }
    }

    #[test]
    fn suspended_object_is_handed_in_again_for_runs_that_were_not_told_and_for_nothing_else() {
        let suspended = Intent {
            suspend: true,
            ..intent()
        };
        let told = |facts| Facts {
            owner: owner(2, REVISION),
            ..facts
        };
        let lost = Facts {
            run_row_missing: true,
            ..no_facts()
        };
        for facts in [no_facts(), lost, facts_of(&run("r", Phase::Running))] {
            let facts = told(facts);
            assert_eq!(wants(&suspended, 2, &facts), Wants::Nothing, "{facts:?}");
            assert_eq!(wants(&suspended, 3, &facts), Wants::Submission, "{facts:?}");
            let unpaused = Facts {
                unpaused: true,
                ..facts
            };
            assert_eq!(wants(&suspended, 2, &unpaused), Wants::Submission);
        }
    }

    #[test]
    fn definition_on_demand_wants_no_run() {
        let intent = Intent {
            start: intent::Start::OnDemand,
            ..intent()
        };
        let facts = Facts {
            owner: owner(2, REVISION),
            ..no_facts()
        };
        assert_eq!(wants(&intent, 2, &facts), Wants::Nothing);
    }
}
