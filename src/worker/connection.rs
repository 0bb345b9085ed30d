//! Connections as steps use them: the object and the Secrets it names, read when needed and kept for a minute.
//! The last good state is kept while the API server is away. Not connecting: that is the actions'.
//!
//! ```text
//! perform -> get -> fresh?  yes -> the kept one
//!                   no      -> read once for all who wait -> kept, or the Problem
//! ```

mod header;
mod postgres_url;
mod source;
mod spec;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::mpsc;
use uuid::Uuid;

pub(crate) use self::header::{header_value, is_reserved_header};
use self::source::Problem;
pub use self::source::{Manifests, Source};
pub(crate) use self::spec::{Connection, HttpConnection, Kind, Limits, PostgresConnection};
use crate::engine::{ErrorKind, StepError};

/// How long a Connection and its Secrets are used without reading them again.
const FRESH: Duration = Duration::from_secs(60);
/// How long a failed read answers for the next ones: a thousand waiting runs must not be a thousand reads.
const FAILURE_FRESH: Duration = Duration::from_secs(1);
/// How long the API server refuses us before that is a mistake of somebody's.
const BELIEVED_AFTER: Duration = Duration::from_secs(10);
/// A finding is sent again after so long, so that its time of check moves on.
const REPORT_AGAIN: Duration = Duration::from_secs(300);
/// The code of an error that says nothing about the Connection.
const API_UNAVAILABLE: &str = "ApiUnavailable";
/// A Connection that no step used for so long is neither checked nor remembered.
const IN_USE: Duration = Duration::from_secs(900);

/// What was found when a Connection was used or checked; the store's `connections` table keeps the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// UID of the Connection object.
    pub uid: Uuid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The generation that was read.
    pub generation: i64,
    /// `postgres` or `http`; empty when the spec has neither.
    pub kind: String,
    /// Whether steps can use it.
    pub ready: bool,
    /// CamelCase: `Connected`, `SecretNotFound`, `ConnectFailed`, …
    pub reason: String,
    /// One sentence for people; never holds a secret.
    pub message: String,
}

/// The Connections that the steps of this worker use. Cheap to clone.
#[derive(Clone)]
pub struct Connections(Arc<Inner>);

struct Inner {
    source: Source,
    findings: mpsc::Sender<Finding>,
    entries: Mutex<HashMap<Key, Entry>>,
}

type Key = (String, String);
type Read = Result<Arc<Connection>, Problem>;

struct Entry {
    used_at: Instant,
    good: Option<(Instant, Arc<Connection>)>,
    failed: Option<(Instant, Problem)>,
    /// Since when the API server has said that we may not read it.
    forbidden_since: Option<Instant>,
    /// A read under way: everybody who needs it waits for the same one.
    reading: Option<Shared<BoxFuture<'static, Read>>>,
    reported: Option<(Instant, Finding)>,
}

impl Connections {
    /// Connections read from `source`; what is found goes to `findings`, and is sent again later when it is full.
    pub fn new(source: Source, findings: mpsc::Sender<Finding>) -> Self {
        Self(Arc::new(Inner {
            source,
            findings,
            entries: Mutex::default(),
        }))
    }

    /// The Connection with its credentials.
    ///
    /// Errors: kind Connect with the code `ConnectionNotFound`, `ConnectionInvalid`, `SecretNotFound`,
    /// `SecretKeyMissing`, `SecretInvalid`, `SecretForbidden`, `ConnectionForbidden` or `ApiUnavailable`.
    pub(crate) async fn get(&self, namespace: &str, name: &str) -> Result<Arc<Connection>, StepError> {
        self.read(namespace, name, FRESH).await
    }

    /// Like [`get`](Self::get) for an attempt that ends at `deadline`: while the API server gives no answer it waits,
    /// for the outage is not the step's failure and must not use up its attempts.
    pub(crate) async fn get_by(
        &self,
        namespace: &str,
        name: &str,
        deadline: Instant,
    ) -> Result<Arc<Connection>, StepError> {
        loop {
            match self.get(namespace, name).await {
                Err(error) if error.code == API_UNAVAILABLE && Instant::now() + FAILURE_FRESH < deadline => {
                    tokio::time::sleep(FAILURE_FRESH).await;
                }
                answer => return answer,
            }
        }
    }

    /// Like [`get`](Self::get) after the other side refused the credentials of `used`: read again, unless somebody
    /// else just did.
    pub(crate) async fn get_newer(&self, used: &Connection) -> Result<Arc<Connection>, StepError> {
        self.read(&used.namespace, &used.name, FAILURE_FRESH).await
    }

