//! Watches one kind in one scope and keeps the cache, the queue and the orphan pass informed, for ever.
//!
//! Objects are read as they are: one that makes no sense to us does not cost us the others of its page.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use kube::api::Api;
use kube::runtime::watcher::{self, Event, watcher};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::apply::resource;
use super::cache::{Cache, Change, Listing};
use super::key::Kind;
use super::lenient::Lenient;

/// How long one watch lasts, in seconds: a connection that died without a word is noticed soon after.
const WATCH: u32 = 45;
/// The longest silence: of a LIST's page, and of a watch, which ends itself before that.
const SILENCE: Duration = Duration::from_secs(60);
/// The pause after an error; it doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Runs until `shutdown`.
pub(super) async fn watch(shared: &Shared, kind: Kind, scope: Option<&str>, shutdown: &CancellationToken) {
    let mut listing = Listing::default();
    let mut pause = PAUSE;
    while !shutdown.is_cancelled() {
        let resource = resource(kind);
        let api: Api<Lenient> = match scope {
            Some(namespace) => Api::namespaced_with(shared.client.clone(), namespace, &resource),
            None => Api::all_with(shared.client.clone(), &resource),
        };
        let mut events = pin!(watcher(api, watcher::Config::default().timeout(WATCH)));
        loop {
            let event = tokio::select! {
                () = shutdown.cancelled() => return,
                event = tokio::time::timeout(SILENCE, events.next()) => event,
            };
            match event {
                Ok(Some(Ok(event))) => {
                    pause = PAUSE;
                    take(shared, kind, event, scope, &mut listing);
                }
                Ok(Some(Err(error))) => {
                    if is_expired(&error) {
                        // An answer, so no outage: the next thing asked is a LIST.
                        pause = PAUSE;
                    }
                    let advice = advice(&error);
                    tracing::warn!(kind = kind.as_str(), scope, %error, advice, "watching failed; trying again");
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = tokio::time::sleep(pause) => pause = LONGEST_PAUSE.min(2 * pause),
                    }
                }
                // The stream never ends by itself; a silent one is dropped, and begins anew with a LIST.
                Ok(None) | Err(_) => break,
            }
        }
    }
}

/// Whether the server has forgotten what the watch wanted to go on from.
fn is_expired(error: &watcher::Error) -> bool {
    const GONE: u16 = 410;
    matches!(error, watcher::Error::WatchError(status) if status.code == GONE)
}

/// What a human can do about it.
fn advice(error: &watcher::Error) -> Option<&'static str> {
    use watcher::Error::{InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed};

    let status = match error {
        InitialListFailed(kube::Error::Api(status)) => status,
        WatchStartFailed(kube::Error::Api(status)) | WatchFailed(kube::Error::Api(status)) => status,
        WatchError(status) => status,
        InitialListFailed(_) | WatchStartFailed(_) | WatchFailed(_) | NoResourceVersion => return None,
    };
    match status.code {
        404 => Some("the CRDs are not installed: everstep crd | kubectl apply --server-side -f -"),
        403 => Some("the controller's account needs the verbs list and watch of this kind"),
        _ => None,
    }
}

fn take(shared: &Shared, kind: Kind, event: Event<Lenient>, scope: Option<&str>, listing: &mut Listing) {
    let cache: &Cache = shared.cache(kind);
    match cache.apply(event, scope, listing) {
        Some(Change::Look(key)) => {
            for run in shared.waiting.of(&key) {
                shared.queue.add_now(run);
            }
            shared.queue.add_now(key);
        }
        Some(Change::Deleted { uid }) if kind.owns_runs() => shared.tell_deleted(uid),
        Some(Change::Deleted { .. }) | None => {}
    }
}
