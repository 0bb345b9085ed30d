//! The actions of a worker against real servers: HTTP over sockets of this test, SQL on a private PostgreSQL.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod cluster;
mod http;
mod http_server;
mod sql;
#[path = "../support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use everstep::engine::{ErrorKind, Outcome};
use everstep::worker::action::{Actions, Attempt};
use everstep::worker::connection::{Connections, Finding, Manifests, Source};
use everstep::worker::egress::EgressPolicy;
use tokio::sync::mpsc;
use uuid::Uuid;

/// The step key of these tests.
const KEY: &str = "00112233445566778899aabbccddeeff";
/// Long enough for everything that should happen.
const DEADLINE: Duration = Duration::from_secs(60);

fn actions(source: Source, egress: EgressPolicy) -> (Actions, mpsc::Receiver<Finding>) {
    let (findings, received) = mpsc::channel(64);
    (Actions::new(Connections::new(source, findings), egress), received)
}

fn open_actions(manifests: Manifests) -> Actions {
    actions(Source::Files(manifests), EgressPolicy::open()).0
}

fn attempt(namespace: &str, timeout: Duration) -> Attempt {
    Attempt {
        namespace: namespace.to_owned(),
        key: KEY.to_owned(),
        timeout,
        step: "step".to_owned(),
        run: Uuid::nil(),
    }
}

#[track_caller]
fn failed(outcome: &Outcome) -> (ErrorKind, &str) {
    let Err(error) = outcome else {
        panic!("it succeeded: {outcome:?}")
    };
    (error.kind, &error.code)
}

/// Waits until `holds`, at most [`DEADLINE`].
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let until = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < until, "{what} did not happen in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
