//! What the orphan pass finds and people should hear of: Events that no status shows, since the object is gone.
//!
//! Best effort, as all Events are: they wait in a short queue, and what does not fit is lost. Logs and audit have it all.

use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::events::{Announcement, Regarding, Severity};
use super::key::{Key, Kind};

/// Notices that wait: a pass may cancel the runs of many objects at once, and nobody reads thousands of Events.
pub(super) const WAITING: usize = 64;

/// Something that is told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The runs of an object were cancelled, because it is gone.
    OrphanCancelled {
        /// Its kind.
        kind: String,
        /// Where it was.
        namespace: String,
        /// Its name.
        name: String,
        /// Its UID.
        uid: String,
        /// How many runs were sent a cancel.
        runs: i64,
    },
    /// The orphan brake began to hold.
    BrakeHolds {
        /// When.
        since: Timestamp,
        /// Runs that would have been cancelled.
        runs: i64,
        /// Of so many live runs of objects.
        live: i64,
    },
    /// The orphan brake was released.
    BrakeReleased {
        /// When it had begun to hold.
        since: Timestamp,
    },
}

/// Publishes notices until `shutdown`.
pub(super) async fn tell(shared: &Arc<Shared>, shutdown: &CancellationToken) {
    let notices = shared.told.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut notices) = notices else { return };
    loop {
        let notice = tokio::select! {
            () = shutdown.cancelled() => return,
            Some(notice) = notices.recv() => notice,
        };
        let (regarding, announcement) = event_of(&notice, &shared.options.install);
        shared.announce(&regarding, &announcement).await;
    }
}

/// Who takes notices; both ends of it.
pub(super) fn channel() -> (mpsc::Sender<Notice>, mpsc::Receiver<Notice>) {
    mpsc::channel(WAITING)
}

/// What is told, and of what. A Workflow that is gone is named by reference, in its namespace. The brake is about the
/// whole install, which its own namespace stands for: a role in that namespace lets us write the Event, whatever
/// namespaces we look at.
fn event_of(notice: &Notice, install: &str) -> (Regarding, Announcement) {
    match notice {
        Notice::OrphanCancelled {
            kind,
            namespace,
            name,
            uid,
            runs,
        } => (
            Regarding::object(
                &Key::new(Kind::parse(kind).unwrap_or(Kind::Workflow), namespace, name),
                uid,
            ),
            Announcement {
                severity: Severity::Normal,
                reason: "OrphanCancelled",
                note: format!("the object is gone: {runs} of its runs cancelled"),
                about: uid.clone(),
            },
        ),
        Notice::BrakeHolds { since, runs, live } => (
            Regarding::namespace(install),
            Announcement {
                severity: Severity::Warning,
                reason: "OrphanBrake",
                note: format!(
                    "the objects of {runs} of {live} live runs are missing at once: nothing is cancelled. Check that \
                     the CRDs and the objects are there, and that this is the right API server"
                ),
                about: format!("held {since}"),
            },
        ),
        Notice::BrakeReleased { since } => (
            Regarding::namespace(install),
            Announcement {
                severity: Severity::Normal,
                reason: "OrphanBrakeReleased",
                note: "runs of objects that are gone are cancelled again".to_owned(),
                about: format!("held {since}"),
            },
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vanished_object_is_named_by_reference_and_the_brake_by_the_install() {
        let cancelled = Notice::OrphanCancelled {
            kind: "WorkflowRun".to_owned(),
            namespace: "shop".to_owned(),
            name: "order".to_owned(),
            uid: "u".to_owned(),
            runs: 2,
        };
        let (regarding, told) = event_of(&cancelled, "everstep-system");
        assert_eq!(
            regarding,
            Regarding::object(&Key::new(Kind::WorkflowRun, "shop", "order"), "u")
        );
        assert_eq!((told.reason, told.severity), ("OrphanCancelled", Severity::Normal));
        assert!(told.note.contains("2 of its runs"), "{}", told.note);

        let since = Timestamp::UNIX_EPOCH;
        let (regarding, told) = event_of(
            &Notice::BrakeHolds {
                since,
                runs: 500,
                live: 510,
            },
            "everstep-system",
        );
        assert_eq!(regarding, Regarding::namespace("everstep-system"));
        assert_eq!((told.reason, told.severity), ("OrphanBrake", Severity::Warning));
        assert!(told.note.contains("500 of 510"), "{}", told.note);
        let (_, released) = event_of(&Notice::BrakeReleased { since }, "everstep-system");
        assert_eq!(released.reason, "OrphanBrakeReleased");
    }
}
