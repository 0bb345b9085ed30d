//! Processes of the binary: started, asked, signalled, and what they said.

use std::{
    env, fs,
    process::{ExitStatus, Stdio},
    time::Instant,
};

use everstep::dev::child::{self, Child};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{DEADLINE, POLL};

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
        self.shows(name, before + f64::from(more)).await;
    }

    /// Waits until a figure of `/metrics` is at least this.
    pub(crate) async fn shows(&mut self, name: &str, least: f64) {
        let until = Instant::now() + DEADLINE;
        while self.metric(name).await < least {
            assert!(Instant::now() < until, "{}: {name} does not come to {least}", self.name);
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until it leads, of several controllers.
    pub(crate) async fn leads(&mut self) {
        self.shows("everstep_leader", 1.0).await;
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
