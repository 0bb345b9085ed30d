//! What a reconcile reads of an object.

use std::sync::Arc;

use kube::api::DynamicObject;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::lenient::UNREADABLE;
use crate::engine::Violation;

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
    ///
    /// # Errors
    /// What to tell the user of one that could not be read.
    pub(crate) fn spec(&self) -> Result<&Value, Vec<Violation>> {
        let data = &self.object.data;
        match data.get(UNREADABLE) {
            None => Ok(data.get("spec").unwrap_or(&Value::Null)),
            Some(why) => Err(vec![Violation {
                path: "spec".to_owned(),
                message: format!(
                    "cannot be read, it may be nested too deep: {}",
                    why.as_str().unwrap_or_default()
                ),
            }]),
        }
    }
}
