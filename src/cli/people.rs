//! Commands for people: `run`, `runs`, `tree`, `history`, `signal`, `cancel`, `retry`. Flags only; what they do is in
//! `crate::app`.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, ValueEnum};

use super::Database;

/// Where objects are: the API server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Where")]
pub struct Cluster {
    /// Namespace [default: that of the kubeconfig's context, else `default`]
    #[arg(short, long, value_name = "NAME", value_parser = super::namespace)]
    pub namespace: Option<String>,
    /// The kubeconfig file [default: $KUBECONFIG, else ~/.kube/config, else the pod's account]
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context [default: its current one]
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
}

/// Where both are.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Where")]
pub struct Place {
    /// The API server.
    #[command(flatten)]
    pub cluster: Cluster,
    /// The engine's database.
    #[command(flatten)]
    pub database: Database,
}

/// Whom to speak to, where both can do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Via {
    /// An object at the API server.
    Object,
    /// A function of the SQL surface.
    Sql,
}

/// Whom to speak to, and where.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Where")]
pub struct Reach {
    /// `object`: through the API server; `sql`: through a function in PostgreSQL [default: `sql` for the id of a run and
    /// when --database-url is given on the command line, else `object`]
    #[arg(long, value_name = "WAY")]
    pub via: Option<Via>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
}

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ListOutput {
    /// A table with more columns.
    Wide,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
    /// Ids only, one a line.
    Name,
}

/// How one thing is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DocumentOutput {
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// How what was made is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MadeOutput {
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
    /// Its name only: `workflowrun.everstep.dev/NAME`, or a run's id.
    Name,
}

/// `everstep run`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  # A WorkflowRun object, and the end of its run as exit code
  everstep run order -n shop --name order-7 -i orderId=1042 -i amountCents:=250000 --wait

  # Input from a file, the steps as they move
  everstep run order -n shop -i input.yaml --follow

  # Without an object, in PostgreSQL, once for this key
  everstep run order -n shop --key order-1042 --database-url postgres://app@db/everstep")]
pub struct Run {
    /// Name of the Workflow
    #[arg(value_name = "WORKFLOW")]
    pub workflow: String,
    /// Input: KEY=TEXT, KEY:=JSON, or a JSON or YAML file (`-` is standard input); later ones win
    /// [default: the input of the Workflow]
    #[arg(short, long = "input", value_name = "INPUT")]
    pub inputs: Vec<String>,
    /// Idempotency key: one run for each (namespace, Workflow, key)
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Name of the WorkflowRun [default: the Workflow's, and a few random characters]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// How to wait.
    #[command(flatten)]
    pub wait: Wait,
    /// Print the result so [default: a line for people]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<MadeOutput>,
    /// Whom to speak to, and where.
    #[command(flatten)]
    pub reach: Reach,
}

/// How to wait for the end of a run.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("waiting").args(["wait", "follow"]).multiple(true)))]
pub struct Wait {
    /// Wait until the run has ended; exit code 1 when it did not succeed
    #[arg(short, long)]
    pub wait: bool,
    /// Wait, and print the steps as they move: each event with a database, else what the object's status shows
    #[arg(short, long)]
    pub follow: bool,
    /// Wait no longer than this: exit code 1, and the run goes on
    #[arg(long, requires = "waiting", value_name = "DURATION", value_parser = super::period)]
    pub timeout: Option<Duration>,
}

impl Wait {
    /// Whether to wait at all.
    pub fn waits(&self) -> bool {
        self.wait || self.follow
    }
}

/// `everstep runs`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  # The newest runs of a namespace
  everstep runs -n shop

  # What failed, everywhere, with why
  everstep runs -A --phase Failed,TimedOut -o wide

  # Page by page: the token is printed after a page that is not the last
  everstep runs -n shop --limit 500 --continue 0192f3c4-7d1e-7aaa-8000-000000000000")]
pub struct Runs {
    /// Runs of all namespaces that your database role was granted
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
    /// Only runs of this Workflow
    #[arg(long, value_name = "NAME")]
    pub workflow: Option<String>,
    /// Only runs in these phases, separated by commas
    #[arg(long, value_name = "PHASES", value_delimiter = ',')]
    pub phase: Vec<String>,
    /// At most so many
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Go on after a page: its token
    #[arg(long = "continue", value_name = "TOKEN")]
    pub go_on: Option<String>,
    /// Print so [default: a table]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<ListOutput>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
}

/// What `tree` and `history` show.
const RUN_HELP: &str = "A run: its id or the first 8 or more characters of that; `erun/NAME` for a WorkflowRun's; \
    `ewf/NAME` for the current one of a Workflow; or NAME for either";

/// `everstep tree`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  # The steps of a WorkflowRun, or of a Workflow's current run: attempts, how long they took, what they wait for
  everstep tree order-7 -n shop

