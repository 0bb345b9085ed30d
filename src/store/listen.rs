//! The doorbell: NOTIFY makes things fast, polling makes them true.
//!
//! One connection of a process listens and one rings. Rings are coalesced and never part of a transaction that writes:
//! NOTIFY takes a lock at commit that is one for the whole server.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    Executor,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::{
    Store,
    pool::{PATIENCE, Pool},
};

/// At most one NOTIFY of each bell in this time.
const PAUSE: Duration = Duration::from_millis(5);
/// Between two attempts to connect.
const RECONNECT: Duration = Duration::from_millis(200);
/// A silent connection is asked whether it lives: a server that vanished closes nothing.
const SILENCE: Duration = Duration::from_secs(20);

/// What rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bell {
    /// `active` has a new row: for workers.
    Work,
    /// `inbox` has a new row: for workers.
    Mail,
    /// A run's summary or a Connection's finding changed: for controllers.
    Changed,
}

/// The doorbell of a process: its two tasks begin when first used and end with the last clone of the store.
pub(super) struct Bells {
    pool: Arc<Pool>,
    pending: Arc<Pending>,
    ringer: OnceLock<Task>,
    hub: OnceLock<Hub>,
}

/// Wakes on the doorbell, and on every (re)connect, since a ring may have been missed before it.
#[derive(Debug)]
pub struct Listener {
    rung: watch::Receiver<u64>,
}

struct Hub {
    rung: Arc<[watch::Sender<u64>; Bell::ALL.len()]>,
    _task: Task,
}

/// Rings that are to be sent.
#[derive(Default)]
struct Pending {
    bells: [AtomicBool; Bell::ALL.len()],
    some: Notify,
}

/// A task that ends with its owner.
struct Task(JoinHandle<()>);

impl Store {
    /// Rings, soon and at most once per 5 ms and bell, on a connection of its own. Never blocks, may be lost.
    pub fn ring(&self, bell: Bell) {
        let bells = &self.bells;
        bells.pending.bells[bell as usize].store(true, Ordering::Release);
        bells.pending.some.notify_one();
        if bells.ringer.get().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            bells
                .ringer
                .get_or_init(|| Task(runtime.spawn(ring(Arc::clone(&bells.pool), Arc::clone(&bells.pending)))));
        }
    }

    /// A listener; it is woken at once, and again when the connection stands. To be called inside a runtime.
    pub fn listen(&self, bell: Bell) -> Listener {
        let hub = self.bells.hub.get_or_init(|| {
            let rung = Arc::new(std::array::from_fn(|_| watch::Sender::new(1)));
            let task = Task(tokio::spawn(hear(Arc::clone(&self.bells.pool), Arc::clone(&rung))));
            Hub { rung, _task: task }
        });
        let mut rung = hub.rung[bell as usize].subscribe();
        rung.mark_changed();
        Listener { rung }
    }
}

impl Listener {
    /// Returns when something may have happened. Rings that come together count once. Cancel-safe. Pending for ever
    /// once the store is gone.
    pub async fn rung(&mut self) {
        if self.rung.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Bells {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            pool: Arc::new(pool),
            pending: Arc::default(),
            ringer: OnceLock::new(),
            hub: OnceLock::new(),
        }
    }
}

impl Bell {
    const ALL: [Self; 3] = [Self::Work, Self::Mail, Self::Changed];

    fn channel(self) -> &'static str {
        match self {
            Self::Work => "everstep_work",
            Self::Mail => "everstep_mail",
            Self::Changed => "everstep_changed",
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends what is pending, then rests.
async fn ring(pool: Arc<Pool>, pending: Arc<Pending>) {
    loop {
        pending.some.notified().await;
        let channels: Vec<&str> = Bell::ALL
            .into_iter()
            .filter(|bell| pending.bells[*bell as usize].swap(false, Ordering::AcqRel))
            .map(Bell::channel)
            .collect();
        if channels.is_empty() {
            continue;
        }
        let send =
            || sqlx::query("SELECT pg_notify(channel, '') FROM UNNEST($1::text[]) AS c (channel)").bind(&channels);
        if let Err(error) = pool.execute(send).await {
            // Whoever waits polls. A server that is away is not asked two hundred times a second.
            tracing::debug!(%error, "the doorbell is broken");
            sleep(RECONNECT).await;
        }
        sleep(PAUSE).await;
    }
}

/// Passes on what rings, and wakes everybody whenever a ring may have been missed.
async fn hear(pool: Arc<Pool>, rung: Arc<[watch::Sender<u64>; Bell::ALL.len()]>) {
    loop {
        if let Err(error) = hear_until_lost(&pool, &rung).await {
            tracing::debug!(%error, "the doorbell is not heard");
        }
        sleep(RECONNECT).await;
    }
}

async fn hear_until_lost(pool: &Pool, rung: &[watch::Sender<u64>; Bell::ALL.len()]) -> Result<(), sqlx::Error> {
    let one = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(SILENCE)
        .connect_lazy_with(pool.server());
    let mut listener = PgListener::connect_with(&one).await?;
    // Lost rings are made up for below, by whoever reconnects: it must not happen behind our back.
    listener.eager_reconnect(false);
    listener.listen_all(Bell::ALL.map(Bell::channel)).await?;
    for bell in rung {
        wake(bell);
    }
    loop {
        match timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(ring))) => {
                if let Some(bell) = Bell::ALL.into_iter().find(|bell| bell.channel() == ring.channel()) {
                    wake(&rung[bell as usize]);
                }
            }
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let asked = timeout(PATIENCE, listener.execute("SELECT 1")).await;
                asked.map_err(|_| sqlx::Error::PoolTimedOut)??;
            }
        }
    }
}

fn wake(bell: &watch::Sender<u64>) {
    bell.send_modify(|count| *count = count.wrapping_add(1));
}
