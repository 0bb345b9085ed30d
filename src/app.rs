//! Builds what a role needs and owns the order of start and shutdown. What a role does lies in the modules it starts.
//!
//! ```text
//! start:    logs → signals → endpoints → database → schema → cluster → controller, worker and their sweeps
//! shutdown: no new work → running attempts end → leases are given up → endpoints close
//! ```

mod carry;
mod command;
mod control;
mod database;
mod develop;
mod figures;
mod pulse;
mod serve;

use std::process::ExitCode;

use crate::{
    cli::{Cli, Command, LogFormat},
    shutdown, store,
    telemetry::{self, Format},
};

pub use self::{
    carry::{Carried, carry},
    control::notice,
};

/// Why a role ended otherwise than it should.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Wrong usage or configuration: a human corrects it, nothing was changed.
    #[error("{0}")]
    Configuration(String),
    /// The database is not for us.
    #[error("{0}")]
    Refused(store::Refusal),
    /// A run of `dev` did not succeed.
    #[error("{0}")]
    RunFailed(String),
    /// Something broke.
    #[error("{0}")]
    Broken(String),
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::RunFailed(_) | Self::Broken(_) => 1,
            Self::Configuration(_) => 2,
            Self::Refused(_) => 3,
        }
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Refused(refusal @ store::Refusal::Url(_)) => Self::Configuration(refusal.to_string()),
            store::Error::Refused(refusal) => Self::Refused(refusal),
            other => Self::Broken(other.to_string()),
        }
    }
}

/// Does what the command line asks for.
pub fn run(cli: Cli) -> ExitCode {
    let (format, filter) = logging(&cli);
    // A service's last line is a log line like the others; a command says it plainly.
    let last = if is_service(&cli.command) { format } else { Format::Text };
    let ready = telemetry::init(format, &filter).map_err(Failure::Configuration);
    match ready.and_then(|()| dispatch(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            telemetry::last_words(last, &failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

/// How to log, and which lines: what was asked for, else what suits the command.
fn logging(cli: &Cli) -> (Format, String) {
    let (format, filter) = match cli.command {
        Command::Dev(_)
        | Command::Run(_)
        | Command::Runs(_)
        | Command::Tree(_)
        | Command::History(_)
        | Command::Signal(_)
        | Command::Cancel(_)
        | Command::Retry(_) => (LogFormat::Text, "error"),
        Command::Controller(_)
        | Command::Worker(_)
        | Command::All(_)
        | Command::Migrate(_)
        | Command::Crd
        | Command::Completion { .. } => (LogFormat::Json, "info"),
    };
    let format = match cli.log.log_format.unwrap_or(format) {
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
    };
    (format, cli.log.log.clone().unwrap_or_else(|| filter.to_owned()))
}

fn is_service(command: &Command) -> bool {
    matches!(command, Command::Controller(_) | Command::Worker(_) | Command::All(_))
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Crd => print(crate::api::crd_yaml().as_bytes()),
        Command::Completion { shell } => print(&crate::cli::completion(shell)),
        Command::Migrate(options) => on_runtime(database::migrate(options)),
        Command::Dev(options) => on_runtime(develop::run(options)),
        Command::Run(options) => on_runtime(command::run(options)),
        Command::Runs(options) => on_runtime(command::runs(options)),
        Command::Tree(options) => on_runtime(command::tree(options)),
        Command::History(options) => on_runtime(command::history(options)),
        Command::Signal(options) => on_runtime(command::signal(options)),
        Command::Cancel(options) => on_runtime(command::cancel(options)),
        Command::Retry(options) => on_runtime(command::retry(options)),
        Command::Controller(options) => on_runtime(serve::serve(
            options,
            serve::Roles {
                controller: true,
                worker: false,
            },
        )),
        Command::Worker(options) => on_runtime(serve::serve(
            options,
            serve::Roles {
                controller: false,
                worker: true,
            },
        )),
        Command::All(options) => on_runtime(serve::serve(
            options,
            serve::Roles {
                controller: true,
                worker: true,
            },
        )),
    }
}

/// Runs a role until it ends; signals are heard from the first moment.
fn on_runtime(role: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Broken(format!("the runtime could not be started: {error}")))?;
    runtime.block_on(role)
}

fn on_signal() -> Result<tokio_util::sync::CancellationToken, Failure> {
    shutdown::on_signal().map_err(|error| Failure::Broken(format!("signals cannot be heard: {error}")))
}

/// An egress policy that cannot be used, named by its file.
fn unusable_policy(file: &std::path::Path, error: &crate::worker::egress::PolicyError) -> Failure {
    Failure::Configuration(format!("--egress-policy {}: {}", file.display(), chain(error)))
}

/// An error with what caused it, on one line.
fn chain<E: std::error::Error>(error: &E) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write;
    match std::io::stdout().lock().write_all(bytes) {
        // A reader that has seen enough, such as `head`, is no failure.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::Broken(error.to_string())),
        _ => Ok(()),
    }
}
