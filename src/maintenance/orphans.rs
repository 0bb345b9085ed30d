//! Cancels runs whose object is gone, in the background, without ever touching those whose object lives.
//!
//! ```text
//!   live owners (database) ─▶ plan: suspects, to_prove ─▶ brake ─▶ live LIST, live GET of each ─▶ cancel
//! ```
//! A pass runs every period, and soon after a Delete event. What it decides is in `plan`, what it may believe in
//! `proof`. The statement that cancels checks its suspicion again.

mod counters;
pub mod plan;
mod proof;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::plan::{Brake, plan};
use self::proof::{Doubt, Witness};
use crate::store::{self, LiveOwner, Store};

/// Owners in one page of a pass.
const PAGE: i64 = 1000;
/// Delete events that come together share a pass.
const GATHER: Duration = Duration::from_millis(500);
/// Deletions that are remembered; of those beyond it the periodic pass makes suspects.
const MOST_DELETIONS: usize = 10_000;
/// How old a confirmed suspicion may be when its runs are cancelled.
const FRESH: Duration = Duration::from_secs(120);

pub use self::counters::Counters;

/// Whether the watches show an object with this UID; none while they are not complete.
pub type Sight = Box<dyn Fn(&str) -> Option<bool> + Send + Sync>;

/// Takes what people should hear of.
pub type Tell = Box<dyn Fn(News) + Send + Sync>;

/// What people should hear of; each is told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The runs of an object were cancelled.
    Cancelled {
        /// Its kind.
        kind: String,
        /// Where the object was.
        namespace: String,
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// How many of its runs were sent a cancel.
        runs: i64,
    },
    /// The brake began to hold.
    BrakeHolds {
        /// When.
        since: Timestamp,
        /// Runs that would have been cancelled.
        runs: i64,
        /// Of so many live runs of objects.
        live: i64,
    },
    /// The brake was released.
    BrakeReleased {
        /// When it had begun to hold.
        since: Timestamp,
    },
}

/// What the passes work with.
pub struct Orphans {
    /// The API server of the objects.
    pub client: Client,
    /// The database of their runs.
    pub store: Store,
    /// Namespaces that the watches look at; all when none. Owners elsewhere are nobody's business here.
    pub namespaces: Option<Vec<String>>,
    /// Between two passes.
    pub period: Duration,
    /// What the watches show.
    pub sight: Sight,
    /// UIDs of objects whose Delete event was seen.
    pub deleted: mpsc::Receiver<String>,
    /// Names this process in the audit.
    pub actor: String,
    /// Tells people.
    pub tell: Tell,
    /// What was done.
    pub counters: Arc<Counters>,
}

/// Why a pass did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Doubt(#[from] Doubt),
}

/// Passes until `shutdown`.
pub async fn run(mut orphans: Orphans, shutdown: CancellationToken) {
    let mut witness = Witness::new(orphans.client.clone());
    let mut brake = Brake::default();
    let mut deleted = HashSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(orphans.period) => {}
            Some(uid) = orphans.deleted.recv() => {
                deleted.insert(uid);
                tokio::time::sleep(GATHER).await;
            }
        }
        while deleted.len() < MOST_DELETIONS
            && let Ok(uid) = orphans.deleted.try_recv()
        {
            deleted.insert(uid);
        }
        match pass(&orphans, &mut witness, &mut brake, &deleted).await {
            // What is still to be done is in the database by now: the suspicion.
            Ok(()) => {
                orphans.counters.passes.fetch_add(1, Relaxed);
                deleted.clear();
            }
            Err(error) => {
                orphans.counters.given_up.fetch_add(1, Relaxed);
                tracing::warn!(%error, "an orphan pass was given up; nothing was cancelled by it");
            }
        }
    }
}

