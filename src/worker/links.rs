//! What the sweeps beside a worker see of it: who it is, how steady its lease is, and the way into its memory.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use super::{counters::Counters, drive::Told, lease::Registration, mailbox::Moment};
use crate::store::InboxRow;

/// A worker, as its sweeps see it. Clones see the same.
#[derive(Debug, Clone)]
pub struct Links {
    standing: watch::Receiver<Option<Arc<Registration>>>,
    moment: Moment,
    tell: mpsc::Sender<Told>,
    counters: Arc<Counters>,
}

impl Links {
    pub(super) fn new(
        standing: watch::Receiver<Option<Arc<Registration>>>,
        moment: Moment,
        tell: mpsc::Sender<Told>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            standing,
            moment,
            tell,
            counters,
        }
    }

    /// The worker's id in the database while its lease holds.
    pub fn worker(&self) -> Option<Uuid> {
        let standing = self.standing.borrow();
        standing.as_ref().filter(|me| me.fence.holds()).map(|me| me.worker)
    }

    /// The worker's id and for how long its lease has been renewed without a failure.
    pub fn steady(&self) -> Option<(Uuid, Duration)> {
        let standing = self.standing.borrow();
        standing
            .as_ref()
            .filter(|me| me.fence.holds())
            .map(|me| (me.worker, me.steady_for()))
    }

    /// Now, in the order of what happens in memory: read it before a mail sweep sends its statement.
    pub fn moment(&self) -> u64 {
        self.moment.now()
    }

    /// Tells the runs in memory what a sweep that began at `began` saw of them. Waits while the worker is busy; what is
    /// told after its end is lost, and found again by the next sweep of whoever owns the runs then.
    pub async fn tell(&self, began: u64, rows: Vec<(Uuid, InboxRow)>) {
        let _ = self.tell.send(Told { began, rows }).await;
    }

    /// Takes note that so many claims of dead workers were freed.
    pub fn freed(&self, claims: u64) {
        self.counters.claims_expired.add(claims);
    }
}
