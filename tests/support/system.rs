//! Everstep as it runs in production: real processes of the binary, each system with a database and a namespace of its
//! own, so that tests run side by side against one API server.
//!
//! Everything ends with the value that holds it. Nothing here sleeps for an effect: it waits for it, until a deadline.

use std::{
    env, fs,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use everstep::{
    dev::child::{self, Child},
    store::{Migrations, Options, Store},
};
use http_body_util::BodyExt;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::OnceCell,
    task::JoinHandle,
};

use super::{
    controlplane::{self, ControlPlane},
    postgres,
};

#[path = "../../e2e/payments/server.rs"]
mod payments;

pub(crate) use payments::{Entry, Ledger};

/// Long enough for everything that should happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);
/// Flags that make a process as quick as tests need it. A flag that a test gives wins.
const QUICK: &[(&str, &str)] = &[
    ("--lease", "1s"),
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
    pub(crate) kubeconfig: PathBuf,
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
        let system = Self {
            namespace: plane.namespace(name).await.unwrap(),
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
        fs::write(self.policy_file(), document.to_string()).unwrap();
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
        let policy = self.policy_file();
        let mut words = vec![role];
        let own = [
            ("--namespaces", self.namespace.as_str()),
            ("--egress-policy", policy.to_str().unwrap()),
        ];
        for (flag, value) in own.iter().chain(QUICK) {
            if !flags.iter().any(|(given, _)| given == flag) {
                words.extend([*flag, *value]);
            }
        }
        for (flag, value) in flags {
            words.extend([*flag, *value]);
        }
        let mut environment = vec![
            ("EVERSTEP_DATABASE_URL", self.database_url.as_str()),
            ("KUBECONFIG", self.kubeconfig.to_str().unwrap()),
        ];
        environment.extend(self.environment.iter().map(|(name, value)| (*name, value.as_str())));
        Process::spawn(&words, &environment)
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
        let mut kubectl = tokio::process::Command::new(&self.kubectl)
            .arg("--cache-dir")
            .arg(self.directory.path().join("kubectl"))
            .args(["--namespace", &self.namespace])
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = kubectl.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = kubectl.wait_with_output().await.unwrap();
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

    /// A connection to the database beside the engine's.
    pub(crate) async fn sql(&self) -> PgConnection {
        PgConnection::connect(&self.direct_url).await.unwrap()
    }

    /// The one number that a query answers.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        count(&mut self.sql().await, query).await
    }
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

/// The condition of this type; null when there is none.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    static NONE: Value = Value::Null;
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions.and_then(|list| list.iter().find(|condition| condition["type"] == kind));
    found.unwrap_or(&NONE)
}

/// A process of the binary. Dropped, it is killed; in a test that fails, its last lines are shown.
pub(crate) struct Process {
    child: Child,
    address: Option<String>,
    directory: TempDir,
    name: String,
}

