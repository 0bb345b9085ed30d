//! Which of several controllers works: the one that holds a Lease. The others keep their caches warm.
//!
//! ```text
//!            nobody holds it, or its holder has been silent for its duration
//!   standby ────────────────────────────────────────────────────────────────▶ leader ──┐
//!      ▲                                                                        │  ▲   │ renews, every 2/15 of
//!      └──── somebody else holds it, or no renewal for 2/3 of the duration ─────┘  └───┘ the duration
//! ```
//! The clocks of two machines are never compared: a standby measures how long it has seen the same record. All writes
//! carry the resource version of what was read, so that of two candidates one is told that it came too late.
//!
//! What it does not promise: that never two believe they lead. A process that was stopped for a minute does, for a
//! moment. Safety rests on unique keys and on the log's sequence numbers.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::leading::Told;

/// Who wants to lead, and by which Lease.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Where the Lease is.
    pub namespace: String,
    /// Its name.
    pub lease: String,
    /// This process; no other has the same.
    pub identity: String,
    /// How long a silent leader stays leader. Whole seconds, at least one.
    pub duration: Duration,
}

/// The record of a Lease: as long as it stays the same, its holder is silent.
#[derive(Debug, Clone, PartialEq)]
struct Record {
    holder: Option<String>,
    renewed: Option<MicroTime>,
    transitions: i32,
    duration: Duration,
}

/// A record, and since when it has been seen unchanged.
#[derive(Debug, Clone)]
struct Seen {
    record: Record,
    since: Instant,
}

/// What a candidate does about a Lease that it has read.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// Writes itself into it, as its next holder.
    Take,
    /// Says that it is still there.
    Renew,
    /// Looks again then, or earlier.
    WaitUntil(Instant),
}

