//! Commands for people: `runs`, `tree`, `history`. Flags only; what they do is in
//! `crate::app`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

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
  # The steps of a Workflow's current run: attempts, how long they took, what they wait for
  everstep tree order-1042 -n shop

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
  everstep history order-1042 -n shop

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
