//! Cancels runs whose object is gone, in the background, without ever touching those whose object lives.
//!
//! ```text
//!   live owners (database) ─▶ plan: deleted, missing ─▶ brake ─▶ share ─▶ live LIST, live GET of each ─▶ cancel
//! ```
//! A pass runs every period, and soon after a Delete event. What it decides is in `plan`, what it may believe in
//! `proof`. The statement that cancels checks its suspicion again.

mod counters;
mod crds;
pub mod plan;
mod proof;

use std::collections::{BTreeSet, HashSet};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::plan::{Brake, allowance, plan, plan_idle, share};
use self::proof::{Doubt, Witness};
use crate::leading::Leading;
use crate::store::{self, LiveOwner, Store};

/// Owners in one page of a pass.
const PAGE: i64 = 1000;
/// Between two tries to get to know the API server.
const MEET_AGAIN: Duration = Duration::from_secs(1);
/// Delete events that come together share a pass.
const GATHER: Duration = Duration::from_millis(500);
/// Deletions that are remembered; of those beyond it the periodic pass makes suspects.
const MOST_DELETIONS: usize = 10_000;
/// Idle objects that one pass proves gone, each by a GET: nobody waits for it.
const MOST_IDLE: usize = 100;
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
    /// Passes while it leads; Delete events seen meanwhile are believed by the first pass after that.
    pub leading: Leading,
    /// Names this process in the audit.
    pub actor: String,
    /// Tells people.
    pub tell: Tell,
    /// What was done.
    pub counters: Arc<Counters>,
}

/// What a pass left for the next one.
#[derive(Debug, Default)]
struct Left {
    /// UIDs of deleted objects of which the database does not know that yet.
    deleted: HashSet<String>,
    /// Runs of deleted objects that did not fit into this period.
    runs: i64,
    /// Objects that seem to be gone and cancel nothing.
    outlived: Vec<LiveOwner>,
}

/// Why a pass did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Doubt(#[from] Doubt),
}

/// Passes while this process leads, until `shutdown`.
pub async fn run(mut orphans: Orphans, shutdown: CancellationToken) {
    let mut witness = Witness::new(orphans.client.clone());
    let mut brake = Brake::default();
    let mut deleted = HashSet::new();
    let mut waiting = 0;
    if !meet(&mut orphans, &mut witness, &shutdown).await {
        return;
    }
    loop {
        let mut idle_too = false;
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(orphans.period) => idle_too = true,
            Some(uid) = orphans.deleted.recv(), if deleted.len() < MOST_DELETIONS => {
                deleted.insert(uid);
                tokio::time::sleep(GATHER).await;
            }
        }
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = orphans.leading.begins() => {}
        }
        while deleted.len() < MOST_DELETIONS
            && let Ok(uid) = orphans.deleted.try_recv()
        {
            deleted.insert(uid);
        }
        let mut passed = pass(&orphans, &mut witness, &mut brake, &deleted).await;
        if idle_too
            && !brake.is_held()
            && let Ok(left) = &mut passed
            && let Err(error) = idle_pass(&orphans, &mut witness, mem::take(&mut left.outlived)).await
        {
            passed = Err(error);
        }
        match passed {
            Ok(left) => {
                orphans.counters.passes.fetch_add(1, Relaxed);
                say_waiting(mem::replace(&mut waiting, left.runs), left.runs);
                // All others are done, or on record in the database.
                deleted.retain(|uid| left.deleted.contains(uid));
            }
            Err(error) => {
                orphans.counters.given_up.fetch_add(1, Relaxed);
                tracing::warn!(%error, "an orphan pass was given up; nothing was cancelled by it");
                if let Error::Doubt(Doubt::NewCrds) = error {
                    deleted.clear();
                    forget_deletions(&mut orphans);
                }
            }
        }
    }
}

