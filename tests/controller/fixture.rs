//! A namespace, a database, and controllers between the two.

use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use everstep::app::notice;
use everstep::controller::{Context, Controller, Options};
use everstep::leading::Leading;
use everstep::maintenance::orphans::{self, Orphans};
use everstep::store::{self, Migrations, Store};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::{OnceCell, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::support::controlplane::{self, ControlPlane, Write};
use crate::support::postgres;

pub(crate) const HELLO: &str = include_str!("../../examples/hello.yaml");
/// Generous: the machine may be busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Fixture {
    pub(crate) plane: &'static ControlPlane,
    pub(crate) client: kube::Client,
    pub(crate) namespace: String,
    pub(crate) store: Store,
    pub(crate) url: String,
    pool: PgPool,
}

impl Fixture {
    pub(crate) async fn new(name: &str) -> Self {
        let url = postgres::database(|url| async move {
            let store = connect(&url).await;
            store.migrate(Migrations::Auto).await.unwrap();
        })
        .await;
        Self::on(name, &url).await
    }

    /// The control plane, with our CRDs in it.
    async fn plane() -> &'static ControlPlane {
        let plane = controlplane::shared().await;
        static CRDS: OnceCell<()> = OnceCell::const_new();
        CRDS.get_or_init(|| async {
            plane.kubectl(&["apply", "--server-side", "-f", "crds"]).await.unwrap();
            // A CRD that has no conditions yet is an error to `kubectl wait`.
            let established = ["wait", "--for=condition=Established", "crd", "--all"];
            eventually("established", || async { plane.kubectl(&established).await.is_ok() }).await;
        })
        .await;
        plane
    }

    /// With that database, which is migrated.
    pub(crate) async fn on(name: &str, url: &str) -> Self {
        let plane = Self::plane().await;
        Self {
            plane,
            client: plane.client().await.unwrap(),
            namespace: plane.namespace(name).await.unwrap(),
            store: connect(url).await,
            url: url.to_owned(),
            pool: PgPool::connect(url).await.unwrap(),
        }
    }

    /// What a controller of this namespace works with.
    pub(crate) fn context(&self) -> Context {
        let (deleted, _) = mpsc::channel(1);
        Context {
            client: self.client.clone(),
            store: self.store.clone(),
            deleted,
            leading: Leading::always(),
            options: Options {
                namespaces: Some(vec![self.namespace.clone()]),
                ..Options::default()
            },
        }
    }

    /// A controller of this namespace and its orphan passes; it stops when the guard is dropped.
    pub(crate) fn controller(&self) -> DropGuard {
        self.controller_with(|_| {})
    }

    pub(crate) fn controller_with(&self, change: impl FnOnce(&mut Options)) -> DropGuard {
        let shutdown = CancellationToken::new();
        let (deleted_to, deleted) = mpsc::channel(100);
        let namespaces = Some(vec![self.namespace.clone()]);
        let mut options = Options {
            namespaces: namespaces.clone(),
            ..Options::default()
        };
        change(&mut options);
        let context = Context {
            client: self.client.clone(),
            store: self.store.clone(),
            deleted: deleted_to,
            leading: Leading::always(),
            options,
        };
        let controller = Controller::new(context);
        let orphans = Orphans {
            client: self.client.clone(),
            store: self.store.clone(),
            namespaces,
            period: Duration::from_millis(500),
            sight: Box::new(controller.sight()),
            deleted,
            leading: Leading::always(),
            actor: "controller".to_owned(),
            tell: {
                let tell = controller.teller();
                Box::new(move |news| tell(notice(news)))
            },
            counters: Arc::default(),
        };
        tokio::spawn(orphans::run(orphans, shutdown.clone()));
        tokio::spawn(controller.run(shutdown.clone()));
        shutdown.drop_guard()
    }

    pub(crate) async fn cluster(&self) -> String {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces.get("kube-system").await.unwrap().metadata.uid.unwrap()
    }

    pub(crate) async fn apply(&self, manifest: &str) {
        self.plane
            .kubectl_with_input(&["-n", &self.namespace, "apply", "-f", "-"], manifest)
            .await
            .unwrap();
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.plane
            .kubectl(&["-n", &self.namespace, "delete", "ewf", name])
            .await
            .unwrap();
    }

    /// Waits for a condition of that type and gives it.
    pub(crate) async fn condition(&self, name: &str, kind: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status(name).await;
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            if let Some(found) = conditions.into_iter().find(|condition| condition["type"] == kind) {
                return found;
            }
            assert!(Instant::now() < deadline, "{name} has no condition {kind}: {status:#}");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    pub(crate) async fn status(&self, name: &str) -> Value {
        self.object("ewf", name).await["status"].clone()
    }

    pub(crate) async fn object(&self, kind: &str, name: &str) -> Value {
        let arguments = ["-n", &self.namespace, "get", kind, name, "-o", "json"];
        serde_json::from_str(&self.plane.kubectl(&arguments).await.unwrap()).unwrap()
    }

    /// The words of `kubectl get ewf NAME`.
    pub(crate) async fn columns(&self, name: &str) -> Vec<String> {
        let arguments = ["-n", &self.namespace, "get", "ewf", name, "--no-headers"];
        self.plane
            .kubectl(&arguments)
            .await
            .unwrap()
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }

    /// How many Events there are with that reason.
    pub(crate) async fn events(&self, reason: &str) -> usize {
        let arguments = ["-n", &self.namespace, "get", "events.events.k8s.io", "-o", "json"];
        let list: Value = serde_json::from_str(&self.plane.kubectl(&arguments).await.unwrap()).unwrap();
        list["items"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|event| event["reason"] == reason)
            .count()
    }

    /// What was written in this namespace by anybody but kubectl and the servers.
    pub(crate) async fn controller_writes(&self) -> Vec<Write> {
        let mut writes = self.plane.writes().await.unwrap();
        writes.retain(|write| {
            let ours = write.subresource == "status" && write.resource == "workflows" || write.resource == "events";
            write.namespace == self.namespace && ours
        });
        writes
    }

    /// Ends all live runs as a worker would, and rings.
    pub(crate) async fn finish_all(&self, phase: &str) {
        let summary = format!(r#"{{"phase": "{phase}", "progress": "3/3", "attempts": 1}}"#);
        self.execute(&format!(
            "DELETE FROM everstep.active;
             UPDATE everstep.runs SET phase = '{phase}', summary = '{summary}', summary_seq = summary_seq + 1,
               finished_at = now() WHERE finished_at IS NULL"
        ))
        .await;
        self.store.ring(store::Bell::Changed);
    }

    pub(crate) async fn execute(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&self.pool)
            .await
            .unwrap();
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }

    pub(crate) async fn text(&self, sql: &str) -> String {
        sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&self.pool)
            .await
            .unwrap()
    }
}

pub(crate) async fn connect(url: &str) -> Store {
    let options = store::Options {
        url: url.to_owned(),
        max_connections: 4,
        application_name: "controller-test".to_owned(),
    };
    Store::connect(&options).await.unwrap()
}

/// Waits until it holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: impl Display, holds: impl Fn() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// A text field of a JSON object.
pub(crate) trait Field {
    fn text(&self, field: &str) -> &str;
}

impl Field for Value {
    fn text(&self, field: &str) -> &str {
        self[field].as_str().unwrap_or_default()
    }
}
