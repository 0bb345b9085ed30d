//! A database, workers on it, and looks at what they did.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use everstep::{
    maintenance::{self, Beside},
    store::{Bell, Migrations, Options, Store},
    worker::{
        Counters, Worker, WorkerOptions,
        action::Actions,
        connection::{Connections, Manifests, Source},
        egress::EgressPolicy,
    },
};
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::support::{self, pgproxy::PgProxy, submission::submission};

/// Long enough for everything that should happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// The shortest lease there is.
pub(crate) const LEASE: Duration = Duration::from_secs(1);

/// A migrated database of its own.
pub(crate) struct Rig {
    pub(crate) url: String,
    pub(crate) store: Store,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::on(support::postgres::database(migrate).await).await
    }

    /// On a database that is migrated already.
    pub(crate) async fn on(url: String) -> Self {
        let store = connect(&url).await;
        store.adopt_cluster("cluster", "install").await.unwrap();
        Self { url, store }
    }

    /// Starts a run of these fields and answers its id.
    pub(crate) async fn start(&self, name: &str, body: Value) -> Uuid {
        let submission = submission("default", name, &body);
        let submitted = self.store.submit(&[submission]).await.unwrap();
        self.store.ring(Bell::Work);
        submitted[0].run.unwrap()
    }

    /// A worker with its sweeps, as a process has them.
    pub(crate) async fn worker(&self) -> Process {
        Process::start(connect(&self.url).await, options())
    }

    /// A worker whose lease outlasts a test: nothing happens because the machine is slow.
    pub(crate) async fn patient_worker(&self) -> Process {
        let options = WorkerOptions {
            lease: Duration::from_secs(60),
            ..options()
        };
        Process::start(connect(&self.url).await, options)
    }

    pub(crate) async fn cancel(&self, run: Uuid) {
        let payload = r#"{"reason": "a test asked for it"}"#;
        let insert =
            "INSERT INTO everstep.inbox (run_id, kind, dedup_key, payload) VALUES ($1, 'Cancel', 'test', $2::json)";
        sqlx::query(insert)
            .bind(run)
            .bind(payload)
            .execute(&mut self.sql().await)
            .await
            .unwrap();
        self.store.ring(Bell::Mail);
    }

    /// A connection beside the engine's.
    pub(crate) async fn sql(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// The same database through a proxy that loses or holds the answers to statements with this text.
    pub(crate) async fn through_proxy(&self, of: &'static str) -> (PgProxy, Store) {
        let server = support::postgres::server().await.port();
        let proxy = PgProxy::start(server, of).await;
        let through = self.url.replace(&format!(":{server}/"), &format!(":{}/", proxy.port()));
        assert_ne!(through, self.url);
        let store = connect(&through).await;
        (proxy, store)
    }

    pub(crate) async fn execute(&self, sql: &'static str) {
        sqlx::query(sql).execute(&mut self.sql().await).await.unwrap();
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&mut self.sql().await).await.unwrap()
    }

    pub(crate) async fn phase(&self, run: Uuid) -> String {
        let select = "SELECT phase FROM everstep.runs WHERE id = $1";
        sqlx::query_scalar(select)
            .bind(run)
            .fetch_one(&mut self.sql().await)
            .await
            .unwrap()
    }

    pub(crate) async fn summary(&self, run: Uuid) -> Value {
        let select = "SELECT coalesce(summary::text, 'null') FROM everstep.runs WHERE id = $1";
        let text: String = sqlx::query_scalar(select)
            .bind(run)
            .fetch_one(&mut self.sql().await)
            .await
            .unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The names of a run's events, oldest first: `StepStarted greet`.
    pub(crate) async fn journal(&self, run: Uuid) -> Vec<String> {
        let select = "SELECT events::text FROM everstep.journal WHERE run_id = $1 ORDER BY seq";
        let rows: Vec<String> = sqlx::query_scalar(select)
            .bind(run)
            .fetch_all(&mut self.sql().await)
            .await
            .unwrap();
        let events = rows
            .iter()
            .flat_map(|row| serde_json::from_str::<Vec<Value>>(row).unwrap());
        events.map(|event| name(&event)).collect()
    }

    /// Waits until the run is terminal and answers its phase.
    pub(crate) async fn ended(&self, run: Uuid) -> String {
        let mut phase = String::new();
        let until = Instant::now() + DEADLINE;
        while !["Succeeded", "Failed", "Cancelled", "TimedOut"].contains(&phase.as_str()) {
            if Instant::now() > until {
                panic!(
                    "{run} is {phase} and did not end; journal {:#?}",
                    self.journal(run).await
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            phase = self.phase(run).await;
        }
        phase
    }

    /// I-15 and what a finished run leaves: no gap in the journal, nothing in `active` and `timers`.
    pub(crate) async fn is_clean(&self) {
        assert_eq!(self.count("SELECT count(*) FROM everstep.active").await, 0, "active");
        assert_eq!(self.count("SELECT count(*) FROM everstep.timers").await, 0, "timers");
        let gaps = "SELECT count(*) FROM (SELECT count(*) AS rows, max(seq) AS last FROM everstep.journal GROUP BY run_id) AS j \
                    WHERE rows <> last";
        assert_eq!(self.count(gaps).await, 0, "gaps");
    }
}

/// A worker and its sweeps. Dropping it without [`stop`](Self::stop) is a crash as far as a task can crash.
pub(crate) struct Process {
    pub(crate) counters: Arc<Counters>,
    /// How often a mail sweep told the worker something.
    pub(crate) told: Arc<AtomicUsize>,
    shutdown: CancellationToken,
    worker: JoinHandle<Result<(), everstep::worker::Error>>,
    sweeps: JoinHandle<()>,
}

impl Process {
    pub(crate) fn start(store: Store, options: WorkerOptions) -> Self {
        let shutdown = CancellationToken::new();
        let lease = options.lease;
        let worker = Worker::new(store.clone(), actions(), options);
        let counters = worker.counters();
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let (steady, moment, freed, tell) = (worker.links(), worker.links(), worker.links(), worker.links());
        let beside = Beside {
            steady: Arc::new(move || steady.steady()),
            moment: Arc::new(move || moment.moment()),
            tell: Arc::new(move |began, rows| {
                let (links, count) = (tell.clone(), Arc::clone(&count));
                Box::pin(async move {
                    links.tell(began, rows).await;
                    count.fetch_add(1, Ordering::SeqCst);
                })
            }),
            freed: Arc::new(move |claims| freed.freed(claims)),
            lease,
        };
        let stop = shutdown.clone();
        let sweeps = tokio::spawn(async move { maintenance::sweep(&store, &beside, &stop).await });
        let worker = tokio::spawn(worker.run(shutdown.clone()));
        Self {
            counters,
            told,
            shutdown,
            worker,
            sweeps,
        }
    }

    /// How many runs ended here.
    pub(crate) fn finished(&self) -> u64 {
        self.counters.finished.get().iter().map(|ended| ended.runs).sum()
    }

    /// As SIGTERM does; [`stop`](Self::stop) waits for the end.
    pub(crate) fn begin_stop(&self) {
        self.shutdown.cancel();
    }

    pub(crate) async fn stop(self) {
        self.begin_stop();
        self.worker.await.unwrap().unwrap();
        self.sweeps.await.unwrap();
    }
}

pub(crate) fn options() -> WorkerOptions {
    WorkerOptions {
        lease: LEASE,
        session: "test".to_owned(),
        drain: Duration::from_secs(5),
        ..WorkerOptions::default()
    }
}

pub(crate) fn actions() -> Actions {
    // Findings about Connections are nobody's business here: the channel is closed.
    let (findings, _) = mpsc::channel(1);
    Actions::new(
        Connections::new(Source::Files(Manifests::default()), findings),
        EgressPolicy::open(),
    )
}

pub(crate) async fn connect(url: &str) -> Store {
    let options = Options {
        url: url.to_owned(),
        max_connections: 8,
        application_name: "everstep-test".to_owned(),
    };
    Store::connect(&options).await.unwrap()
}

pub(crate) async fn migrate(url: String) {
    connect(&url).await.migrate(Migrations::Auto).await.unwrap();
}

/// Waits until `holds`, at most [`DEADLINE`].
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let until = Instant::now() + DEADLINE;
    while !holds().await {
        assert!(Instant::now() < until, "{what} did not happen in time");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn name(event: &Value) -> String {
    match event {
        Value::String(name) => name.clone(),
        Value::Object(fields) => {
            let (name, fields) = fields.iter().next().unwrap();
            match fields.get("step").and_then(Value::as_str) {
                Some(step) => format!("{name} {step}"),
                None => name.clone(),
            }
        }
        _ => panic!("not an event: {event}"),
    }
}
