//! Kubernetes Events: what people see in `kubectl describe`. On transitions only; best effort, as Events are.
//!
//! Whoever wrote the status that shows a transition announces it, so replicas do not announce it twice. The name of an
//! Event is made of what it says, so a try that is repeated finds it already there, and repeats of one fact are one
//! object.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::Client;
use kube::api::{Api, PostParams};

use super::apply::resource;
use super::call::{CallError, call};
use super::key::Key;

/// Who reports.
const CONTROLLER: &str = "everstep.dev/controller";
/// Kubernetes takes 1 KiB.
const MAX_NOTE: usize = 1024;
/// Leaves room for a dot and the hash within 253 characters.
const MAX_NAME: usize = 200;

/// A transition worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    pub(crate) severity: Severity,
    /// A CamelCase constant.
    pub(crate) reason: &'static str,
    /// For people.
    pub(crate) note: String,
    /// What makes two announcements of one object and reason different: a run, a generation.
    pub(crate) about: String,
}

/// What an Event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Regarding {
    api_version: String,
    kind: String,
    /// The Event's own namespace, too.
    namespace: String,
    name: String,
    uid: Option<String>,
}

impl Regarding {
    /// An object of ours, which may be gone.
    pub(crate) fn object(key: &Key, uid: &str) -> Self {
        let resource = resource(key.kind);
        Self {
            api_version: resource.api_version,
            kind: resource.kind,
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
            uid: Some(uid.to_owned()),
        }
    }

    /// A namespace; the Event is in it.
    pub(crate) fn namespace(name: &str) -> Self {
        Self {
            api_version: "v1".to_owned(),
            kind: "Namespace".to_owned(),
            namespace: name.to_owned(),
            name: name.to_owned(),
            uid: None,
        }
    }

    /// What tells it from all others.
    fn identity(&self) -> &str {
        self.uid.as_deref().unwrap_or(&self.name)
    }
}

/// How an Event is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// As it should be.
    Normal,
    /// Somebody should look.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

/// Creates the Event; that it is there already is success.
pub(crate) async fn publish(
    client: &Client,
    instance: &str,
    regarding: &Regarding,
    announcement: &Announcement,
) -> Result<(), CallError> {
    let api: Api<Event> = Api::namespaced(client.clone(), &regarding.namespace);
    let event = event(instance, regarding, announcement, Timestamp::now());
    let params = PostParams::default();
    match call("creating an Event", || api.create(&params, &event)).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == Some(409) => Ok(()),
        Err(error) => Err(error),
    }
}

fn event(instance: &str, regarding: &Regarding, announcement: &Announcement, now: Timestamp) -> Event {
    Event {
        metadata: ObjectMeta {
            name: Some(name(regarding, announcement)),
            namespace: Some(regarding.namespace.clone()),
            ..ObjectMeta::default()
        },
        type_: Some(announcement.severity.as_str().to_owned()),
        reason: Some(announcement.reason.to_owned()),
        action: Some("Reconcile".to_owned()),
        note: Some(cut(&announcement.note, MAX_NOTE).to_owned()),
        event_time: Some(MicroTime(now)),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        regarding: Some(ObjectReference {
            api_version: Some(regarding.api_version.clone()),
            kind: Some(regarding.kind.clone()),
            namespace: Some(regarding.namespace.clone()),
            name: Some(regarding.name.clone()),
            uid: regarding.uid.clone(),
            ..ObjectReference::default()
        }),
        ..Event::default()
    }
}

/// The same for the same fact, whoever tells it and however often.
fn name(regarding: &Regarding, announcement: &Announcement) -> String {
    let fact = format!(
        "{}\n{}\n{}",
        regarding.identity(),
        announcement.reason,
        announcement.about
    );
    let hash = blake3::hash(fact.as_bytes()).to_hex();
    format!("{}.{}", cut(&regarding.name, MAX_NAME), &hash[..16])
}

/// At most `most` bytes of `text`, never half a character.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use super::super::key::Kind;
    use super::*;

    fn invalid(generation: i64) -> Announcement {
        Announcement {
            severity: Severity::Warning,
            reason: "InvalidSpec",
            note: "é".repeat(1000),
            about: format!("generation {generation}"),
        }
    }

    #[test]
    fn same_fact_has_the_same_name_and_another_generation_has_not() {
        let key = Key::new(Kind::Workflow, "shop", &"x".repeat(253));
        let name = |uid, generation| name(&Regarding::object(&key, uid), &invalid(generation));
        assert_eq!(name("u", 1), name("u", 1));
        assert_ne!(name("u", 1), name("u", 2));
        assert_ne!(name("u", 1), name("v", 1));
        assert!(name("u", 1).len() <= 253);
    }

    #[test]
    fn note_is_cut_to_what_kubernetes_takes() {
        let key = Key::new(Kind::Workflow, "shop", "order");
        let regarding = Regarding::object(&key, "u");
        let event = event("pod-1", &regarding, &invalid(1), Timestamp::UNIX_EPOCH);
        assert_eq!(event.note.unwrap().len(), 1024);
        let regarding = event.regarding.unwrap();
        assert_eq!(
            (regarding.kind.as_deref(), regarding.uid.as_deref()),
            (Some("Workflow"), Some("u"))
        );
        assert_eq!(regarding.api_version.as_deref(), Some("everstep.dev/v1alpha1"));
    }
}
