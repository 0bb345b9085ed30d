//! The server that steps talk to: it answers as its paths say, and keeps what it was sent.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::any,
};
use futures::stream;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

/// It ends when dropped.
pub(crate) struct Target {
    pub(crate) port: u16,
    seen: Seen,
    task: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Seen {
    flaky: Arc<AtomicU32>,
    /// Bodies of `/told`, and the credentials that came with them.
    told: Arc<Mutex<Vec<(Value, String)>>>,
}

impl Target {
    pub(crate) async fn start() -> Self {
        let seen = Seen::default();
        let router = Router::new()
            .route("/status/{code}", any(status))
            .route("/flaky", any(flaky))
            .route("/slow", any(slow))
            .route("/huge", any(huge))
            .route("/told", any(told))
            .with_state(seen.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, seen, task }
    }

    /// What came to `/told`, oldest first.
    pub(crate) fn told(&self) -> Vec<Value> {
        self.seen
            .told
            .lock()
            .unwrap()
            .iter()
            .map(|(body, _)| body.clone())
            .collect()
    }

    /// The `Authorization` of what came to `/told`.
    pub(crate) fn credentials(&self) -> Vec<String> {
        self.seen
            .told
            .lock()
            .unwrap()
            .iter()
            .map(|(_, given)| given.clone())
            .collect()
    }

    /// The spec of a Connection to it.
    pub(crate) fn spec(&self) -> String {
        format!("{{http: {{baseUrl: 'http://127.0.0.1:{}'}}}}", self.port)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn status(Path(code): Path<u16>) -> StatusCode {
    StatusCode::from_u16(code).unwrap()
}

/// Fails twice.
async fn flaky(State(seen): State<Seen>) -> StatusCode {
    match seen.flaky.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    }
}

async fn slow() -> StatusCode {
    tokio::time::sleep(Duration::from_secs(60)).await;
    StatusCode::OK
}

/// 100 MiB, as they are asked for.
async fn huge() -> Body {
    let chunk = Bytes::from(vec![b'x'; 1 << 20]);
    Body::from_stream(stream::iter(
        (0..100).map(move |_| Ok::<_, std::io::Error>(chunk.clone())),
    ))
}

async fn told(State(seen): State<Seen>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let given = headers
        .get("authorization")
        .map(|value| value.to_str().unwrap().to_owned());
    seen.told.lock().unwrap().push((body, given.unwrap_or_default()));
    StatusCode::OK
}
