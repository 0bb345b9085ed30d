//! Reconciles a Connection: shows in its status what workers found. The controller reads no Secret and connects to
//! nothing.

mod status;

use serde_json::Value;

use super::key::Key;
use super::{Error, Next, Shared};
use crate::api::v1alpha1::ConnectionStatus;

/// Brings the status of one Connection up to date.
pub(super) async fn reconcile(shared: &Shared, key: &Key) -> Result<Next, Error> {
    let Some(object) = shared.connections.get(key) else {
        return Ok(Next::Forget);
    };
    let Some(uid) = object.metadata.uid.clone() else {
        return Ok(Next::Forget);
    };
    let generation = object.metadata.generation.unwrap_or_default();
    let before = object
        .data
        .get("status")
        .cloned()
        .and_then(|status| serde_json::from_value(status).ok());
    let before: ConnectionStatus = before.unwrap_or_default();
    // Without the database nothing new is known, and the old status stays.
    let finding = shared.findings.ask(uid).await?;
    let spec = object.data.get("spec").unwrap_or(&Value::Null);
    let next = status::of(&before, generation, spec, finding.as_ref(), shared.store.now());
    if next == before {
        return Ok(Next::Resync);
    }
    match shared.write_over(key, &object, &next).await? {
        Ok(()) => Ok(Next::Resync),
        Err(next) => Ok(next),
    }
}
