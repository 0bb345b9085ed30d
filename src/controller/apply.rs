//! Writes a status: server-side apply to `/status`, guarded by the resource version of the object it was made from.

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use kube::{Client, Resource};
use serde::Serialize;
use serde_json::json;

use super::call::{CallError, call};
use super::key::{Key, Kind};
use super::lenient::Lenient;
use crate::api;

/// The one field manager: of these fields we are the owner, and of no others.
const FIELD_MANAGER: &str = "everstep-controller";

/// What came of it.
#[derive(Debug)]
pub(crate) enum Applied {
    /// Written: the object as it is now.
    Written(Box<DynamicObject>),
    /// The object changed since it was read, or is another one by now: read it again, facts included.
    Conflict,
    /// There is no such object.
    Gone,
}

/// Applies `status` to `object`, if that is still as it was read. Fields that `status` leaves out are removed.
pub(crate) async fn status(
    client: &Client,
    key: &Key,
    object: &DynamicObject,
    status: &impl Serialize,
) -> Result<Applied, CallError> {
    let resource = resource(key.kind);
    let api: Api<Lenient> = Api::namespaced_with(client.clone(), &key.namespace, &resource);
    let body = json!({
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": {
            "name": &*key.name,
            "namespace": &*key.namespace,
            // An object that was deleted and created again is another one.
            "uid": object.metadata.uid,
            // Whoever wrote meanwhile may know more: 409, and we look again. Hence a status never goes backwards.
            "resourceVersion": object.metadata.resource_version,
        },
        "status": status,
    });
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let patch = Patch::Apply(&body);
    let written = call("writing a status", || api.patch_status(&key.name, &params, &patch)).await;
    match written {
        Ok(Lenient(object)) => Ok(Applied::Written(Box::new(object))),
        Err(error) if error.code() == Some(409) => Ok(Applied::Conflict),
        Err(error) if error.is_absence_of(&key.name) => Ok(Applied::Gone),
        Err(error) => Err(error),
    }
}

/// How the API server names a kind.
pub(crate) fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::Workflow => of::<api::v1alpha1::Workflow>(),
        Kind::WorkflowRun => of::<api::v1alpha1::WorkflowRun>(),
        Kind::Signal => of::<api::v1alpha1::Signal>(),
        Kind::Connection => of::<api::v1alpha1::Connection>(),
    }
}

fn of<K: Resource<DynamicType = ()>>() -> ApiResource {
    let gvk = GroupVersionKind::gvk(&K::group(&()), &K::version(&()), &K::kind(&()));
    ApiResource::from_gvk_with_plural(&gvk, &K::plural(&()))
}
