//! `everstep signal`.

use std::pin::pin;

use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher::watch_object};
use serde_json::{Map, Value, json};

use super::{
    super::Failure,
    find::find,
    follow, input, print, print_awaited, print_end, print_made,
    reach::{self, Cluster},
    say, start,
    target::Target,
    way::{no_object_of, way, without},
};
use crate::{
    api::v1alpha1::{
        Condition, ConditionStatus, ConditionType, Signal, SignalSpec, SignalTarget, Workflow, WorkflowRun,
    },
    cli::people::{self, Via},
    show::printable,
};

/// Sends a signal to a run.
pub(in crate::app) async fn signal(options: people::Signal) -> Result<(), Failure> {
    let target = Target::parse(&options.target).map_err(Failure::Configuration)?;
    let payload = input::object(&options.payloads).map_err(Failure::Configuration)?;
    match way(&options.reach, Some(&target))? {
        Via::Sql => by_function(&options, &target, payload).await,
        Via::Object => by_object(&options, &target, payload).await,
    }
}

async fn by_function(
    options: &people::Signal,
    target: &Target,
    payload: Option<Map<String, Value>>,
) -> Result<(), Failure> {
    without(
        "--by",
        options.by.is_some(),
        "in PostgreSQL it is always your role that says it",
    )?;
    without(
        "--key",
        options.key.is_some(),
        "name the run by its id, or go by --via object",
    )?;
    without(
        "--expires-after",
        options.expires_after.is_some(),
        "in PostgreSQL the run has to be there",
    )?;
    without(
        "--wait",
        options.wait,
        "what became of a signal is told by its object: go by --via object",
    )?;
    let namespace = reach::namespace(&options.reach.place.cluster).await?;
    let mut surface = reach::surface(&options.reach.place.database).await?;
    let run = find(&mut surface, &namespace, target).await?;
    let payload = Value::Object(payload.unwrap_or_default()).to_string();
    let answer = surface
        .signal(run.id, &options.signal, &payload, options.dedup_key.as_deref())
        .await?;
    if answer == "DuplicateDiffers" {
        return Err(Failure::Broken(format!(
            "run {} has a signal with this --dedup-key already, and it says something else: this one was not stored",
            run.id
        )));
    }
    let stored = if answer == "Duplicate" {
        "stored before"
    } else {
        "stored"
    };
    print_made(
        options.output,
        &format!("signal {} to run {}: {stored}", options.signal, run.id),
        &run.id.to_string(),
        &json!({"run": run.id, "answer": answer}),
    )
}

async fn by_object(
    options: &people::Signal,
    target: &Target,
    payload: Option<Map<String, Value>>,
) -> Result<(), Failure> {
    let cluster = Cluster::reach(&options.reach.place.cluster).await?;
    let target = aim(&cluster, target, options.key.as_deref()).await?;
    let whom = target.workflow.as_deref().or(target.run.as_deref()).unwrap_or_default();
    let object = Signal {
        metadata: start::named(None, &stem(whom, &options.signal)),
        spec: SignalSpec {
            target,
            signal: options.signal.clone(),
            payload,
            by: options.by.clone(),
            dedup_key: options.dedup_key.clone(),
            expires_after: options.expires_after.clone(),
            ttl_after_finished: None,
        },
        status: None,
    };
    let made: Signal = cluster.create(&object).await?;
    let name = made.metadata.name.clone().unwrap_or_default();
    let called = format!("signal.everstep.dev/{name}");
    let line = format!("{called} created");
    if !options.wait {
        return print_made(options.output, &line, &called, &made);
    }
    print_awaited(options.output, &line, &called)?;
    let (signal, fate) = follow::patiently(options.timeout, settled(&cluster, &name)).await?;
    print_end(options.output, &signal)?;
    match fate {
        Fate::Consumed => {
            let step = signal.status.and_then(|status| status.step);
            let step = step.map_or_else(String::new, |step| format!(" by step {step}"));
            if options.output.is_none() {
                print(&format!("{called} consumed{step}\n"))?;
            }
            Ok(())
        }
        Fate::SaidBefore => {
            if options.output.is_none() {
                print(&format!("{called} was sent before under this key\n"))?;
            }
            Ok(())
        }
        Fate::Lost(why) => Err(Failure::RunFailed(format!("{called} {why}"))),
    }
}

/// A bare name is a Workflow's, unless there is only a WorkflowRun of that name.
async fn aim(cluster: &Cluster, target: &Target, key: Option<&str>) -> Result<SignalTarget, Failure> {
    let workflow = |name: &str| SignalTarget {
        workflow: Some(name.to_owned()),
        key: key.map(str::to_owned),
        run: None,
    };
    let run = |name: &str| SignalTarget {
        run: Some(name.to_owned()),
        ..SignalTarget::default()
    };
    let no_key = || {
        without(
            "--key",
            key.is_some(),
            "it is a Workflow's run that a key finds: say ewf/NAME",
        )
    };
    match target {
        Target::Workflow(name) => Ok(workflow(name)),
        Target::Object(name) => no_key().map(|()| run(name)),
        Target::Id(id) => Err(no_object_of(*id)),
        Target::Name(name) if key.is_some() => Ok(workflow(name)),
        Target::Name(name) => match (
            cluster.get::<Workflow>(name).await?.is_some(),
            cluster.get::<WorkflowRun>(name).await?.is_some(),
        ) {
            (true, false) => Ok(workflow(name)),
            (false, true) => Ok(run(name)),
            (true, true) => Err(Failure::Configuration(format!(
                "{name} is a Workflow and a WorkflowRun: say ewf/{name} or erun/{name}"
            ))),
            (false, false) => {
                say(&format!(
                    "There is no Workflow {name} in namespace {} yet; the signal is kept until --expires-after.",
                    cluster.namespace
                ));
                Ok(workflow(name))
            }
        },
    }
}

