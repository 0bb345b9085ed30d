//! What people see of a run: stored in `runs.summary` by whoever carries the run, shown in an object's status.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::phase::Phase;

/// A run in a few words. At most about 6 KiB as JSON by construction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The coarse phase.
    pub phase: Phase,
    /// When a worker first carried it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The oldest open step, and how many more: `approval +2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// `timer until 2026-11-23T09:00:03Z`, `retry at …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Steps that ended of all steps: `2/5`.
    pub progress: String,
    /// Attempts of the oldest open step, or of the last one that ended.
    pub attempts: u32,
    /// The latest error of the open step, or why the run did not succeed; at most 1 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<SummaryError>,
    /// Output of a run that succeeded, when at most 4 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// There is an output, and it is larger than 4 KiB.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub output_omitted: bool,
}

/// An error in a few words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryError {
    /// The step, if one is to blame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// `error.code`.
    pub code: String,
    /// For people.
    pub message: String,
}
