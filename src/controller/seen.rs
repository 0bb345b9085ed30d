//! What a reconcile reads of an object.

use std::sync::Arc;

use kube::api::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// An object as the cache has it.
pub(crate) struct Seen<S> {
    pub(crate) object: Arc<DynamicObject>,
    pub(crate) uid: String,
    pub(crate) generation: i64,
    pub(crate) status: S,
}

impl<S: Default + DeserializeOwned> Seen<S> {
    /// None for an object without UID, which the API server never shows.
    pub(crate) fn of(object: Arc<DynamicObject>) -> Option<Self> {
        let uid = object.metadata.uid.clone()?;
        let generation = object.metadata.generation.unwrap_or_default();
        // A status that does not parse was not written by us: it is written anew.
        let status = object
            .data
            .get("status")
            .cloned()
            .and_then(|status| serde_json::from_value(status).ok());
        Some(Self {
            uid,
            generation,
            status: status.unwrap_or_default(),
            object,
        })
    }
}

impl<S> Seen<S> {
    /// The spec as it was written.
    pub(crate) fn spec(&self) -> &Value {
        self.object.data.get("spec").unwrap_or(&Value::Null)
    }
}
