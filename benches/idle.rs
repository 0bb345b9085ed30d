//! Start latency: on an idle system, from the moment at which a start is known to be committed until its first effect
//! arrives, which is a request to a small server in this process.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use everstep::{
    controller::workflow::intent::{self, Intent},
    store::{DeletionPolicy, Start, Store, Submission},
};
use serde_json::json;
use tokio::{net::TcpListener, sync::mpsc, time};

use crate::{
    Failure,
    database::Database,
    options::{Measure, Scenario},
    report::{Row, percentile},
    say,
    server::Server,
    worker::Worker,
};

/// An effect that has not come by then never will.
const PATIENCE: Duration = Duration::from_secs(30);
/// Starts that are not counted: connections are opened, definitions compiled.
const WARM_UP: u32 = 5;
/// Between two starts, at least and at most: longer than a run lasts, and in no step with any poll.
const GAP_MS: std::ops::RangeInclusive<u64> = 50..=300;

/// Measures as many starts as fit.
pub(crate) async fn measure(server: &mut Server, asked: &Measure) -> Result<Row, Failure> {
    let database = Database::create(server).await?;
    let (seen, mut effects) = mpsc::unbounded_channel();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}/", listener.local_addr()?);
    let route = get(move || {
        // Whoever measured has gone: there is nobody to tell.
        let _ = seen.send(Instant::now());
        async { "" }
    });
    let answering = tokio::spawn(async move { axum::serve(listener, Router::new().route("/", route)).await });

    let worker = Worker::start(&database.url, 1000)?;
    say("idle: one start after another, from its commit to its first effect");
    let latencies = latencies(&database.store, &url, &mut effects, asked.duration()).await?;
    worker.stop()?;
    answering.abort();
    database.drop(server).await?;
    say(format_args!("idle: {} starts", latencies.len()));
    Ok(Row {
        scenario: Scenario::Idle.as_str(),
        flush: asked.flush.as_str(),
        in_flight: 1,
        steps_per_run: 1,
        steps_per_second: None,
        p50_ms: percentile(&latencies, 0.5),
        p99_ms: percentile(&latencies, 0.99),
        yardstick_per_second: None,
        ratio: None,
        starts_per_second: None,
        payloads_per_second: None,
        finished: None,
    })
}

/// In milliseconds, sorted.
async fn latencies(
    store: &Store,
    url: &str,
    effects: &mut mpsc::UnboundedReceiver<Instant>,
    duration: Duration,
) -> Result<Vec<f64>, Failure> {
    let mut latencies = Vec::new();
    let mut number = 0;
    let mut end = Instant::now() + duration;
    while number < WARM_UP || Instant::now() < end {
        if number == WARM_UP {
            end = Instant::now() + duration;
        }
        time::sleep(gap(number)).await;
        let start = submission(number, url)?;
        store.submit(&[start]).await?;
        let committed = Instant::now();
        let effect = time::timeout(PATIENCE, effects.recv())
            .await
            .map_err(|_| format!("no effect within {} s", PATIENCE.as_secs()))?
            .ok_or("the server of the effects has ended")?;
        if number >= WARM_UP {
            // A poll may find the run before its commit is answered: then no time has passed.
            latencies.push(effect.saturating_duration_since(committed).as_secs_f64() * 1000.0);
        }
        number += 1;
    }
    latencies.sort_by(f64::total_cmp);
    Ok(latencies)
}

/// The same gaps in every measurement (a golden-ratio sequence: even, and in no rhythm).
fn gap(number: u32) -> Duration {
    let share = (f64::from(number) * 0.618_033_988_749_895).fract();
    let (least, most) = (*GAP_MS.start() as f64, *GAP_MS.end() as f64);
    Duration::from_secs_f64((least + share * (most - least)) / 1000.0)
}

/// What the controller submits for a new Workflow of one HTTP step.
fn submission(number: u32, url: &str) -> Result<Submission, Failure> {
    let uid = format!("bench-{number}");
    let spec = json!({"steps": [{"name": "first", "http": {"url": url}}]});
    let intent: Intent =
        intent::of(&uid, &spec).map_err(|violations| format!("the Workflow is invalid: {violations:?}"))?;
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
        }),
        only_when_idle: false,
        commands: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_stay_within_bounds_and_differ() {
        let gaps: Vec<Duration> = (0..100).map(gap).collect();
        assert!(
            gaps.iter()
                .all(|gap| GAP_MS.contains(&u64::try_from(gap.as_millis()).unwrap()))
        );
        assert!(gaps.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn every_start_is_another_object() {
        let (one, other) = (
            submission(1, "http://127.0.0.1:1/").unwrap(),
            submission(2, "http://127.0.0.1:1/").unwrap(),
        );
        assert_ne!(one.start, other.start);
        assert_ne!(one.name, other.name);
    }
}
