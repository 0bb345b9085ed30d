//! Idle sessions, kept for their owner: one pool for each (namespace, Connection, credentials). Not opening them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::session::Session;
use crate::worker::action::limit::Gate;
use crate::worker::connection::Connection;
use crate::worker::egress::Rules;

/// Sessions of one Connection at once, where its limits say nothing.
const PLACES: u32 = 10;
/// An idle session costs the database memory; a step that comes later opens a new one.
const IDLE: Duration = Duration::from_secs(60);
/// Pools that nobody uses are looked for when there are so many.
const POOLS: usize = 64;

type Key = (String, String);

/// The pools of a worker, and the cancel requests that it still has under way.
#[derive(Default)]
pub(super) struct Pools {
    pools: Mutex<HashMap<Key, Arc<Pool>>>,
    cancels: Mutex<JoinSet<()>>,
}

/// Sessions of one login.
pub(super) struct Pool {
    fingerprint: [u8; 32],
    gate: Gate,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    since: Instant,
    rules: Arc<Rules>,
    session: Session,
}

impl Pools {
    /// The pool of a Connection as it is now; the one under its earlier credentials is closed.
    pub(super) fn of(&self, connection: &Connection) -> Arc<Pool> {
        let key = (connection.namespace.clone(), connection.name.clone());
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pool) = pools.get(&key)
            && pool.fingerprint == connection.fingerprint
        {
            return Arc::clone(pool);
        }
        if pools.len() >= POOLS {
            pools.retain(|_, pool| Arc::strong_count(pool) > 1 || pool.has_recent());
        }
        let pool = Arc::new(Pool {
            fingerprint: connection.fingerprint,
            gate: Gate::new(connection.limits, PLACES),
            idle: Mutex::default(),
        });
        pools.insert(key, Arc::clone(&pool));
        pool
    }

    /// Closes idle sessions and waits for the cancel requests under way.
    pub(super) async fn close(&self) {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let mut cancels = std::mem::take(&mut *self.cancels.lock().unwrap_or_else(PoisonError::into_inner));
        while cancels.join_next().await.is_some() {}
    }

    fn cancel(&self, session: Session) {
        let mut cancels = self.cancels.lock().unwrap_or_else(PoisonError::into_inner);
        while cancels.try_join_next().is_some() {}
        cancels.spawn(session.cancel_and_close());
    }
}

impl Pool {
    pub(super) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// A clean session that was opened under these rules.
    pub(super) fn take(&self, rules: &Arc<Rules>) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(Idle {
            since,
            rules: made_under,
            session,
        }) = idle.pop()
        {
            if since.elapsed() < IDLE && Arc::ptr_eq(&made_under, rules) && !session.is_closed() {
                return Some(session);
            }
        }
        None
    }

    /// Keeps a session that was cleaned. The gate bounds how many there can be.
    pub(super) fn keep(&self, rules: &Arc<Rules>, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|idle| idle.since.elapsed() < IDLE);
        idle.push(Idle {
            since: Instant::now(),
            rules: Arc::clone(rules),
            session,
        });
    }

    fn has_recent(&self) -> bool {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.iter().any(|idle| idle.since.elapsed() < IDLE)
    }
}

/// A session in use. Dropped without [`end`](Self::end) (an aborted or timed out attempt), the statement is cancelled
/// and the session closed.
pub(super) struct Lease<'a> {
    pools: &'a Pools,
    session: Option<Session>,
}

impl<'a> Lease<'a> {
    pub(super) fn new(pools: &'a Pools, session: Session) -> Self {
        Self {
            pools,
            session: Some(session),
        }
    }

    pub(super) fn session(&self) -> &Session {
        self.session
            .as_ref()
            .expect("taken only by end, which consumes the lease")
    }

    /// The session, when nothing is under way in it any more.
    pub(super) fn end(mut self) -> Session {
        self.session
            .take()
            .expect("taken only here, and this consumes the lease")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take()
            && !session.is_closed()
        {
            self.pools.cancel(session);
        }
    }
}
