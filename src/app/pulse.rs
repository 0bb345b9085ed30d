//! Whether what a process depends on still answers: `/readyz` turns red when it has been silent for a while, and green
//! with its next answer. Not liveness: a process whose database is away is well, and waits.

use std::{
    fmt::Display,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use crate::http::Readiness;

/// Between two questions.
const PERIOD: Duration = Duration::from_secs(1);
/// A question is given up after this: the next one may meet a server that is back.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest silence that is still a short outage: a restart, a failover. Red would help nobody then, and would flap.
const GRACE: Duration = Duration::from_secs(15);

/// The last answer.
struct Pulse {
    /// Who is asked, for people.
    name: &'static str,
    answered: Instant,
    /// Why there has been no answer since.
    problem: Option<String>,
}

impl Pulse {
    /// Why the process is not ready at `now`.
    fn why_not(&self, now: Instant) -> Option<String> {
        let silent = now.saturating_duration_since(self.answered);
        let problem = self.problem.as_deref().unwrap_or("no answer");
        (silent > GRACE).then(|| format!("{} has been away for {} s: {problem}", self.name, silent.as_secs()))
    }
}

/// Asks for ever, as `part` of the readiness. `name` is for people. It has just answered when this begins.
pub(super) async fn feel<E: Display>(
    readiness: &Readiness,
    part: &'static str,
    name: &'static str,
    ask: impl AsyncFn() -> Result<(), E>,
) {
    let pulse = Arc::new(Mutex::new(Pulse {
        name,
        answered: Instant::now(),
        problem: None,
    }));
    readiness.ask(part, {
        let pulse = Arc::clone(&pulse);
        move || lock(&pulse).why_not(Instant::now())
    });
    let mut told = false;
    loop {
        sleep(PERIOD).await;
        let answer = match timeout(PATIENCE, ask()).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {PATIENCE:?}")),
        };
        let mut pulse = lock(&pulse);
        match answer {
            Ok(()) => {
                pulse.answered = Instant::now();
                pulse.problem = None;
                if told {
                    tracing::info!(part, "{name} is back: ready again");
                }
                told = false;
            }
            Err(problem) => {
                pulse.problem = Some(problem);
                if let Some(why) = pulse.why_not(Instant::now())
                    && !told
                {
                    tracing::error!(part, "not ready: {why}");
                    told = true;
                }
            }
        }
    }
}

/// Until `work` ends, with these pulses beside it.
pub(super) async fn beside<T>(pulse: impl Future<Output = ()>, work: impl Future<Output = T>) -> T {
    let pulse = async {
        pulse.await;
        pending().await
    };
    tokio::select! {
        done = work => done,
        never = pulse => never,
    }
}

fn lock(pulse: &Mutex<Pulse>) -> std::sync::MutexGuard<'_, Pulse> {
    pulse.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_long_silence_is_not_ready_and_says_why() {
        let start = Instant::now();
        let mut pulse = Pulse {
            name: "PostgreSQL",
            answered: start,
            problem: Some("connection refused".to_owned()),
        };
        assert_eq!(pulse.why_not(start + GRACE), None);
        let late = start + GRACE + Duration::from_secs(7);
        assert_eq!(
            pulse.why_not(late).as_deref(),
            Some("PostgreSQL has been away for 22 s: connection refused")
        );
        pulse.answered = late;
        assert_eq!(pulse.why_not(late), None);
    }
}
