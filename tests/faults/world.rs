//! A system with a shop and a payments server, the objects in it, and the processes that come and go.

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, PostParams};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::history;
use super::seed::Random;
use super::support::controlplane::{self, ControlPlane};
use super::support::postgres;
use super::support::system::{self, Payments, Process, System, condition};
use super::workload::{Order, SHOP};

/// The lease of all workers here.
pub(crate) const LEASE: Duration = Duration::from_secs(1);
/// What a takeover may take beyond the lease.
pub(crate) const BEYOND: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);
/// Requests at once when many objects are created: about as many as an API server works on.
const CREATES: usize = 16;

/// One installation, its surroundings, and an administrator's eyes.
pub(crate) struct World {
    pub(crate) system: System,
    pub(crate) payments: Payments,
    /// The address of the shop's database.
    pub(crate) shop: String,
    objects: Api<DynamicObject>,
}

impl World {
    /// On the shared control plane, with a database of its own.
    pub(crate) async fn new(name: &str, delay: Duration) -> Self {
        let plane = controlplane::shared().await;
        Self::of(System::new(name).await, plane, delay).await
    }

    /// On this control plane, which has the CRDs, and this database, which is migrated.
    pub(crate) async fn on(plane: &ControlPlane, name: &str, database_url: String, delay: Duration) -> Self {
        Self::of(System::on(plane, name, database_url).await, plane, delay).await
    }

