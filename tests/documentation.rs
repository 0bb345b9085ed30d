//! The pages for operators and people, held against the binary: every flag, variable, default and metric is there, and
//! every command's help.

#[path = "support/pages.rs"]
#[allow(dead_code, reason = "other test binaries run the commands")]
mod pages;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::CommandFactory;
use everstep::{
    cli::Cli,
    metrics::{
        self, AttemptFigures, ControllerFigures, DetectorFigures, Figures, FinishedFigures, StoreFigures, WorkerFigures,
    },
    store::StuckReason,
};

const OPERATIONS: &str = include_str!("../docs/operations.md");
const PEOPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
/// Set it to write the reference of `docs/cli.md` instead of comparing it: `UPDATE_DOCS=1 cargo test --test documentation`.
const UPDATE: &str = "UPDATE_DOCS";
/// Everything below it is written by the binary.
const REFERENCE: &str = "## Reference\n";

/// The commands for people: they have a page of their own.
fn is_for_people(command: &clap::Command) -> bool {
    command
        .get_after_help()
        .is_some_and(|text| text.to_string().starts_with("Examples:"))
}

/// Arguments of all commands but those for people, each once, but for help and version.
fn arguments() -> Vec<clap::Arg> {
    let command = Cli::command();
    let roles = command.get_subcommands().filter(|command| !is_for_people(command));
    let commands = std::iter::once(&command).chain(roles);
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
    for command in Cli::command()
        .get_subcommands()
        .filter(|command| !is_for_people(command))
    {
        let name = command.get_name();
        let begins = [format!("| `everstep {name}` |"), format!("| `everstep {name} ")];
        let found = OPERATIONS
            .lines()
            .any(|line| begins.iter().any(|begin| line.starts_with(begin)));
        assert!(found, "everstep {name}");
    }
}

#[test]
fn the_reference_for_people_is_what_help_says() {
    let mut command = Cli::command();
    command.build();
    let mut reference = String::new();
    for command in command.get_subcommands_mut().filter(|command| is_for_people(command)) {
        let help = command.render_long_help().to_string();
        let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
        reference += &format!(
            "\n### everstep {}\n```text\n{}\n```\n",
            command.get_name(),
            lines.join("\n").trim_end()
        );
    }
    assert!(reference.matches("### everstep ").count() >= 3, "{reference}");
    let page = std::fs::read_to_string(PEOPLE).expect("docs/cli.md can be read");
    let (text, committed) = page.split_once(REFERENCE).expect("docs/cli.md has a reference");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(PEOPLE, format!("{text}{REFERENCE}{reference}")).expect("docs/cli.md can be written");
    } else {
        assert!(
            committed == reference,
            "docs/cli.md is stale: {UPDATE}=1 cargo test --test documentation"
        );
    }
}

#[test]
fn every_metric_stands_there() {
    let store = StoreFigures {
        runs: [("Running".to_owned(), 1)].into(),
        epoch: Some(1),
        ..StoreFigures::default()
    };
    let worker = WorkerFigures {
        attempts: [("sql", AttemptFigures::default())].into(),
        finished: vec![FinishedFigures::default()],
        ..WorkerFigures::default()
    };
    let figures = Figures {
        store: Some(store),
        worker: Some(worker),
        controller: Some(ControllerFigures::default()),
        detector: Some(DetectorFigures {
            at: 1.0,
            stuck: [("Unclaimed", (1, Duration::ZERO))].into(),
        }),
    };
    let text = metrics::render(&figures);
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

#[test]
fn every_reason_to_be_stuck_stands_there() {
    for reason in StuckReason::ALL {
        row(&format!("`{}`", reason.as_str()));
    }
}

/// Every page: the README, the ones below `docs/`, and the charts' own.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
        .map(|page| root.join(page))
        .into();
    let mut directories = vec![
        root.join("docs"),
        root.join("charts/everstep"),
        root.join("charts/everstep-crds"),
    ];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("a directory of pages").flatten() {
            let path = entry.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    assert!(pages.len() >= 30, "{pages:?}");
    pages
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_command_is_run_by_a_test_or_says_why_not() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tests = root.join("tests");
    let mut blocks = 0;
    for page in pages() {
        for block in pages::blocks(&read(&page)) {
            blocks += 1;
            let about = format!("{}: {:?}", page.display(), block.commands);
            assert!(!block.commands.is_empty(), "{about}");
            assert!(!block.run_by.is_empty() || block.not_run.is_some(), "{about}");
            assert!(block.not_run.is_none_or(|reason| reason.contains(' ')), "{about}");
            for test in block.run_by {
                let test = read(&tests.join(test).with_extension("rs"));
                // By its own path, or all pages of its directory.
                let page = page.strip_prefix(root).expect("a page of ours").display().to_string();
                let directory = format!("{}\"", page.rsplit_once('/').map_or("", |(directory, _)| directory));
                let reads = test.contains(&page) || test.contains(&directory) && directory.len() > 1;
                assert!(reads, "{about}: the test does not read the page");
            }
        }
    }
    assert!(blocks >= 30, "found {blocks}");
}

#[test]
fn every_test_that_a_promise_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = read(&root.join("docs/promises.md"));
    let quoted = page.split('`').skip(1).step_by(2);
    let named: Vec<(&str, &str)> = quoted.filter_map(|text| text.split_once(": ")).collect();
    assert!(named.len() >= 30, "{named:?}");
    for (binary, test) in named {
        let directory = root.join("tests").join(binary);
        let mut sources = vec![directory.with_extension("rs")];
        sources.extend(
            fs::read_dir(&directory)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path()),
        );
        let sources = sources.iter().filter(|path| path.is_file());
        let function = format!("fn {test}(");
        let found = sources.map(|path| read(path)).any(|text| text.contains(&function));
        assert!(found, "{binary}: {test}");
    }
}
