//! Measures the control path: how many Workflows a second go from object to `Finished=True`.
//!
//! It starts a control plane and a PostgreSQL server, creates the Workflows, starts `everstep all` as a process of its
//! own, and watches until the last one is finished. Printed are the rate, the API writes for each object, and who used
//! how much processor time: with everything on one machine, that is what limits.
//!
//! The `everstep` beside it in the target directory is measured; build both with `--release`.

#![allow(clippy::print_stdout, reason = "this is a command")]

#[allow(dead_code, unused_imports, reason = "the tests use all of it")]
#[path = "../controlplane/rig/mod.rs"]
mod rig;

mod process;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use everstep::dev::postgres::{Options, Postgres};
use everstep::store::{self, Migrations, Store};
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt};
use process::Service;
use rig::{ControlPlane, Result};
use serde_json::{Value, json};

/// The longest that one measurement may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// Objects that are created at once.
const CREATES: usize = 16;

/// Measures how many Workflows a second are finished that were there before the controller.
#[derive(Parser)]
struct Arguments {
    /// Workflows of a measurement.
    #[arg(long, default_value_t = 1000)]
    workflows: usize,
    /// What their three steps do.
    #[arg(long, value_enum, default_value_t = Steps::Set)]
    steps: Steps,
    /// Measurements, each in a namespace and a database of its own.
    #[arg(long, default_value_t = 3)]
    times: usize,
    /// The program to measure, instead of the one beside this.
    #[arg(long)]
    everstep: Option<PathBuf>,
}

/// What a Workflow's steps do.
#[derive(Clone, Copy, ValueEnum)]
enum Steps {
    /// Computes a value: three of them are one decision.
    Set,
    /// Sleeps for a millisecond: each is a decision, a timer and a wake-up.
    Sleep,
}

/// What one measurement found.
struct Figures {
    seconds: f64,
    writes: BTreeMap<String, usize>,
    cpu: Vec<(&'static str, f64)>,
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
    established(&plane).await?;

    let mut rates = Vec::new();
    for time in 1..=arguments.times {
        let figures = measure(&arguments, &everstep, &plane, &postgres, time).await?;
        let rate = arguments.workflows as f64 / figures.seconds;
        println!(
            "{time}: {} workflows finished in {:.2} s: {rate:.0}/s",
            arguments.workflows, figures.seconds
        );
        for (write, count) in &figures.writes {
            println!("   {:.2} {write} for each", *count as f64 / arguments.workflows as f64);
        }
        let cpu = figures.cpu.iter().map(|(who, seconds)| format!("{who} {seconds:.1} s"));
        println!("   processor time: {}", cpu.collect::<Vec<_>>().join(", "));
        rates.push(rate);
    }
    rates.sort_by(f64::total_cmp);
    println!("median: {:.0} Finished/s", rates[rates.len() / 2]);
    Ok(())
}

/// Returns when the kinds are served. A CRD that has no conditions yet is an error to `kubectl wait`.
async fn established(plane: &ControlPlane) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let wait = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=30s"];
    while let Err(error) = plane.kubectl(&wait).await {
        if Instant::now() > deadline {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

fn beside_us() -> Result<PathBuf> {
    let ours = std::env::current_exe()?;
    // target/release/examples/control-path
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
) -> Result<Figures> {
    let namespace = plane.namespace("speed").await?;
    let url = {
        let database = format!("speed_{time}");
        postgres.create_database(&database)?;
        postgres.url(&database)
    };
    migrate(&url).await?;
    let client = plane.client().await?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &workflows());
    create(&api, arguments).await?;

    let before = cpu(plane, postgres);
    let writes = plane.writes().await?.len();
    let mut service = Service::start(everstep, &plane.kubeconfig(), &url, &namespace)?;
    let began = Instant::now();
    tokio::time::timeout(PATIENCE, finished(&client, &namespace, arguments.workflows)).await??;
    let seconds = began.elapsed().as_secs_f64();
    let after = cpu(plane, postgres);
    let of_service = process::seconds_of(service.pid());
    // Events are told after the status.
    tokio::time::sleep(Duration::from_secs(1)).await;
    service.stop()?;

    let mut by_kind = BTreeMap::new();
    for write in plane.writes().await?.split_off(writes) {
        if write.namespace == namespace {
            let what = format!("{} {} {} {}", write.verb, write.resource, write.subresource, write.code);
            *by_kind.entry(what).or_default() += 1;
        }
    }
    let mut cpu: Vec<_> = after
        .into_iter()
        .zip(before)
        .map(|((who, after), (_, before))| (who, after - before))
        .collect();
    cpu.push(("everstep", of_service));
    Ok(Figures {
        seconds,
        writes: by_kind,
        cpu,
    })
}

async fn migrate(url: &str) -> Result<()> {
    let options = store::Options {
        url: url.to_owned(),
        max_connections: 1,
        application_name: "control-path".to_owned(),
    };
    Store::connect(&options).await?.migrate(Migrations::Auto).await?;
    Ok(())
}

fn workflows() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("everstep.dev", "v1alpha1", "Workflow"),
        "workflows",
    )
}

async fn create(api: &Api<DynamicObject>, arguments: &Arguments) -> Result<()> {
    let action = |n: usize| match arguments.steps {
        Steps::Set => json!({"name": format!("step_{n}"), "set": {"value": format!("={n} + 1")}}),
        Steps::Sleep => json!({"name": format!("step_{n}"), "sleep": {"for": "1ms"}}),
    };
    let spec = json!({"steps": [action(1), action(2), action(3)]});
    let began = Instant::now();
    futures::stream::iter(0..arguments.workflows)
        .map(|n| {
            let spec = spec.clone();
            async move {
                let object = DynamicObject::new(&format!("flow-{n}"), &workflows()).data(json!({"spec": spec}));
                api.create(&PostParams::default(), &object).await.map(drop)
            }
        })
        .buffer_unordered(CREATES)
        .try_collect::<()>()
        .await?;
    let rate = arguments.workflows as f64 / began.elapsed().as_secs_f64();
    println!("created at {rate:.0}/s");
    Ok(())
}

/// Returns when that many Workflows are finished.
async fn finished(client: &Client, namespace: &str, workflows_wanted: usize) -> Result<()> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &workflows());
    let mut events = pin!(watcher::watcher(api, watcher::Config::default()));
    let mut done = HashSet::new();
    while let Some(event) = events.next().await {
        if let Event::Apply(object) | Event::InitApply(object) = event?
            && is_finished(&object)
        {
            done.insert(object.name_any());
            if done.len() == workflows_wanted {
                return Ok(());
            }
        }
    }
    Err("the watch ended".into())
}

fn is_finished(object: &DynamicObject) -> bool {
    let conditions = object.data["status"]["conditions"].as_array();
    let is = |condition: &Value| condition["type"] == "Finished" && condition["status"] == "True";
    conditions.is_some_and(|conditions| conditions.iter().any(is))
}

/// Seconds of processor time so far, by server.
fn cpu(plane: &ControlPlane, postgres: &Postgres) -> [(&'static str, f64); 3] {
    let plane = plane.pids().into_iter().map(process::seconds_of).sum();
    let postgres = postgres.pid().map_or(0.0, process::seconds_of_tree);
    let us = process::seconds_of(std::process::id());
    [("control plane", plane), ("postgres", postgres), ("the watching", us)]
}