impl Process {
    /// Starts the binary with these words and exactly these `EVERSTEP_` variables.
    pub(crate) fn spawn(words: &[&str], environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name| fs::File::create(directory.path().join(name)).unwrap();
        let mut command = child::command(env!("CARGO_BIN_EXE_everstep"), Signal::SIGKILL);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("EVERSTEP_") {
                command.env_remove(name);
            }
        }
        command
            .args(words)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file("out"))
            .stderr(file("err"));
        Self {
            child: Child::spawn(command).unwrap(),
            address: None,
            directory,
            name: words.first().copied().unwrap_or_default().to_owned(),
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far on standard output.
    pub(crate) fn output(&self) -> String {
        self.read("out")
    }

    /// What it printed so far on standard error, where logs go.
    pub(crate) fn errors(&self) -> String {
        self.read("err")
    }

    fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.directory.path().join(name)).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The complete log lines so far that are JSON.
    pub(crate) fn logs(&self) -> Vec<Value> {
        let lines = self.errors();
        lines
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits until a log line `holds`, and answers it.
    pub(crate) async fn logged(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + DEADLINE;
        loop {
            let found = self.logs().into_iter().find(&holds);
            if let Some(line) = found {
                return line;
            }
            let ended = self.child.exit_status().unwrap();
            assert!(ended.is_none(), "{} ended ({ended:?}) before {what}", self.name);
            assert!(Instant::now() < until, "{} did not log {what}", self.name);
            tokio::time::sleep(POLL).await;
        }
    }

    /// Where its endpoints are, as soon as it says so.
    pub(crate) async fn address(&mut self) -> String {
        if self.address.is_none() {
            let line = self.logged("starting", |line| line["message"] == "starting").await;
            self.address = Some(line["listen"].as_str().unwrap().to_owned());
        }
        self.address.clone().unwrap()
    }

    /// What an endpoint answers: status and body.
    pub(crate) async fn get(&mut self, path: &str) -> (u16, String) {
        http_get(&self.address().await, path).await
    }

    /// Waits until `/readyz` says so.
    pub(crate) async fn ready(&mut self) {
        let until = Instant::now() + DEADLINE;
        loop {
            let (status, body) = self.get("/readyz").await;
            if status == 200 {
                return;
            }
            let ended = self.child.exit_status().unwrap();
            assert!(ended.is_none(), "{} ended: {ended:?}", self.name);
            assert!(Instant::now() < until, "{} is not ready: {body}", self.name);
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until `/readyz` gives a reason that contains `fragment`.
    pub(crate) async fn not_ready(&mut self, fragment: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let (status, body) = self.get("/readyz").await;
            if status == 503 && body.contains(fragment) {
                return body;
            }
            assert!(
                Instant::now() < until,
                "{} says {status} {body:?} and not {fragment:?}",
                self.name
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// A figure of `/metrics`, with its labels as they are printed; 0 when there is none.
    pub(crate) async fn metric(&mut self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a figure of `/metrics` has grown by so much.
    pub(crate) async fn counts(&mut self, name: &str, more: u32) {
        let before = self.metric(name).await;
        let until = Instant::now() + DEADLINE;
        while self.metric(name).await < before + f64::from(more) {
            assert!(Instant::now() < until, "{name} does not grow by {more}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.exit_status().unwrap().is_none()
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        self.child.signal(signal).unwrap();
    }

    /// As `kill -9`; it is gone when this returns.
    pub(crate) async fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.ended().await;
    }

    /// As the kubelet stops it; panics when it does not end well.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.ended().await;
        assert!(status.success(), "{}: {status}", self.name);
    }

    /// Waits until it has ended by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.exit_status().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "{} does not end", self.name);
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let said = self.errors();
            let lines: Vec<&str> = said.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            eprintln!(
                "--- {} (process {}) last said:\n{}",
                self.name,
                self.id(),
                tail.join("\n")
            );
        }
    }
}

/// One GET of a server on this machine: status and body.
pub(crate) async fn http_get(address: &str, path: &str) -> (u16, String) {
    let answer = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    // No listener, or none any more: status 0.
    let Ok(answer) = answer.await else {
        return (0, String::new());
    };
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (status.unwrap_or(0), body.unwrap_or_default())
}

/// A payments server of a test; it ends when dropped.
pub(crate) struct Payments {
    pub(crate) port: u16,
    pub(crate) ledger: Ledger,
    task: JoinHandle<()>,
}

impl Payments {
    /// Its requests take `delay`.
    pub(crate) async fn start(delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ledger = Ledger::with_delay(delay);
        let shared = ledger.clone();
        let task = tokio::spawn(async move { payments::serve(listener, shared).await.unwrap() });
        Self { port, ledger, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What was done under this path.
    pub(crate) fn entries(&self, path: &str) -> Vec<Entry> {
        let mut entries = self.ledger.entries();
        entries.retain(|entry| entry.path == path);
        entries
    }
}

impl Drop for Payments {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The shop's own database: `stock(sku, qty)` with ten WIDGETs, and `reservation(id, order_id, sku, confirmed)`.
pub(crate) struct Shop {
    pub(crate) port: u16,
    /// As a Connection's Secret holds it.
    pub(crate) url: String,
}

impl Shop {
    pub(crate) async fn new() -> Self {
        let url = postgres::empty_database().await;
        let mut sql = PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(
            "CREATE TABLE stock (sku text PRIMARY KEY, qty int NOT NULL);
             CREATE TABLE reservation (id serial PRIMARY KEY, order_id text NOT NULL UNIQUE, sku text NOT NULL,
                                       confirmed boolean NOT NULL DEFAULT false);
             INSERT INTO stock VALUES ('WIDGET', 10);",
        )
        .execute(&mut sql)
        .await
        .unwrap();
        Self {
            port: postgres::server().await.port(),
            url: format!("{url}?sslmode=disable"),
        }
    }

    /// The one number that a query answers.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        count(&mut PgConnection::connect(&self.url).await.unwrap(), query).await
    }
}

/// `examples/order.yaml` on this database and this payments server.
pub(crate) fn order(shop: &Shop, payments: &Payments) -> String {
    at_home(&example("order.yaml"), shop, payments)
}

/// `examples/order-saga.yaml` on this database and this payments server.
pub(crate) fn order_saga(shop: &Shop, payments: &Payments) -> String {
    at_home(&example("order-saga.yaml"), shop, payments)
}

/// An example with its addresses replaced by those of a test.
fn at_home(text: &str, shop: &Shop, payments: &Payments) -> String {
    let (database, api) = (
        "postgres://shop:shop@127.0.0.1:5432/shop?sslmode=disable",
        "http://127.0.0.1:8099",
    );
    assert!(
        text.contains(database) && text.contains(api),
        "the example's addresses have changed"
    );
    text.replace(database, &shop.url).replace(api, &payments.url())
}

/// A manifest of `examples/`.
pub(crate) fn example(name: &str) -> String {
    fs::read_to_string(format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// A Workflow's manifest, of a spec as a YAML mapping: `{…}`, or the lines of one.
pub(crate) fn workflow(name: &str, spec: &str) -> String {
    object("Workflow", name, spec)
}

/// A WorkflowRun's manifest.
pub(crate) fn workflow_run(name: &str, spec: &str) -> String {
    object("WorkflowRun", name, spec)
}

/// A Signal's manifest.
pub(crate) fn signal(name: &str, spec: &str) -> String {
    object("Signal", name, spec)
}

fn object(kind: &str, name: &str, spec: &str) -> String {
    let spec = spec.replace('\n', "\n  ");
    format!("---\napiVersion: everstep.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec:\n  {spec}\n")
}

/// A Connection's manifest.
pub(crate) fn connection(name: &str, spec: &str) -> String {
    format!("---\napiVersion: everstep.dev/v1alpha1\nkind: Connection\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

/// A Secret's manifest with one key.
pub(crate) fn secret(name: &str, key: &str, value: &str) -> String {
    format!("---\napiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\nstringData: {{{key}: {value:?}}}\n")
}
