//! An upgrade by Helm while 500 runs are live: nobody notices.
//!
//! The second version is this chart with another version number, other values, and a schema that was brought up to date
//! beforehand. What the Deployments' controller would do is done here: a new process is started, and one of the old ones is
//! told to stop when the new one is ready.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use tokio::process::Command;

use super::history::{self, Recorded};
use super::support::chart::{CHART, Helm, RELEASE, Release};
use super::support::controlplane::ControlPlane;
use super::support::postgres;
use super::support::system::{Process, condition};
use super::workload::{CHARGED, Order, charge, reserve};
use super::world::{DEADLINE, World};

/// How many runs of each kind.
const WAITING: usize = 160;
const SLEEPING: usize = 140;
const RETRYING: usize = 100;
const IN_SQL: usize = 40;
const IN_HTTP: usize = 60;
const RUNS: usize = WAITING + SLEEPING + RETRYING + IN_SQL + IN_HTTP;
/// Steps of a run that is in the middle of one whenever somebody looks, each of about a second.
const CHAIN: usize = 25;
const SECOND: Duration = Duration::from_secs(1);
/// Processes of each role.
const REPLICAS: usize = 2;
/// The version of the chart that comes second.
const NEXT: &str = "0.1.1-next";

/// `gate` is closed at first; `effects` has a row for each step that did something, and how often it did.
const TARGET: &str = "
    CREATE TABLE gate (open boolean);
    CREATE FUNCTION pass(order_id text) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN
      IF NOT EXISTS (SELECT FROM gate WHERE open) THEN
        RAISE EXCEPTION 'not yet' USING ERRCODE = 'serialization_failure';
      END IF;
      RETURN order_id;
    END $$;
    CREATE TABLE effects (order_id text, step text, times int NOT NULL, PRIMARY KEY (order_id, step));";

#[tokio::test(flavor = "multi_thread")]
async fn upgrade_by_helm_disturbs_none_of_500_live_runs_and_does_nothing_twice() {
    let plane = ControlPlane::start().await.unwrap();
    let helm = Helm::new(&plane).await;
    let crds = format!("{CHART}-crds");
    helm.run(&["install", "everstep-crds", &crds, "--wait"]).await;
    let world = World::on(&plane, "upgrade", postgres::empty_database().await, SECOND).await;
    let mut target = PgConnection::connect(&world.shop).await.unwrap();
    sqlx::raw_sql(TARGET).execute(&mut target).await.unwrap();

    let installation = Installation::new(&plane, helm, &world).await;
    let first = installation.released(CHART, "install", values(&world)).await;
    let old = [started(&first, "controller").await, started(&first, "worker").await];
    let orders = orders();
    assert_eq!(orders.len(), 500);
    // Helm takes its time: those that would have ended meanwhile begin when it is done, and no process has stopped yet.
    let (patient, moving) = orders.split_at(WAITING + RETRYING);
    world.create(patient.iter().map(|order| order.manifest.clone())).await;
    under_way(&world, PATIENT).await;
    let second = installation.upgraded().await;

    world.create(moving.iter().map(|order| order.manifest.clone())).await;
    under_way(&world, MOVING).await;
    assert_eq!(live(&world).await, RUNS as i64, "before the first process stops");
    let [controllers, workers] = old;
    let half = WAITING / 2;
    let (new_controllers, new_workers, ()) = tokio::join!(
        rolled(&second, "controller", controllers),
        rolled(&second, "worker", workers),
        approve(&plane, &world, 0..half),
    );
    assert!(
        live(&world).await >= (RETRYING + half) as i64,
        "when the last one has stopped"
    );
    approve(&plane, &world, half..WAITING).await;
    sqlx::raw_sql("INSERT INTO gate VALUES (true)")
        .execute(&mut target)
        .await
        .unwrap();

    world.all_ended(RUNS, DEADLINE).await;
    world.all_shown(&orders, DEADLINE).await;
    for process in new_controllers.into_iter().chain(new_workers) {
        process.stop().await;
    }
    let mut complaints = undisturbed(&orders, &world).await;
    complaints.extend(done_once(&mut target, &world).await);
    assert!(
        complaints.is_empty(),
        "{} complaints: {complaints:#?}",
        complaints.len()
    );
}

