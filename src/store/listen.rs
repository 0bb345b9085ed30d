//! The doorbell: NOTIFY makes things fast, polling makes them true.

use super::Store;

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

/// The rings of this process that are to be sent.
#[derive(Debug, Default)]
pub(super) struct Bells {}

/// Wakes on the doorbell, and on every (re)connect, since a ring may have been missed before it.
#[derive(Debug)]
pub struct Listener {}

impl Listener {
    /// Returns when something may have happened. Rings that come together count once. Cancel-safe. Never returns after
    /// the store's process-wide listener has ended, which it does only with the runtime.
    pub async fn rung(&mut self) {
        std::future::pending::<()>().await;
    }
}

impl Store {
    /// Rings, soon and at most once per 5 ms and bell, on a connection of its own. Never blocks, may be lost.
    pub fn ring(&self, bell: Bell) {
        let _ = (bell, &self.bells);
    }

    /// A listener; the first is woken at once.
    pub fn listen(&self, bell: Bell) -> Listener {
        let _ = bell;
        Listener {}
    }
}