/// Stands for election until `shutdown`, then gives the Lease up, so that the next one need not wait for it to expire.
pub async fn stand(client: Client, candidate: Candidate, told: Told, shutdown: CancellationToken) {
    let mut standing = Standing {
        api: Api::namespaced(client, &candidate.namespace),
        candidate,
        lease: None,
        seen: None,
        renewed: None,
        failing: false,
    };
    loop {
        let pause = standing.round(&told).await;
        tokio::select! {
            () = shutdown.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    if standing.renewed.is_some() {
        told.say(false);
        standing.give_up().await;
    }
}

/// A candidate at work.
struct Standing {
    candidate: Candidate,
    api: Api<Lease>,
    /// The Lease as it was read or written last; none: it is to be read.
    lease: Option<Lease>,
    seen: Option<Seen>,
    /// Leads, and when the last renewal that succeeded was sent.
    renewed: Option<Instant>,
    /// Whether it has been said that rounds fail.
    failing: bool,
}

impl Standing {
    /// One look and what follows from it; how long to pause then.
    async fn round(&mut self, told: &Told) -> Duration {
        let began = Instant::now();
        let patience = began + self.share(5.0);
        let until = self.term_ends().map_or(patience, |end| end.min(patience));
        let pause = match timeout_at(until, self.attempt(began)).await {
            Ok(Ok(step)) => self.worked(&step, began),
            Ok(Err(error)) => self.failed(&error),
            Err(_) => self.failed(&"no answer in time"),
        };
        // A leader that cannot renew in time stops before another one may begin.
        if self.term_ends().is_some_and(|end| end <= Instant::now()) {
            self.renewed = None;
        }
        if told.say(self.renewed.is_some()) {
            self.say();
        }
        pause
    }

    /// So many fifteenths of the Lease's duration: by default, seconds.
    fn share(&self, fifteenths: f64) -> Duration {
        self.candidate.duration.mul_f64(fifteenths / 15.0)
    }

    /// Until when this leader may lead without another renewal.
    fn term_ends(&self) -> Option<Instant> {
        self.renewed.map(|renewed| renewed + self.share(10.0))
    }

    async fn attempt(&mut self, now: Instant) -> Result<Step, kube::Error> {
        let lease = match self.lease.take() {
            Some(lease) if self.renewed.is_some() => Some(lease),
            _ => self.api.get_opt(&self.candidate.lease).await?,
        };
        self.seen = see(self.seen.take(), lease.as_ref().map(record), now);
        let step = step(self.seen.as_ref(), &self.candidate.identity, now);
        if let Step::WaitUntil(_) = step {
            return Ok(step);
        }
        let next = next(lease, &self.candidate, step == Step::Take);
        let creates = next.metadata.resource_version.is_none();
        let written = match creates {
            true => self.api.create(&PostParams::default(), &next).await,
            false => {
                let name = &self.candidate.lease;
                self.api.replace(name, &PostParams::default(), &next).await
            }
        };
        match written {
            Ok(lease) => {
                self.seen = see(self.seen.take(), Some(record(&lease)), now);
                self.lease = Some(lease);
                Ok(step)
            }
            // Somebody else was quicker, or it is not what we took it for: look again, soon.
            Err(kube::Error::Api(status)) if is_overtaken(status.code, creates) => Ok(Step::WaitUntil(now)),
            Err(error) => Err(error),
        }
    }

    /// After a round that came to its end; how long to pause.
    fn worked(&mut self, step: &Step, began: Instant) -> Duration {
        if std::mem::take(&mut self.failing) {
            tracing::info!(lease = self.candidate.lease, "the Lease can be read and written again");
        }
        match step {
            Step::Take | Step::Renew => {
                self.renewed = Some(began);
                self.share(2.0)
            }
            Step::WaitUntil(at) => {
                self.renewed = None;
                let pause = at.saturating_duration_since(Instant::now());
                // What is refused each time is not asked for without a pause.
                pause.clamp(self.share(0.1), self.share(1.0))
            }
        }
    }

    /// Says once that it does not work; how long to pause.
    fn failed(&mut self, error: &dyn std::fmt::Display) -> Duration {
        let Candidate { namespace, lease, .. } = &self.candidate;
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(
                %error,
                "the Lease {namespace}/{lease} cannot be read or written; trying again. Without it this controller \
                 only stands by: it needs that namespace, and get, create and update on leases.coordination.k8s.io there"
            );
        }
        self.lease = None;
        self.share(2.0)
    }

    fn say(&self) {
        let Candidate { namespace, lease, .. } = &self.candidate;
        if self.renewed.is_some() {
            tracing::info!("leading: holds the Lease {namespace}/{lease}");
        } else {
            let holder = self.seen.as_ref().and_then(|seen| seen.record.holder.as_deref());
            match holder.filter(|holder| *holder != self.candidate.identity) {
                Some(holder) => tracing::info!(
                    holder,
                    "standing by: another controller holds the Lease {namespace}/{lease}"
                ),
                None => tracing::warn!("standing by: the Lease {namespace}/{lease} was not renewed in time"),
            }
        }
    }

    /// Leaves the Lease without a holder. What fails here costs the next one its patience and nothing else.
    async fn give_up(&mut self) {
        let Some(mut lease) = self.lease.take() else { return };
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = None;
        spec.acquire_time = None;
        spec.renew_time = None;
        let until = Instant::now() + self.share(5.0);
        let parameters = PostParams::default();
        let given = timeout_at(until, self.api.replace(&self.candidate.lease, &parameters, &lease)).await;
        if !matches!(given, Ok(Ok(_))) {
            tracing::debug!("the Lease was not given up; it expires");
        }
    }
}

fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    Record {
        holder: spec.holder_identity.filter(|holder| !holder.is_empty()),
        renewed: spec.renew_time,
        transitions: spec.lease_transitions.unwrap_or(0),
        duration: Duration::from_secs(
            spec.lease_duration_seconds
                .map_or(0, |seconds| u64::try_from(seconds).unwrap_or(0)),
        ),
    }
}

/// What is seen at `now`, after what was seen before.
fn see(before: Option<Seen>, record: Option<Record>, now: Instant) -> Option<Seen> {
    let record = record?;
    match before {
        Some(seen) if seen.record == record => Some(seen),
        Some(_) | None => Some(Seen { record, since: now }),
    }
}

/// What `me` does at `now` about what it sees; nothing seen: there is no Lease.
fn step(seen: Option<&Seen>, me: &str, now: Instant) -> Step {
    let Some(Seen { record, since }) = seen else {
        return Step::Take;
    };
    match record.holder.as_deref() {
        None => Step::Take,
        Some(holder) if holder == me => Step::Renew,
        // Its holder's own word on how long it may be silent.
        Some(_) if now >= *since + record.duration => Step::Take,
        Some(_) => Step::WaitUntil(*since + record.duration),
    }
}

/// Whether a write was refused because the Lease is not what was read. Where none can be created, its namespace is missing.
fn is_overtaken(code: u16, creates: bool) -> bool {
    code == 409 || code == 404 && !creates
}

