//! A Kubernetes control plane of its own: etcd, API server and controller manager, on loopback.
//!
//! Used by the tests and by the demo. It gets its binaries from the `build` script above, makes its own authorities
//! and tokens, and ends with the process that started it, however that ends. There are no nodes: pods stay pending.
//! Not responsible for what is installed into it.

mod access;
mod audit;
mod servers;

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::http::Request;
use everstep::dev::scratch::Scratch;
use k8s_openapi::{ByteString, api::core::v1::Namespace};
use kube::api::{Api, ObjectMeta, PostParams};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use access::Access;
pub(crate) use audit::Write;
use servers::Servers;

/// What can go wrong here is shown to a developer and never handled.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);

/// A running control plane. Dropped, it is stopped and its directory is removed.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    // Before the directory: fields are dropped in this order, and the servers live in the directory.
    servers: Servers,
    access: Access,
    programs: PathBuf,
    started_in: Duration,
    directory: Scratch,
}

impl ControlPlane {
    /// Starts a new, empty control plane and waits until its API server is ready. If its binaries are not there yet,
    /// they are built first, which takes minutes and says so on standard error.
    pub(crate) async fn start() -> Result<Self> {
        let programs = tokio::task::spawn_blocking(servers::programs).await??;
        let began = Instant::now();
        let directory = Scratch::new("everstep-controlplane-", None)?;
        let access = Access::new(directory.path())?;
        let servers = Servers::new(&programs, directory.path());
        let mut plane = Self {
            servers,
            access,
            programs,
            started_in: Duration::ZERO,
            directory,
        };
        plane.start_on_free_ports().await?;
        plane.started_in = began.elapsed();
        Ok(plane)
    }

    /// How long the start took, without the build.
    pub(crate) fn started_in(&self) -> Duration {
        self.started_in
    }

    /// The directory of `kubectl` and the servers.
    pub(crate) fn programs(&self) -> &Path {
        &self.programs
    }

