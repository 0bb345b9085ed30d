//! Sweeps: each a pure plan and a short execution. Those beside every worker:
//!
//! | sweep | finds | by | at most unattended |
//! |---|---|---|---|
//! | [`mail`] | untaken mail of parked, finished and owned runs | doorbell, poll | 1 s |
//! | [`timers`] | parked runs whose time has come | the next due time | due + 1 s |
//! | [`rescuer`] | runs whose worker is dead | poll | lease + 2 s |
//!
//! Beside the controller that leads run [`orphans`], [`retention`] and [`detector`].
//!
//! The worker's meet it in the database, and in memory through [`Beside`], which whoever starts both fills in.

pub mod detector;
pub mod mail;
pub mod orphans;
pub mod rescuer;
pub mod retention;
pub mod timers;

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::store::{InboxRow, Store};

/// Mail that a sweep found for the runs of a worker, told to it.
pub type Tell = dyn Fn(u64, Vec<(Uuid, InboxRow)>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

/// The worker that these sweeps run beside.
#[derive(Clone)]
pub struct Beside {
    /// Its id and for how long its lease has been renewed without a failure; none while it has no lease.
    pub steady: Arc<dyn Fn() -> Option<(Uuid, Duration)> + Send + Sync>,
    /// Orders sweeps against what happens in its memory (P6): read before the statement is sent.
    pub moment: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Tells it what a sweep that began at a moment saw of its runs.
    pub tell: Arc<Tell>,
    /// Takes note that so many claims of dead workers were freed.
    pub freed: Arc<dyn Fn(u64) + Send + Sync>,
    /// Its lease.
    pub lease: Duration,
}

/// Sweeps until `shutdown`. A sweep under way is dropped then: each statement is whole in itself.
pub async fn sweep(store: &Store, beside: &Beside, shutdown: &CancellationToken) {
    let sweeps = async {
        tokio::join!(
            mail::run(store, beside),
            timers::run(store),
            rescuer::run(store, beside)
        );
    };
    shutdown.run_until_cancelled(sweeps).await;
}

/// Says once that a sweep fails, and once that it works again.
#[derive(Debug)]
struct Health {
    sweep: &'static str,
    failing: bool,
}

impl Health {
    fn of(sweep: &'static str) -> Self {
        Self { sweep, failing: false }
    }

    fn failed(&mut self, error: &dyn std::error::Error) {
        if !self.failing {
            tracing::warn!(sweep = self.sweep, %error, "a sweep fails; trying again");
        }
        self.failing = true;
    }

    fn worked(&mut self) {
        if self.failing {
            tracing::info!(sweep = self.sweep, "a sweep works again");
        }
        self.failing = false;
    }
}
