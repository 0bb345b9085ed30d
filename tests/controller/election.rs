//! Elections at an API server that refuses each write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use everstep::controller::election::{Candidate, stand};
use everstep::leading::Leading;
use kube::Client;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::fixture::eventually;

/// Rounds that are looked at.
const ROUNDS: u32 = 5;

#[tokio::test]
async fn lease_whose_namespace_is_not_there_is_asked_for_as_seldom_as_after_any_failure() {
    // A candidate that fails pauses for two fifteenths of the duration.
    let took = time_of_rounds(404, Duration::from_secs(6)).await;
    assert!(took >= Duration::from_millis(800) * (ROUNDS - 1), "{took:?}");
}

#[tokio::test]
async fn lease_that_another_one_is_always_quicker_to_create_is_not_asked_for_without_a_pause() {
    let took = time_of_rounds(409, Duration::from_secs(15)).await;
    assert!(took >= Duration::from_millis(100) * (ROUNDS - 1), "{took:?}");
}

/// What so many rounds take where there is no Lease and each creation is answered with this code.
async fn time_of_rounds(code: u16, duration: Duration) -> Duration {
    let creations = Arc::new(AtomicU32::new(0));
    let counted = creations.clone();
    let answer = move |request: Request| {
        let (code, reason) = match request.method().is_safe() {
            true => (404, "NotFound"),
            false => {
                counted.fetch_add(1, Relaxed);
                (code, "Because")
            }
        };
        let body = json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "because"});
        let json = [(header::CONTENT_TYPE, "application/json")];
        async move { (StatusCode::from_u16(code).unwrap(), json, body.to_string()) }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = axum::serve(listener, Router::new().fallback(answer));
    tokio::spawn(async { server.await.unwrap() });
    let mut config = kube::Config::new(url.parse().unwrap());
    config.default_retry = false;
    let candidate = Candidate {
        namespace: "nowhere".to_owned(),
        lease: "everstep-controller".to_owned(),
        identity: "me".to_owned(),
        duration,
    };
    let (told, leading) = Leading::when_told();
    let shutdown = CancellationToken::new();
    let began = Instant::now();
    let standing = stand(Client::try_from(config).unwrap(), candidate, told, shutdown.clone());
    let standing = tokio::spawn(standing);
    eventually("many rounds", || async { creations.load(Relaxed) >= ROUNDS }).await;
    let took = began.elapsed();
    assert!(!leading.is());
    shutdown.cancel();
    standing.await.unwrap();
    took
}
