//! Measures the way of signals: so many runs wait, as many Signal objects are created as fast as the API server takes
//! them, and what is counted is the time from the last create until all are consumed, and until all objects say so.
//!
//! It starts a control plane, a PostgreSQL server and `everstep all` as a process of its own. The `everstep` beside it in
//! the target directory is measured; build both with `--release`.

#![allow(clippy::print_stdout, reason = "this is a command")]

#[allow(dead_code, unused_imports, reason = "the tests use all of it")]
#[path = "../controlplane/rig/mod.rs"]
mod rig;

#[allow(dead_code, reason = "the other measurement uses all of it")]
#[path = "../controlpath/process.rs"]
mod process;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Parser;
use everstep::dev::postgres::{Options, Postgres};
use everstep::store::{self, Migrations, Store};
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use process::Service;
use rig::{ControlPlane, Result};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The longest that anything may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks: an error of the measurement.
const LOOK: Duration = Duration::from_millis(20);
/// How long Events are waited for, which may be left out where many come at once.
const TELLING: Duration = Duration::from_secs(10);
/// A written Event, as [`writes`] names it.
const EVENT: &str = "create events  201";

/// Measures how soon so many Signals are consumed by so many waiting runs.
#[derive(Parser)]
struct Arguments {
    /// Signals and runs of a measurement.
    #[arg(long, default_value_t = 2000)]
    signals: usize,
    /// Objects that are created at once.
    #[arg(long, default_value_t = 32)]
    creates: usize,
    /// Measurements, each in a namespace and a database of its own.
    #[arg(long, default_value_t = 3)]
    times: usize,
    /// The program to measure, instead of the one beside this.
    #[arg(long)]
    everstep: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let everstep = match &arguments.everstep {
        Some(path) => path.clone(),
        None => beside_us()?,
    };
    let postgres = tokio::task::spawn_blocking(|| Postgres::start(Options::default())).await??;
    let plane = ControlPlane::start().await?;
    plane
        .kubectl_with_input(&["apply", "--server-side", "-f", "-"], &everstep::api::crd_yaml())
        .await?;
    // A CRD that has no conditions yet is an error to `kubectl wait`.
    let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
    let began = Instant::now();
    while let Err(error) = plane.kubectl(&wait).await {
        if began.elapsed() > PATIENCE {
            return Err(error);
        }
        tokio::time::sleep(LOOK).await;
    }
    for time in 1..=arguments.times {
        measure(&arguments, &everstep, &plane, &postgres, time).await?;
    }
    Ok(())
}

fn beside_us() -> Result<PathBuf> {
    let ours = std::env::current_exe()?;
    // target/release/examples/signal-path
    let everstep = ours
        .parent()
        .and_then(Path::parent)
        .map(|directory| directory.join("everstep"));
    everstep
        .filter(|path| path.is_file())
        .ok_or_else(|| "there is no `everstep` beside this program: cargo build --release".into())
}

async fn measure(
    arguments: &Arguments,
    everstep: &Path,
    plane: &ControlPlane,
    postgres: &Postgres,
    time: usize,
) -> Result<()> {
    let namespace = plane.namespace("signals").await?;
    let database = format!("signals_{time}");
    postgres.create_database(&database)?;
    let url = postgres.url(&database);
    migrate(&url).await?;
    let mut service = Service::start(everstep, &plane.kubeconfig(), &url, &namespace)?;
    let mut sql = PgConnection::connect(&url).await?;
    let count = i64::try_from(arguments.signals)?;
    wait_for_runs(plane, &namespace, &mut sql, count).await?;

    let before = plane.writes().await?.len();
    let began = Instant::now();
    create(plane, &namespace, arguments).await?;
    let created = Instant::now();
    let rate = arguments.signals as f64 / (created - began).as_secs_f64();
    let outcome = "SELECT count(*) FROM everstep.inbox WHERE outcome = 'Consumed'";
    until(&mut sql, outcome, count).await?;
    let consumed = created.elapsed();
    until(&mut sql, "SELECT count(*) FROM everstep.inbox WHERE shown", count).await?;
    let shown = created.elapsed();
    println!(
        "{time}: {count} Signals created at {rate:.0}/s; all consumed {:.2} s after the last create, all shown {:.2} s after it",
        consumed.as_secs_f64(),
        shown.as_secs_f64()
    );
    // Events are told after the status, one for each Signal: without this some would be counted as writes never made.
    let mut by_kind = writes(plane, &namespace, before).await?;
    let began = Instant::now();
    while by_kind.get(EVENT).is_none_or(|written| *written < arguments.signals) && began.elapsed() < TELLING {
        tokio::time::sleep(LOOK).await;
        by_kind = writes(plane, &namespace, before).await?;
    }
    service.stop()?;
    for (write, written) in by_kind {
        println!("   {:.2} {write} for each", written as f64 / arguments.signals as f64);
    }
    Ok(())
}

