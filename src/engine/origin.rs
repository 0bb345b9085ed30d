//! What a run is born with: the columns of its row that never change.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// The identity and the input of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The run's id.
    pub run: Uuid,
    /// Cluster id: part of every step key.
    pub cluster: Arc<str>,
    /// Namespace of the object.
    pub namespace: String,
    /// Name of the Workflow.
    pub workflow: String,
    /// Name of the object that owns the run: `run.name`.
    pub name: String,
    /// What makes the start unique: part of every step key.
    pub start_key: String,
    /// Revision of the definition.
    pub revision: String,
    /// The run's input; the definition's when the start gave none.
    pub input: Value,
    /// The instant of the schedule that started it.
    pub scheduled_at: Option<Timestamp>,
}
