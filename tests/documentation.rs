//! The pages for operators, held against the binary: every flag, variable, default and metric is there.

use clap::CommandFactory;
use everstep::{
    cli::Cli,
    metrics::{ControllerFigures, Figures, Metrics, StoreFigures, WorkerFigures},
};

const OPERATIONS: &str = include_str!("../docs/operations.md");

/// Arguments of all commands, each once, but for help and version.
fn arguments() -> Vec<clap::Arg> {
    let command = Cli::command();
    let commands = std::iter::once(&command).chain(command.get_subcommands());
    let mut arguments: Vec<clap::Arg> = commands.flat_map(clap::Command::get_arguments).cloned().collect();
    arguments.retain(|argument| argument.get_long().is_some());
    arguments.sort_by_key(|argument| argument.get_id().to_string());
    arguments.dedup_by_key(|argument| argument.get_id().to_string());
    arguments
}

/// The row of the table that begins with `first`, as its cells.
fn row(first: &str) -> Vec<&'static str> {
    let begin = format!("| {first} |");
    let line = OPERATIONS.lines().find(|line| line.starts_with(&begin));
    let line = line.unwrap_or_else(|| panic!("docs/operations.md has no row {begin:?}"));
    line.trim_matches('|').split('|').map(str::trim).collect()
}

#[test]
fn every_flag_stands_there_with_its_variable_and_default() {
    let arguments = arguments();
    assert!(arguments.len() >= 12, "found {}", arguments.len());
    for argument in arguments {
        let long = argument.get_long().expect("only those with a flag");
        let cells = row(&format!("`--{long}`"));
        let variable = argument.get_env().expect("every flag has a variable").to_string_lossy();
        assert_eq!(cells[1], format!("`{variable}`"), "--{long}");
        for default in argument.get_default_values() {
            assert_eq!(cells[2], format!("`{}`", default.to_string_lossy()), "--{long}");
        }
    }
}

#[test]
fn no_flag_stands_there_that_does_not_exist() {
    let known: Vec<String> = arguments()
        .iter()
        .filter_map(|argument| argument.get_long().map(str::to_owned))
        .collect();
    for line in OPERATIONS.lines() {
        if let Some((flag, _)) = line.strip_prefix("| `--").and_then(|rest| rest.split_once('`')) {
            assert!(known.iter().any(|name| name == flag), "--{flag}");
        }
    }
}

#[test]
fn every_command_stands_there() {
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        let begins = [format!("| `everstep {name}` |"), format!("| `everstep {name} ")];
        let found = OPERATIONS
            .lines()
            .any(|line| begins.iter().any(|begin| line.starts_with(begin)));
        assert!(found, "everstep {name}");
    }
}

#[test]
fn every_metric_stands_there() {
    let store = StoreFigures {
        runs: [("Running".to_owned(), 1)].into(),
        ..StoreFigures::default()
    };
    let figures = Figures {
        store: Some(store),
        worker: Some(WorkerFigures::default()),
        controller: Some(ControllerFigures::default()),
    };
    let text = Metrics::new().unwrap().render(&figures);
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in &names {
        row(&format!("`{name}`"));
    }
    for line in OPERATIONS.lines() {
        if let Some((name, _)) = line.strip_prefix("| `everstep_").and_then(|rest| rest.split_once('`')) {
            assert!(
                names.contains(&&*format!("everstep_{name}")),
                "everstep_{name} is no metric"
            );
        }
    }
}