/// What became of a signal.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// A step has it.
    Consumed,
    /// Another one said the same under the same key.
    SaidBefore,
    /// No step will ever have it.
    Lost(String),
}

/// The Signal when nothing about it changes any more.
async fn settled(cluster: &Cluster, name: &str) -> Result<(Signal, Fate), Failure> {
    let mut seen = pin!(watch_object(cluster.api::<Signal>(), name).default_backoff());
    while let Some(signal) = seen.next().await {
        match signal {
            Ok(Some(signal)) => {
                if let Some(fate) = fate(&signal) {
                    return Ok((signal, fate));
                }
            }
            Ok(None) => {
                return Err(Failure::RunFailed(format!(
                    "signal.everstep.dev/{name} was deleted; if it was stored, it is still delivered"
                )));
            }
            Err(error) => {
                if let Some(error) = follow::final_answer(&error) {
                    return Err(cluster.failure(error));
                }
            }
        }
    }
    Err(Failure::Broken("the watch of the API server ended".to_owned()))
}

fn fate(signal: &Signal) -> Option<Fate> {
    let conditions = &signal.status.as_ref()?.conditions;
    let of = |kind| conditions.iter().find(|condition: &&Condition| condition.kind == kind);
    let consumed = of(ConditionType::Consumed)?;
    match consumed.status {
        ConditionStatus::True => Some(Fate::Consumed),
        ConditionStatus::Unknown => None,
        ConditionStatus::False => {
            let is_well = of(ConditionType::Ready).is_some_and(|ready| ready.status == ConditionStatus::True);
            if is_well {
                return Some(Fate::SaidBefore);
            }
            let why = format!("{}: {}", consumed.reason, consumed.message);
            Some(Fate::Lost(printable(&why)))
        }
    }
}

/// The beginning of a name that the API server takes, whatever the signal is called.
fn stem(whom: &str, signal: &str) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let words = signal.to_ascii_lowercase();
    let words: Vec<&str> = words.split(|c| !fits(c)).filter(|word| !word.is_empty()).collect();
    let whom: String = whom.chars().take(150).collect();
    let stem = format!("{}-{}", whom.trim_end_matches('.'), words.join("-"));
    stem.chars()
        .take(200)
        .collect::<String>()
        .trim_end_matches('-')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_signal_gives_a_name_that_the_api_server_takes() {
        for (whom, signal, expected) in [
            ("order-1042", "approve", "order-1042-approve"),
            ("order", "Manager Approved!", "order-manager-approved"),
            ("order", "✓", "order"),
            ("a.b", "x_y", "a.b-x-y"),
        ] {
            assert_eq!(stem(whom, signal), expected);
        }
        assert!(stem(&"a".repeat(253), &"b".repeat(253)).len() <= 200);
    }

    fn with(conditions: &[(&str, &str, &str)]) -> Signal {
        let conditions: Vec<Value> = conditions
            .iter()
            .map(|(kind, status, reason)| {
                json!({"type": kind, "status": status, "reason": reason, "message": "m",
                    "lastTransitionTime": "2026-11-21T12:00:00Z"})
            })
            .collect();
        let object = json!({"apiVersion": "everstep.dev/v1alpha1", "kind": "Signal", "metadata": {"name": "s"},
            "spec": {"target": {"run": "r"}, "signal": "go"}, "status": {"conditions": conditions}});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn a_signal_is_waited_for_until_nothing_changes_any_more() {
        assert_eq!(fate(&with(&[])), None);
        assert_eq!(fate(&with(&[("Stored", "Unknown", "TargetNotFound")])), None);
        let buffered = [
            ("Stored", "True", "Stored"),
            ("Consumed", "Unknown", "Buffered"),
            ("Ready", "True", "Stored"),
        ];
        assert_eq!(fate(&with(&buffered)), None);
        assert_eq!(fate(&with(&[("Consumed", "True", "Consumed")])), Some(Fate::Consumed));
        let lost = [("Consumed", "False", "Rejected"), ("Ready", "False", "Rejected")];
        assert_eq!(fate(&with(&lost)), Some(Fate::Lost("Rejected: m".to_owned())));
        let hostile = [("Consumed", "False", "\u{9b}2J")];
        assert_eq!(fate(&with(&hostile)), Some(Fate::Lost("\u{fffd}2J: m".to_owned())));
        let again = [("Consumed", "False", "Duplicate"), ("Ready", "True", "Duplicate")];
        assert_eq!(fate(&with(&again)), Some(Fate::SaidBefore));
    }
}
