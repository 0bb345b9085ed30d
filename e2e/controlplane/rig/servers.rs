//! The three server processes: their binaries, flags, logs, start and end.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use everstep::dev::child::{self, Child};
use nix::sys::signal::Signal;

use super::{Result, audit};

const BUILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/controlplane/build");
/// How long a server may take to end when asked. The API server waits for its watches much longer: nobody needs that.
const GRACE: Duration = Duration::from_secs(2);
/// What the rest of a control plane is expected to do where there are no nodes: namespaces and dependents of deleted
/// objects go away, service accounts get their tokens, aggregated roles their rules.
const CONTROLLERS: &str = "namespace-controller,garbage-collector-controller,serviceaccount-controller,\
                           serviceaccount-token-controller,clusterrole-aggregation-controller";

/// The directory of the binaries, built if need be.
pub(super) fn programs() -> Result<PathBuf> {
    let output = Command::new(BUILD)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{BUILD} failed: see what it printed").into());
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim_end()))
}

#[derive(Debug)]
pub(super) struct Servers {
    programs: PathBuf,
    directory: PathBuf,
    etcd_port: u16,
    api_port: u16,
    // Dropped in this order: who uses a server ends before it.
    controller_manager: Option<Child>,
    api_server: Option<Child>,
    etcd: Option<Child>,
}

impl Servers {
    pub(super) fn new(programs: &Path, directory: &Path) -> Self {
        Self {
            programs: programs.to_owned(),
            directory: directory.to_owned(),
            etcd_port: 0,
            api_port: 0,
            controller_manager: None,
            api_server: None,
            etcd: None,
        }
    }

    /// Chooses ports that are free now.
    pub(super) fn choose_ports(&mut self) -> io::Result<()> {
        // Both are held before either is released, so that they differ.
        let etcd = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let api = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        self.etcd_port = etcd.local_addr()?.port();
        self.api_port = api.local_addr()?.port();
        Ok(())
    }