/// Successful and failed API writes in the namespace since the first `before` of all, counted by what they are.
async fn writes(plane: &ControlPlane, namespace: &str, before: usize) -> Result<BTreeMap<String, usize>> {
    let mut by_kind: BTreeMap<String, usize> = BTreeMap::new();
    for write in plane.writes().await?.split_off(before) {
        if write.namespace == namespace {
            let what = format!("{} {} {} {}", write.verb, write.resource, write.subresource, write.code);
            *by_kind.entry(what).or_default() += 1;
        }
    }
    Ok(by_kind)
}

async fn migrate(url: &str) -> Result<()> {
    let options = store::Options {
        url: url.to_owned(),
        max_connections: 1,
        application_name: "signal-path".to_owned(),
    };
    Store::connect(&options).await?.migrate(Migrations::Auto).await?;
    Ok(())
}

/// Starts so many runs by SQL, under the keys k1, k2, …, and returns when all wait for `go`.
async fn wait_for_runs(plane: &ControlPlane, namespace: &str, sql: &mut PgConnection, count: i64) -> Result<()> {
    let spec = json!({"start": "OnDemand", "steps": [{"name": "hold", "waitForSignal": {"signal": "go"}}]});
    let object = DynamicObject::new("held", &kind("Workflow")).data(json!({ "spec": spec }));
    let api: Api<DynamicObject> = Api::namespaced_with(plane.client().await?, namespace, &kind("Workflow"));
    api.create(&PostParams::default(), &object).await?;
    until(sql, "SELECT count(*) FROM everstep.owners", 1).await?;
    sqlx::raw_sql(AssertSqlSafe(format!(
        "SELECT everstep.grant_namespace(current_user::text, '{namespace}');
         SELECT everstep.start('{namespace}/held', NULL, 'k' || n) FROM generate_series(1, {count}) AS n"
    )))
    .execute(&mut *sql)
    .await?;
    until(sql, "SELECT count(*) FROM everstep.runs WHERE phase = 'Waiting'", count).await
}

async fn create(plane: &ControlPlane, namespace: &str, arguments: &Arguments) -> Result<()> {
    let api: Api<DynamicObject> = Api::namespaced_with(plane.client().await?, namespace, &kind("Signal"));
    futures::stream::iter(1..=arguments.signals)
        .map(|n| {
            let api = &api;
            async move {
                let spec = json!({"target": {"workflow": "held", "key": format!("k{n}")}, "signal": "go"});
                let object = DynamicObject::new(&format!("go-{n}"), &kind("Signal")).data(json!({ "spec": spec }));
                api.create(&PostParams::default(), &object).await.map(drop)
            }
        })
        .buffer_unordered(arguments.creates)
        .try_collect::<()>()
        .await?;
    Ok(())
}

fn kind(name: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("everstep.dev", "v1alpha1", name))
}

/// Returns when the query answers this.
async fn until(sql: &mut PgConnection, query: &str, expected: i64) -> Result<()> {
    let began = Instant::now();
    loop {
        let found: i64 = sqlx::query_scalar(AssertSqlSafe(query.to_owned()))
            .fetch_one(&mut *sql)
            .await?;
        if found == expected {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("{query}: {found} instead of {expected}").into());
        }
        tokio::time::sleep(LOOK).await;
    }
}
