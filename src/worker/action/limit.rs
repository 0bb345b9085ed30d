//! `limits` of a Connection: how many attempts at once, and how many a second, from this worker. Not pooling.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::{ErrorKind, StepError};
use crate::worker::connection::Limits;

/// The gate that every attempt on one Connection passes.
pub(super) struct Gate {
    permits: Arc<Semaphore>,
    pace: Option<Pace>,
}

/// Holds a place; dropping it gives the place back.
pub(super) type Pass = OwnedSemaphorePermit;

struct Pace {
    interval: Duration,
    next: Mutex<Instant>,
}

impl Gate {
    /// A gate for `limits`; `places` holds where the spec says nothing.
    pub(super) fn new(limits: Limits, places: u32) -> Self {
        let places = limits.max_connections.unwrap_or(places);
        let pace = limits.requests_per_second.map(|rate| Pace {
            interval: Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX),
            next: Mutex::new(Instant::now()),
        });
        Self {
            permits: Arc::new(Semaphore::new(
                usize::try_from(places).unwrap_or(Semaphore::MAX_PERMITS),
            )),
            pace,
        }
    }

    /// Waits for a place and a turn. An attempt whose turn would come after `deadline` fails now, and takes no turn.
    pub(super) async fn pass(&self, deadline: Instant) -> Result<Pass, StepError> {
        let acquire = tokio::time::timeout_at(deadline.into(), Arc::clone(&self.permits).acquire_owned());
        let Ok(Ok(pass)) = acquire.await else {
            return Err(busy(
                "every connection of limits.maxConnections was in use for the whole attempt",
            ));
        };
        if let Some(pace) = &self.pace {
            let Some(turn) = pace.reserve(Instant::now(), deadline) else {
                return Err(busy(
                    "limits.requestsPerSecond left no turn within the attempt's timeout",
                ));
            };
            tokio::time::sleep_until(turn.into()).await;
        }
        Ok(pass)
    }
}

impl Pace {
    /// The next turn, unless it lies after `deadline`.
    fn reserve(&self, now: Instant, deadline: Instant) -> Option<Instant> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(now);
        if turn > deadline {
            return None;
        }
        *next = turn.checked_add(self.interval).unwrap_or(deadline);
        Some(turn)
    }
}

fn busy(message: &str) -> StepError {
    StepError::new(ErrorKind::Connect, "ConnectionBusy", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_an_interval_apart_and_none_is_taken_in_vain() {
        let start = Instant::now();
        let pace = Pace {
            interval: Duration::from_millis(100),
            next: Mutex::new(start),
        };
        let deadline = start + Duration::from_millis(150);
        assert_eq!(pace.reserve(start, deadline), Some(start));
        assert_eq!(pace.reserve(start, deadline), Some(start + Duration::from_millis(100)));
        assert_eq!(pace.reserve(start, deadline), None);
        assert_eq!(pace.reserve(start, deadline), None);
        let later = start + Duration::from_secs(1);
        assert_eq!(pace.reserve(start, later), Some(start + Duration::from_millis(200)));
        assert_eq!(pace.reserve(later, later), Some(later));
    }

    #[tokio::test]
    async fn full_gate_is_a_connect_error_at_the_deadline() {
        let gate = Gate::new(
            Limits {
                max_connections: Some(1),
                requests_per_second: None,
            },
            8,
        );
        let deadline = Instant::now() + Duration::from_millis(20);
        let held = gate.pass(deadline).await.unwrap();
        assert_eq!(gate.pass(deadline).await.unwrap_err().code, "ConnectionBusy");
        drop(held);
        assert!(gate.pass(Instant::now() + Duration::from_secs(5)).await.is_ok());
    }
}