/// The Lease with `candidate` as its holder; `takes`: it was not before.
fn next(lease: Option<Lease>, candidate: &Candidate, takes: bool) -> Lease {
    let now = MicroTime(Timestamp::now());
    let mut lease = lease.unwrap_or_else(|| Lease {
        metadata: ObjectMeta {
            name: Some(candidate.lease.clone()),
            ..ObjectMeta::default()
        },
        spec: None,
    });
    let before = lease.spec.take().unwrap_or_default();
    let had_holder = before.acquire_time.is_some() || before.lease_transitions.is_some();
    lease.spec = Some(LeaseSpec {
        holder_identity: Some(candidate.identity.clone()),
        lease_duration_seconds: i32::try_from(candidate.duration.as_secs()).ok(),
        acquire_time: if takes { Some(now.clone()) } else { before.acquire_time },
        renew_time: Some(now),
        lease_transitions: Some(before.lease_transitions.unwrap_or(0) + i32::from(takes && had_holder)),
        ..LeaseSpec::default()
    });
    lease
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn held_by(holder: Option<&str>, second: i64) -> Record {
        Record {
            holder: holder.map(str::to_owned),
            renewed: Some(MicroTime(Timestamp::from_second(second).unwrap())),
            transitions: 3,
            duration: LEASE,
        }
    }

    #[test]
    fn what_another_one_did_to_the_lease_is_news_and_a_namespace_that_is_not_there_is_none() {
        for creates in [true, false] {
            assert!(is_overtaken(409, creates));
            assert_eq!(is_overtaken(404, creates), !creates);
            assert!(!is_overtaken(403, creates));
        }
    }

    #[test]
    fn a_lease_that_nobody_holds_is_taken_at_once() {
        let now = Instant::now();
        assert_eq!(step(None, "me", now), Step::Take);
        let seen = see(None, Some(held_by(None, 1)), now);
        assert_eq!(step(seen.as_ref(), "me", now), Step::Take);
    }

    #[test]
    fn a_silent_holder_is_waited_for_by_our_own_clock_whatever_its_time_says() {
        let start = Instant::now();
        // Renewed in 1970 by its holder's clock: that proves nothing.
        let mut seen = see(None, Some(held_by(Some("other"), 0)), start);
        assert_eq!(step(seen.as_ref(), "me", start), Step::WaitUntil(start + LEASE));
        let later = start + Duration::from_secs(14);
        seen = see(seen, Some(held_by(Some("other"), 0)), later);
        assert_eq!(step(seen.as_ref(), "me", later), Step::WaitUntil(start + LEASE));
        assert_eq!(step(seen.as_ref(), "me", start + LEASE), Step::Take);
        // It renewed: it is alive, from now.
        seen = see(seen, Some(held_by(Some("other"), 1)), later);
        assert_eq!(step(seen.as_ref(), "me", start + LEASE), Step::WaitUntil(later + LEASE));
    }

    #[test]
    fn the_holder_renews_and_counts_no_transition() {
        let now = Instant::now();
        let seen = see(None, Some(held_by(Some("me"), 1)), now);
        assert_eq!(step(seen.as_ref(), "me", now + 10 * LEASE), Step::Renew);
    }

    #[test]
    fn who_takes_a_lease_over_counts_a_transition_and_keeps_its_version() {
        let candidate = Candidate {
            namespace: "operators".to_owned(),
            lease: "everstep-controller".to_owned(),
            identity: "me".to_owned(),
            duration: LEASE,
        };
        let first = next(None, &candidate, true);
        let spec = first.spec.clone().unwrap();
        assert_eq!(
            (spec.lease_transitions, spec.lease_duration_seconds),
            (Some(0), Some(15))
        );
        assert_eq!(first.metadata.resource_version, None);

        let mut others = first;
        others.metadata.resource_version = Some("7".to_owned());
        others.spec.as_mut().unwrap().holder_identity = Some("other".to_owned());
        let taken = next(Some(others.clone()), &candidate, true);
        assert_eq!(taken.metadata.resource_version.as_deref(), Some("7"));
        let spec = taken.spec.clone().unwrap();
        assert_eq!(spec.holder_identity.as_deref(), Some("me"));
        assert_eq!(spec.lease_transitions, Some(1));

        let renewed = next(Some(taken.clone()), &candidate, false).spec.unwrap();
        assert_eq!(renewed.lease_transitions, Some(1));
        assert_eq!(renewed.acquire_time, taken.spec.unwrap().acquire_time);
    }
}
