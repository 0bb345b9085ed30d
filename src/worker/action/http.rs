//! The `http` action: one request, one answer, within its limits. Redirects are not followed: they are answers.
//!
//! ```text
//! request (pure) -> policy -> gate -> pooled or new connection -> written? -> answer (pure)
//!                                                     nothing written: Connect, Timeout
//!                                   written, no complete answer: repeatable? Connect, Timeout : Ambiguous
//! ```

mod answer;
mod client;
mod target;
mod template;
mod wire;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hyper::StatusCode;

use self::client::{Broken, Client, Origin};
use self::target::Target;
use super::Attempt;
use super::limit::Gate;
use crate::engine::{ErrorKind, HttpRequest, HttpTarget, Outcome, StepError};
use crate::worker::connection::{Connection, Connections, HttpConnection, Kind};
use crate::worker::egress::{EgressPolicy, Rules};
use crate::worker::tls;

/// Attempts on one Connection at once, where its limits say nothing.
const PLACES: u32 = 100;
/// Gates of Connections that nobody uses are dropped when there are so many.
const GATES: usize = 1024;

/// Namespace, name and fingerprint of a Connection.
type GateKey = (String, String, [u8; 32]);

/// Everything that HTTP attempts share. Connections are never shared between namespaces.
pub(super) struct Http {
    connections: Connections,
    egress: EgressPolicy,
    client: Client,
    gates: Mutex<HashMap<GateKey, Arc<Gate>>>,
}

impl Http {
    pub(super) fn new(connections: Connections, egress: EgressPolicy) -> Self {
        Self {
            connections,
            egress,
            client: Client::default(),
            gates: Mutex::default(),
        }
    }

    /// Makes one attempt; it ends by its timeout.
    pub(super) async fn perform(&self, attempt: &Attempt, request: &HttpRequest) -> Outcome {
        let deadline = Instant::now() + attempt.timeout;
        let written = AtomicBool::new(false);
        match tokio::time::timeout_at(deadline.into(), self.attempt(attempt, request, deadline, &written)).await {
            Ok(outcome) => outcome,
            Err(_) if written.load(Ordering::Relaxed) && !request.repeatable => {
                Err(ambiguous("no complete answer came in time"))
            }
            Err(_) => {
                let message = format!("no complete answer within {:?}", attempt.timeout);
                Err(StepError::new(ErrorKind::Timeout, "Timeout", message))
            }
        }
    }

    /// Whether the API may be called and accepts a connection; TLS included.
    pub(super) async fn check(&self, namespace: &str, http: &HttpConnection) -> Result<(), StepError> {
        let target = target::resolve(&http.base_url, "/", &serde_json::Map::new(), &serde_json::Map::new())?;
        let rules = self.egress.current();
        // Which methods steps will use is not known here, so the one that any rule allows will do.
        let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
        let mut refused = None;
        if !methods.iter().any(
            |method| match rules.check_request(namespace, &target.host, target.port, method) {
                Ok(()) => true,
                Err(error) => {
                    refused.get_or_insert(error);
                    false
                }
            },
        ) && let Some(error) = refused
        {
            return Err(error);
        }
        client::open(&rules, &target, &http.tls).await.map(drop)
    }

    async fn attempt(
        &self,
        attempt: &Attempt,
        request: &HttpRequest,
        deadline: Instant,
        written: &AtomicBool,
    ) -> Outcome {
        let (name, path) = match &request.target {
            HttpTarget::Connection { name, path } => (name, path),
            HttpTarget::Url(url) => {
                let (base, path) = target::split(url)?;
                let target = target::resolve(base, path, &request.path_params, &request.query)?;
                return self.exchange(attempt, request, &target, None, deadline, written).await;
            }
        };
        let connection = self.connections.get_by(&attempt.namespace, name, deadline).await?;
        let outcome = self
            .on_connection(attempt, request, &connection, path, deadline, written)
            .await;
        if !is_unauthorized(&outcome) {
            return outcome;
        }
        // The credentials may have been rotated. A 401 did nothing, so with newer ones the attempt is made again.
        match self.connections.get_newer(&connection).await {
            Ok(newer) if newer.fingerprint != connection.fingerprint => {
                self.on_connection(attempt, request, &newer, path, deadline, written)
                    .await
            }
            Ok(_) | Err(_) => outcome,
        }
    }

