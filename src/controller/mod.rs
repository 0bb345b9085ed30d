//! Objects in, status out, repair always.
//!
//! ```text
//!    API server ──watch──▶ cache ──┐                      ┌──▶ intent ─▶ submit ─┐ (batched)
//!                                  ├─▶ queue ─▶ reconcile ┤                      ├─▶ PostgreSQL
//!    PostgreSQL ──doorbell, poll ──┘      ▲               └──▶ facts ────────────┘
//!                                         │                      │
//!                     resync, backoff ────┘                      ▼
//!    API server ◀── Events ◀── status, guarded by the resource version ◀── status::of
//! ```
//! Everything is level-triggered: a reconcile looks at what is, and the same one creates, shows and repairs. The
//! controller never appends to a journal. Of several replicas one leads ([`election`]), and several that lead do no harm:
//! starts are unique in the database, and a status is written only over the object that it was made from.
//!
//! [`Controller::sight`] and [`Context::deleted`] tell others what the watches have shown: the orphan pass asks.

mod apply;
mod backoff;
mod batch;
mod cache;
mod call;
mod condition;
mod connection;
mod counters;
pub mod election;
mod events;
mod expiry;
mod found;
mod identity;
pub(crate) mod key;
mod lenient;
mod notice;
mod others;
mod queue;
mod reconcile;
mod run;
mod seen;
pub(crate) mod signal;
mod stuck;
mod unprojected;
mod unshown;
mod waiting;
mod wake;
mod watch;
pub mod workflow;
pub(crate) mod workflow_run;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use kube::Client;
use kube::api::DynamicObject;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::apply::Applied;
use self::batch::Batcher;
use self::cache::Cache;
use self::counters::count;
use self::events::{Announcement, Regarding};
use self::key::{Key, Kind};
use self::queue::Queue;
use self::unprojected::Unprojected;
use self::unshown::Unshown;
use self::waiting::Waiting;
use crate::leading::Leading;
use crate::store::{
    self, Facts, FactsOf, Finding, Posted, RunFacts, SignalFacts, SignalWish, Store, Submission, Submitted,
};

pub use self::call::CallError;
pub use self::counters::Counters;
pub use self::identity::cluster_id;
pub use self::notice::Notice;

/// What a controller works with.
#[derive(Clone)]
pub struct Context {
    /// The API server. The client's own retries are to be off ([`kube::Config::default_retry`]).
    pub client: Client,
    /// The database, migrated.
    pub store: Store,
    /// Where the UID of a Workflow or WorkflowRun goes whose Delete event was seen. A full channel loses it: the orphan pass finds
    /// the object by itself.
    pub deleted: mpsc::Sender<String>,
    /// Reconciles while it leads; otherwise only watches.
    pub leading: Leading,
    /// Configuration.
    pub options: Options,
}

/// Configuration of a controller.
#[derive(Debug, Clone)]
pub struct Options {
    /// Namespaces to look at; all when none.
    pub namespaces: Option<Vec<String>>,
    /// Each object is looked at this often, whatever happens; jittered.
    pub resync: Duration,
    /// Names this install: the operator's namespace.
    pub install: String,
    /// Names this process in Events: the pod's name.
    pub instance: String,
    /// Reconciles at once. Each waits most of its time, for the database or the API server.
    pub concurrency: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespaces: None,
            resync: Duration::from_secs(300),
            install: "default".to_owned(),
            instance: "everstep".to_owned(),
            concurrency: 64,
        }
    }
}

/// Why a controller ended, or why a reconcile has to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database.
    #[error(transparent)]
    Store(#[from] Arc<store::Error>),
    /// The API server.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A defect of ours: the reconcile panicked.
    #[error("the reconcile panicked: {0}")]
    Panicked(String),
}

/// A controller that is ready to run.
#[derive(Clone)]
pub struct Controller {
    shared: Arc<Shared>,
}

/// What all tasks of a controller share.
pub(crate) struct Shared {
    client: Client,
    store: Store,
    deleted: mpsc::Sender<String>,
    leading: Leading,
    instance: String,
    options: Options,
    workflows: Cache,
    runs: Cache,
    signals: Cache,
    connections: Cache,
    queue: Queue<Key>,
    unprojected: Unprojected,
    unshown: Unshown,
    waiting: Waiting,
    /// When we last wrote the status of an object, by the database's clock.
    written: Mutex<HashMap<Key, Timestamp>>,
    facts: Batcher<FactsOf, Facts>,
    submit: Batcher<Submission, Submitted>,
    mark: Batcher<(Uuid, i32), ()>,
    findings: Batcher<String, Option<Finding>>,
    post: Batcher<SignalWish, Posted>,
    signal_facts: Batcher<String, Option<SignalFacts>>,
    mark_shown: Batcher<i64, ()>,
    counters: Counters,
    notices: mpsc::Sender<Notice>,
    /// The other end of `notices`, until `run` takes it.
    told: Mutex<Option<mpsc::Receiver<Notice>>>,
    /// The batchers' loops, until `run` takes them.
    loops: Mutex<Vec<futures::future::BoxFuture<'static, ()>>>,
}

