//! A payments server for the demo and the tests: it honours `Idempotency-Key` and keeps a ledger of what it did.
//!
//! The ledger has one entry a key and counts its requests, so a test can see that an order was charged under one key only,
//! however often the request was sent.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What the server did for one key.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Entry {
    /// The `Idempotency-Key`.
    pub(crate) key: String,
    /// Path of the request.
    pub(crate) path: String,
    /// Body of the first request.
    pub(crate) body: Value,
    /// What was answered, to the first request and to every repetition.
    pub(crate) answer: Value,
    /// How many requests came with this key.
    pub(crate) requests: u32,
}

/// The server's memory; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    entries: Arc<Mutex<BTreeMap<String, Entry>>>,
    delay: Duration,
}

impl Ledger {
    /// An empty ledger of a server that does what it is asked for at once, and answers `delay` later.
    pub(crate) fn with_delay(delay: Duration) -> Self {
        Self {
            delay,
            ..Self::default()
        }
    }

    /// All entries, by key.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Does what `path` asks for, once for each key, and says what came of it.
    fn perform(&self, key: &str, path: &str, body: Value) -> Value {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let number = entries.values().filter(|entry| entry.path == path).count() + 1;
        let entry = entries.entry(key.to_owned()).or_insert_with(|| Entry {
            key: key.to_owned(),
            path: path.to_owned(),
            body,
            answer: answer(path, number),
            requests: 0,
        });
        entry.requests += 1;
        entry.answer.clone()
    }
}

fn answer(path: &str, number: usize) -> Value {
    match path {
        "/v1/charges" => json!({"id": format!("ch_{number}")}),
        "/v1/notify" => json!({"notified": true}),
        _ => json!({"id": format!("re_{number}")}),
    }
}

/// Serves until the future is dropped.
///
/// # Errors
/// When the listener fails.
pub(crate) async fn serve(listener: TcpListener, ledger: Ledger) -> std::io::Result<()> {
    let router = Router::new()
        .route("/v1/charges", post(charge))
        .route("/v1/charges/{id}/refund", post(refund))
        .route("/v1/notify", post(notify))
        .route("/ledger", get(show))
        .with_state(ledger);
    axum::serve(listener, router).await
}

async fn charge(State(ledger): State<Ledger>, headers: HeaderMap, body: Bytes) -> Response {
    handle(&ledger, &headers, "/v1/charges", &body).await
}

async fn refund(State(ledger): State<Ledger>, Path(id): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    handle(&ledger, &headers, &format!("/v1/charges/{id}/refund"), &body).await
}

async fn notify(State(ledger): State<Ledger>, headers: HeaderMap, body: Bytes) -> Response {
    handle(&ledger, &headers, "/v1/notify", &body).await
}

async fn show(State(ledger): State<Ledger>) -> Response {
    json_answer(StatusCode::OK, &json!(ledger.entries()))
}

async fn handle(ledger: &Ledger, headers: &HeaderMap, path: &str, body: &[u8]) -> Response {
    let Some(key) = headers.get("idempotency-key").and_then(|value| value.to_str().ok()) else {
        return json_answer(StatusCode::BAD_REQUEST, &json!({"error": "send an Idempotency-Key"}));
    };
    let body = serde_json::from_slice(body).unwrap_or(Value::Null);
    let answer = ledger.perform(key, path, body);
    // What is done is in the ledger before the answer is sent: whoever dies in between does not know that it was done.
    tokio::time::sleep(ledger.delay).await;
    json_answer(StatusCode::CREATED, &answer)
}

fn json_answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
