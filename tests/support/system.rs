//! Everstep as it runs in production: real processes of the binary with the accounts, rights and arguments of the chart,
//! each system with a database and a namespace of its own, so that tests run side by side against one API server.
//!
//! Everything ends with the value that holds it. Nothing here sleeps for an effect: it waits for it, until a deadline.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::{Duration, Instant},
};

use everstep::store::{Migrations, Options, Store};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::{
    controlplane::{self, ControlPlane},
    postgres,
    tools::fed,
};

mod binary;
mod installed;
mod manifests;
mod shop;

pub(crate) use binary::{Process, http_get};
use installed::Installed;
pub(crate) use manifests::{connection, example, secret, signal, workflow, workflow_run};
pub(crate) use shop::{Entry, Ledger, Payments, Shop, order, order_saga};

/// Long enough for everything that should happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);
/// Flags that make a process as quick as tests need it. A flag that a test gives wins.
const QUICK: &[(&str, &str)] = &[
    ("--lease", "1s"),
    ("--leader-lease-duration", "1s"),
    ("--listen", "127.0.0.1:0"),
    ("--log", "info,everstep=debug"),
];

/// One installation: a database, a namespace, an egress policy. Processes are started on it.
pub(crate) struct System {
    pub(crate) namespace: String,
    /// What the processes are given. A test that puts a proxy before the database changes it.
    pub(crate) database_url: String,
    /// What [`sql`](Self::sql) connects to.
    pub(crate) direct_url: String,
    /// Of the administrator. A test that sends the processes to another API server changes it; else they are the
    /// chart's accounts.
    pub(crate) kubeconfig: PathBuf,
    administrator: PathBuf,
    installed: Installed,
    /// Further variables of the processes that are started.
    pub(crate) environment: Vec<(&'static str, String)>,
    client: kube::Client,
    kubectl: PathBuf,
    policy: Mutex<Vec<Value>>,
    directory: TempDir,
}

impl System {
    /// A new one on the shared control plane, with a migrated database.
    pub(crate) async fn new(name: &str) -> Self {
        let plane = controlplane::shared().await;
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        INSTALLED.get_or_init(|| install_crds(plane)).await;
        Self::on(plane, name, postgres::database(migrate).await).await
    }

    /// A new one on this control plane, which has the CRDs ([`install_crds`]), and on this database.
    pub(crate) async fn on(plane: &ControlPlane, name: &str, database_url: String) -> Self {
        let namespace = plane.namespace(name).await.unwrap();
        let system = Self {
            installed: Installed::new(plane, &namespace, &database_url).await,
            administrator: plane.kubeconfig(),
            namespace,
            direct_url: database_url.clone(),
            database_url,
            kubeconfig: plane.kubeconfig(),
            environment: Vec::new(),
            client: plane.client().await.unwrap(),
            kubectl: plane.programs().join("kubectl"),
            policy: Mutex::default(),
            directory: tempfile::tempdir().unwrap(),
        };
        system.write_policy();
        system
    }

    /// Lets the controllers use any Lease of the namespace `default`: the chart lets them use one of their own, and
    /// some tests want two controllers that lead.
    pub(crate) async fn allow_other_leases(&self) {
        let role = format!("{}-leases", self.namespace);
        let place = ["--namespace", "default", "create"];
        let allow = [
            "role",
            &role,
            "--verb=create,get,update",
            "--resource=leases.coordination.k8s.io",
        ];
        self.kubectl(&[&place[..], &allow].concat()).await;
        let account = format!("--serviceaccount={}:everstep-controller", self.namespace);
        let bind = ["rolebinding", &role, &format!("--role={role}"), &account];
        self.kubectl(&[&place[..], &bind].concat()).await;
    }

    /// Lets steps connect to this port on loopback.
    pub(crate) fn allow(&self, port: u16) {
        self.policy.lock().unwrap().push(json!({
            "hosts": ["127.0.0.1"],
            "ports": [port],
            "methods": ["*"],
            "namespaces": [self.namespace],
        }));
        self.write_policy();
    }

