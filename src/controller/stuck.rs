//! Wake-ups by standstill: objects whose `Stuck` condition is not what the database says of their runs. A run that gets stuck,
//! or ceases to be, need not change, so the other wake-ups may not see it.
//!
//! What an object shows is compared with what is: a change of leaders loses nothing, and who shows it already is left alone.
//! Runs without an object are counted by the detector, and shown by nobody.

use std::collections::HashMap;
use std::time::Duration;

use kube::api::DynamicObject;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::key::{Key, Kind};
use super::wake::{Whose, find, scopes};
use crate::store::{self, StuckOwner, StuckReason};

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(10);
/// Objects of one look: what is left over comes with the next ones. It bounds what a look reads and keeps, and, when no
/// worker is left for ten thousand runs, what the API server is asked to write: a hundred objects a second.
const MOST: usize = 1000;

/// Objects by UID, and what their `Stuck` condition says.
type Shown = HashMap<String, (Key, String)>;

/// Runs until `shutdown`; looks while this process leads.
pub(super) async fn wake(shared: &Shared, shutdown: &CancellationToken) {
    let mut leading = shared.leading.clone();
    let mut after = String::new();
    let looks = async {
        loop {
            leading.begins().await;
            match look(shared, &after).await {
                Ok(last) => after = last,
                Err(error) => tracing::debug!(%error, "looking for objects with stuck runs failed; trying again"),
            }
            tokio::time::sleep(PERIOD).await;
        }
    };
    shutdown.run_until_cancelled(looks).await;
}

/// One look at the objects whose UIDs follow `after`; the UID that it came to, or none when it came to the end.
async fn look(shared: &Shared, after: &str) -> Result<String, store::Error> {
    let most = i64::try_from(MOST).unwrap_or(i64::MAX);
    let stuck = shared.store.stuck_owners(after, most, scopes(shared)).await?;
    let full = (stuck.len() == MOST).then(|| stuck.last()).flatten();
    let last = full.map(|owner| owner.uid.clone());
    let mut shown = Shown::new();
    for kind in Kind::ALL.into_iter().filter(|kind| kind.owns_runs()) {
        shown.extend(shared.cache(kind).pick(|key, object| {
            let uid = object.metadata.uid.as_deref()?;
            let looked_at = uid > after && last.as_deref().is_none_or(|last| uid <= last);
            let reason = reason_shown(object).filter(|_| looked_at)?;
            Some((uid.to_owned(), (key.clone(), reason.to_owned())))
        }));
    }
    let news = news(&stuck, shown);
    for owner in news.stuck {
        let kind = Kind::parse(&owner.kind).filter(|kind| kind.owns_runs());
        let key = kind.map(|kind| Key::new(kind, &owner.namespace, &owner.name));
        match key.map(|key| find(shared, key, &owner.uid)) {
            Some(Whose::Object(key)) => shared.queue.add_now(key),
            Some(Whose::Nobody | Whose::Unknown) | None => {}
        }
    }
    for key in news.moving {
        shared.queue.add_now(key);
    }
    Ok(last.unwrap_or_default())
}

/// What objects do not show yet.
struct News<'a> {
    /// They own a run that is stuck, and say so not at all, or for another reason.
    stuck: Vec<&'a StuckOwner>,
    /// They say that a run is stuck, and own none.
    moving: Vec<Key>,
}

fn news(stuck: &[StuckOwner], mut shown: Shown) -> News<'_> {
    let is_news = |owner: &&StuckOwner| {
        let shown = shown.remove(&owner.uid);
        shown.is_none_or(|(_, reason)| reason != owner.reason.as_str())
    };
    let stuck = stuck.iter().filter(is_news).collect();
    // That nothing moves a run is seen by the reconcile alone: at the resync, and when the run changes.
    shown.retain(|_, (_, reason)| *reason != StuckReason::NoMover.as_str());
    let moving = shown.into_values().map(|(key, _)| key).collect();
    News { stuck, moving }
}

/// The reason of an object's `Stuck` condition; none when it has no such condition.
fn reason_shown(object: &DynamicObject) -> Option<&str> {
    let conditions = object.data.get("status")?.get("conditions")?.as_array()?;
    let stuck = conditions.iter().find(|condition| condition["type"] == "Stuck")?;
    stuck["reason"].as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(uid: &str, reason: StuckReason) -> StuckOwner {
        StuckOwner {
            uid: uid.to_owned(),
            kind: "Workflow".to_owned(),
            namespace: "n".to_owned(),
            name: uid.to_owned(),
            reason,
        }
    }

    #[test]
    fn who_shows_what_is_so_is_left_alone_and_all_others_are_news() {
        let shown = |uid: &str, reason: StuckReason| {
            let key = Key::new(Kind::Workflow, "n", uid);
            (uid.to_owned(), (key, reason.as_str().to_owned()))
        };
        let stuck = [
            owner("known", StuckReason::Unclaimed),
            owner("new", StuckReason::Unclaimed),
            owner("other", StuckReason::ClaimExpired),
        ];
        let shown = Shown::from([
            shown("known", StuckReason::Unclaimed),
            shown("other", StuckReason::Unclaimed),
            shown("moves", StuckReason::TimerOverdue),
            shown("unmoved", StuckReason::NoMover),
        ]);
        let news = news(&stuck, shown);
        let uids: Vec<&str> = news.stuck.iter().map(|owner| &*owner.uid).collect();
        assert_eq!(uids, ["new", "other"]);
        assert_eq!(news.moving, [Key::new(Kind::Workflow, "n", "moves")]);
    }
}