async fn pass(
    orphans: &Orphans,
    witness: &mut Witness,
    brake: &mut Brake,
    deleted: &HashSet<String>,
) -> Result<(), Error> {
    let store = &orphans.store;
    let owners = live_owners(orphans).await?;
    // Asked after the owners were read. Watches that are not complete show too little.
    if (orphans.sight)("").is_none() {
        return Ok(());
    }
    let seen = |uid: &str| (orphans.sight)(uid).unwrap_or(true);
    let plan = plan(&owners, seen, deleted, orphans.period);
    tracing::debug!(
        owners = owners.len(),
        suspects = plan.suspects.len(),
        to_prove = plan.to_prove.len(),
        "orphan pass"
    );
    if !plan.alive.is_empty() {
        store.seen_alive(&plan.alive).await?;
        orphans.counters.returned.fetch_add(plan.alive.len() as u64, Relaxed);
    }
    if !plan.suspects.is_empty() {
        store.suspect(&plan.suspects).await?;
        let suspected = owners.iter().filter(|owner| owner.suspected_at.is_some());
        let suspected: HashSet<&str> = suspected.map(|owner| owner.uid.as_str()).collect();
        let new = plan.suspects.iter().filter(|uid| !suspected.contains(uid.as_str()));
        orphans.counters.suspected.fetch_add(new.count() as u64, Relaxed);
    }
    if plan.to_prove.is_empty() {
        if brake.is_held() {
            weigh(orphans, brake, 0).await?;
        }
        return Ok(());
    }
    witness.check_server(&store.cluster().await?).await?;
    let mut going = HashSet::new();
    let mut listed = HashSet::new();
    let places: BTreeSet<(&str, &str)> = plan
        .to_prove
        .iter()
        .map(|owner| (owner.namespace.as_str(), owner.kind.as_str()))
        .collect();
    for (namespace, kind) in places {
        if witness.is_going(namespace).await? {
            going.insert(namespace);
        }
        listed.extend(witness.list(kind, namespace).await?.into_keys());
    }
    let counted = plan
        .to_prove
        .iter()
        .filter(|owner| !going.contains(owner.namespace.as_str()));
    if weigh(orphans, brake, counted.map(|owner| owner.uncancelled_runs).sum()).await? {
        return Ok(());
    }
    let mut gone = Vec::new();
    for owner in plan.to_prove.iter().filter(|owner| !listed.contains(&owner.uid)) {
        if witness.is_gone(owner).await? {
            gone.push(owner);
        }
    }
    cancel(orphans, &gone).await
}

/// The owners of live runs that are ours to judge.
async fn live_owners(orphans: &Orphans) -> Result<Vec<LiveOwner>, store::Error> {
    let mut owners: Vec<LiveOwner> = Vec::new();
    loop {
        let after = owners.last().map(|owner| owner.uid.clone());
        let page = orphans.store.live_owners(after.as_deref(), PAGE).await?;
        if page.is_empty() {
            break;
        }
        owners.extend(page);
    }
    owners.retain(|owner| {
        let in_scope = orphans
            .namespaces
            .as_ref()
            .is_none_or(|ours| ours.contains(&owner.namespace));
        in_scope && proof::is_known(&owner.kind)
    });
    Ok(owners)
}

/// Whether the brake holds a pass that would cancel `runs`.
async fn weigh(orphans: &Orphans, brake: &mut Brake, runs: i64) -> Result<bool, store::Error> {
    let live = orphans.store.live_owned_runs().await?;
    let before = brake.held_since();
    let held = brake.holds(runs, live, orphans.store.now());
    orphans.counters.brake.store(held, Relaxed);
    if held {
        tracing::error!(
            runs,
            live,
            "the orphan brake holds: the objects of too many live runs are missing at once; nothing is cancelled. \
             Check that the CRDs and the objects are there, and that this is the right API server"
        );
    }
    match (before, brake.held_since()) {
        (None, Some(since)) => (orphans.tell)(News::BrakeHolds { since, runs, live }),
        (Some(since), None) => {
            tracing::info!(runs, live, "the orphan brake is released");
            (orphans.tell)(News::BrakeReleased { since });
        }
        (None, None) | (Some(_), Some(_)) => {}
    }
    Ok(held)
}

async fn cancel(orphans: &Orphans, gone: &[&LiveOwner]) -> Result<(), Error> {
    let uids: Vec<String> = gone.iter().map(|owner| owner.uid.clone()).collect();
    if uids.is_empty() {
        return Ok(());
    }
    for cancelled in orphans.store.cancel_orphans(&uids, FRESH, &orphans.actor).await? {
        let owner = gone.iter().find(|owner| owner.uid == cancelled.uid);
        let (kind, namespace, name) = owner.map_or(("", "", ""), |owner| {
            (owner.kind.as_str(), owner.namespace.as_str(), owner.name.as_str())
        });
        tracing::info!(
            uid = cancelled.uid,
            kind,
            namespace,
            name,
            runs = cancelled.runs,
            "runs of a deleted object cancelled"
        );
        // Another replica was faster, and has told it.
        if cancelled.runs > 0 {
            orphans.counters.cancelled.fetch_add(1, Relaxed);
            (orphans.tell)(News::Cancelled {
                kind: kind.to_owned(),
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                uid: cancelled.uid,
                runs: cancelled.runs,
            });
        }
    }
    Ok(())
}