/// Gets to know the API server and its CRD before any deletion is believed: objects that a CRD took with it were deleted
/// by nobody, and by the CRD's UID, known from before, that is told. False when `shutdown` came first.
async fn meet(orphans: &mut Orphans, witness: &mut Witness, shutdown: &CancellationToken) -> bool {
    let mut told = false;
    loop {
        let met = match orphans.store.cluster().await {
            Ok(theirs) => {
                let now = orphans.store.now();
                witness.check_server(&theirs, now).await.map_err(Error::from)
            }
            Err(error) => Err(error.into()),
        };
        match met {
            Ok(()) => break,
            // Until the controller has taken the database there is no cluster to compare.
            Err(Error::Store(store::Error::NotFound)) => {}
            Err(error) if !told => {
                tracing::warn!(%error, "orphans cannot be looked for yet; trying again");
                told = true;
            }
            Err(_) => {}
        }
        orphans.counters.given_up.fetch_add(1, Relaxed);
        tokio::select! {
            () = shutdown.cancelled() => return false,
            () = tokio::time::sleep(orphans.period.min(MEET_AGAIN)) => {}
        }
    }
    forget_deletions(orphans);
    true
}

/// Those seen so far may be a CRD's doing: suspects like all others, found by the passes.
fn forget_deletions(orphans: &mut Orphans) {
    while orphans.deleted.try_recv().is_ok() {}
}

