//! Cancels runs whose object is gone, in the background, without ever touching those whose object lives.
//!
//! ```text
//!   live owners (database) ─▶ plan: suspects, to_prove ─▶ brake ─▶ live LIST, live GET of each ─▶ cancel
//! ```
//! A pass runs every period, and soon after a Delete event. What it decides is in `plan`, what it may believe in
//! `proof`. The statement that cancels checks its suspicion again.

pub mod plan;
mod proof;

use std::collections::{BTreeSet, HashSet};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

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

/// Whether the watches show an object with this UID; none while they are not complete.
pub type Sight = Box<dyn Fn(&str) -> Option<bool> + Send + Sync>;

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
    /// Whether the brake holds, for whoever asks.
    pub braked: Arc<AtomicBool>,
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
            Ok(()) => deleted.clear(),
            Err(error) => tracing::warn!(%error, "an orphan pass was given up; nothing was cancelled by it"),
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
    }
    if !plan.suspects.is_empty() {
        store.suspect(&plan.suspects).await?;
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
    for namespace in plan
        .to_prove
        .iter()
        .map(|owner| owner.namespace.as_str())
        .collect::<BTreeSet<_>>()
    {
        if witness.is_going(namespace).await? {
            going.insert(namespace);
        }
        listed.extend(witness.list(namespace).await?.into_keys());
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
        in_scope && owner.kind == "Workflow"
    });
    Ok(owners)
}

/// Whether the brake holds a pass that would cancel `runs`.
async fn weigh(orphans: &Orphans, brake: &mut Brake, runs: i64) -> Result<bool, store::Error> {
    let live = orphans.store.live_owned_runs().await?;
    let before = brake.is_held();
    let held = brake.holds(runs, live, orphans.store.now());
    orphans.braked.store(held, Ordering::Relaxed);
    match (before, held) {
        (_, true) => tracing::error!(
            runs,
            live,
            "the orphan brake holds: the objects of too many live runs are missing at once; nothing is cancelled. \
             Check that the CRDs and the objects are there, and that this is the right API server"
        ),
        (true, false) => tracing::info!(runs, live, "the orphan brake is released"),
        (false, false) => {}
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
        let (namespace, name) = owner.map_or(("", ""), |owner| (&owner.namespace, &owner.name));
        tracing::info!(
            uid = cancelled.uid,
            namespace,
            name,
            runs = cancelled.runs,
            "runs of a deleted object cancelled"
        );
    }
    Ok(())
}
