//! The command line: flags, environment variables, subcommands. Not what they do: that is [`crate::app`].
//!
//! Every flag of a service has an environment variable, and a variable that nobody reads is an error: a typo in a
//! manifest must not silently mean the default. What Kubernetes injects for a Service called `everstep…` is let pass.
//!
//! Called as `kubectl-everstep`, which is how kubectl finds a plugin, the same commands are called `kubectl everstep …`.

pub mod people;

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::{
    ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, error::ErrorKind,
    parser::ValueSource,
};
use jiff::SignedDuration;

/// Durable workflows as Kubernetes custom resources, on plain PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "everstep", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 the run failed or the service ended on an error, \
    2 wrong usage or configuration, 3 the database was refused (other cluster, newer schema)."
)]
pub struct Cli {
    /// How to log.
    #[command(flatten)]
    pub log: Log,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Reconcile objects: start runs, show their status, clean up after deleted objects
    Controller(Service),
    /// Carry runs through their steps
    Worker(Service),
    /// Controller and worker in one process
    All(Service),
    /// Bring the database's schema up to date (or, with `--migrations verify`, only check it)
    Migrate(Migrate),
    /// Print the custom resource definitions as YAML
    Crd,
    /// Run the Workflows and WorkflowRuns of manifest files on this machine, without a cluster
    Dev(Dev),
    /// Start a run of a Workflow: a WorkflowRun object, or in PostgreSQL
    Run(people::Run),
    /// List runs, newest first
    Runs(people::Runs),
    /// Show the steps of a run
    Tree(people::Tree),
    /// Show what was decided in a run, oldest first
    History(people::History),
    /// Send a signal to a run: a Signal object, or in PostgreSQL
    Signal(people::Signal),
    /// End a run, and undo what it did
    Cancel(people::Cancel),
    /// Let a run that stands still after a failure go on, or do one that has ended again from a step on
    Retry(people::Retry),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// How to log.
#[derive(Debug, Args)]
pub struct Log {
    /// Form of log lines [default: json; text for `dev` and for commands of people]
    #[arg(
        long,
        env = "EVERSTEP_LOG_FORMAT",
        value_name = "FORMAT",
        global = true,
        help_heading = "Logging"
    )]
    pub log_format: Option<LogFormat>,
    /// Which log lines: a tracing filter such as `info` or `warn,everstep::worker=debug` [default: info; error
    /// for `dev` and for commands of people]
    #[arg(
        long,
        env = "EVERSTEP_LOG",
        value_name = "FILTER",
        global = true,
        help_heading = "Logging"
    )]
    pub log: Option<String>,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Where the engine's PostgreSQL is.
#[derive(Debug, Clone, Args)]
pub struct Database {
    /// URL of the engine's PostgreSQL, `postgres://user:password@host:5432/database`; of a service, a direct connection, no pooler
    #[arg(long, env = "EVERSTEP_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// A file that holds that URL, such as a mounted Secret
    #[arg(long, env = "EVERSTEP_DATABASE_URL_FILE", value_name = "FILE")]
    pub database_url_file: Option<PathBuf>,
    /// Whether one of them stood on the command line, and not only in the environment.
    #[arg(skip)]
    pub typed: bool,
}

/// What a service is configured with.
#[derive(Debug, Clone, Args)]
pub struct Service {
    /// The engine's database.
    #[command(flatten)]
    pub database: Database,
    /// Address of `/livez`, `/readyz` and `/metrics`
    #[arg(
        long,
        env = "EVERSTEP_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub listen: std::net::SocketAddr,
    /// Namespaces to work for, separated by commas [default: all]
    #[arg(long, env = "EVERSTEP_NAMESPACES", value_name = "NAMES", value_delimiter = ',', value_parser = namespace)]
    pub namespaces: Vec<String>,
    /// A YAML file that says where HTTP and SQL steps may connect to [default: deny all]
    #[arg(long, env = "EVERSTEP_EGRESS_POLICY", value_name = "FILE")]
    pub egress_policy: Option<PathBuf>,
    /// How long a silent worker keeps its runs; at least 1s
    #[arg(long, env = "EVERSTEP_LEASE", value_name = "DURATION", default_value = "30s", value_parser = lease)]
    pub lease: Duration,
    /// How often every object is looked at again
    #[arg(long, env = "EVERSTEP_RESYNC", value_name = "DURATION", default_value = "5m", value_parser = period)]
    pub resync: Duration,
    /// How often runs without an object are looked for
    #[arg(long, env = "EVERSTEP_ORPHAN_PERIOD", value_name = "DURATION", default_value = "60s", value_parser = period)]
    pub orphan_period: Duration,
    /// How long rows of the audit are kept; at least 1h
    #[arg(long, env = "EVERSTEP_AUDIT_RETENTION", value_name = "DURATION", default_value = "2160h", value_parser = audit_retention)]
    pub audit_retention: Duration,
    /// The Lease whose holder reconciles, of several controllers [default namespace: the pod's, else `default`]
    #[arg(
        long,
        env = "EVERSTEP_LEADER_LEASE",
        value_name = "[NAMESPACE/]NAME",
        default_value = "everstep-controller"
    )]
    pub leader_lease: LeaseName,
    /// How long a controller that has died keeps that Lease; whole seconds, 1s to 5m
    #[arg(long, env = "EVERSTEP_LEADER_LEASE_DURATION", value_name = "DURATION", default_value = "15s", value_parser = leader_lease)]
    pub leader_lease_duration: Duration,
    /// How many runs one worker carries at once
    #[arg(long, env = "EVERSTEP_MAX_RUNS", value_name = "COUNT", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_runs: u32,
    /// What the controller does about the schema: bring it up to date, only check it, or nothing
    #[arg(long, env = "EVERSTEP_MIGRATIONS", value_name = "MODE", default_value = "auto")]
    pub migrations: Migrations,
}