    fn write_policy(&self) {
        let rules = &*self.policy.lock().unwrap();
        let document = json!({"allow": rules, "allowAddresses": ["127.0.0.0/8"]});
        write(&self.policy_file(), &document.to_string());
    }

    pub(crate) fn policy_file(&self) -> PathBuf {
        self.directory.path().join("egress.yaml")
    }

    /// A process of this role, ready.
    pub(crate) async fn start(&self, role: &str, flags: &[(&str, &str)]) -> Process {
        let mut process = self.spawn(role, flags);
        process.ready().await;
        process
    }

    /// A process of this role, just started.
    pub(crate) fn spawn(&self, role: &str, flags: &[(&str, &str)]) -> Process {
        let (policy, url) = (self.policy_file(), self.directory.path().join("database-url"));
        write(&url, &self.database_url);
        let own = [
            ("--egress-policy", policy.to_str().unwrap()),
            ("--database-url-file", url.to_str().unwrap()),
        ];
        let flags = [&own[..], QUICK, flags].concat();
        let mut variables: Vec<(&str, &str)> = Vec::new();
        if self.kubeconfig != self.administrator {
            variables.push(("KUBECONFIG", self.kubeconfig.to_str().unwrap()));
        }
        variables.extend(self.environment.iter().map(|(name, value)| (*name, value.as_str())));
        self.installed.role(role).spawn_with(&flags, &variables)
    }

    /// `kubectl` in this namespace; panics with what it said when it fails.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> String {
        self.kubectl_with_input(arguments, "").await
    }

    /// `kubectl apply` of these manifests; answers what it printed.
    pub(crate) async fn apply(&self, manifests: &str) -> String {
        self.kubectl_with_input(&["apply", "-f", "-"], manifests).await
    }

    /// The same on the server's side, as CRDs are applied.
    pub(crate) async fn apply_server_side(&self, manifests: &str) -> String {
        let words = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        self.kubectl_with_input(&words, manifests).await
    }

    async fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> String {
        let mut kubectl = tokio::process::Command::new(&self.kubectl);
        kubectl
            .arg("--cache-dir")
            .arg(self.directory.path().join("kubectl"))
            .args(["--namespace", &self.namespace])
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig);
        let output = fed(&mut kubectl, input).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "kubectl {}: {said}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// An object as the API server has it, of a kind of ours in the plural; null when there is none.
    pub(crate) async fn get(&self, kind: &str, name: &str) -> Value {
        let path = format!(
            "/apis/everstep.dev/v1alpha1/namespaces/{}/{kind}/{name}",
            self.namespace
        );
        self.api_get(&path).await
    }