    pub(super) fn api_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }

    /// Of etcd, for its client's certificate.
    pub(super) fn store_kubeconfig(&self) -> String {
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "etcd",
            "clusters": [{
                "name": "etcd",
                "cluster": {
                    "server": format!("https://127.0.0.1:{}", self.etcd_port),
                    "certificate-authority": self.path("etcd-ca.crt"),
                },
            }],
            "users": [{
                "name": "etcd",
                "user": {"client-certificate": self.path("etcd-client.crt"), "client-key": self.path("etcd-client.key")},
            }],
            "contexts": [{"name": "etcd", "context": {"cluster": "etcd", "user": "etcd"}}],
        })
        .to_string()
    }

    pub(super) fn audit_log(&self) -> PathBuf {
        self.directory.join("audit.log")
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        [&self.controller_manager, &self.api_server, &self.etcd]
            .into_iter()
            .flatten()
            .map(Child::id)
            .collect()
    }

    pub(super) fn start_etcd(&mut self) -> Result<()> {
        let mut etcd = self.command("etcd");
        etcd.arg(format!("--data-dir={}", self.path("etcd")))
            .arg(format!("--listen-client-urls=https://127.0.0.1:{}", self.etcd_port))
            .arg(format!("--advertise-client-urls=https://127.0.0.1:{}", self.etcd_port))
            // There is one member, so nobody ever talks to this port.
            .args([
                "--listen-peer-urls=http://127.0.0.1:0",
                "--initial-advertise-peer-urls=http://127.0.0.1:0",
            ])
            .args(["--initial-cluster=default=http://127.0.0.1:0", "--log-level=warn"])
            .arg(format!("--cert-file={}", self.path("etcd.crt")))
            .arg(format!("--key-file={}", self.path("etcd.key")))
            .arg(format!("--trusted-ca-file={}", self.path("etcd-ca.crt")))
            .arg("--client-cert-auth")
            // Its data ends with the process that started it: no need to survive a crash of the machine.
            .arg("--unsafe-no-fsync");
        self.etcd = Some(self.spawn("etcd", etcd)?);
        Ok(())
    }

    pub(super) fn start_api_server(&mut self) -> Result<()> {
        fs::write(self.path("audit-policy.yaml"), audit::POLICY)?;
        let mut api = self.command("kube-apiserver");
        api.arg(format!("--etcd-servers=https://127.0.0.1:{}", self.etcd_port))
            .arg(format!("--etcd-cafile={}", self.path("etcd-ca.crt")))
            .arg(format!("--etcd-certfile={}", self.path("etcd-client.crt")))
            .arg(format!("--etcd-keyfile={}", self.path("etcd-client.key")))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg(format!("--secure-port={}", self.api_port))
            .arg(format!("--tls-cert-file={}", self.path("apiserver.crt")))
            .arg(format!("--tls-private-key-file={}", self.path("apiserver.key")))
            .arg(format!("--cert-dir={}", self.path("unused-certificates")))
            .arg(format!("--client-ca-file={}", self.path("ca.crt")))
            .arg(format!("--token-auth-file={}", self.path("tokens.csv")))
            .arg("--authorization-mode=RBAC")
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!(
                "--service-account-key-file={}",
                self.path("service-accounts.pub")
            ))
            .arg(format!(
                "--service-account-signing-key-file={}",
                self.path("service-accounts.key")
            ))
            .arg("--service-cluster-ip-range=10.96.0.0/24")
            // A loopback address cannot be an endpoint, and nobody looks for one.
            .arg("--endpoint-reconciler-type=none")
            .arg(format!("--audit-policy-file={}", self.path("audit-policy.yaml")))
            .arg(format!("--audit-log-path={}", self.audit_log().display()))
            // In blocking mode, nothing is missing when the server is killed; in megabytes, it is never rotated.
            .args(["--audit-log-mode=blocking", "--audit-log-maxsize=100000"])
            .arg("--profiling=false");
        self.api_server = Some(self.spawn("kube-apiserver", api)?);
        Ok(())
    }

    pub(super) fn start_controller_manager(&mut self) -> Result<()> {
        let mut manager = self.command("kube-controller-manager");
        manager
            .arg(format!("--kubeconfig={}", self.path("admin.kubeconfig")))
            .arg(format!("--controllers={CONTROLLERS}"))
            .arg(format!(
                "--service-account-private-key-file={}",
                self.path("service-accounts.key")
            ))
            .arg(format!("--root-ca-file={}", self.path("ca.crt")))
            .args(["--leader-elect=false", "--secure-port=0", "--profiling=false"])
            .args(["--kube-api-qps=200", "--kube-api-burst=400"]);
        self.controller_manager = Some(self.spawn("kube-controller-manager", manager)?);
        Ok(())
    }

    pub(super) fn stop_api_server(&mut self) -> Result<()> {
        if let Some(mut server) = self.api_server.take() {
            server.end(Signal::SIGKILL, GRACE)?;
        }
        Ok(())
    }

    /// An error with the end of its log, if one of the servers that were started has ended.
    pub(super) fn require_running(&mut self) -> Result<()> {
        let servers = [
            ("kube-controller-manager", &mut self.controller_manager),
            ("kube-apiserver", &mut self.api_server),
            ("etcd", &mut self.etcd),
        ];
        for (name, server) in servers {
            if let Some(server) = server
                && let Some(status) = server.exit_status()?
            {
                return Err(format!("{name} has ended ({status}): {}", end_of_log(&self.directory, name)).into());
            }
        }
        Ok(())
    }

    pub(super) fn api_server_log(&self) -> String {
        end_of_log(&self.directory, "kube-apiserver")
    }

    /// Stops everything that runs: who uses a server before the server.
    pub(super) fn stop(&mut self) {
        for server in [&mut self.controller_manager, &mut self.api_server, &mut self.etcd] {
            if let Some(mut server) = server.take() {
                // If it cannot be asked, dropping it kills it.
                let _ = server.end(Signal::SIGTERM, GRACE);
            }
        }
    }

    fn command(&self, program: &str) -> Command {
        child::command(self.programs.join(program), Signal::SIGKILL)
    }

    fn spawn(&self, name: &str, mut command: Command) -> Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(log_path(&self.directory, name))?;
        // Its own group: Ctrl-C at the terminal is for us to act on.
        command
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        Ok(Child::spawn(command)?)
    }

    fn path(&self, file: &str) -> String {
        self.directory.join(file).display().to_string()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop();
    }
}

fn log_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.log"))
}

fn end_of_log(directory: &Path, name: &str) -> String {
    const LINES: usize = 8;
    let log = fs::read(log_path(directory, name)).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