/// A Lease, written `NAME` or `NAMESPACE/NAME`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseName {
    /// Where it is; none: where this process is.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl FromStr for LeaseName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(self::namespace(namespace)?), name),
            None => (None, text),
        };
        let name = self::namespace(name).map_err(|_| "not the name of a Lease".to_owned())?;
        Ok(Self { namespace, name })
    }
}

/// What `migrate` is configured with.
#[derive(Debug, Clone, Args)]
pub struct Migrate {
    /// The engine's database.
    #[command(flatten)]
    pub database: Database,
    /// `auto` applies what is missing, `verify` fails when something is
    #[arg(long, env = "EVERSTEP_MIGRATIONS", value_name = "MODE", default_value = "auto")]
    pub migrations: Migrations,
}

/// What to do about the database's schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Migrations {
    /// Apply what is missing, under a lock.
    Auto,
    /// Fail when something is missing.
    Verify,
    /// Do not look.
    Off,
}

/// What `dev` is configured with.
#[derive(Debug, Clone, Args)]
pub struct Dev {
    /// Manifests: Workflows, WorkflowRuns and Signals, and the Connections and Secrets that they name
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A YAML file that says where HTTP and SQL steps may connect to [default: anywhere]
    #[arg(long, env = "EVERSTEP_EGRESS_POLICY", value_name = "FILE")]
    pub egress_policy: Option<PathBuf>,
}

/// Reads the command line and the environment; on a mistake says what is wrong and ends the process with code 2.
pub fn parse() -> Cli {
    let unknown = unknown_variables(std::env::vars_os().map(|(name, _)| name));
    if let Some(complaint) = complaint(&unknown) {
        Cli::command().error(ErrorKind::UnknownArgument, complaint).exit();
    }
    read(std::env::args_os().collect()).unwrap_or_else(|error| error.exit())
}

/// The completion script for `shell`.
pub fn completion(shell: clap_complete::Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "everstep", &mut script);
    script
}

fn read(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    if words.first().is_some_and(|program| is_plugin(program)) {
        command = command.bin_name("kubectl everstep");
    }
    let matches = command.try_get_matches_from_mut(words)?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    if let (Some(database), Some((_, given))) = (cli.command.database_mut(), matches.subcommand()) {
        choose_form(database, given).map_err(|both| command.error(ErrorKind::ArgumentConflict, both))?;
    }
    Ok(cli)
}

fn is_plugin(program: &OsStr) -> bool {
    Path::new(program).file_stem() == Some(OsStr::new("kubectl-everstep"))
}

/// Leaves one form of the URL: of a flag and a variable the flag. Two flags, or two variables, are a mistake.
fn choose_form(database: &mut Database, given: &ArgMatches) -> Result<(), &'static str> {
    let url = given.value_source("database_url");
    let file = given.value_source("database_url_file");
    let flag = Some(ValueSource::CommandLine);
    match (url == flag, file == flag) {
        (true, true) => return Err("--database-url cannot be used with --database-url-file"),
        (true, false) => database.database_url_file = None,
        (false, true) => database.database_url = None,
        (false, false) if url.is_some() && file.is_some() => {
            return Err("EVERSTEP_DATABASE_URL cannot be used with EVERSTEP_DATABASE_URL_FILE: leave one of them out");
        }
        (false, false) => {}
    }
    database.typed = url == flag || file == flag;
    Ok(())
}