    /// What the API server answers to a GET of this path; null when there is nothing.
    pub(crate) async fn api_get(&self, path: &str) -> Value {
        let request = kube::client::Body::empty();
        let request = axum::http::Request::get(path).body(request).unwrap();
        let answer = self.client.send(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        if answer["kind"] == "Status" {
            assert_eq!(answer["code"], 404, "{path}: {answer}");
            return Value::Null;
        }
        answer
    }

    pub(crate) async fn workflow(&self, name: &str) -> Value {
        self.get("workflows", name).await
    }

    /// Waits until `holds` of a Workflow, and answers it.
    pub(crate) async fn until(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.until_of("workflows", name, what, holds).await
    }

    /// Waits until `holds` of an object of this kind of ours, in the plural, and answers it.
    pub(crate) async fn until_of(&self, kind: &str, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let object = self.get(kind, name).await;
            if holds(&object) {
                return object;
            }
            assert!(
                Instant::now() < until,
                "{kind}/{name}: {what} did not come true: {:#}",
                object["status"]
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the run of a Workflow's present generation has ended, and answers the object.
    pub(crate) async fn finished(&self, name: &str) -> Value {
        self.until(name, "Finished", |workflow| {
            observed(workflow) && condition(workflow, "Finished")["status"] == "True"
        })
        .await
    }

    /// The Events about the object of this name.
    pub(crate) async fn events(&self, name: &str) -> Vec<Value> {
        let path = format!(
            "/apis/events.k8s.io/v1/namespaces/{}/events?fieldSelector=regarding.name={name}",
            self.namespace
        );
        let list = self.api_get(&path).await;
        list["items"].as_array().unwrap().clone()
    }

    /// Waits until the end of an object's run was told: an Event comes a moment after the status that it is about.
    pub(crate) async fn told(&self, name: &str) {
        let until = Instant::now() + DEADLINE;
        while !self
            .events(name)
            .await
            .iter()
            .any(|event| event["reason"] == "Finished")
        {
            assert!(Instant::now() < until, "the end of {name} was not told");
            tokio::time::sleep(POLL).await;
        }
    }

    /// A connection to the database beside the engine's.
    pub(crate) async fn sql(&self) -> PgConnection {
        PgConnection::connect(&self.direct_url).await.unwrap()
    }

    /// The one number that a query answers.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        count(&mut self.sql().await, query).await
    }

    /// Waits until a query answers this number.
    pub(crate) async fn until_count(&self, query: &str, expected: i64) {
        let until = Instant::now() + DEADLINE;
        let mut sql = self.sql().await;
        loop {
            let found = count(&mut sql, query).await;
            if found == expected {
                return;
            }
            assert!(Instant::now() < until, "{query}: {found} instead of {expected}");
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Writes a file that others may be reading: they see what was there, or all of this.
fn write(file: &Path, text: &str) {
    let unfinished = file.with_added_extension("unfinished");
    fs::write(&unfinished, text).unwrap();
    fs::rename(&unfinished, file).unwrap();
}

/// The one number that a query answers.
pub(crate) async fn count(sql: &mut PgConnection, query: &str) -> i64 {
    sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()))
        .fetch_one(sql)
        .await
        .unwrap()
}

/// Applies the committed CRDs and waits until they are served.
pub(crate) async fn install_crds(plane: &ControlPlane) {
    let crds = concat!(env!("CARGO_MANIFEST_DIR"), "/crds");
    plane.kubectl(&["apply", "--server-side", "-f", crds]).await.unwrap();
    let established = ["wait", "--for=condition=Established", "--timeout=30s", "-f", crds];
    // A CRD without any condition yet is an error to `kubectl wait`, not something to wait for.
    let until = Instant::now() + DEADLINE;
    while let Err(error) = plane.kubectl(&established).await {
        assert!(Instant::now() < until, "{error}");
        tokio::time::sleep(POLL).await;
    }
}

/// Brings a database's schema up to date, as `everstep migrate` does.
pub(crate) async fn migrate(url: String) {
    let options = Options {
        url,
        max_connections: 1,
        application_name: "everstep-test".to_owned(),
    };
    Store::connect(&options)
        .await
        .unwrap()
        .migrate(Migrations::Auto)
        .await
        .unwrap();
}

/// Whether the status speaks of the object's present generation.
pub(crate) fn observed(object: &Value) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

/// What `kubectl get` shows of an object, by column. A column's value begins where its title does.
pub(crate) async fn columns(system: &System, kind: &str, name: &str) -> BTreeMap<String, String> {
    let table = system.kubectl(&["get", kind, name]).await;
    let mut lines = table.lines();
    let (titles, values) = (lines.next().unwrap(), lines.next().unwrap());
    let starts: Vec<usize> = titles
        .char_indices()
        .filter(|(at, character)| *character != ' ' && (*at == 0 || titles[..*at].ends_with(' ')))
        .map(|(at, _)| at)
        .collect();
    let cell = |line: &str, index: usize| {
        let end = starts.get(index + 1).copied().unwrap_or(line.len()).min(line.len());
        line.get(starts[index]..end).unwrap_or_default().trim().to_owned()
    };
    (0..starts.len())
        .map(|index| (cell(titles, index), cell(values, index)))
        .collect()
}

/// The condition of this type; null when there is none.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.and_then(|list| list.iter().find(|condition| condition["type"] == kind));
    found.unwrap_or(&NONE)
}
