//! A real Prometheus: it scrapes processes of the test and evaluates the chart's rules, each second. Debian's package has it.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, TcpListener},
    process::Stdio,
    time::{Duration, Instant},
};

use everstep::dev::child::{self, Child};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::system::{DEADLINE, Process, http_get};

const PROGRAM: &str = "prometheus";
const POLL: Duration = Duration::from_millis(200);

/// A running server. Dropped, it is killed.
pub(crate) struct Prometheus {
    child: Child,
    address: String,
    namespace: String,
    directory: TempDir,
}

impl Prometheus {
    /// One that gives all it scrapes this `namespace`, as a ServiceMonitor does, and evaluates `rules`.
    pub(crate) async fn start(namespace: &str, rules: &Value) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        let write = |name: &str, value: &Value| fs::write(at(name), value.to_string()).unwrap();
        write("rules.json", rules);
        write("targets.json", &json!([]));
        // JSON is YAML, too.
        let settings = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.json"],
            "scrape_configs": [{
                "job_name": "everstep",
                "file_sd_configs": [{"files": ["targets.json"], "refresh_interval": "1s"}],
            }],
        });
        write("prometheus.json", &settings);
        let log = fs::File::create(at("log")).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = child::command(PROGRAM, Signal::SIGKILL);
        command
            .arg(format!("--config.file={}", at("prometheus.json")))
            .arg(format!("--storage.tsdb.path={}", at("data")))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut prometheus = Self {
            child: Child::spawn(command).unwrap(),
            address,
            namespace: namespace.to_owned(),
            directory,
        };
        prometheus.ready().await;
        prometheus
    }

    async fn ready(&mut self) {
        let until = Instant::now() + DEADLINE;
        while http_get(&self.address, "/-/ready").await.0 != 200 {
            let ended = self.child.exit_status().unwrap();
            let said = fs::read_to_string(self.directory.path().join("log")).unwrap();
            assert!(
                ended.is_none(),
                "{PROGRAM} ended ({ended:?}); if it is missing, `make deps` installs it: {said}"
            );
            assert!(Instant::now() < until, "{PROGRAM} is not ready: {said}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// From now on it scrapes these processes, and no others.
    pub(crate) async fn scrape(&self, processes: &mut [&mut Process]) {
        let mut targets = Vec::new();
        for process in processes {
            let pod = process.id().to_string();
            let labels = json!({"namespace": self.namespace, "pod": pod});
            targets.push(json!({"targets": [process.address().await], "labels": labels}));
        }
        // Renamed, so that it is never read half.
        let at = |name: &str| self.directory.path().join(name);
        fs::write(at("targets.new"), Value::from(targets).to_string()).unwrap();
        fs::rename(at("targets.new"), at("targets.json")).unwrap();
    }

    /// The names of the alerts that fire, with their `reason` behind a colon when they have one.
    pub(crate) async fn firing(&self) -> BTreeSet<String> {
        // Short enough to come in one piece: count by (alertname, reason) (ALERTS{alertstate="firing"})
        let samples = self
            .query("count%20by%20(alertname,reason)(ALERTS%7Balertstate=%22firing%22%7D)")
            .await;
        let name = |sample: &Value| {
            let of = |label: &str| sample["metric"][label].as_str().map(str::to_owned);
            let name = of("alertname").unwrap();
            of("reason").map_or_else(|| name.clone(), |reason| format!("{name}:{reason}"))
        };
        samples.iter().map(name).collect()
    }

    /// Waits until it has scraped for so many seconds: what a window of them says has a past then.
    pub(crate) async fn has_scraped_for(&self, seconds: u32) {
        let until = Instant::now() + DEADLINE;
        let query = format!("everstep_store_up%20offset%20{seconds}s");
        while self.query(&query).await.is_empty() {
            assert!(Instant::now() < until, "nothing was scraped {seconds} s ago");
            tokio::time::sleep(POLL).await;
        }
    }

    /// The samples that an expression has now; it is part of a URL.
    async fn query(&self, expression: &str) -> Vec<Value> {
        let path = format!("/api/v1/query?query={expression}");
        let (status, body) = http_get(&self.address, &path).await;
        assert_eq!(status, 200, "{body}");
        let mut answer: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        serde_json::from_value(answer["data"]["result"].take()).unwrap()
    }

    /// Waits until all of these fire.
    pub(crate) async fn fires(&self, names: &[&str]) {
        let all = |firing: &BTreeSet<String>| names.iter().all(|name| firing.contains(*name));
        self.until(&format!("fire: {names:?}"), all).await;
    }

    /// Waits until one fires, and none of the others does.
    pub(crate) async fn fires_without(&self, name: &str, others: &[&str]) {
        let alone = |firing: &BTreeSet<String>| {
            let others = others.iter().any(|other| firing.contains(*other));
            firing.contains(name) && !others
        };
        self.until(&format!("fire: {name}, without {others:?}"), alone).await;
    }

    /// Waits until nothing fires.
    pub(crate) async fn is_quiet(&self) {
        self.until("fire: none", BTreeSet::is_empty).await;
    }

    async fn until(&self, what: &str, holds: impl Fn(&BTreeSet<String>) -> bool) {
        let until = Instant::now() + DEADLINE;
        loop {
            let firing = self.firing().await;
            if holds(&firing) {
                return;
            }
            assert!(
                Instant::now() < until,
                "waited for what should {what}; what does: {firing:?}"
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