/// What comes after a reconcile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// All is well until something happens, or the resync.
    Resync,
    /// Again after this.
    After(Duration),
    /// What was read is out of date: again soon, and later each time.
    Soon,
    /// There is no such object.
    Forget,
}

impl Next {
    /// Whether the status shows what was read.
    fn is_settled(self) -> bool {
        match self {
            Self::Resync => true,
            Self::After(_) | Self::Soon | Self::Forget => false,
        }
    }
}

/// Reconciles until `shutdown`; then lets what runs end.
///
/// # Errors
/// `Store` with `Refused`: this database is another cluster's or install's.
pub async fn run(context: Context, shutdown: CancellationToken) -> Result<(), Error> {
    Controller::new(context).run(shutdown).await
}

impl Controller {
    /// A controller that has not begun.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self {
            shared: Arc::new(Shared::new(context)),
        }
    }

    /// Whether an object with this UID is among the Workflows and WorkflowRuns that the watches show; none while they do
    /// not show all.
    pub fn sight(&self) -> impl Fn(&str) -> Option<bool> + Send + Sync + 'static {
        let shared = self.shared.clone();
        move |uid| {
            let owners = [&shared.workflows, &shared.runs];
            let complete = owners.iter().all(|cache| cache.is_complete());
            complete.then(|| owners.iter().any(|cache| cache.has_uid(uid)))
        }
    }

    /// The same of Connections.
    pub fn sight_of_connections(&self) -> impl Fn(&str) -> Option<bool> + Send + Sync + 'static {
        let shared = self.shared.clone();
        move |uid| {
            let cache = &shared.connections;
            cache.is_complete().then(|| cache.has_uid(uid))
        }
    }

    /// What it has done so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// How long the oldest change of a run, of those that it was told of, has not been shown by its object's status.
    #[must_use]
    pub fn projection_lag(&self) -> Duration {
        self.shared
            .unprojected
            .oldest()
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Tells people, soon, once, and at best effort.
    pub fn teller(&self) -> impl Fn(Notice) + Send + Sync + 'static {
        let notices = self.shared.notices.clone();
        move |notice| {
            if let Err(error) = notices.try_send(notice) {
                tracing::debug!(%error, "an Event was lost");
            }
        }
    }

    /// Reconciles until `shutdown`; then lets what runs end.
    ///
    /// # Errors
    /// `Store` with `Refused`: this database is another cluster's or install's.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let shared = &self.shared;
        if !identity::adopt(shared, &shutdown).await? {
            return Ok(());
        }
        let loops = std::mem::take(&mut *shared.loops.lock().unwrap_or_else(PoisonError::into_inner));
        // The batchers outlive the reconciles that wait for them: they end with this function, not before.
        let batchers = tokio::spawn(async { drop(join_all(loops).await) });
        let scopes = shared.scopes();
        let watches = Kind::ALL.into_iter().flat_map(|kind| {
            let shutdown = &shutdown;
            scopes
                .iter()
                .map(move |scope| watch::watch(shared, kind, scope.as_deref(), shutdown))
        });
        tokio::join!(
            join_all(watches),
            wake::wake(shared, &shutdown),
            stuck::wake(shared, &shutdown),
            others::wake(shared, &shutdown),
            notice::tell(shared, &shutdown),
            reconcile::carry(shared, &shutdown)
        );
        batchers.abort();
        // Aborted by us; a panic in it would be a defect, and the reconciles have reported their lost answers.
        drop(batchers.await);
        Ok(())
    }
}