    /// Namespace and name of the Connections that steps used lately; forgets the others.
    pub(crate) fn in_use(&self) -> Vec<Key> {
        let mut entries = self.entries();
        entries.retain(|_, entry| entry.used_at.elapsed() < IN_USE);
        entries.keys().cloned().collect()
    }

    /// Records what a use or a check of the Connection found: sent on change, and again after five minutes.
    pub(crate) fn report(&self, connection: &Connection, found: Result<(), &StepError>) {
        let (ready, reason, message) = match found {
            Ok(()) => (true, "Connected".to_owned(), String::new()),
            Err(error) => (false, reason(&error.code), error.message.clone()),
        };
        self.send(Finding {
            uid: connection.uid,
            namespace: connection.namespace.clone(),
            name: connection.name.clone(),
            generation: connection.generation,
            kind: connection.kind.as_str().to_owned(),
            ready,
            reason,
            message,
        });
    }

    async fn read(&self, namespace: &str, name: &str, fresh: Duration) -> Result<Arc<Connection>, StepError> {
        let key = (namespace.to_owned(), name.to_owned());
        let reading = {
            let mut entries = self.entries();
            let entry = entries.entry(key.clone()).or_insert_with(Entry::new);
            entry.used_at = Instant::now();
            if let Some(known) = entry.known(fresh) {
                return known.map_err(Problem::into_error);
            }
            entry
                .reading
                .get_or_insert_with(|| self.clone().read_now(key).boxed().shared())
                .clone()
        };
        reading.await.map_err(Problem::into_error)
    }

    /// Reads, remembers and reports. Runs once for all who wait for it.
    async fn read_now(self, key: Key) -> Read {
        let read = self.0.source.read(&key.0, &key.1).await.map(Arc::new);
        let now = Instant::now();
        let (answer, finding) = {
            let mut entries = self.entries();
            let entry = entries.entry(key).or_insert_with(Entry::new);
            entry.reading = None;
            match entry.patient(read, now) {
                Ok(connection) => {
                    entry.failed = None;
                    entry.good = Some((now, Arc::clone(&connection)));
                    (Ok(connection), None)
                }
                // Away is not gone: credentials that worked a minute ago most likely still do.
                Err(Problem::Unavailable(message)) => match &mut entry.good {
                    Some((read_at, connection)) => {
                        tracing::warn!(
                            namespace = connection.namespace,
                            connection = connection.name,
                            message,
                            "cannot read a Connection again; its last good state is used"
                        );
                        // The next try comes in a few seconds, not with each step.
                        *read_at = now.checked_sub(FRESH - FAILURE_FRESH * 5).unwrap_or(now);
                        (Ok(Arc::clone(connection)), None)
                    }
                    None => {
                        let problem = Problem::Unavailable(message);
                        entry.failed = Some((now, problem.clone()));
                        (Err(problem), None)
                    }
                },
                Err(Problem::Wrong { code, message, finding }) => {
                    let problem = Problem::Wrong {
                        code,
                        message,
                        finding: finding.clone(),
                    };
                    entry.good = None;
                    entry.failed = Some((now, problem.clone()));
                    (Err(problem), finding)
                }
            }
        };
        if let Some(finding) = finding {
            self.send(*finding);
        }
        answer
    }

