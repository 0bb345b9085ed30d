//! Steps per second: a worker with a backlog that is never empty, so that it always has as many runs in flight as it may.
//!
//! ```text
//! first worker, small backlog: how fast about? ─▶ backlog for all of the measurement ─▶ second worker
//!                                          warm-up │◀─── measured ───▶│ yardstick
//! ```
//! Inside the measured time: claim, load, every decision and its append, finish, sweeps, heartbeat. Outside: the starts,
//! which are one bulk insert beforehand.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    Failure,
    database::{Database, Settled, Window},
    options::{Measure, Scenario},
    report::Row,
    say,
    server::Server,
    worker::Worker,
    yardstick::{self, Batch},
};

/// Runs for the first worker, which lasts for [`PROBE`] at any speed that two cores are known to reach.
const PROBE_RUNS: u64 = 60_000;
const PROBE: Duration = Duration::from_secs(2);
/// From the second worker's first claim until measuring begins: caches are filled, connections open.
const WARM_UP: Duration = Duration::from_secs(2);
/// A backlog larger than the first worker's speed asks for: a worker alone is slower than a warm one.
const RESERVE: f64 = 1.6;
/// How often a measurement is repeated whose backlog did not last.
const TRIES: u32 = 3;
/// How long a worker may take until its first claim.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures with so many runs in flight, and then the yardstick in the same server.
pub(crate) async fn measure(server: &mut Server, asked: &Measure, in_flight: u32) -> Result<Row, Failure> {
    let mut database = Database::create(server).await?;
    let settled = settle(&mut database, asked, in_flight).await?;
    let batch = Batch::of(&settled, asked.steps, in_flight);
    say(format_args!(
        "{in_flight} in flight: {:.0} steps/s in commits of {:.1} rows; now the yardstick",
        settled.steps_per_second(),
        settled.batch()
    ));
    if asked.statements {
        for line in database.costliest().await? {
            say(line);
        }
    }
    let yardstick = yardstick::measure(server, &mut database, batch, asked.duration()).await?;
    database.drop(server).await?;
    Ok(Row {
        scenario: Scenario::Steps.as_str(),
        flush: asked.flush.as_str(),
        in_flight,
        steps_per_run: asked.steps,
        steps_per_second: Some(settled.steps_per_second()),
        p50_ms: settled.p50_ms,
        p99_ms: settled.p99_ms,
        yardstick_per_second: Some(yardstick),
        ratio: Some(settled.steps_per_second() / yardstick),
        starts_per_second: None,
        protocol: None,
        payloads_per_second: None,
        finished: None,
    })
}

async fn settle(database: &mut Database, asked: &Measure, in_flight: u32) -> Result<Settled, Failure> {
    database.seed(asked.steps, PROBE_RUNS).await?;
    let mut worker = Worker::start(&database.url, in_flight)?;
    let probe = measured(database, &mut worker, PROBE / 4, PROBE).await?;
    worker.stop()?;
    let mut speed = database.settled(probe).await?.steps_per_second();
    for _ in 0..TRIES {
        let wanted = backlog_for(speed, asked.steps, WARM_UP + asked.duration());
        let there = database.backlog().await?;
        say(format_args!(
            "{in_flight} in flight: about {speed:.0} steps/s; measuring with a backlog of {wanted} runs"
        ));
        database.seed(asked.steps, wanted.saturating_sub(there)).await?;
        if asked.statements {
            database.forget_statements().await?;
        }
        let mut worker = Worker::start(&database.url, in_flight)?;
        let window = measured(database, &mut worker, WARM_UP, asked.duration()).await?;
        let left = database.backlog().await?;
        worker.stop()?;
        let settled = database.settled(window).await?;
        if left > 0 {
            return Ok(settled);
        }
        say("the backlog did not last: once more, with a larger one");
        speed = settled.steps_per_second().max(speed) * 2.0;
    }
    Err("the backlog was empty before the end: the machine is too uneven to measure on".into())
}

/// The window that begins so long after the worker's first claim.
async fn measured(
    database: &mut Database,
    worker: &mut Worker,
    warm_up: Duration,
    duration: Duration,
) -> Result<Window, Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !database.is_carried().await? {
        worker.check()?;
        if Instant::now() > deadline {
            return Err(format!("the worker claimed nothing within {} s", PATIENCE.as_secs()).into());
        }
        sleep(Duration::from_millis(5)).await;
    }
    sleep(warm_up).await;
    let from = database.now().await?;
    sleep(duration).await;
    let to = database.now().await?;
    worker.check()?;
    Ok(Window { from, to })
}

/// Runs that last so long at this speed.
fn backlog_for(steps_per_second: f64, steps: u32, duration: Duration) -> u64 {
    let runs = steps_per_second / f64::from(steps) * duration.as_secs_f64() * RESERVE;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rough number of runs, never negative"
    )]
    let runs = runs.ceil() as u64;
    // Several times what is in flight at most, lest the end is met by a worker that has all that is left.
    runs.max(10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backlog_lasts_longer_than_the_measurement() {
        let runs = backlog_for(30_000.0, 3, Duration::from_secs(12));
        assert_eq!(runs, 192_000);
        assert_eq!(backlog_for(1.0, 3, Duration::from_secs(1)), 10_000);
    }
}
