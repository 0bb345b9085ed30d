//! Objects that have done their work are deleted after their time to live: never one that somebody would create again.

use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Preconditions};

use super::apply::resource;
use super::call::{CallError, call};
use super::key::Key;
use super::{Error, Next, Shared};

/// Labels and annotations by which Argo CD, Flux and Helm know their objects: they would create them again.
const TRACKING: [&str; 8] = [
    "argocd.argoproj.io/tracking-id",
    "argocd.argoproj.io/instance",
    "app.kubernetes.io/instance",
    "kustomize.toolkit.fluxcd.io/name",
    "kustomize.toolkit.fluxcd.io/namespace",
    "helm.toolkit.fluxcd.io/name",
    "helm.toolkit.fluxcd.io/namespace",
    "meta.helm.sh/release-name",
];

/// What follows for an object whose status is settled and whose work ended at `ended_at`, if it did.
pub(crate) async fn next(
    shared: &Shared,
    key: &Key,
    object: &DynamicObject,
    ttl: Option<Duration>,
    ended_at: Option<Timestamp>,
) -> Result<Next, Error> {
    let Some((ttl, ended_at)) = ttl.zip(ended_at).filter(|_| !is_tracked(object)) else {
        return Ok(Next::Resync);
    };
    let left = left(ttl, ended_at, shared.store.now());
    if !left.is_zero() {
        return Ok(Next::After(left.min(shared.options.resync)));
    }
    delete(&shared.client, key, object).await?;
    tracing::info!(object = %key, "deleted after its time to live");
    Ok(Next::Resync)
}

/// Whether GitOps or Helm keeps the object.
fn is_tracked(object: &DynamicObject) -> bool {
    let metadata = &object.metadata;
    let names = metadata.labels.iter().chain(&metadata.annotations).flatten();
    let by_helm = metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get("app.kubernetes.io/managed-by"))
        .is_some_and(|manager| manager == "Helm");
    by_helm || names.map(|(name, _)| name).any(|name| is_tracking(name))
}

/// Whether a label or an annotation of this name says who keeps the object.
pub(crate) fn is_tracking(name: &str) -> bool {
    TRACKING.contains(&name)
}

fn left(ttl: Duration, ended_at: Timestamp, now: Timestamp) -> Duration {
    let since = Duration::try_from(now.duration_since(ended_at)).unwrap_or_default();
    ttl.saturating_sub(since)
}

/// Deletes this very object, as it was when it was found to be done: one that was changed since is judged anew.
async fn delete(client: &Client, key: &Key, object: &DynamicObject) -> Result<(), CallError> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &key.namespace, &resource(key.kind));
    let params = DeleteParams {
        preconditions: Some(Preconditions {
            uid: object.metadata.uid.clone(),
            resource_version: object.metadata.resource_version.clone(),
        }),
        ..DeleteParams::default()
    };
    match call("deleting an object", || api.delete(&key.name, &params)).await {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.code(), Some(404 | 409)) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::key::Kind;
    use super::*;

    #[test]
    fn time_to_live_counts_from_the_end() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(left(hour, at(100), at(160)), Duration::from_secs(3540));
        assert_eq!(left(hour, at(100), at(3700)), Duration::ZERO);
        assert_eq!(left(hour, at(100), at(50)), hour, "a clock that is behind");
    }

    #[test]
    fn object_that_somebody_keeps_is_tracked_by_label_or_annotation() {
        let object = |labels: &[(&str, &str)], annotations: &[(&str, &str)]| {
            let map = |pairs: &[(&str, &str)]| {
                let pairs = pairs
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
                pairs.collect::<BTreeMap<_, _>>()
            };
            let mut object = DynamicObject::new("s", &resource(Kind::Signal));
            object.metadata.labels = Some(map(labels));
            object.metadata.annotations = Some(map(annotations));
            object
        };
        assert!(!is_tracked(&object(&[("app", "shop")], &[("note", "x")])));
        assert!(!is_tracked(&object(
            &[("app.kubernetes.io/managed-by", "kustomize")],
            &[]
        )));
        assert!(is_tracked(&object(&[("app.kubernetes.io/managed-by", "Helm")], &[])));
        for name in TRACKING {
            assert!(is_tracked(&object(&[(name, "x")], &[])), "{name}");
            assert!(is_tracked(&object(&[], &[(name, "x")])), "{name}");
        }
    }
}