async fn pass(
    orphans: &Orphans,
    witness: &mut Witness,
    brake: &mut Brake,
    deleted: &HashSet<String>,
) -> Result<Left, Error> {
    let store = &orphans.store;
    let owners = ours(orphans, Owners::WithLiveRuns).await?;
    // Asked after the owners were read. Watches that are not complete show too little.
    if (orphans.sight)("").is_none() {
        return Ok(Left {
            deleted: deleted.clone(),
            ..Left::default()
        });
    }
    let seen = |uid: &str| (orphans.sight)(uid).unwrap_or(true);
    let plan = plan(&owners, seen, deleted, orphans.period);
    tracing::debug!(
        owners = owners.len(),
        suspects = plan.suspects.len(),
        deleted = plan.deleted.len(),
        missing = plan.missing.len(),
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
    if plan.deleted.is_empty() && plan.missing.is_empty() {
        if brake.is_held() {
            weigh(orphans, brake, 0).await?;
        }
        return Ok(Left {
            outlived: plan.outlived,
            ..Left::default()
        });
    }
    witness.check_server(&store.cluster().await?, store.now()).await?;
    let (mut going, mut listed) = (HashSet::new(), HashSet::new());
    let to_prove = plan.deleted.iter().chain(&plan.missing);
    let places: BTreeSet<(&str, &str)> = to_prove
        .clone()
        .map(|owner| (owner.namespace.as_str(), owner.kind.as_str()))
        .collect();
    for (namespace, kind) in places {
        if witness.is_going(namespace).await? {
            going.insert(namespace);
        }
        listed.extend(witness.list(kind, namespace).await?.into_keys());
    }
    let lasts = |owner: &&LiveOwner| !going.contains(&*owner.namespace);
    let missing: Vec<&LiveOwner> = plan.missing.iter().filter(lasts).collect();
    let deletions: Vec<&LiveOwner> = plan.deleted.iter().filter(lasts).collect();
    let excepted: Vec<&LiveOwner> = to_prove.filter(|owner| !lasts(owner)).collect();
    let Weight { held, live } = weigh(orphans, brake, runs_of(&missing)).await?;
    if held {
        return Ok(Left {
            deleted: deletions.iter().map(|owner| owner.uid.clone()).collect(),
            ..Left::default()
        });
    }
    let spent = store.orphans_cancelled_within(orphans.period).await?;
    let share = share(&missing, &deletions, allowance(live) - spent);
    for (owners, most) in [
        (&excepted, runs_of(&excepted)),
        (&share.missing, runs_of(&share.missing)),
        (&share.deleted, share.runs),
    ] {
        let mut gone = Vec::new();
        for owner in owners.iter().filter(|owner| !listed.contains(&owner.uid)) {
            if witness.is_gone(owner).await? {
                gone.push(*owner);
            }
        }
        cancel(orphans, &gone, most).await?;
    }
    let runs = (runs_of(&deletions) - share.runs).max(0);
    Ok(Left {
        deleted: HashSet::new(),
        runs,
        outlived: plan.outlived,
    })
}

/// Takes note of objects without live runs that are gone, so that retention removes what is left of them, and of those that
/// are `outlived` by theirs, so that they start no other. The proof is the same; there is nothing to cancel, so nothing to
/// weigh.
async fn idle_pass(orphans: &Orphans, witness: &mut Witness, outlived: Vec<LiveOwner>) -> Result<(), Error> {
    let store = &orphans.store;
    let mut owners = outlived;
    owners.extend(ours(orphans, Owners::Idle).await?);
    if (orphans.sight)("").is_none() {
        return Ok(());
    }
    let seen = |uid: &str| (orphans.sight)(uid).unwrap_or(true);
    let plan = plan_idle(&owners, seen, orphans.period, MOST_IDLE);
    if !plan.alive.is_empty() {
        store.seen_alive(&plan.alive).await?;
    }
    if !plan.suspects.is_empty() {
        store.suspect(&plan.suspects).await?;
    }
    if plan.missing.is_empty() {
        return Ok(());
    }
    witness.check_server(&store.cluster().await?, store.now()).await?;
    let mut gone = Vec::new();
    for owner in &plan.missing {
        if witness.is_gone(owner).await? {
            gone.push(owner);
        }
    }
    // A run that began meanwhile is not cancelled here: this pass has weighed nothing.
    cancel(orphans, &gone, 0).await
}

/// Which owners.
#[derive(Clone, Copy)]
enum Owners {
    WithLiveRuns,
    Idle,
}

/// The owners that are ours to judge, of all pages.
async fn ours(orphans: &Orphans, which: Owners) -> Result<Vec<LiveOwner>, store::Error> {
    let mut owners: Vec<LiveOwner> = Vec::new();
    loop {
        let after = owners.last().map(|owner| owner.uid.clone());
        let page = match which {
            Owners::WithLiveRuns => orphans.store.live_owners(after.as_deref(), PAGE).await?,
            Owners::Idle => orphans.store.idle_owners(after.as_deref(), PAGE).await?,
        };
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

fn runs_of(owners: &[&LiveOwner]) -> i64 {
    owners.iter().map(|owner| owner.uncancelled_runs).sum()
}

/// What the brake said.
struct Weight {
    held: bool,
    /// Live runs of objects.
    live: i64,
}

/// Whether the brake holds a pass that misses the objects of so many runs.
async fn weigh(orphans: &Orphans, brake: &mut Brake, runs: i64) -> Result<Weight, store::Error> {
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
    Ok(Weight { held, live })
}

/// Says once that deletions wait, and once that they do not any more.
fn say_waiting(before: i64, now: i64) {
    if before == 0 && now > 0 {
        tracing::warn!(
            runs = now,
            "objects of many live runs were deleted: their runs are cancelled over several periods, a tenth of all \
             live ones in each. If that was not meant, stop the controllers now"
        );
    }
    if before > 0 && now == 0 {
        tracing::info!("no deleted object waits any more for its runs to be cancelled");
    }
}

async fn cancel(orphans: &Orphans, gone: &[&LiveOwner], most: i64) -> Result<(), Error> {
    let uids: Vec<String> = gone.iter().map(|owner| owner.uid.clone()).collect();
    if uids.is_empty() {
        return Ok(());
    }
    let done = orphans.store.cancel_orphans(&uids, most, FRESH, &orphans.actor).await?;
    for cancelled in done {
        let owner = gone.iter().find(|owner| owner.uid == cancelled.uid);
        let (kind, namespace, name) = owner.map_or(("", "", ""), |owner| {
            (owner.kind.as_str(), owner.namespace.as_str(), owner.name.as_str())
        });
        // None: another replica was faster, and has told it, or they wait for their turn.
        if cancelled.runs > 0 {
            tracing::info!(
                uid = cancelled.uid,
                kind,
                namespace,
                name,
                runs = cancelled.runs,
                "runs of a deleted object cancelled"
            );
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