impl Command {
    fn database_mut(&mut self) -> Option<&mut Database> {
        match self {
            Self::Controller(service) | Self::Worker(service) | Self::All(service) => Some(&mut service.database),
            Self::Migrate(migrate) => Some(&mut migrate.database),
            Self::Run(run) => Some(&mut run.reach.place.database),
            Self::Runs(runs) => Some(&mut runs.place.database),
            Self::Tree(tree) => Some(&mut tree.place.database),
            Self::History(history) => Some(&mut history.place.database),
            Self::Signal(signal) => Some(&mut signal.reach.place.database),
            Self::Cancel(cancel) => Some(&mut cancel.reach.place.database),
            Self::Retry(retry) => Some(&mut retry.reach.place.database),
            Self::Crd | Self::Dev(_) | Self::Completion { .. } => None,
        }
    }
}

/// The `EVERSTEP_` variables that nobody reads, sorted.
fn unknown_variables(names: impl Iterator<Item = OsString>) -> Vec<String> {
    let known = known_variables();
    let mut unknown: Vec<String> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.starts_with("EVERSTEP_") && !known.contains(name) && !is_service_link(name))
        .collect();
    unknown.sort();
    unknown
}

fn complaint(unknown: &[String]) -> Option<String> {
    if unknown.is_empty() {
        return None;
    }
    let mut known: Vec<String> = known_variables().into_iter().collect();
    known.sort();
    Some(format!(
        "unknown environment variable {}: remove or correct it (known are {})",
        unknown.join(", "),
        known.join(", ")
    ))
}

fn known_variables() -> std::collections::BTreeSet<String> {
    fn collect(command: &clap::Command, into: &mut std::collections::BTreeSet<String>) {
        let names = command.get_arguments().filter_map(|argument| argument.get_env());
        into.extend(names.filter_map(|name| name.to_str().map(str::to_owned)));
        command
            .get_subcommands()
            .for_each(|subcommand| collect(subcommand, into));
    }
    let mut known = std::collections::BTreeSet::new();
    collect(&Cli::command(), &mut known);
    known
}

/// What the kubelet injects for a Service whose name begins with `everstep`: `…_SERVICE_HOST`, `…_SERVICE_PORT[_NAME]`,
/// `…_PORT`, `…_PORT_<number>_<protocol>[_PROTO|_PORT|_ADDR]`.
fn is_service_link(name: &str) -> bool {
    let rest = &name["EVERSTEP".len()..];
    let is_port = |tail: &str| {
        let mut parts = tail.split('_');
        let number = parts
            .next()
            .is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        let protocol = parts.next().is_some_and(|part| ["TCP", "UDP", "SCTP"].contains(&part));
        let field = parts
            .next()
            .is_none_or(|part| ["PROTO", "PORT", "ADDR"].contains(&part));
        number && protocol && field && parts.next().is_none()
    };
    rest.ends_with("_SERVICE_HOST")
        || rest.ends_with("_SERVICE_PORT")
        || rest.contains("_SERVICE_PORT_")
        || rest.ends_with("_PORT")
        || rest
            .match_indices("_PORT_")
            .any(|(at, separator)| is_port(&rest[at + separator.len()..]))
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = SignedDuration::from_str(text)
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok());
    parsed.ok_or_else(|| "write a duration such as 300ms, 30s, 5m or 1h30m".to_owned())
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    if (Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&lease) {
        Ok(lease)
    } else {
        Err("a lease is at least 1s and at most 1h".to_owned())
    }
}

fn leader_lease(text: &str) -> Result<Duration, String> {
    let lease = duration(text)?;
    if lease.subsec_nanos() == 0 && (1..=300).contains(&lease.as_secs()) {
        Ok(lease)
    } else {
        Err("whole seconds, at least 1s and at most 5m".to_owned())
    }
}

fn period(text: &str) -> Result<Duration, String> {
    let period = duration(text)?;
    if period >= Duration::from_millis(100) {
        Ok(period)
    } else {
        Err("at least 100ms".to_owned())
    }
}

fn audit_retention(text: &str) -> Result<Duration, String> {
    let kept = duration(text)?;
    if kept >= Duration::from_secs(3600) {
        Ok(kept)
    } else {
        Err("at least 1h".to_owned())
    }
}

