//! Effects that are waited for, one after the other, on an idle system: requests to a small server in this process.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle, time};

use crate::{
    Failure,
    options::{Measure, Scenario},
    report::{Row, percentile},
};

/// An effect that has not come by then never will.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Effects that are not counted: connections are opened, definitions compiled.
pub(crate) const WARM_UP: u32 = 5;
/// Between two causes, at least and at most: longer than a run lasts, and in no step with any poll.
const GAP_MS: std::ops::RangeInclusive<u64> = 50..=300;

/// The server; it ends when dropped.
pub(crate) struct Effects {
    /// Where the effects go.
    pub(crate) url: String,
    seen: mpsc::UnboundedReceiver<Instant>,
    answering: JoinHandle<std::io::Result<()>>,
}

impl Effects {
    pub(crate) async fn listen() -> Result<Self, Failure> {
        let (tell, seen) = mpsc::unbounded_channel();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let route = get(move || {
            // Whoever measured has gone: there is nobody to tell.
            let _ = tell.send(Instant::now());
            async { "" }
        });
        let answering = tokio::spawn(async move { axum::serve(listener, Router::new().route("/", route)).await });
        Ok(Self { url, seen, answering })
    }

    /// Waits for the next effect; how many milliseconds after `cause` it came.
    pub(crate) async fn after(&mut self, cause: Instant) -> Result<f64, Failure> {
        let effect = time::timeout(PATIENCE, self.seen.recv())
            .await
            .map_err(|_| format!("no effect within {} s", PATIENCE.as_secs()))?
            .ok_or("the server of the effects has ended")?;
        // A poll may find the cause before its commit is answered: then no time has passed.
        Ok(effect.saturating_duration_since(cause).as_secs_f64() * 1000.0)
    }
}

impl Drop for Effects {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// What was measured; the latencies are in milliseconds.
pub(crate) fn row(scenario: Scenario, asked: &Measure, mut latencies: Vec<f64>) -> Row {
    latencies.sort_by(f64::total_cmp);
    Row {
        scenario: scenario.as_str(),
        flush: asked.flush.as_str(),
        in_flight: 1,
        steps_per_run: 1,
        steps_per_second: None,
        p50_ms: percentile(&latencies, 0.5),
        p99_ms: percentile(&latencies, 0.99),
        yardstick_per_second: None,
        ratio: None,
        starts_per_second: None,
        protocol: None,
        payloads_per_second: None,
        finished: None,
    }
}

/// The same gaps in every measurement (a golden-ratio sequence: even, and in no rhythm).
pub(crate) fn gap(number: u32) -> Duration {
    let share = (f64::from(number) * 0.618_033_988_749_895).fract();
    let (least, most) = (*GAP_MS.start() as f64, *GAP_MS.end() as f64);
    Duration::from_secs_f64((least + share * (most - least)) / 1000.0)
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
}
