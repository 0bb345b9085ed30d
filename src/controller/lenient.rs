//! Reads objects as the API server shows them, however deep their free JSON is nested.
//!
//! The API server takes thousands of levels, JSON readers here stop at 128. One such object would cost all the others of
//! its page, and end each watch that shows it. So a part that cannot be read is left out, and the object says so.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use kube::api::{ApiResource, DynamicObject, TypeMeta};
use kube::core::DynamicResourceScope;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Where an object says that its spec could not be read, and why: no field of the API has this name.
pub(crate) const UNREADABLE: &str = "unreadable spec";

/// An object with `spec` and `status`, as far as they could be read.
#[derive(Debug, Clone)]
pub(crate) struct Lenient(pub(crate) DynamicObject);

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Raw::deserialize(deserializer).map(|raw| Self(raw.into_object()))
    }
}

impl Resource for Lenient {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        DynamicObject::kind(of)
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        DynamicObject::group(of)
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        DynamicObject::version(of)
    }

    fn api_version(of: &ApiResource) -> Cow<'_, str> {
        DynamicObject::api_version(of)
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        DynamicObject::plural(of)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.meta_mut()
    }
}

/// The parts as text: skipping a text needs no stack.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    metadata: Meta,
    spec: Option<Box<RawValue>>,
    status: Option<Box<RawValue>>,
}

/// What is read of the metadata. The managed fields, nested as deep as the spec, are not.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
}

impl Raw {
    fn into_object(self) -> DynamicObject {
        let mut data = json!({});
        if let Some(spec) = self.spec {
            match serde_json::from_str::<Value>(spec.get()) {
                Ok(spec) => data["spec"] = spec,
                Err(error) => data[UNREADABLE] = error.to_string().into(),
            }
        }
        // One that cannot be read was not written by us: it is written anew.
        if let Some(Ok(status)) = self.status.map(|status| serde_json::from_str::<Value>(status.get())) {
            data["status"] = status;
        }
        DynamicObject {
            types: Some(TypeMeta {
                api_version: self.api_version,
                kind: self.kind,
            }),
            metadata: self.metadata.into(),
            data,
        }
    }
}

impl From<Meta> for ObjectMeta {
    fn from(meta: Meta) -> Self {
        Self {
            name: meta.name,
            namespace: meta.namespace,
            uid: meta.uid,
            resource_version: meta.resource_version,
            generation: meta.generation,
            creation_timestamp: meta.creation_timestamp,
            deletion_timestamp: meta.deletion_timestamp,
            labels: meta.labels,
            annotations: meta.annotations,
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use kube::api::{ObjectList, WatchEvent};

    use super::*;

    fn object(name: &str, levels: usize) -> String {
        let deep = "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
        format!(
            r#"{{"apiVersion": "everstep.dev/v1alpha1", "kind": "Signal", "metadata": {{"name": "{name}", "uid": "u",
            "generation": 3, "creationTimestamp": "2026-11-21T09:00:00Z", "labels": {{"a": "b"}},
            "managedFields": [{{"fieldsV1": {deep}}}]}}, "spec": {{"payload": {deep}}}, "status": {{"run": "r"}}}}"#
        )
    }

    #[test]
    fn object_that_is_too_deep_costs_no_other_one_of_its_list() {
        let list = format!(
            r#"{{"kind": "SignalList", "apiVersion": "everstep.dev/v1alpha1", "metadata": {{"resourceVersion": "7"}},
            "items": [{}, {}]}}"#,
            object("deep", 9000),
            object("flat", 3)
        );
        let list: ObjectList<Lenient> = serde_json::from_str(&list).unwrap();
        let [Lenient(deep), Lenient(flat)] = &list.items[..] else {
            panic!("{} items", list.items.len())
        };
        assert!(deep.data.get("spec").is_none());
        assert!(deep.data[UNREADABLE].as_str().unwrap().contains("recursion limit"));
        assert_eq!(flat.data["spec"], json!({"payload": {"a": {"a": {"a": 1}}}}));
        assert!(flat.data.get(UNREADABLE).is_none());
        for object in [deep, flat] {
            assert_eq!(object.data["status"], json!({"run": "r"}));
            assert_eq!(
                (object.metadata.generation, object.metadata.uid.as_deref()),
                (Some(3), Some("u"))
            );
            assert!(object.metadata.creation_timestamp.is_some() && object.metadata.labels.is_some());
        }
    }

    #[test]
    fn watch_goes_on_after_an_object_that_is_too_deep() {
        let line = format!(r#"{{"type": "ADDED", "object": {}}}"#, object("deep", 9000));
        match serde_json::from_str::<WatchEvent<Lenient>>(&line).unwrap() {
            WatchEvent::Added(Lenient(object)) => assert_eq!(object.metadata.name.as_deref(), Some("deep")),
            other => panic!("{other:?}"),
        }
    }
}
