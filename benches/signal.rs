//! Signal latency: on an idle system, from the moment at which a signal is known to be committed until the first effect
//! that it leads to. The run waits, parked: nobody has it in memory.

use std::time::Instant;

use everstep::store::{Posted, SignalWish, Store, Target};
use serde_json::json;
use tokio::time;

use crate::{
    Failure,
    database::Database,
    effects::{Effects, PATIENCE, WARM_UP, gap, row},
    idle::submission,
    options::{Measure, Scenario},
    report::Row,
    say,
    server::Server,
    worker::Worker,
};

/// Measures as many signals as fit.
pub(crate) async fn measure(server: &mut Server, asked: &Measure) -> Result<Row, Failure> {
    let mut database = Database::create(server).await?;
    let mut effects = Effects::listen().await?;
    let worker = Worker::start(&database.url, 1000)?;
    say("signal: one signal after another, from its commit to the effect that waited for it");
    let mut latencies = Vec::new();
    let mut number = 0;
    let mut end = Instant::now() + asked.duration();
    while number < WARM_UP || Instant::now() < end {
        if number == WARM_UP {
            end = Instant::now() + asked.duration();
        }
        wait_for(&mut database, number, &effects.url).await?;
        time::sleep(gap(number)).await;
        signal(&database.store, number).await?;
        let latency = effects.after(Instant::now()).await?;
        if number >= WARM_UP {
            latencies.push(latency);
        }
        number += 1;
    }
    worker.stop()?;
    database.drop(server).await?;
    say(format_args!("signal: {} signals", latencies.len()));
    Ok(row(Scenario::Signal, asked, latencies))
}

/// Starts a run that waits for a signal and then has an effect; returns when it is parked.
async fn wait_for(database: &mut Database, number: u32, url: &str) -> Result<(), Failure> {
    let spec = json!({"steps": [
        {"name": "wait", "waitForSignal": {"signal": "go"}},
        {"name": "effect", "http": {"url": url}}
    ]});
    let start = submission(number, &spec)?;
    database.store.submit(std::slice::from_ref(&start)).await?;
    let until = Instant::now() + PATIENCE;
    while !database.is_parked(&start.name).await? {
        if Instant::now() > until {
            return Err(format!("{} is not parked within {} s", start.name, PATIENCE.as_secs()).into());
        }
        time::sleep(std::time::Duration::from_millis(5)).await;
    }
    Ok(())
}

/// What the controller posts for a new Signal.
async fn signal(store: &Store, number: u32) -> Result<(), Failure> {
    let wish = SignalWish {
        uid: format!("signal-{number}"),
        namespace: "bench".to_owned(),
        name: format!("signal-{number}"),
        target: Target::Workflow(format!("idle-{number}")),
        signal: "go".to_owned(),
        payload: "{}".to_owned(),
        by: None,
        dedup_key: format!("signal-{number}"),
        generation: 1,
    };
    match store.post(&[wish]).await?.as_slice() {
        [Posted::Stored { .. }] => Ok(()),
        other => Err(format!("the signal was not stored: {other:?}").into()),
    }
}
