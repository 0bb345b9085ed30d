//! Signals of a run: what one is, how many a run keeps, and which of them a decision used up.
//!
//! A signal that no step waits for is part of the run's state until one does, first in, first out per name. The state of
//! a run is bounded, so there is a last one that fits; what comes after it is rejected, and an event says so.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    definition::{VALUE_DEPTH, is_shallow, json_bytes},
    event::Event,
    run::Run,
};

/// Signals that a run keeps at most.
pub const MAX_BUFFERED: usize = 10_000;
/// Bytes of the signals that a run keeps at most: names, senders and payloads as JSON.
pub const MAX_BUFFERED_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of one payload as JSON.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;

/// One signal, as the inbox has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Its id in the inbox: the order in which signals of one name are consumed.
    pub id: i64,
    /// What a step waits for.
    pub name: String,
    /// Free JSON of at most [`MAX_PAYLOAD_BYTES`].
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub payload: Value,
    /// Who sent it, as far as that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When it was stored, by the database's clock.
    pub received_at: Timestamp,
}

/// Why a run cannot keep a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// The run keeps as many signals as it can, and no step waits for this one.
    BufferFull,
    /// The payload is larger than [`MAX_PAYLOAD_BYTES`].
    PayloadTooLarge,
    /// The payload is nested so deeply that nobody could read the journal again.
    PayloadTooDeep,
}

impl Rejection {
    /// The reason that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BufferFull => "BufferFull",
            Self::PayloadTooLarge => "PayloadTooLarge",
            Self::PayloadTooDeep => "PayloadTooDeep",
        }
    }
}

/// Inbox ids of the signals that a decision consumed.
pub fn consumed(events: &[Event]) -> Vec<i64> {
    let ids = events.iter().filter_map(|event| match event {
        Event::SignalConsumed { id, .. } => Some(*id),
        _ => None,
    });
    ids.collect()
}

/// Inbox ids of the signals that a decision rejected: they will never be consumed.
pub fn rejected(events: &[Event]) -> Vec<(i64, Rejection)> {
    let rejected = events.iter().filter_map(|event| match event {
        Event::SignalRejected { id, reason } => Some((*id, *reason)),
        _ => None,
    });
    rejected.collect()
}

/// Inbox ids of the signals that the run took and that no step has consumed; when it has finished, none ever will.
pub fn unconsumed(run: &Run) -> Vec<i64> {
    run.signals.keys().copied().collect()
}

/// Why no run could keep a signal with this payload; nothing when it can.
pub(super) fn unfit(payload: &Value) -> Option<Rejection> {
    // One level is left for what the step's output wraps around it.
    if !is_shallow(payload, VALUE_DEPTH - 1) {
        return Some(Rejection::PayloadTooDeep);
    }
    (json_bytes(payload) > MAX_PAYLOAD_BYTES).then_some(Rejection::PayloadTooLarge)
}

/// What it takes of the run's buffer.
pub(super) fn weight(signal: &Signal) -> usize {
    json_bytes(&signal.payload) + signal.name.len() + signal.by.as_ref().map_or(0, String::len)
}

/// What a step that waited for it has as its result.
pub(super) fn result(signal: &Signal) -> Value {
    json!({
        "payload": signal.payload,
        "by": signal.by,
        "signal": signal.name,
        "receivedAt": signal.received_at.to_string(),
    })
}
