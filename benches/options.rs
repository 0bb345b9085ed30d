//! What `everstep-bench` is asked to measure.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Measures a worker on a private PostgreSQL: no-op steps per second, beside a script that inserts the same rows, and the
/// time from a start or a signal to its first effect.
///
/// Needs PostgreSQL 15 or newer with pgbench, and for --flush 1ms a C compiler (cc). Everything that it starts is private
/// and ends with it. The table goes to standard output, what is being done to standard error. docs/performance.md explains
/// the figures.
#[derive(Debug, Parser)]
#[command(
    name = "everstep-bench",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    #[command(flatten)]
    pub(crate) measure: Measure,
}

/// Processes that the benchmark starts for itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// A worker, as `everstep worker` is one, that knows the no-op action
    #[command(hide = true)]
    Worker(WorkerArguments),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerArguments {
    /// The engine's database
    #[arg(long, env = "EVERSTEP_DATABASE_URL", hide_env_values = true)]
    pub(crate) database_url: String,
    /// How many runs it carries at once
    #[arg(long)]
    pub(crate) max_runs: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Measure {
    /// What to measure; may be given more than once
    #[arg(long, value_enum, default_values = ["steps"], value_delimiter = ',')]
    pub(crate) scenario: Vec<Scenario>,
    /// How long a flush takes: 1ms adds exactly that to data in memory, none adds nothing, disk uses the real one
    #[arg(long, value_enum, default_value = "1ms")]
    pub(crate) flush: Flush,
    /// Numbers of runs in flight
    #[arg(long, value_delimiter = ',', default_values = ["1", "16", "128", "1000", "4000"],
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) in_flight: Vec<u32>,
    /// No-op steps of a run
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(crate) steps: u32,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// How the clients of `start` speak to PostgreSQL
    #[arg(long, value_enum, default_value = "simple")]
    pub(crate) protocol: Protocol,
    /// Measure so often and answer the measurement with the median figure
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99))]
    pub(crate) repeat: u32,
    /// Say which statements cost the most, by pg_stat_statements; this takes some of the speed
    #[arg(long)]
    pub(crate) statements: bool,
    /// Where to write the figures as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

impl Measure {
    pub(crate) fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// No-op steps per second with so many runs in flight
    Steps,
    /// From the commit of a start to its first effect, on an idle system
    Idle,
    /// From the commit of a signal to the effect that waited for it, on an idle system
    Signal,
    /// Starts per second by SQL with 64 clients, and whether the worker keeps up
    Start,
}

impl Scenario {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Steps => "steps",
            Self::Idle => "idle",
            Self::Signal => "signal",
            Self::Start => "start",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flush {
    /// Data in memory, exactly one millisecond added to every flush
    #[value(name = "1ms")]
    Millisecond,
    /// Data in memory, nothing added
    None,
    /// Data on the real disk
    Disk,
}

impl Flush {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Millisecond => "1ms",
            Self::None => "none",
            Self::Disk => "disk",
        }
    }
}

/// pgbench's protocols, with its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// A statement is a text, parsed and planned each time
    Simple,
    /// As simple, with what a driver sends that binds parameters
    Extended,
    /// A statement is parsed and planned once a connection
    Prepared,
}

impl Protocol {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
            Self::Prepared => "prepared",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let cli = Cli::parse_from([
            "everstep-bench",
            "--in-flight",
            "1,16",
            "--scenario",
            "steps,idle,signal",
            "--flush",
            "none",
        ]);
        assert_eq!(cli.measure.in_flight, [1, 16]);
        assert_eq!(
            cli.measure.scenario,
            [Scenario::Steps, Scenario::Idle, Scenario::Signal]
        );
        assert_eq!(cli.measure.flush, Flush::None);
        assert!(cli.role.is_none());
    }

    #[test]
    fn nothing_in_flight_is_refused() {
        assert!(Cli::try_parse_from(["everstep-bench", "--in-flight", "0"]).is_err());
    }
}
