//! `everstep-bench`: how many steps a worker settles each second, and how soon a start or a signal has its first effect.
//! Starts a private PostgreSQL and a worker process, measures, prints a table, and stops all that it started.
//!
//! | file | idea |
//! |---|---|
//! | `options`, `report` | what is asked for, and what is answered |
//! | `server`, `flush.c` | the PostgreSQL that is measured, and its flush |
//! | `worker` | the worker's process |
//! | `steps`, `idle`, `signal`, `start` | the scenarios |
//! | `effects` | what is waited for on an idle system |
//! | `yardstick` | the same rows by a script that is written by hand |
//! | `database` | statements that seed and count |
//!
//! What each figure means: `docs/performance.md`.

mod database;
mod effects;
mod idle;
mod options;
mod report;
mod server;
mod signal;
mod start;
mod steps;
mod worker;
mod yardstick;

use std::{fs::File, process::ExitCode};

use clap::Parser;
use tokio::runtime;

use self::{
    options::{Cli, Measure, Role, Scenario},
    report::Row,
    server::Server,
};

/// Why there are no figures: said once, on the last line.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

#[expect(clippy::print_stderr, reason = "a program for the terminal: its last words")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.role {
        Some(Role::Worker(arguments)) => worker::run(arguments),
        None => measure(&cli.measure),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("everstep-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is being done.
#[expect(
    clippy::print_stderr,
    reason = "a program for the terminal; the table alone goes to standard output"
)]
pub(crate) fn say(doing: impl std::fmt::Display) {
    eprintln!("everstep-bench: {doing}");
}

fn measure(asked: &Measure) -> Result<(), Failure> {
    // Opened first: a path that cannot be written is said before minutes of measuring, not after.
    let json = match &asked.json {
        Some(path) => Some(File::create(path).map_err(|error| format!("--json {}: {error}", path.display()))?),
        None => None,
    };
    say(format_args!(
        "starting a private PostgreSQL, flush: {}",
        asked.flush.as_str()
    ));
    let mut server = server::start(asked)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let rows = runtime.block_on(async {
        let shutdown = everstep::shutdown::on_signal()?;
        tokio::select! {
            rows = measure_all(asked, &mut server) => rows,
            () = shutdown.cancelled() => Err("interrupted".into()),
        }
    })?;
    if let Some(file) = json {
        serde_json::to_writer_pretty(file, &rows)?;
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the table is the answer of this program")]
async fn measure_all(asked: &Measure, server: &mut Server) -> Result<Vec<Row>, Failure> {
    if asked.scenario.iter().any(|scenario| *scenario != Scenario::Idle) {
        server.fill_log().await?;
    }
    let mut rows = Vec::new();
    println!("{}", report::head());
    for scenario in &asked.scenario {
        let in_flight: &[u32] = match scenario {
            Scenario::Steps => &asked.in_flight,
            // One start or signal at a time is what idle means.
            Scenario::Idle | Scenario::Signal => &[1],
            // Its clients are as many as the comparison says.
            Scenario::Start => &[start::CLIENTS],
        };
        for &in_flight in in_flight {
            let mut measured = Vec::new();
            for repetition in 1..=asked.repeat {
                if asked.repeat > 1 {
                    say(format_args!(
                        "{} {in_flight}: {repetition} of {}",
                        scenario.as_str(),
                        asked.repeat
                    ));
                }
                measured.push(match scenario {
                    Scenario::Steps => steps::measure(server, asked, in_flight).await?,
                    Scenario::Idle => idle::measure(server, asked).await?,
                    Scenario::Signal => signal::measure(server, asked).await?,
                    Scenario::Start => start::measure(server, asked).await?,
                });
            }
            let Some(row) = report::median(measured) else { continue };
            println!("{}", row.line());
            rows.push(row);
        }
    }
    Ok(rows)
}