/// Where the release lives, and what it works on.
struct Installation<'a> {
    plane: &'a ControlPlane,
    helm: Helm,
    namespace: String,
    database_url: String,
}

impl<'a> Installation<'a> {
    /// A namespace with the Secret of the database.
    async fn new(plane: &'a ControlPlane, helm: Helm, world: &World) -> Self {
        let namespace = plane.namespace("everstep").await.unwrap();
        let database_url = world.system.database_url.clone();
        let literal = format!("--from-literal=url={database_url}");
        let words = [
            "--namespace",
            &namespace,
            "create",
            "secret",
            "generic",
            "everstep-database",
            &literal,
        ];
        plane.kubectl(&words).await.unwrap();
        Self {
            plane,
            helm,
            namespace,
            database_url,
        }
    }

    /// To the next version, by the page's steps: definitions, schema, release.
    async fn upgraded(&self) -> Release<'a> {
        let directory = tempfile::tempdir().unwrap();
        let charts = next_version(directory.path()).await;
        let chart = |name: &str| charts.join(name).display().to_string();
        let crds = chart("everstep-crds");
        self.helm.run(&["upgrade", "everstep-crds", &crds]).await;
        self.migrate().await;
        let changed = json!({"controller": {"migrations": "verify", "resync": "20s"}, "worker": {"maxRuns": 400}});
        let release = self.released(&chart("everstep"), "upgrade", changed).await;
        let image = &release.component("Deployment", "worker")["spec"]["template"]["spec"]["containers"][0]["image"];
        assert!(image.as_str().unwrap().ends_with(&format!(":{NEXT}")), "{image}");
        release
    }

    /// After `helm install` or `helm upgrade`: what helm says is there.
    async fn released(&self, chart: &str, verb: &str, values: Value) -> Release<'a> {
        let mut words = vec!["--namespace", &self.namespace, verb, RELEASE, chart, "--values=-"];
        if verb == "upgrade" {
            words.push("--reset-then-reuse-values");
        }
        self.helm.run_with_input(&words, &values.to_string()).await;
        let words = ["--namespace", &self.namespace, "get", "manifest", RELEASE];
        Release::of(self.plane, &self.namespace, &self.helm.run(&words).await)
    }

    /// By hand, as before each upgrade where the controller only verifies.
    async fn migrate(&self) {
        let mut migrate = Process::spawn(&["migrate", "--database-url", &self.database_url], &[]);
        assert!(migrate.ended().await.success(), "{}", migrate.errors());
    }
}

/// Of the first version: as the chart has them, but for what a run needs here.
fn values(world: &World) -> Value {
    let here = &world.system.namespace;
    let rule = json!({"hosts": ["127.0.0.1"], "ports": [world.payments.port], "methods": ["*"], "namespaces": [here]});
    let mut values = json!({
        "crds": {"install": false},
        "database": {"existingSecret": "everstep-database"},
        "namespaces": [here],
        "egress": {"allow": [rule], "allowAddresses": ["127.0.0.0/8"]},
    });
    values["worker"]["secrets"]["named"][here] = json!(["shop-db"]);
    values
}

/// The charts of this repository, as the next release would have them.
async fn next_version(directory: &Path) -> PathBuf {
    let charts = directory.join("charts");
    let copied = Command::new("cp")
        .arg("-rL")
        .arg(format!("{CHART}/.."))
        .arg(&charts)
        .status()
        .await
        .unwrap();
    assert!(copied.success());
    for chart in ["everstep", "everstep-crds", "everstep/charts/everstep-crds"] {
        let file = charts.join(chart).join("Chart.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let next = text.replace("ersion: 0.1.0", &format!("ersion: {NEXT}"));
        assert_ne!(text, next, "{chart} has another version by now");
        std::fs::write(&file, next).unwrap();
    }
    charts
}

async fn started(release: &Release<'_>, component: &str) -> Vec<Process> {
    let mut processes = Vec::new();
    for _ in 0..REPLICAS {
        processes.push(release.start(component, &[]).await);
    }
    processes
}

/// A rolling update with `maxSurge: 1, maxUnavailable: 0`: answers the new processes.
async fn rolled(next: &Release<'_>, component: &str, old: Vec<Process>) -> Vec<Process> {
    let mut new = Vec::new();
    for process in old {
        new.push(next.start(component, &[]).await);
        process.stop().await;
    }
    new
}

fn orders() -> Vec<Order> {
    let of_kind = |count: usize, name: &'static str, order: fn(&str) -> Order| {
        (0..count).map(move |number| order(&format!("{name}-{number}")))
    };
    let patient = of_kind(WAITING, "waits", waits).chain(of_kind(RETRYING, "retries", retries));
    let moving = of_kind(SLEEPING, "sleeps", sleeps)
        .chain(of_kind(IN_SQL, "sql", in_sql))
        .chain(of_kind(IN_HTTP, "http", in_http));
    patient.chain(moving).collect()
}