    fn send(&self, finding: Finding) {
        let mut entries = self.entries();
        let key = (finding.namespace.clone(), finding.name.clone());
        let Some(entry) = entries.get_mut(&key) else { return };
        let known = entry
            .reported
            .as_ref()
            .is_some_and(|(at, last)| *last == finding && at.elapsed() < REPORT_AGAIN);
        // A full channel drops the finding; it is not remembered as reported, so the next use sends it.
        if !known && self.0.findings.try_send(finding.clone()).is_ok() {
            entry.reported = Some((Instant::now(), finding));
        }
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new() -> Self {
        Self {
            used_at: Instant::now(),
            good: None,
            failed: None,
            forbidden_since: None,
            reading: None,
            reported: None,
        }
    }

    /// A refusal is believed when it lasts: an API server that has just started refuses everybody until it has read who
    /// may do what. Until then it counts as no answer.
    fn patient<T>(&mut self, read: Result<T, Problem>, now: Instant) -> Result<T, Problem> {
        match read {
            Err(problem) if problem.is_forbidden() => {
                let since = *self.forbidden_since.get_or_insert(now);
                Err(if now.saturating_duration_since(since) < BELIEVED_AFTER {
                    Problem::Unavailable(problem.into_error().message)
                } else {
                    problem
                })
            }
            other => {
                self.forbidden_since = None;
                other
            }
        }
    }

    /// The answer that is still fresh.
    fn known(&self, fresh: Duration) -> Option<Read> {
        if let Some((at, connection)) = &self.good
            && at.elapsed() < fresh
        {
            return Some(Ok(Arc::clone(connection)));
        }
        match &self.failed {
            Some((at, problem)) if at.elapsed() < FAILURE_FRESH => Some(Err(problem.clone())),
            _ => None,
        }
    }
}

/// A condition's reason must be CamelCase: a SQLSTATE is none.
fn reason(code: &str) -> String {
    match code {
        code if code.starts_with("28") => "AuthenticationFailed".to_owned(),
        code if code.starts_with(|first: char| first.is_ascii_digit()) => "DatabaseRefused".to_owned(),
        code => code.to_owned(),
    }
}

impl Problem {
    fn into_error(self) -> StepError {
        match self {
            Self::Unavailable(message) => StepError::new(ErrorKind::Connect, API_UNAVAILABLE, message),
            Self::Wrong { code, message, .. } => StepError::new(ErrorKind::Connect, code, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_is_believed_when_it_lasts() {
        let refused = || Problem::Wrong {
            code: "SecretForbidden",
            message: "no".to_owned(),
            finding: None,
        };
        let code = |read: Result<(), Problem>| read.map_err(|problem| problem.into_error().code);
        let (mut entry, start) = (Entry::new(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(
            code(entry.patient(Err(refused()), at(0))),
            Err(API_UNAVAILABLE.to_owned())
        );
        assert_eq!(
            code(entry.patient(Err(refused()), at(9))),
            Err(API_UNAVAILABLE.to_owned())
        );
        assert_eq!(
            code(entry.patient(Err(refused()), at(10))),
            Err("SecretForbidden".to_owned())
        );
        // Granted, and taken away again.
        assert_eq!(code(entry.patient(Ok(()), at(11))), Ok(()));
        assert_eq!(
            code(entry.patient(Err(refused()), at(12))),
            Err(API_UNAVAILABLE.to_owned())
        );
    }

    fn manifests() -> Manifests {
        let mut manifests = Manifests::default();
        let reference = json!({"secretKeyRef": {"name": "db", "key": "url"}});
        for (name, spec) in [
            ("db", json!({"postgres": {"urlFrom": reference}})),
            (
                "no-secret",
                json!({"postgres": {"urlFrom": {"secretKeyRef": {"name": "nope", "key": "url"}}}}),
            ),
            (
                "no-key",
                json!({"postgres": {"urlFrom": {"secretKeyRef": {"name": "db", "key": "nope"}}}}),
            ),
            ("neither", json!({})),
        ] {
            manifests.add_connection("shop", name, json!({"metadata": {"generation": 2}, "spec": spec}));
        }
        manifests.add_secret(
            "shop",
            "db",
            json!({"stringData": {"url": "postgres://u:hunter2@db.example.com/x"}}),
        );
        manifests
    }

    #[tokio::test]
    async fn what_is_missing_is_said_with_its_place_and_reported() {
        let (findings, mut received) = mpsc::channel(8);
        let connections = Connections::new(Source::Files(manifests()), findings);
        for (name, code, part) in [
            ("missing", "ConnectionNotFound", "Connection shop/missing"),
            ("no-secret", "SecretNotFound", "Secret shop/nope"),
            ("no-key", "SecretKeyMissing", "nope"),
            ("neither", "ConnectionInvalid", "postgres"),
        ] {
            let Err(error) = connections.get("shop", name).await else {
                panic!("{name} was found")
            };
            assert_eq!((error.kind, error.code.as_str()), (ErrorKind::Connect, code));
            assert!(error.message.contains(part), "{}", error.message);
            if name != "missing" {
                let finding = received.try_recv().unwrap();
                assert_eq!(
                    (finding.name.as_str(), finding.ready, finding.reason.as_str()),
                    (name, false, code)
                );
                assert_eq!(finding.generation, 2);
            }
        }
        assert!(received.try_recv().is_err());
    }

    #[tokio::test]
    async fn finding_is_sent_on_change_only_and_a_full_channel_loses_none() {
        let (findings, mut received) = mpsc::channel(1);
        let connections = Connections::new(Source::Files(manifests()), findings);
        let connection = connections.get("shop", "db").await.unwrap();
        connections.report(&connection, Ok(()));
        connections.report(&connection, Ok(()));
        let failed = StepError::new(ErrorKind::Connect, "28P01", "refused");
        connections.report(&connection, Err(&failed));
        assert!(received.try_recv().unwrap().ready);
        assert!(received.try_recv().is_err());
        connections.report(&connection, Err(&failed));
        let finding = received.try_recv().unwrap();
        assert_eq!(
            (finding.ready, finding.reason.as_str()),
            (false, "AuthenticationFailed")
        );
        assert_eq!(connections.in_use(), [("shop".to_owned(), "db".to_owned())]);
    }
}
