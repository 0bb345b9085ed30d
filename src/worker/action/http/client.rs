//! HTTP/1.1 connections: opening one to a checked address, one exchange at a time, and keeping idle ones for their
//! owner. Never redirects, proxies, cookies or decompression: there are none here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::answer::{MAX_BODY, MAX_HEAD, Received};
use super::target::Target;
use crate::engine::{ErrorKind, StepError};
use crate::worker::egress::Rules;
use crate::worker::guard;

/// Servers close idle connections after 60 s or more; going first avoids the race.
const IDLE: Duration = Duration::from_secs(20);
/// Idle connections kept for one origin of one namespace.
const IDLE_PER_ORIGIN: usize = 8;
/// Idle connections kept in all.
const IDLE_IN_ALL: usize = 256;

/// A request ready to send.
pub(super) type Message = Request<Full<Bytes>>;

/// Idle connections. One is used again only for the same namespace, Connection, credentials, place and policy.
#[derive(Default)]
pub(super) struct Client {
    idle: Mutex<HashMap<Origin, Vec<Idle>>>,
}

/// Whose connection it is, and where it leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub(super) namespace: String,
    /// Name and fingerprint; `None` for plain URLs.
    pub(super) connection: Option<(String, [u8; 32])>,
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
}

struct Idle {
    since: Instant,
    rules: Arc<Rules>,
    open: Open,
}

/// An open connection. Dropping it closes it.
pub(super) struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// Moves the bytes; ends with the connection.
    driver: JoinHandle<()>,
}

/// Why there is no answer.
pub(super) enum Broken {
    /// The request was handed back: not a byte of it was written.
    NotSent,
    /// Something may have been written, and no complete answer came.
    Cut(&'static str),
    /// The answer is larger than a limit.
    TooLarge(&'static str),
}

impl Client {
    /// An idle connection that is still open.
    pub(super) fn take(&self, origin: &Origin, rules: &Arc<Rules>) -> Option<Open> {
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = all.get_mut(origin)?;
        while let Some(Idle {
            since,
            rules: made_under,
            open,
        }) = idle.pop()
        {
            if since.elapsed() < IDLE && Arc::ptr_eq(&made_under, rules) && open.sender.is_ready() {
                return Some(open);
            }
        }
        all.remove(origin);
        None
    }

    /// Keeps a connection for the next exchange, when there is room and the server keeps it open.
    pub(super) fn keep(&self, origin: Origin, rules: Arc<Rules>, open: Open) {
        if open.sender.is_closed() {
            return;
        }
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if all.values().map(Vec::len).sum::<usize>() >= IDLE_IN_ALL {
            for idle in all.values_mut() {
                idle.retain(|idle| idle.since.elapsed() < IDLE && !idle.open.sender.is_closed());
            }
            all.retain(|_, idle| !idle.is_empty());
            if all.values().map(Vec::len).sum::<usize>() >= IDLE_IN_ALL {
                return;
            }
        }
        let idle = all.entry(origin).or_default();
        if idle.len() < IDLE_PER_ORIGIN {
            idle.push(Idle {
                since: Instant::now(),
                rules,
                open,
            });
        }
    }
}

/// Opens a connection: resolve, check, connect, and TLS with the name verified. Nothing of a request is written.
pub(super) async fn open(rules: &Rules, target: &Target, tls: &Arc<rustls::ClientConfig>) -> Result<Open, StepError> {
    let stream = guard::connect(rules, &target.host, target.port).await?;
    if !target.tls {
        return handshake(stream, target).await;
    }
    let name = ServerName::try_from(target.host.clone())
        .map_err(|_| tls_failed(target, "the name cannot be verified by TLS"))?;
    let stream = TlsConnector::from(Arc::clone(tls))
        .connect(name, stream)
        .await
        .map_err(|error| tls_failed(target, &error.to_string()))?;
    handshake(stream, target).await
}

async fn handshake<S>(stream: S, target: &Target) -> Result<Open, StepError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_HEAD * 2)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_| {
            let message = format!("{} closed the connection", target.host);
            StepError::new(ErrorKind::Connect, "ConnectionClosed", message)
        })?;
    // Its error reaches the exchange that meets it.
    let driver = tokio::spawn(async move { drop(connection.await) });
    Ok(Open { sender, driver })
}

fn tls_failed(target: &Target, problem: &str) -> StepError {
    let message = format!("no TLS with {} port {}: {problem}", target.host, target.port);
    StepError::new(ErrorKind::Connect, "TlsFailed", message)
}

impl Open {
    /// One request and its whole answer. Sets `written` before the first byte may go out.
    pub(super) async fn exchange(&mut self, message: Message, written: &AtomicBool) -> Result<Received, Broken> {
        if self.sender.ready().await.is_err() {
            return Err(Broken::NotSent);
        }
        written.store(true, Ordering::Relaxed);
        let response = self.sender.try_send_request(message).await.map_err(|mut error| {
            if error.take_message().is_some() {
                return Broken::NotSent;
            }
            broken(error.error())
        })?;
        let (head, mut body) = response.into_parts();
        let mut collected = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| broken(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            if collected.len() + data.len() > MAX_BODY {
                if head.status.is_success() {
                    return Err(Broken::TooLarge("the answer's body is larger than 256 KiB"));
                }
                // An error's status says enough. What is left unread closes the connection.
                collected.clear();
                break;
            }
            collected.extend_from_slice(&data);
        }
        Ok(Received {
            status: head.status,
            headers: head.headers,
            body: collected.freeze(),
        })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn broken(error: &hyper::Error) -> Broken {
    if error.is_parse_too_large() {
        Broken::TooLarge("the answer's head is larger than 32 KiB")
    } else if error.is_parse() {
        Broken::Cut("the answer is not HTTP")
    } else {
        Broken::Cut("the connection ended without a complete answer")
    }
}