fn waits(id: &str) -> Order {
    let steps = json!([reserve(), {"name": "approval", "waitForSignal": {"signal": "approve"}}, charge()]);
    let output = json!({"charged": CHARGED, "by": "=steps.approval.output.payload.order"});
    Order::new(
        id,
        json!({"steps": steps, "output": output}),
        json!({"charged": true, "by": id}),
        &["/v1/charges"],
    )
}

/// Each for another time, from a bit before to long after.
fn sleeps(id: &str) -> Order {
    let number: usize = id.rsplit('-').next().unwrap().parse().unwrap();
    let rest = format!("{}s", 25 + number % 20);
    let steps = json!([{"name": "rest", "sleep": {"for": rest}}, reserve(), charge()]);
    let output = json!({"charged": CHARGED});
    Order::new(
        id,
        json!({"steps": steps, "output": output}),
        json!({"charged": true}),
        &["/v1/charges"],
    )
}

/// Fails until the gate is open.
fn retries(id: &str) -> Order {
    let pass = json!({"connection": "shopdb", "query": "SELECT pass($1) AS order_id", "args": ["=input.order"]});
    let retry = json!({"maxAttempts": 1000, "backoff": {"initial": "500ms", "factor": 2, "max": "10s"}});
    let steps = json!([{"name": "pass", "sql": pass, "retry": retry}, charge()]);
    let output = json!({"charged": CHARGED, "order": "=steps.pass.output.row.order_id"});
    let body = json!({"steps": steps, "output": output});
    let mut order = Order::new(id, body, json!({"charged": true, "order": id}), &["/v1/charges"]);
    order.unsteady.push("pass".to_owned());
    order
}

/// One statement of a second after another.
fn in_sql(id: &str) -> Order {
    let query = "INSERT INTO effects VALUES ($1, $2, 1) ON CONFLICT (order_id, step) \
                 DO UPDATE SET times = effects.times + 1 RETURNING step, pg_sleep(1)::text";
    let steps = (0..CHAIN).map(|step| {
        let sql = json!({"connection": "shopdb", "query": query, "args": ["=input.order", format!("s{step}")]});
        json!({"name": format!("s{step}"), "sql": sql})
    });
    let output = json!({"last": format!("=steps.s{}.output.row.step", CHAIN - 1)});
    let body = json!({"steps": steps.collect::<Vec<_>>(), "output": output});
    Order::new(id, body, json!({"last": format!("s{}", CHAIN - 1)}), &[])
}

/// One request of a second after another.
fn in_http(id: &str) -> Order {
    let steps = (0..CHAIN).map(|step| {
        let body = json!({"order": "=input.order", "step": step});
        // Whoever cannot know its outcome must not send it again: then the run would fail.
        let http = json!({"connection": "payments", "method": "POST", "path": "/v1/charges", "body": body});
        json!({"name": format!("h{step}"), "http": http})
    });
    let output = json!({"last": format!("=steps.h{}.status", CHAIN - 1)});
    let body = json!({"steps": steps.collect::<Vec<_>>(), "output": output});
    Order::new(id, body, json!({"last": "Succeeded"}), &[])
}

/// Kinds of runs: their name, how many there are, and by what one sees that they do what the kind is about.
type Sight = (&'static str, usize, &'static str);