fn namespace(text: &str) -> Result<String, String> {
    let name = text.trim();
    let fits = (1..=63).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    if fits {
        Ok(name.to_owned())
    } else {
        Err("not the name of a namespace".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        let words = std::iter::once("everstep").chain(words.iter().copied());
        read(words.map(OsString::from).collect())
    }

    fn service(words: &[&str]) -> Service {
        match parse(words).unwrap().command {
            Command::All(service) | Command::Worker(service) | Command::Controller(service) => service,
            other => panic!("not a service: {other:?}"),
        }
    }

    #[test]
    fn command_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_api() {
        let all = service(&["all"]);
        assert_eq!(all.listen.to_string(), "0.0.0.0:8080");
        assert_eq!(all.lease, Duration::from_secs(30));
        assert_eq!(all.resync, Duration::from_secs(300));
        assert_eq!(all.orphan_period, Duration::from_secs(60));
        assert_eq!(all.audit_retention, Duration::from_secs(90 * 24 * 3600));
        assert_eq!(all.max_runs, 1000);
        assert_eq!(all.migrations, Migrations::Auto);
        assert_eq!(
            (all.leader_lease.namespace, &*all.leader_lease.name),
            (None, "everstep-controller")
        );
        assert_eq!(all.leader_lease_duration, Duration::from_secs(15));
        assert!(all.namespaces.is_empty());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for words in [
            ["worker", "--lease", "999ms"],
            ["worker", "--lease", "soon"],
            ["worker", "--max-runs", "0"],
            ["controller", "--resync", "0s"],
            ["controller", "--audit-retention", "59m"],
            ["controller", "--namespaces", "Shop"],
            ["controller", "--leader-lease", "a/b/c"],
            ["controller", "--leader-lease", ""],
            ["controller", "--leader-lease-duration", "1500ms"],
            ["controller", "--leader-lease-duration", "0s"],
            ["all", "--migrations", "maybe"],
            ["all", "--no-such-flag", "1"],
        ] {
            let error = parse(&words).expect_err(words[1]);
            assert_eq!(error.exit_code(), 2, "{words:?}");
        }
    }

    #[test]
    fn namespaces_are_split_at_commas() {
        assert_eq!(
            service(&["all", "--namespaces", "shop,billing"]).namespaces,
            ["shop", "billing"]
        );
    }

    #[test]
    fn variables_that_nobody_reads_are_named() {
        let given = [
            "EVERSTEP_LEASE",
            "EVERSTEP_LEESE",
            "PATH",
            "EVERSTEP_DATABASE_URL_FILE",
            "EVERSTEP_MAXRUNS",
        ];
        assert_eq!(
            unknown_variables(given.iter().map(OsString::from)),
            ["EVERSTEP_LEESE", "EVERSTEP_MAXRUNS"]
        );
        assert_eq!(complaint(&[]), None);
        let text = complaint(&["EVERSTEP_LEESE".to_owned()]).unwrap();
        assert!(
            text.contains("EVERSTEP_LEESE") && text.contains("EVERSTEP_LEASE"),
            "{text}"
        );
    }

    #[test]
    fn variables_that_kubernetes_injects_for_a_service_pass() {
        for name in [
            "EVERSTEP_SERVICE_HOST",
            "EVERSTEP_SERVICE_PORT",
            "EVERSTEP_SERVICE_PORT_METRICS",
            "EVERSTEP_PORT",
            "EVERSTEP_PORT_8080_TCP",
            "EVERSTEP_PORT_8080_TCP_ADDR",
            "EVERSTEP_CONTROLLER_PORT_8080_TCP_PROTO",
        ] {
            assert!(is_service_link(name), "{name}");
        }
        for name in [
            "EVERSTEP_PORTS",
            "EVERSTEP_PORT_X_TCP",
            "EVERSTEP_PORT_80_TCP_NAME",
            "EVERSTEP_LEESE",
        ] {
            assert!(!is_service_link(name), "{name}");
        }
    }

    #[test]
    fn a_database_on_the_command_line_is_told_from_one_in_the_environment() {
        let of = |words: &[&str]| match parse(words).unwrap().command {
            Command::Run(run) => run.reach.place.database.typed,
            other => panic!("not run: {other:?}"),
        };
        assert!(of(&["run", "order", "--database-url", "postgres://h/d"]));
        assert!(of(&["run", "order", "--database-url-file", "f"]));
        assert!(!of(&["run", "order"]));
    }

    #[test]
    fn called_as_a_plugin_it_says_how_it_is_called() {
        let help = |program: &str| {
            let words = [program, "runs", "--help"].map(OsString::from).to_vec();
            read(words).expect_err("help is no command").to_string()
        };
        assert!(help("/usr/local/bin/kubectl-everstep").contains("Usage: kubectl everstep runs"));
        assert!(help("/usr/local/bin/everstep").contains("Usage: everstep runs"));
    }

    #[test]
    fn every_command_for_people_has_an_example() {
        for name in ["run", "runs", "tree", "history", "signal", "cancel", "retry"] {
            let help = parse(&[name, "--help"]).expect_err("help is no command").to_string();
            assert!(
                help.contains("Examples:") && help.contains(&format!("everstep {name} ")),
                "{help}"
            );
        }
    }
}