    async fn on_connection(
        &self,
        attempt: &Attempt,
        request: &HttpRequest,
        connection: &Connection,
        path: &str,
        deadline: Instant,
        written: &AtomicBool,
    ) -> Outcome {
        let Kind::Http(http) = &connection.kind else {
            let message = format!(
                "Connection {}/{} is not an http Connection",
                connection.namespace, connection.name
            );
            return Err(StepError::new(ErrorKind::Refused, "WrongConnectionKind", message));
        };
        let target = target::resolve(&http.base_url, path, &request.path_params, &request.query)?;
        let outcome = self
            .exchange(attempt, request, &target, Some((connection, http)), deadline, written)
            .await;
        match &outcome {
            // 401 says that the credentials are wrong; every other answer says that the Connection works.
            Ok(_) if is_unauthorized(&outcome) => {
                let error = StepError::new(ErrorKind::Status, "AuthenticationFailed", "the API answered 401");
                self.connections.report(connection, Err(&error));
            }
            Ok(_) => self.connections.report(connection, Ok(())),
            Err(error) if error.kind == ErrorKind::Connect && error.code != "ConnectionBusy" => {
                self.connections.report(connection, Err(error));
            }
            Err(_) => {}
        }
        outcome
    }

    async fn exchange(
        &self,
        attempt: &Attempt,
        request: &HttpRequest,
        target: &Target,
        connection: Option<(&Connection, &HttpConnection)>,
        deadline: Instant,
        written: &AtomicBool,
    ) -> Outcome {
        let message = wire::build(request, target, &attempt.key, connection.map(|(_, http)| http))?;
        let rules = self.egress.current();
        rules.check_request(&attempt.namespace, &target.host, target.port, &request.method)?;
        let _place = match connection {
            Some((connection, _)) => Some(self.gate(connection).pass(deadline).await?),
            None => None,
        };
        let tls = match connection {
            Some((_, http)) => Arc::clone(&http.tls),
            None => public_tls()?,
        };
        let origin = Origin {
            namespace: attempt.namespace.clone(),
            connection: connection.map(|(connection, _)| (connection.name.clone(), connection.fingerprint)),
            tls: target.tls,
            host: target.host.clone(),
            port: target.port,
        };
        self.send(origin, &rules, target, &tls, message, request.repeatable, written)
            .await
    }

    /// Sends on an idle connection when that is safe, else on a new one.
    #[expect(clippy::too_many_arguments, reason = "the parts of one exchange, each used once")]
    async fn send(
        &self,
        origin: Origin,
        rules: &Arc<Rules>,
        target: &Target,
        tls: &Arc<rustls::ClientConfig>,
        message: client::Message,
        repeatable: bool,
        written: &AtomicBool,
    ) -> Outcome {
        // A server may close an idle connection at the very moment we write to it, and then nobody knows what it
        // read. So what must not be repeated never goes over a used connection.
        if repeatable {
            while let Some(mut idle) = self.client.take(&origin, rules) {
                match idle.exchange(message.clone(), written).await {
                    Ok(received) => {
                        self.client.keep(origin, Arc::clone(rules), idle);
                        return answer::read(received);
                    }
                    Err(Broken::TooLarge(what)) => return Err(answer::too_large(what)),
                    Err(Broken::NotSent | Broken::Cut(_)) => {}
                }
            }
        }
        let mut fresh = client::open(rules, target, tls).await?;
        match fresh.exchange(message, written).await {
            Ok(received) => {
                self.client.keep(origin, Arc::clone(rules), fresh);
                answer::read(received)
            }
            Err(Broken::TooLarge(what)) => Err(answer::too_large(what)),
            Err(Broken::NotSent) => {
                let message = format!("{} closed the connection before the request was sent", target.host);
                Err(StepError::new(ErrorKind::Connect, "ConnectionClosed", message))
            }
            Err(Broken::Cut(what)) if repeatable => Err(StepError::new(ErrorKind::Connect, "IncompleteAnswer", what)),
            Err(Broken::Cut(what)) => Err(ambiguous(what)),
        }
    }

    fn gate(&self, connection: &Connection) -> Arc<Gate> {
        let key = (
            connection.namespace.clone(),
            connection.name.clone(),
            connection.fingerprint,
        );
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.len() >= GATES {
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
        }
        Arc::clone(
            gates
                .entry(key)
                .or_insert_with(|| Arc::new(Gate::new(connection.limits, PLACES))),
        )
    }
}

fn public_tls() -> Result<Arc<rustls::ClientConfig>, StepError> {
    static CONFIG: std::sync::OnceLock<Result<Arc<rustls::ClientConfig>, String>> = std::sync::OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let mut config = tls::client_config(None)?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(Arc::new(config))
        })
        .clone()
        .map_err(|problem| StepError::new(ErrorKind::Connect, "TlsFailed", problem))
}

fn is_unauthorized(outcome: &Outcome) -> bool {
    outcome
        .as_ref()
        .is_ok_and(|result| result["status"] == StatusCode::UNAUTHORIZED.as_u16())
}

fn ambiguous(what: &str) -> StepError {
    let message = format!(
        "the request was sent, but {what}; it may have taken effect. Say `idempotent: true` if the server honours \
         Idempotency-Key"
    );
    StepError::new(ErrorKind::Ambiguous, "OutcomeUnknown", message)
}
