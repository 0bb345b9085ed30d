//! Wake-ups: what changed in the database becomes reconciles of the objects concerned.
//!
//! The doorbell carries nothing and may be lost: the scan is what finds, the doorbell only makes it early.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Shared;
use super::found::Found;
use super::key::{Key, Kind};
use crate::store::{self, Bell, Changed};

/// The scan that needs no doorbell.
const POLL: Duration = Duration::from_secs(1);
/// Between two scans, and longer by this for each run that the last one read: bounds what a busy database pays for us
/// to a few thousand rows a second, while a scan that finds little is soon followed by the next.
const GAP: Duration = Duration::from_millis(20);
const GAP_OF_RUN: Duration = Duration::from_micros(200);
/// Runs of one scan, those that are left over come with the next; and findings of one page.
const MOST: i64 = 1000;

/// Runs until `shutdown`; looks while this process leads.
pub(super) async fn wake(shared: &Shared, shutdown: &CancellationToken) {
    let mut leading = shared.leading.clone();
    let mut ending = leading.clone();
    let mut found = Found::since(shared.store.now());
    let terms = async {
        loop {
            leading.begins().await;
            tokio::select! {
                () = look(shared, &mut found) => {}
                () = ending.ends() => {}
            }
            // The next leader shows it, and the database says again what is left when that is this process.
            shared.unprojected.clear();
        }
    };
    shutdown.run_until_cancelled(terms).await;
}

/// Scans again and again, at once when the doorbell rings.
async fn look(shared: &Shared, found: &mut Found) {
    let mut bell = shared.store.listen(Bell::Changed);
    loop {
        tokio::select! {
            () = bell.rung() => {}
            () = tokio::time::sleep(POLL) => {}
        }
        let read = scan(shared, found).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "looking for changed runs failed; trying again");
            0
        });
        tokio::time::sleep(GAP + GAP_OF_RUN * read).await;
    }
}

/// One look; how many runs, signals and findings it read.
async fn scan(shared: &Shared, found: &mut Found) -> Result<u32, store::Error> {
    let mut ownerless = Vec::new();
    let all = shared.store.changed(MOST, scopes(shared)).await?;
    let read = u32::try_from(all.len()).unwrap_or(u32::MAX);
    for changed in all {
        match whose(shared, &changed) {
            Whose::Object(key) => {
                if shared.unprojected.add(&key, changed.run, changed.summary_seq) {
                    shared.queue.add_now(key);
                }
            }
            Whose::Nobody => ownerless.push((changed.run, changed.summary_seq)),
            Whose::Unknown => {}
        }
    }
    if !ownerless.is_empty() {
        shared.store.mark_projected(&ownerless).await?;
    }
    let signals = scan_signals(shared).await?;
    let findings = scan_findings(shared, found).await?;
    Ok(read.saturating_add(signals).saturating_add(findings))
}

/// Where we look. What others have to show, or nobody has, must not fill our scans.
pub(super) fn scopes(shared: &Shared) -> Option<&[String]> {
    shared.options.namespaces.as_deref()
}

/// Who shows a run, or a signal.
pub(super) enum Whose {
    /// This object.
    Object(Key),
    /// Nobody: its object is gone.
    Nobody,
    /// It may be somebody's whom we do not see yet.
    Unknown,
}

fn whose(shared: &Shared, changed: &Changed) -> Whose {
    match Kind::parse(&changed.owner_kind).filter(|kind| kind.owns_runs()) {
        Some(kind) => find(
            shared,
            Key::new(kind, &changed.namespace, &changed.owner_name),
            &changed.owner_uid,
        ),
        None => Whose::Unknown,
    }
}

pub(super) fn find(shared: &Shared, key: Key, uid: &str) -> Whose {
    let cache = shared.cache(key.kind);
    match cache.get(&key) {
        Some(object) if object.metadata.uid.as_deref() == Some(uid) => Whose::Object(key),
        // An object that comes into view later is reconciled then.
        Some(_) | None if cache.is_complete() => Whose::Nobody,
        Some(_) | None => Whose::Unknown,
    }
}

/// Signals with an outcome that their objects do not show; how many there were.
async fn scan_signals(shared: &Shared) -> Result<u32, store::Error> {
    let all = shared.store.changed_signals(MOST, scopes(shared)).await?;
    let read = u32::try_from(all.len()).unwrap_or(u32::MAX);
    let mut ownerless = Vec::new();
    for changed in all {
        let key = Key::new(Kind::Signal, &changed.namespace, &changed.name);
        match find(shared, key, &changed.uid) {
            Whose::Object(key) => {
                if shared.unshown.add(&changed.uid, changed.id) {
                    shared.queue.add_now(key);
                }
            }
            Whose::Nobody => {
                shared.unshown.remove(&changed.uid);
                ownerless.push(changed.id);
            }
            Whose::Unknown => {}
        }
    }
    if !ownerless.is_empty() {
        shared.store.mark_signals_shown(&ownerless).await?;
    }
    Ok(read)
}

/// What workers found of Connections; how many findings there were, also those that were told of before.
async fn scan_findings(shared: &Shared, found: &mut Found) -> Result<u32, store::Error> {
    let (mut from, mut read) = (found.from(), 0_u32);
    loop {
        let page = shared.store.findings_since(from, MOST).await?;
        for finding in &page {
            read = read.saturating_add(1);
            let key = Key::new(Kind::Connection, &finding.namespace, &finding.name);
            if found.add(&finding.uid, finding.checked_at) && shared.connections.get(&key).is_some() {
                shared.queue.add_now(key);
            }
        }
        let full = i64::try_from(page.len()) == Ok(MOST);
        match page.last().map(|last| last.checked_at) {
            // The last moment again: it may have more than fitted.
            Some(last) if full && last > from => from = last,
            Some(_) | None => break,
        }
    }
    found.forget();
    Ok(read)
}
