//! A control plane and a PostgreSQL server for as long as this program runs: for the demo, and for work by hand.
//!
//! It prints, and with `--environment FILE` also writes, what a shell needs to use them; the last line says that all
//! is ready. On SIGINT or SIGTERM, or when its input ends if it is asked to look, it stops what it started. When it is
//! killed, they end with it.

#![allow(clippy::print_stdout, reason = "this is a command")]

#[allow(dead_code, unused_imports, reason = "the tests use all of it")]
mod rig;

use std::io;
use std::path::PathBuf;

use clap::Parser;
use everstep::dev::postgres::{Options, Postgres};
use rig::{ControlPlane, Result};
use tokio::signal::unix::{SignalKind, signal};

/// The database for Everstep in the private PostgreSQL server.
const DATABASE: &str = "everstep";

/// Runs a Kubernetes control plane and a PostgreSQL server until it is interrupted.
#[derive(Parser)]
struct Arguments {
    /// Write the variables to this file as well; it appears when all is ready, and complete.
    #[arg(long, value_name = "FILE")]
    environment: Option<PathBuf>,
    /// End when the standard input ends, as it does when the program that holds its other end is gone.
    #[arg(long)]
    until_input_ends: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // Before anything is started, so that nothing is left when the signal comes early.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        () = end_of_input(), if arguments.until_input_ends => Ok(()),
        result = serve(&arguments) => result,
    }
}

/// Starts both, tells, and keeps them until it is dropped.
async fn serve(arguments: &Arguments) -> Result<()> {
    eprintln!("rig: starting a PostgreSQL server");
    let postgres = tokio::task::spawn_blocking(|| {
        let postgres = Postgres::start(Options::default())?;
        postgres.create_database(DATABASE).map(|()| postgres)
    });
    let postgres = postgres.await??;
    eprintln!("rig: starting a Kubernetes control plane; the first time, its programs are built");
    let plane = ControlPlane::start().await?;
    eprintln!(
        "rig: the control plane was ready after {:.1} s",
        plane.started_in().as_secs_f64()
    );

    let variables = variables(&plane, &postgres);
    if let Some(path) = &arguments.environment {
        let unfinished = path.with_added_extension("unfinished");
        std::fs::write(&unfinished, &variables)?;
        std::fs::rename(&unfinished, path)?;
    }
    print!("{variables}");
    println!("# ready");
    std::future::pending().await
}

/// As lines that a shell can read. The names that begin with `RIG_` are for whoever drives this program.
fn variables(plane: &ControlPlane, postgres: &Postgres) -> String {
    let pids: Vec<String> = plane
        .pids()
        .into_iter()
        .chain(postgres.pid())
        .map(|pid| pid.to_string())
        .collect();
    [
        ("KUBECONFIG", plane.kubeconfig().display().to_string()),
        ("EVERSTEP_DATABASE_URL", postgres.url(DATABASE)),
        ("RIG_POSTGRES_URL", postgres.url("postgres")),
        ("RIG_POSTGRES_PROGRAMS", postgres.programs().display().to_string()),
        ("RIG_KUBERNETES_PROGRAMS", plane.programs().display().to_string()),
        ("RIG_LOGS", plane.directory().display().to_string()),
        ("RIG_PIDS", pids.join(" ")),
    ]
    .map(|(name, value)| format!("export {name}='{value}'\n"))
    .concat()
}

/// On a thread of its own, which nobody waits for: a read of the standard input cannot be cancelled.
async fn end_of_input() {
    let (sender, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // An input that cannot be read has ended, too.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        let _ = sender.send(());
    });
    let _ = end.await;
}