  # Of a run by its id
  everstep tree 0192f3c4-7d1e-7aaa-8000-000000000000")]
pub struct Tree {
    /// The run
    #[arg(value_name = "RUN", help = RUN_HELP)]
    pub run: String,
    /// Print so [default: a tree]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<DocumentOutput>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
}

/// `everstep history`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  # Everything that was decided, oldest first
  everstep history order-7 -n shop

  # With all content, for programs
  everstep history erun/nightly-7 -n shop -o json")]
pub struct History {
    /// The run
    #[arg(value_name = "RUN", help = RUN_HELP)]
    pub run: String,
    /// Only what came after this sequence number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub after: i32,
    /// Print so [default: a table]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<DocumentOutput>,
    /// Where.
    #[command(flatten)]
    pub place: Place,
}

/// `everstep signal`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  # A Signal object for the run of a WorkflowRun; wait until a step has taken it
  everstep signal order-7 approve -n shop -p approved:=true --by alice@example.com --wait

  # For the run that was started with a key, by an object or by SQL
  everstep signal ewf/order approve -n shop --key order-1042 -p approved:=true

  # By the id of a run, in PostgreSQL; twice with the same key is once
  everstep signal 0192f3c4-7d1e-7aaa-8000-000000000000 approve -p approved:=true --dedup-key ticket-8831")]
pub struct Signal {
    /// For whom: `erun/NAME` or NAME for a WorkflowRun's run, `ewf/NAME` or NAME for the current run that a Workflow started itself, or the id of a run
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// The signal's name: what the step waits for
    #[arg(value_name = "SIGNAL")]
    pub signal: String,
    /// Content: KEY=TEXT, KEY:=JSON, or a JSON or YAML file (`-` is standard input); later ones win [default: {}]
    #[arg(short, long = "payload", value_name = "PAYLOAD")]
    pub payloads: Vec<String>,
    /// The run of the Workflow that was started with this key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// One signal of the run for each dedup key
    #[arg(long, value_name = "KEY")]
    pub dedup_key: Option<String>,
    /// Who says it; in PostgreSQL that is always your role
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    /// How long a run that is not there yet is looked for [default: 24h]
    #[arg(long, value_name = "DURATION")]
    pub expires_after: Option<String>,
    /// Wait until a step has taken the Signal object; exit code 1 when none will
    #[arg(short, long)]
    pub wait: bool,
    /// Wait no longer than this: exit code 1, and the signal stays
    #[arg(long, requires = "wait", value_name = "DURATION", value_parser = super::period)]
    pub timeout: Option<Duration>,
    /// Print the result so [default: a line for people]
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<MadeOutput>,
    /// Whom to speak to, and where.
    #[command(flatten)]
    pub reach: Reach,
}

/// `everstep cancel`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  # A WorkflowRun: its run is undone, and ends as Cancelled
  everstep cancel erun/nightly-7 -n shop --wait

  # Without undoing anything; also when a compensation has failed, which a cancel does not end
  everstep cancel erun/nightly-7 -n shop --terminate

  # By the id of a run, in PostgreSQL
  everstep cancel 0192f3c4-7d1e-7aaa-8000-000000000000 --reason 'ordered twice'

  # The run of a Workflow, of which a compensation has failed
  everstep cancel ewf/order-1042 -n shop --via sql --terminate")]
pub struct Cancel {
    /// What to cancel: `erun/NAME` or NAME for a WorkflowRun; in PostgreSQL also the id of a run, or `ewf/NAME` for the current one of a Workflow
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Undo nothing: compensations do not run, `finally` does
    #[arg(long)]
    pub terminate: bool,
    /// Why, for the run's history (in PostgreSQL only) [default: `everstep cancel`]
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Wait until the run has ended, or what it did cannot be undone; exit code 1 unless it was ended by this
    #[arg(short, long)]
    pub wait: bool,
    /// Wait no longer than this: exit code 1, and the cancel goes on
    #[arg(long, requires = "wait", value_name = "DURATION", value_parser = super::period)]
    pub timeout: Option<Duration>,
    /// Whom to speak to, and where.
    #[command(flatten)]
    pub reach: Reach,
}

/// `everstep retry`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:
  # A run that stands still (onFailure: Pause, or a compensation that failed): what failed begins afresh
  everstep retry ewf/order-1042 -n shop --via sql

  # Of a WorkflowRun: where it stands is read from the object
  everstep retry erun/nightly-7 -n shop --wait

  # One that has ended: another WorkflowRun goes on from this step, with what the steps above did
  everstep retry erun/order-7 -n shop --from ship")]
pub struct Retry {
    /// What to retry: the id of a run, `ewf/NAME` for the current one of a Workflow, `erun/NAME` or NAME for a WorkflowRun
    #[arg(value_name = "RUN")]
    pub run: String,
    /// The step to begin with [default: the one that failed; of a run that has ended the first one that did not go through,
    /// or that was undone]
    #[arg(long, value_name = "STEP")]
    pub from: Option<String>,
    /// How to wait.
    #[command(flatten)]
    pub wait: Wait,
    /// Whom to speak to, and where.
    #[command(flatten)]
    pub reach: Reach,
}
