//! The worker's lease: registered, renewed on a thread of its own, and given up by the clock. Not what is held under it.
//!
//! The thread has a runtime and a connection of its own: a busy main runtime or a full pool must not cost the lease.
//! Safety never rests on the lease (the journal's sequence numbers fence), but two live performers of one run are
//! prevented by it: a worker stops by its own monotonic clock at two thirds of the lease, measured from **before** the
//! renewal was sent, so it has stopped before anybody may think it dead.
//!
//! Fenced once is fenced for ever under that id (P8): whoever sees a [`Fence`] down keeps it down, a renewal that comes
//! back late is ignored, and the next registration has a new id and a new fence.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::watch, time};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use super::counters::Counters;
use crate::store::{Error, Store};

/// How long giving up the lease may take at the end; after that it runs out by itself.
const FAREWELL: Duration = Duration::from_secs(2);

/// A worker id and the right to act under it.
#[derive(Debug)]
pub(super) struct Registration {
    /// The worker's id in the database.
    pub(super) worker: Uuid,
    /// Whether it may still act.
    pub(super) fence: Fence,
    /// Nanoseconds from the fence's base since which every renewal succeeded; [`UNSTEADY`] after a failed one.
    steady: AtomicU64,
}

const UNSTEADY: u64 = u64::MAX;

impl Registration {
    fn new(worker: Uuid, base: Instant, until: Instant) -> Self {
        Self {
            worker,
            fence: Fence::new(base, until),
            steady: AtomicU64::new(0),
        }
    }

    /// For how long this lease has been renewed without a failure: the rescuer's licence to call others dead.
    pub(super) fn steady_for(&self) -> Duration {
        match self.steady.load(Ordering::SeqCst) {
            UNSTEADY => Duration::ZERO,
            since => self.fence.base.elapsed().saturating_sub(Duration::from_nanos(since)),
        }
    }

    fn renewed(&self, sent: Instant) {
        // From when the renewal was sent, and only if the one before it had failed.
        let _ = self
            .steady
            .compare_exchange(UNSTEADY, self.fence.nanos(sent), Ordering::SeqCst, Ordering::SeqCst);
    }

    fn failed(&self) {
        self.steady.store(UNSTEADY, Ordering::SeqCst);
    }
}

/// Holds until an instant of the monotonic clock that only renewals move, and never again after it was seen down.
#[derive(Debug)]
pub(super) struct Fence {
    base: Instant,
    /// Nanoseconds from `base`; 0 is down for good.
    until: AtomicU64,
}

impl Fence {
    fn new(base: Instant, until: Instant) -> Self {
        let fence = Self {
            base,
            until: AtomicU64::new(0),
        };
        fence.until.store(fence.nanos(until).max(1), Ordering::SeqCst);
        fence
    }

    /// Whether attempts may start and appends may be sent. One look at the clock; whoever sees it down keeps it down.
    pub(super) fn holds(&self) -> bool {
        let until = self.until.load(Ordering::SeqCst);
        if until > self.nanos(Instant::now()) {
            return true;
        }
        self.cut();
        false
    }

    /// Puts it down for good.
    pub(super) fn cut(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    /// Moves it to a later instant; false when it is down already.
    fn extend(&self, until: Instant) -> bool {
        let old = self.until.load(Ordering::SeqCst);
        old > self.nanos(Instant::now())
            && self
                .until
                .compare_exchange(old, self.nanos(until), Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
    }

    /// How long it still holds without a renewal.
    fn left(&self) -> Duration {
        Duration::from_nanos(
            self.until
                .load(Ordering::SeqCst)
                .saturating_sub(self.nanos(Instant::now())),
        )
    }

    fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.base).as_nanos()).unwrap_or(u64::MAX - 1)
    }
}

/// The heartbeat thread and what it says.
pub(super) struct Heartbeat {
    standing: watch::Receiver<Option<Arc<Registration>>>,
    stop: CancellationToken,
    thread: thread::JoinHandle<Result<(), Error>>,
}

impl Heartbeat {
    /// Starts the thread. `session` says who it is, for people.
    pub(super) fn start(
        store: &Store,
        lease: Duration,
        session: String,
        counters: Arc<Counters>,
        say: watch::Sender<Option<Arc<Registration>>>,
    ) -> Result<Self, std::io::Error> {
        let stop = CancellationToken::new();
        let standing = say.subscribe();
        // Built here, so that an error is the caller's and not the thread's.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let beat = Beat {
            store: store.clone(),
            lease,
            session,
            counters,
            say,
            stop: stop.clone(),
        };
        let thread = thread::Builder::new()
            .name("everstep-heartbeat".to_owned())
            .spawn(move || runtime.block_on(beat.run()))?;
        Ok(Self { standing, stop, thread })
    }

    /// Who we are in the database, now and after each change; none while we are nobody.
    pub(super) fn standing(&self) -> watch::Receiver<Option<Arc<Registration>>> {
        self.standing.clone()
    }

    /// Gives up the lease and ends the thread.
    ///
    /// # Errors
    /// What ended the thread before, if something did.
    pub(super) async fn stop(self) -> Result<(), Error> {
        self.stop.cancel();
        // Bounded: the thread sees the token at its next await, and its farewell has a time limit.
        match tokio::task::spawn_blocking(move || self.thread.join()).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(Error::Corrupt("the heartbeat thread panicked".to_owned())),
        }
    }
}