impl Shared {
    fn new(context: Context) -> Self {
        let Context {
            client,
            store,
            deleted,
            leading,
            options,
        } = context;
        let scopes = options.namespaces.as_ref().map_or(1, Vec::len);
        let (facts, facts_loop) = Batcher::new({
            let store = store.clone();
            move |of: Vec<FactsOf>| {
                let store = store.clone();
                async move { store.facts(&of).await }
            }
        });
        let (submit, submit_loop) = Batcher::new({
            let store = store.clone();
            move |wishes: Vec<Submission>| {
                let store = store.clone();
                async move { store.submit(&wishes).await }
            }
        });
        let (mark, mark_loop) = Batcher::new({
            let store = store.clone();
            move |runs: Vec<(Uuid, i32)>| {
                let store = store.clone();
                async move { store.mark_projected(&runs).await.map(|()| vec![(); runs.len()]) }
            }
        });
        let (findings, findings_loop) = Batcher::new({
            let store = store.clone();
            move |uids: Vec<String>| {
                let store = store.clone();
                async move {
                    let mut found: HashMap<String, Finding> = HashMap::new();
                    for finding in store.connection_findings(&uids).await? {
                        found.insert(finding.uid.clone(), finding);
                    }
                    Ok(uids.iter().map(|uid| found.get(uid).cloned()).collect())
                }
            }
        });
        let (post, post_loop) = Batcher::new({
            let store = store.clone();
            move |wishes: Vec<SignalWish>| {
                let store = store.clone();
                async move { store.post(&wishes).await }
            }
        });
        let (signal_facts, signal_facts_loop) = Batcher::new({
            let store = store.clone();
            move |uids: Vec<String>| {
                let store = store.clone();
                async move {
                    let mut found: HashMap<String, SignalFacts> = HashMap::new();
                    for facts in store.signal_facts(&uids).await? {
                        found.insert(facts.uid.clone(), facts);
                    }
                    Ok(uids.iter().map(|uid| found.get(uid).cloned()).collect())
                }
            }
        });
        let (mark_shown, mark_shown_loop) = Batcher::new({
            let store = store.clone();
            move |ids: Vec<i64>| {
                let store = store.clone();
                async move { store.mark_signals_shown(&ids).await.map(|()| vec![(); ids.len()]) }
            }
        });
        let (notices, told) = notice::channel();
        Self {
            client,
            deleted,
            leading,
            counters: Counters::default(),
            notices,
            told: Mutex::new(Some(told)),
            instance: options.instance.clone(),
            workflows: Cache::new(Kind::Workflow, scopes),
            runs: Cache::new(Kind::WorkflowRun, scopes),
            signals: Cache::new(Kind::Signal, scopes),
            connections: Cache::new(Kind::Connection, scopes),
            queue: Queue::new(),
            unprojected: Unprojected::default(),
            unshown: Unshown::default(),
            waiting: Waiting::default(),
            written: Mutex::default(),
            facts,
            submit,
            mark,
            findings,
            post,
            signal_facts,
            mark_shown,
            loops: Mutex::new(vec![
                Box::pin(facts_loop),
                Box::pin(submit_loop),
                Box::pin(mark_loop),
                Box::pin(findings_loop),
                Box::pin(post_loop),
                Box::pin(signal_facts_loop),
                Box::pin(mark_shown_loop),
            ]),
            store,
            options,
        }
    }

    /// One watch of each kind for each of these; none stands for all namespaces.
    fn scopes(&self) -> Vec<Option<String>> {
        match &self.options.namespaces {
            Some(namespaces) => namespaces.iter().cloned().map(Some).collect(),
            None => vec![None],
        }
    }

    fn cache(&self, kind: Kind) -> &Cache {
        match kind {
            Kind::Workflow => &self.workflows,
            Kind::WorkflowRun => &self.runs,
            Kind::Signal => &self.signals,
            Kind::Connection => &self.connections,
        }
    }

    fn tell_deleted(&self, uid: String) {
        if self.deleted.try_send(uid).is_err() {
            tracing::debug!("nobody takes a deletion; the orphan pass will find it");
        }
    }

    /// Writes a status over the object that it was made from, and takes note of the answer; else says what comes next.
    async fn write_over(
        &self,
        key: &Key,
        object: &DynamicObject,
        status: &impl Serialize,
    ) -> Result<Result<(), Next>, CallError> {
        let written = apply::status(&self.client, key, object, status).await;
        count(match &written {
            Ok(Applied::Written(_)) => &self.counters.statuses_written,
            Ok(Applied::Conflict | Applied::Gone) => &self.counters.statuses_outdated,
            Err(_) => &self.counters.statuses_failed,
        });
        Ok(match written? {
            Applied::Gone => Err(Next::Forget),
            Applied::Conflict => Err(Next::Soon),
            Applied::Written(object) => {
                self.cache(key.kind).learn(*object);
                Ok(())
            }
        })
    }

    /// Tells of a transition. An Event that is lost is lost: the status says it, too.
    async fn announce(&self, regarding: &Regarding, announcement: &Announcement) {
        match events::publish(&self.client, &self.instance, regarding, announcement).await {
            Ok(()) => count(&self.counters.events_written),
            Err(error) => {
                count(&self.counters.events_lost);
                tracing::warn!(?regarding, reason = announcement.reason, %error, "an Event was lost");
            }
        }
    }

    fn written_at(&self, key: &Key) -> Option<Timestamp> {
        self.written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .copied()
    }

    fn note_written(&self, key: &Key, at: Timestamp) {
        self.written
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.clone(), at);
    }

    /// The object is gone: nothing about it is remembered.
    fn forget(&self, key: &Key) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.unprojected.forget(key);
        self.waiting.remove(key);
    }

    /// The object's status shows these runs: the wake-ups need not tell of them again.
    async fn projected(
        &self,
        key: &Key,
        mut changed: Vec<(Uuid, i32)>,
        shown: impl Iterator<Item = &RunFacts>,
    ) -> Result<(), Arc<store::Error>> {
        for run in shown.filter(|run| run.summary_seq > run.projected_seq) {
            changed.retain(|(id, _)| *id != run.id);
            changed.push((run.id, run.summary_seq));
        }
        for &mark in &changed {
            self.mark.ask(mark).await?;
        }
        self.unprojected.remove(key, &changed);
        Ok(())
    }
}