    /// The payments server does what it is asked at once, and answers `delay` later.
    async fn of(system: System, plane: &ControlPlane, delay: Duration) -> Self {
        let payments = Payments::start(delay).await;
        let shop = postgres::empty_database().await;
        let mut sql = PgConnection::connect(&shop).await.unwrap();
        sqlx::raw_sql(SHOP).execute(&mut sql).await.unwrap();
        system.allow(payments.port);
        system.allow(postgres::server().await.port());
        system.apply(&surroundings(&shop, &payments.url())).await;
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("everstep.dev", "v1alpha1", "Workflow"));
        let objects = Api::namespaced_with(plane.client().await.unwrap(), &system.namespace, &kind);
        Self {
            system,
            payments,
            shop,
            objects,
        }
    }

    /// Creates these Workflows, many at once.
    pub(crate) async fn create(&self, manifests: impl IntoIterator<Item = Value>) {
        let creates = stream::iter(manifests).map(|manifest| async move {
            let object: DynamicObject = serde_json::from_value(manifest).unwrap();
            self.objects.create(&PostParams::default(), &object).await.unwrap();
        });
        creates.buffer_unordered(CREATES).collect::<Vec<()>>().await;
    }

    /// All Workflows.
    pub(crate) async fn workflows(&self) -> Vec<Value> {
        let list = self.objects.list(&ListParams::default()).await.unwrap();
        list.items
            .iter()
            .map(|object| serde_json::to_value(object).unwrap())
            .collect()
    }

    /// Deletes all Workflows at once.
    pub(crate) async fn delete_all(&self) {
        self.objects
            .delete_collection(&DeleteParams::default(), &ListParams::default())
            .await
            .unwrap();
        eventually("the objects are gone", DEADLINE, async || {
            self.workflows().await.is_empty()
        })
        .await;
    }

    /// Waits until every run has ended in the database.
    pub(crate) async fn all_ended(&self, runs: usize, patience: Duration) {
        let ended = "SELECT count(*) FROM everstep.runs WHERE finished_at IS NOT NULL";
        let mut last = 0;
        let until = Instant::now() + patience;
        while last < runs as i64 {
            if Instant::now() >= until {
                let open = history::open(&self.system.direct_url).await;
                panic!("{last} of {runs} runs ended in {patience:?}; of the others: {open:#?}");
            }
            tokio::time::sleep(POLL).await;
            last = self.system.count(ended).await;
        }
    }

    /// Waits until every object shows that it succeeded, with the output that it must have.
    pub(crate) async fn all_shown(&self, orders: &[Order], patience: Duration) {
        let until = Instant::now() + patience;
        loop {
            let wrong = wrong(orders, &self.workflows().await);
            if wrong.is_empty() {
                return;
            }
            assert!(
                Instant::now() < until,
                "{} statuses are not right: {:#?}",
                wrong.len(),
                &wrong[..wrong.len().min(5)]
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// The process id of the worker that holds the run of this Workflow, as soon as there is one.
    pub(crate) async fn owner(&self, workflow: &str) -> u32 {
        self.owner_if_open(workflow).await.expect("the run has ended")
    }

    /// The same, or none when the run has ended before.
    pub(crate) async fn owner_if_open(&self, workflow: &str) -> Option<u32> {
        let select = "SELECT w.session, r.finished_at IS NOT NULL FROM everstep.runs AS r \
                      LEFT JOIN everstep.active AS a ON a.run_id = r.id \
                      LEFT JOIN everstep.workers AS w ON w.id = a.worker_id WHERE r.workflow = $1";
        let mut sql = self.system.sql().await;
        let until = Instant::now() + DEADLINE;
        loop {
            let run: Option<(Option<String>, bool)> = sqlx::query_as(select)
                .bind(workflow)
                .fetch_optional(&mut sql)
                .await
                .unwrap();
            match run {
                Some((Some(session), _)) => return Some(session.rsplit('/').next().unwrap().parse().unwrap()),
                Some((None, true)) => return None,
                Some((None, false)) | None => {}
            }
            assert!(Instant::now() < until, "nobody takes {workflow}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// How many requests the payments server got for this order.
    pub(crate) fn requests(&self, order: &str) -> u32 {
        let entries = self.payments.ledger.entries();
        entries
            .iter()
            .filter(|entry| entry.body["order"] == order)
            .map(|entry| entry.requests)
            .sum()
    }

    /// How many keys they came with.
    pub(crate) fn keys(&self, order: &str) -> usize {
        self.payments
            .ledger
            .entries()
            .iter()
            .filter(|entry| entry.body["order"] == order)
            .count()
    }
}

/// Long enough for everything that should happen.
pub(crate) const DEADLINE: Duration = system::DEADLINE;

/// The Secret and the Connections of the shop.
fn surroundings(shop: &str, payments: &str) -> String {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "shop-db"},
        "stringData": {"url": format!("{shop}?sslmode=disable")}});
    let connection = |name: &str, spec: Value| json!({"apiVersion": "everstep.dev/v1alpha1", "kind": "Connection", "metadata": {"name": name}, "spec": spec});
    let database = json!({"postgres": {"urlFrom": {"secretKeyRef": {"name": "shop-db", "key": "url"}}}});
    let items = [
        secret,
        connection("shopdb", database),
        connection("payments", json!({"http": {"baseUrl": payments}})),
    ];
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// What the objects show otherwise than they must.
fn wrong(orders: &[Order], objects: &[Value]) -> Vec<String> {
    let wrong = orders.iter().filter_map(|order| {
        let object = objects.iter().find(|object| object["metadata"]["name"] == *order.name);
        let Some(object) = object else {
            return Some(format!("{} is not there", order.name));
        };
        let run = &object["status"]["run"];
        let right = run["phase"] == "Succeeded"
            && run["output"] == order.output
            && condition(object, "Finished")["status"] == "True"
            && condition(object, "Succeeded")["status"] == "True"
            && condition(object, "Ready")["status"] == "True";
        (!right).then(|| format!("{}: {}, expected {}", order.name, object["status"], order.output))
    });
    wrong.collect()
}

/// Flags and their values.
pub(crate) type Flags = &'static [(&'static str, &'static str)];

/// How a process is started: its role and its flags.
type Member = (&'static str, Flags);

/// Processes of one system, each replaced as soon as it is killed.
pub(crate) struct Fleet<'a> {
    system: &'a System,
    members: Vec<(Member, Process)>,
}

impl<'a> Fleet<'a> {
    /// Starts them and waits until they are ready.
    pub(crate) async fn start(system: &'a System, workers: usize, controllers: usize) -> Self {
        let controllers = std::iter::repeat_n(("controller", FLAGS), controllers);
        Self::of(
            system,
            controllers.chain(std::iter::repeat_n(("worker", FLAGS), workers)),
        )
        .await
    }

    /// Starts these and waits until they are ready.
    pub(crate) async fn of(system: &'a System, members: impl IntoIterator<Item = Member>) -> Self {
        let start = |member: Member| (member, system.spawn(member.0, member.1));
        let mut members: Vec<(Member, Process)> = members.into_iter().map(start).collect();
        for (_, process) in &mut members {
            process.ready().await;
        }
        Self { system, members }
    }

    /// Kills one of them, with all it holds, and starts another one in its place. Answers its role.
    pub(crate) async fn kill_one(&mut self, random: &mut Random) -> &'static str {
        let victim = random.below(self.members.len() as u64) as usize;
        let (member, process) = self.members.swap_remove(victim);
        process.kill().await;
        self.members.push((member, self.system.spawn(member.0, member.1)));
        member.0
    }

    /// Whether the process with this id is one of them, and was not killed.
    pub(crate) fn has(&self, id: u32) -> bool {
        self.members.iter().any(|(_, process)| process.id() == id)
    }

    /// Kills the one with this process id, and starts another one in its place.
    pub(crate) async fn kill(&mut self, id: u32) {
        let victim = self.members.iter().position(|(_, process)| process.id() == id).unwrap();
        let (member, process) = self.members.swap_remove(victim);
        process.kill().await;
        self.members.push((member, self.system.spawn(member.0, member.1)));
    }

    /// Panics unless all of them still run.
    pub(crate) fn all_run(&mut self) {
        for ((role, _), process) in &mut self.members {
            assert!(process.is_running(), "a {role} ended by itself:\n{}", process.errors());
        }
    }

    /// Waits until every controller leads, each by a Lease of its own.
    pub(crate) async fn all_lead(&mut self) {
        for (_, process) in self.members.iter_mut().filter(|((role, _), _)| *role == "controller") {
            process.leads().await;
        }
    }

    /// A metric of each worker.
    pub(crate) async fn metric(&mut self, name: &str) -> Vec<f64> {
        let mut values = Vec::new();
        for (_, process) in self.members.iter_mut().filter(|((role, _), _)| *role == "worker") {
            values.push(metric(process, name).await);
        }
        values
    }

    /// SIGTERM to all: each ends well.
    pub(crate) async fn stop(mut self) {
        for (_, process) in &mut self.members {
            process.signal(Signal::SIGTERM);
        }
        for ((role, _), process) in &mut self.members {
            let status = process.ended().await;
            assert!(status.success(), "{role}: {status}");
        }
    }
}

/// Flags of every process here: what is gone is looked for often.
pub(crate) const FLAGS: Flags = &[("--orphan-period", "2s"), ("--resync", "20s")];

/// The value of a metric, named with its labels if it has any; 0 when it is not there.
pub(crate) async fn metric(process: &mut Process, name: &str) -> f64 {
    process.metric(name).await
}

/// Waits until `holds`.
pub(crate) async fn eventually(what: &str, patience: Duration, mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < patience, "{what}: not in {patience:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}