struct Beat {
    store: Store,
    lease: Duration,
    session: String,
    counters: Arc<Counters>,
    say: watch::Sender<Option<Arc<Registration>>>,
    stop: CancellationToken,
}

impl Beat {
    async fn run(mut self) -> Result<(), Error> {
        self.store = self.store.apart(1);
        let mut first = true;
        while let Some(me) = self.register(first).await? {
            first = false;
            self.counters.registrations.add(1);
            info!(worker = %me.worker, "registered");
            let _ = self.say.send(Some(Arc::clone(&me)));
            self.renew(&me).await;
            me.fence.cut();
            let _ = self.say.send(None);
            if self.stop.is_cancelled() {
                let farewell = time::timeout(FAREWELL, self.store.deregister(me.worker)).await;
                if !matches!(farewell, Ok(Ok(()))) {
                    warn!(worker = %me.worker, "could not give up the lease: it will run out by itself");
                }
                break;
            }
            warn!(worker = %me.worker, "the lease was lost: everything is dropped, and registered anew");
        }
        Ok(())
    }

    /// A new id, however long it takes; none when stopped. Only the first attempt of all ends on a refusal: later on the
    /// database is known to be the right one, and whatever is wrong with it may pass.
    async fn register(&self, first: bool) -> Result<Option<Arc<Registration>>, Error> {
        let mut pause = self.pause();
        let mut said = false;
        loop {
            let sent = Instant::now();
            let answer = tokio::select! {
                answer = time::timeout(self.lease, self.store.register(&self.session, self.lease)) => answer,
                () = self.stop.cancelled() => return Ok(None),
            };
            match answer {
                Ok(Ok(worker)) => {
                    let until = sent + self.lease * 2 / 3;
                    if until > Instant::now() {
                        return Ok(Some(Arc::new(Registration::new(worker, sent, until))));
                    }
                }
                Ok(Err(error)) if first && !error.is_transient() => return Err(error),
                Ok(Err(error)) if !said => {
                    warn!(%error, "cannot register; trying again");
                    said = true;
                }
                Ok(Err(_)) | Err(_) => {}
            }
            tokio::select! {
                () = time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(1)),
                () = self.stop.cancelled() => return Ok(None),
            }
        }
    }

    /// Renews every third of the lease until it is lost or the thread is stopped.
    async fn renew(&self, me: &Registration) {
        let mut wait = self.lease / 3;
        loop {
            tokio::select! {
                () = time::sleep(wait.min(me.fence.left())) => {}
                () = self.stop.cancelled() => return,
            }
            if !me.fence.holds() {
                return;
            }
            let sent = Instant::now();
            match time::timeout(me.fence.left(), self.store.renew(me.worker, self.lease)).await {
                Ok(Ok(true)) => {
                    if !me.fence.extend(sent + self.lease * 2 / 3) {
                        return;
                    }
                    me.renewed(sent);
                    wait = self.lease / 3;
                }
                Ok(Ok(false)) | Err(_) => return,
                Ok(Err(error)) => {
                    if me.steady_for() > Duration::ZERO {
                        warn!(%error, worker = %me.worker, "cannot renew the lease; trying again");
                    }
                    me.failed();
                    wait = self.pause();
                }
            }
        }
    }

    /// Between two attempts while the database is away: often enough to use what is left of the lease.
    fn pause(&self) -> Duration {
        (self.lease / 30).clamp(Duration::from_millis(20), Duration::from_secs(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_that_was_seen_down_stays_down() {
        let base = Instant::now();
        let fence = Fence::new(base, base + Duration::from_secs(60));
        assert!(fence.holds());
        fence.cut();
        assert!(
            !fence.extend(base + Duration::from_secs(120)),
            "a late renewal is ignored"
        );
        assert!(!fence.holds());
    }

    #[test]
    fn a_fence_falls_by_the_clock_alone() {
        let base = Instant::now();
        let fence = Fence::new(base, base + Duration::from_millis(5));
        while base.elapsed() < Duration::from_millis(6) {
            thread::yield_now();
        }
        assert!(
            !fence.extend(base + Duration::from_secs(60)),
            "nobody looked, and it is down all the same"
        );
        assert!(!fence.holds());
    }

    #[test]
    fn a_renewal_moves_the_fence() {
        let base = Instant::now();
        let fence = Fence::new(base, base + Duration::from_secs(10));
        assert!(fence.extend(base + Duration::from_secs(100)));
        assert!(fence.left() > Duration::from_secs(50));
    }

    #[test]
    fn a_failed_renewal_ends_steadiness_until_the_next_success() {
        let base = Instant::now();
        let me = Registration::new(Uuid::nil(), base, base + Duration::from_secs(60));
        let steady = me.steady_for();
        me.renewed(Instant::now());
        assert!(me.steady_for() >= steady, "a success after a success changes nothing");
        me.failed();
        assert_eq!(me.steady_for(), Duration::ZERO);
        let again = Instant::now();
        me.renewed(again);
        assert!(me.steady_for() <= again.elapsed());
    }
}
