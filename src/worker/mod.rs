//! Claims runs, performs their effects and settles what ended.
//!
//! One worker process carries up to [`WorkerOptions::max_runs`] runs at once, each through all its steps: between two
//! steps there is no claim, only an append. The parts, by file:
//!
//! | file | idea |
//! |---|---|
//! | `lease` | the right to act, kept by a thread of its own and given up by the clock |
//! | `drive` | one task that owns all runs and feeds the settlers |
//! | `carried`, `mailbox`, `alarm`, `pace`, `nonce` | its pure parts: a run in memory, its mail, when to look next |
//! | `intake`, `definitions` | claim, load, rebuild |
//! | `attempts`, `action` | effects as tasks; what an effect does |
//! | `settle` | a batch of decisions, until it is known what became of it |
//! | `aside` | runs that cannot be carried |
//! | `connection`, `egress`, `guard`, `secret` | where effects may go, and with whose credentials |
//!
//! A worker stops in one of two ways. **Fenced**: the lease was lost, all memory is dropped, and it registers anew under
//! another id (P8). **Drained**: it takes no more runs, parks those whose attempts do not run (due at once, so that any
//! other worker goes on with them), lets running attempts end until a deadline, and gives up its registration: what is
//! left is taken over by a rescuer, which alone may judge an attempt that was cut off.
//!
//! The sweeps (mail, timers, dead workers) lie in `maintenance`, for they belong to no run. They meet a worker in
//! the database, and in memory through its [`Links`].

pub mod action;
pub mod connection;
pub mod egress;
pub mod guard;
pub mod secret;

mod alarm;
mod aside;
mod attempts;
mod carried;
mod counters;
mod definitions;
mod drive;
mod finished;
mod intake;
mod lease;
mod links;
mod mailbox;
mod nonce;
mod options;
mod pace;
mod settle;
mod tls;
mod turns;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use counters::{Attempted, Counters};
pub use drive::SETTLERS;
pub use finished::{Ended, Finished};
pub use links::Links;
pub use options::WorkerOptions;

use self::{
    action::Actions,
    drive::{Driver, Ending, Shared, Signals},
    lease::{Heartbeat, Registration},
    mailbox::Moment,
};
use crate::store::{Bell, Store};

/// Answers of mail sweeps that wait for the driver: one comes at a time, and the sweep waits when it is not taken.
const SWEEPS_AHEAD: usize = 4;

/// Why a worker ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The heartbeat's thread could not be started.
    #[error("cannot start the heartbeat thread: {0}")]
    Heartbeat(#[source] std::io::Error),
    /// The database does not let this worker register.
    #[error("cannot register as a worker: {0}")]
    Register(#[source] crate::store::Error),
}

/// A worker that has not started yet.
pub struct Worker {
    shared: Arc<Shared>,
    say: watch::Sender<Option<Arc<Registration>>>,
    tell: mpsc::Sender<drive::Told>,
    told: mpsc::Receiver<drive::Told>,
}

impl Worker {
    /// A worker on this store that performs with these actions.
    pub fn new(store: Store, actions: Actions, options: WorkerOptions) -> Self {
        let (tell, told) = mpsc::channel(SWEEPS_AHEAD);
        let shared = Shared {
            store,
            actions,
            options,
            counters: Arc::default(),
            moment: Moment::default(),
        };
        Self {
            shared: Arc::new(shared),
            say: watch::Sender::new(None),
            tell,
            told,
        }
    }

    /// What it has done; readable at any time.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// For the sweeps that run beside it.
    pub fn links(&self) -> Links {
        Links::new(
            self.say.subscribe(),
            self.shared.moment.clone(),
            self.tell.clone(),
            self.counters(),
        )
    }

    /// Carries runs until `shutdown`, and then hands on what it has. Returns after the last attempt has ended and the
    /// lease is given up.
    ///
    /// # Errors
    /// [`Error`]: it never carried anything. An outage later on is waited out.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self {
            shared,
            say,
            tell: _tell,
            told,
        } = self;
        let options = &shared.options;
        let heartbeat = Heartbeat::start(
            &shared.store,
            options.lease,
            options.session.clone(),
            Arc::clone(&shared.counters),
            say,
        )
        .map_err(Error::Heartbeat)?;
        let mut signals = Signals {
            work: shared.store.listen(Bell::Work),
            told,
            shutdown,
        };
        let mut standing = heartbeat.standing();
        while let Some(me) = registered(&mut standing, &signals.shutdown).await {
            let (mut changes, worker) = (standing.clone(), me.worker);
            let fenced = async move {
                // An error means that the heartbeat has ended, and with it the lease.
                let _ = changes
                    .wait_for(|now| now.as_ref().is_none_or(|now| now.worker != worker))
                    .await;
            };
            match Driver::new(Arc::clone(&shared), me).run(&mut signals, fenced).await {
                Ending::Dropped => {}
                Ending::Drained => break,
            }
        }
        heartbeat.stop().await.map_err(Error::Register)
    }
}

/// Waits for a registration that holds; none when shut down, or when there will be none.
async fn registered(
    standing: &mut watch::Receiver<Option<Arc<Registration>>>,
    shutdown: &CancellationToken,
) -> Option<Arc<Registration>> {
    loop {
        let me = standing.borrow_and_update().clone();
        if let Some(me) = me.filter(|me| me.fence.holds()) {
            return Some(me);
        }
        tokio::select! {
            changed = standing.changed() => changed.ok()?,
            () = shutdown.cancelled() => return None,
        }
    }
}
