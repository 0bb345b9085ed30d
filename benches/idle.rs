//! Start latency: on an idle system, from the moment at which a start is known to be committed until its first effect
//! arrives.

use std::time::Instant;

use everstep::{
    controller::workflow::intent::{self, Intent},
    store::{DeletionPolicy, Start, Submission},
};
use serde_json::{Value, json};
use tokio::time;

use crate::{
    Failure,
    database::Database,
    effects::{Effects, WARM_UP, gap, row},
    options::{Measure, Scenario},
    report::Row,
    say,
    server::Server,
    worker::Worker,
};

/// Measures as many starts as fit.
pub(crate) async fn measure(server: &mut Server, asked: &Measure) -> Result<Row, Failure> {
    let database = Database::create(server).await?;
    let mut effects = Effects::listen().await?;
    let spec = json!({"steps": [{"name": "first", "http": {"url": effects.url}}]});
    let worker = Worker::start(&database.url, 1000)?;
    say("idle: one start after another, from its commit to its first effect");
    let mut latencies = Vec::new();
    let mut number = 0;
    let mut end = Instant::now() + asked.duration();
    while number < WARM_UP || Instant::now() < end {
        if number == WARM_UP {
            end = Instant::now() + asked.duration();
        }
        time::sleep(gap(number)).await;
        database.store.submit(&[submission(number, &spec)?]).await?;
        let latency = effects.after(Instant::now()).await?;
        if number >= WARM_UP {
            latencies.push(latency);
        }
        number += 1;
    }
    worker.stop()?;
    database.drop(server).await?;
    say(format_args!("idle: {} starts", latencies.len()));
    Ok(row(Scenario::Idle, asked, latencies))
}

/// What the controller submits for a new Workflow with this spec.
pub(crate) fn submission(number: u32, spec: &Value) -> Result<Submission, Failure> {
    let uid = format!("bench-{number}");
    let intent: Intent =
        intent::of(&uid, spec).map_err(|violations| format!("the Workflow is invalid: {violations:?}"))?;
    let start_key = intent
        .start_key()
        .ok_or("the Workflow does not start by itself")?
        .to_owned();
    Ok(Submission {
        uid,
        kind: "Workflow".to_owned(),
        namespace: "bench".to_owned(),
        name: format!("idle-{number}"),
        workflow: format!("idle-{number}"),
        generation: 1,
        deletion_policy: DeletionPolicy::Background,
        retention: intent.retention,
        suspended: false,
        revision: intent.revision,
        body: intent.body,
        start: Some(Start {
            start_key,
            input: None,
            trigger: "OnApply".to_owned(),
            counted_by: None,
        }),
        only_when_idle: false,
        commands: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_is_another_object() {
        let spec = json!({"steps": [{"name": "first", "set": {}}]});
        let (one, other) = (submission(1, &spec).unwrap(), submission(2, &spec).unwrap());
        assert_ne!(one.start, other.start);
        assert_ne!(one.name, other.name);
    }
}