const PATIENT: [Sight; 2] = [
    ("waits", WAITING, "r.phase = 'Waiting'"),
    ("retries", RETRYING, "j.events::text LIKE '%AttemptFailed%'"),
];
const MOVING: [Sight; 3] = [
    ("sleeps", SLEEPING, "j.events::text LIKE '%TimerArmed%'"),
    ("sql", IN_SQL, "j.events::text LIKE '%StepSucceeded%'"),
    ("http", IN_HTTP, "j.events::text LIKE '%StepSucceeded%'"),
];

/// Waits until all runs of these kinds do what their kind is about.
async fn under_way(world: &World, kinds: impl IntoIterator<Item = Sight>) {
    for (name, count, sight) in kinds {
        let query = format!(
            "SELECT count(DISTINCT r.id) FROM everstep.journal AS j JOIN everstep.runs AS r ON r.id = j.run_id \
             WHERE r.workflow LIKE '{name}-%' AND {sight}"
        );
        world.system.until_count(&query, count as i64).await;
    }
}

async fn live(world: &World) -> i64 {
    world
        .system
        .count("SELECT count(*) FROM everstep.runs WHERE finished_at IS NULL")
        .await
}

/// Sends the signal that these runs wait for.
async fn approve(plane: &ControlPlane, world: &World, numbers: Range<usize>) {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("everstep.dev", "v1alpha1", "Signal"));
    let client = plane.client().await.unwrap();
    let signals: Api<DynamicObject> = Api::namespaced_with(client, &world.system.namespace, &kind);
    let creates = stream::iter(numbers).map(|number| {
        let order = format!("waits-{number}");
        let spec = json!({"target": {"workflow": order}, "signal": "approve", "payload": {"order": order}});
        let signal = DynamicObject::new(&order, &kind).data(json!({ "spec": spec }));
        let signals = &signals;
        async move { drop(signals.create(&PostParams::default(), &signal).await.unwrap()) }
    });
    creates.buffer_unordered(4).collect::<Vec<()>>().await;
}

/// What became of the runs otherwise than if nobody had stopped.
async fn undisturbed(orders: &[Order], world: &World) -> Vec<String> {
    let url = &world.system.direct_url;
    let runs = history::runs(url).await;
    let mut complaints = history::complaints(orders, &runs, &world.payments.ledger.entries());
    complaints.extend(history::left_behind(url).await);
    let taken_over = |run: &&Recorded| run.how_many("TakenOver") > 0;
    complaints.extend(
        runs.iter()
            .filter(taken_over)
            .map(|run| format!("{}: {:?}", run.workflow, run.outline())),
    );
    let consumed: usize = runs.iter().map(|run| run.how_many("SignalConsumed")).sum();
    if consumed != WAITING {
        complaints.push(format!("{consumed} signals were consumed"));
    }
    for object in world.workflows().await {
        if condition(&object, "Stuck")["status"] == "True" {
            complaints.push(format!("{} is stuck", object["metadata"]["name"]));
        }
    }
    complaints
}

/// What the other side was asked otherwise than once.
async fn done_once(target: &mut PgConnection, world: &World) -> Vec<String> {
    let mut complaints = Vec::new();
    for (query, expected) in [
        ("SELECT count(*) FROM reservation", WAITING + SLEEPING),
        ("SELECT count(*) FROM reservation WHERE times <> 1", 0),
        ("SELECT count(*) FROM effects", IN_SQL * CHAIN),
        ("SELECT count(*) FROM effects WHERE times <> 1", 0),
    ] {
        let found: i64 = sqlx::query_scalar(query).fetch_one(&mut *target).await.unwrap();
        if found != expected as i64 {
            complaints.push(format!("{query}: {found} instead of {expected}"));
        }
    }
    let entries = world.payments.ledger.entries();
    let expected = WAITING + SLEEPING + RETRYING + IN_HTTP * CHAIN;
    if entries.len() != expected {
        complaints.push(format!("{} charges instead of {expected}", entries.len()));
    }
    let again = entries.iter().filter(|entry| entry.requests != 1);
    complaints.extend(again.map(|entry| format!("{} requests for {}", entry.requests, entry.body)));
    complaints
}