    /// The directory that goes away with the control plane; the servers' logs are in it.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The process ids of the servers that run.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.servers.pids()
    }

    /// The kubeconfig of the administrator, who may do everything.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("admin.kubeconfig")
    }

    /// Writes a kubeconfig for a user with a new client certificate. The user may do what RBAC says about its name
    /// and group: at first, next to nothing.
    pub(crate) fn kubeconfig_of(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let path = self
            .directory
            .path()
            .join(format!("{}.kubeconfig", user.replace([':', '/'], "-")));
        std::fs::write(&path, self.access.kubeconfig_of(&self.servers.api_url(), user, group)?)?;
        Ok(path)
    }

    /// Writes a kubeconfig for a service account, with a token as the kubelet would ask for one for a pod.
    pub(crate) async fn kubeconfig_of_account(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let token = self
            .kubectl(&["--namespace", namespace, "create", "token", account])
            .await?;
        let path = self.directory.path().join(format!("{namespace}-{account}.kubeconfig"));
        let kubeconfig = self.access.kubeconfig_of_token(&self.servers.api_url(), token.trim());
        std::fs::write(&path, kubeconfig)?;
        Ok(path)
    }

    /// A client of the administrator. It belongs to the runtime that calls this, so that each test makes its own, and
    /// it retries nothing.
    pub(crate) async fn client(&self) -> Result<kube::Client> {
        client(&self.access.admin_kubeconfig(&self.servers.api_url())).await
    }

    /// A client of a user, as in [`ControlPlane::kubeconfig_of`].
    pub(crate) async fn client_of(&self, user: &str, group: Option<&str>) -> Result<kube::Client> {
        client(&self.access.kubeconfig_of(&self.servers.api_url(), user, group)?).await
    }

    /// Creates a namespace with a name that no other test has. It goes away with the control plane.
    pub(crate) async fn namespace(&self, prefix: &str) -> Result<String> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("{prefix}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let metadata = ObjectMeta {
            name: Some(name.clone()),
            ..ObjectMeta::default()
        };
        let namespace = Namespace {
            metadata,
            ..Namespace::default()
        };
        Api::all(self.client().await?)
            .create(&PostParams::default(), &namespace)
            .await?;
        Ok(name)
    }

    /// Runs `kubectl` as the administrator and returns what it printed; its failure is an error with its message.
    pub(crate) async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with_input(arguments, "").await
    }

    /// As [`ControlPlane::kubectl`], with something to read: `&["apply", "-f", "-"]`.
    pub(crate) async fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let output = self.kubectl_output(arguments, input).await?;
        if !output.status.success() {
            let message = String::from_utf8_lossy(&output.stderr);
            return Err(format!("kubectl {}: {}", arguments.join(" "), message.trim()).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// As [`ControlPlane::kubectl_with_input`], for tests of what a failing `kubectl` says.
    pub(crate) async fn kubectl_output(&self, arguments: &[&str], input: &str) -> Result<Output> {
        let mut kubectl = tokio::process::Command::new(self.programs.join("kubectl"))
            .arg("--cache-dir")
            .arg(self.directory.path().join("kubectl-cache"))
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = kubectl.stdin.take().ok_or("kubectl has no standard input")?;
        let write = async move {
            match stdin.write_all(input.as_bytes()).await {
                // It need not read what it does not want.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
                _ => Ok(()),
            }
        };
        let (written, output) = tokio::join!(write, kubectl.wait_with_output());
        written?;
        Ok(output?)
    }

    /// All writes to the API so far, in the order in which they ended, as the audit log has them: also the ones that
    /// were refused, and those of Kubernetes' own controllers.
    ///
    /// An answer is sent a moment before it is logged. So this makes a request of its own and reads when that is in
    /// the log: what ended before the call is in the result.
    pub(crate) async fn writes(&self) -> Result<Vec<Write>> {
        let marker = audit::new_marker();
        let request = Request::post(&marker).header("content-type", "application/json");
        self.client()
            .await?
            .request_text(request.body(audit::MARKER_BODY.to_vec())?)
            .await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(writes) = audit::writes_before(&self.servers.audit_log(), &marker)? {
                return Ok(writes);
            }
            if Instant::now() >= deadline {
                return Err("a request does not show up in the audit log".into());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stores custom resources past the API server, thousands a second, as a restore of etcd does: as they are, with
    /// metadata and status. They are of one kind, `GROUP/PLURAL`.
    pub(crate) async fn restore(&self, kind: &str, objects: &[Value]) -> Result<()> {
        // As many operations as etcd takes in one transaction.
        const AT_ONCE: usize = 128;
        let store = client(&self.servers.store_kubeconfig()).await?;
        for objects in objects.chunks(AT_ONCE) {
            let puts: Vec<Value> = objects.iter().map(|object| put(kind, object)).collect();
            let body = json!({ "success": puts }).to_string().into_bytes();
            store.request_text(Request::post("/v3/kv/txn").body(body)?).await?;
        }
        Ok(())
    }

    /// Kills the API server. Everything that it stored is kept.
    pub(crate) async fn stop_api_server(&mut self) -> Result<()> {
        self.servers.stop_api_server()
    }

    /// Starts the API server again, on the same port, and waits until it is ready.
    pub(crate) async fn start_api_server(&mut self) -> Result<()> {
        self.servers.start_api_server()?;
        self.wait_until_ready().await
    }

    /// A port that was free may be taken before the server listens on it: then other ports are tried.
    async fn start_on_free_ports(&mut self) -> Result<()> {
        const ATTEMPTS: usize = 3;
        let mut attempt = 1;
        loop {
            self.servers.choose_ports()?;
            match self.start_once().await {
                Err(error) if attempt < ATTEMPTS && error.to_string().contains("address already in use") => {}
                result => return result,
            }
            attempt += 1;
            self.servers.stop();
        }
    }

    async fn start_once(&mut self) -> Result<()> {
        std::fs::write(self.kubeconfig(), self.access.admin_kubeconfig(&self.servers.api_url()))?;
        self.servers.start_etcd()?;
        self.servers.start_api_server()?;
        self.wait_until_ready().await?;
        // It gives up when there is no API server after ten seconds, so it comes last.
        self.servers.start_controller_manager()
    }

    async fn wait_until_ready(&mut self) -> Result<()> {
        let client = self.client().await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = client.request_text(Request::get("/readyz").body(Vec::new())?).await;
            let Err(error) = answer else { return Ok(()) };
            self.servers.require_running()?;
            if Instant::now() >= deadline {
                let log = self.servers.api_server_log();
                return Err(format!("the API server is not ready after {PATIENCE:?}: {error}; {log}").into());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

/// One operation of a transaction of etcd: stores an object under the API server's key for it.
fn put(kind: &str, object: &Value) -> Value {
    let name = |field| object["metadata"][field].as_str().unwrap_or_default();
    let key = format!("/registry/{kind}/{}/{}", name("namespace"), name("name"));
    json!({"requestPut": {"key": ByteString(key.into_bytes()), "value": ByteString(object.to_string().into_bytes())}})
}

async fn client(kubeconfig: &str) -> Result<kube::Client> {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    // A test that meets a fault wants to see it, at once.
    config.default_retry = false;
    Ok(kube::Client::try_from(config)?)
}
