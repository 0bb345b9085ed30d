//! Who may import whom: the table of the architecture, held by reading the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// module → modules of ours that it may name.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("main", &["cli", "app"]),
    ("cli", &["app"]),
    (
        "app",
        &[
            "api",
            "cli",
            "controller",
            "dev",
            "engine",
            "http",
            "leading",
            "maintenance",
            "metrics",
            "show",
            "shutdown",
            "store",
            "telemetry",
            "worker",
        ],
    ),
    ("dev", &["controller", "engine", "maintenance", "store", "worker"]),
    ("controller", &["api", "engine", "leading", "store"]),
    ("worker", &["engine", "store", "tally"]),
    ("maintenance", &["engine", "leading", "store"]),
    ("show", &["engine", "store"]),
    ("store", &["engine"]),
    ("engine", &["expression"]),
    ("metrics", &["tally"]),
    ("api", &[]),
    ("expression", &[]),
    ("http", &[]),
    ("leading", &[]),
    ("shutdown", &[]),
    ("tally", &[]),
    ("telemetry", &[]),
];

/// crate → the only files or folders under `src` that may name it.
const ONLY_IN: &[(&str, &[&str])] = &[
    (
        "kube",
        &["api/", "app", "controller/", "worker/connection", "maintenance/orphans"],
    ),
    (
        "k8s_openapi",
        &["api/", "app", "controller/", "worker/connection", "maintenance/orphans"],
    ),
    ("sqlx", &["store/", "app"]),
    ("tokio_postgres", &["worker/action/sql"]),
    ("hyper", &["worker/"]),
    // The second one in its test only: an API server of its own.
    ("axum", &["http", "maintenance/orphans/proof"]),
    ("clap", &["cli"]),
];

/// crate → the modules that must not name it.
const NEVER_IN: &[(&str, &[&str])] = &[
    ("tokio", &["engine", "expression", "api"]),
    ("std::time::SystemTime", &["engine", "expression"]),
];

/// A file and a module that it may name beyond the table, with the reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[("worker/connection", "api", "reads Connection objects")];

#[test]
fn modules_name_only_what_the_table_lets_them() {
    let table: BTreeMap<&str, &[&str]> = MAY_IMPORT.iter().copied().collect();
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        let module = module_of(&file);
        if module == "lib" {
            continue;
        }
        let allowed = table
            .get(module.as_str())
            .unwrap_or_else(|| panic!("{file}: `{module}` is not in the table"));
        for named in named_modules(&text) {
            let excepted = EXCEPTIONS
                .iter()
                .any(|(at, what, _)| file.starts_with(at) && *what == named);
            if named != module && table.contains_key(named.as_str()) && !allowed.contains(&named.as_str()) && !excepted
            {
                wrong.push(format!("{file} names crate::{named}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn libraries_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for (file, text) in sources() {
        for (library, places) in ONLY_IN {
            if names_crate(&text, library) && !places.iter().any(|place| file.starts_with(place)) {
                wrong.push(format!("{file} names {library}"));
            }
        }
        for (library, modules) in NEVER_IN {
            if names_crate(&text, library) && modules.contains(&module_of(&file).as_str()) {
                wrong.push(format!("{file} names {library}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_a_drawer_for_anything() {
    let banned = ["util", "utils", "common", "helpers", "types", "models", "misc"];
    let wrong: Vec<String> = sources()
        .into_iter()
        .map(|(file, _)| file)
        .filter(|file| file.split(['/', '.']).any(|part| banned.contains(&part)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_reader_of_sources_sees_imports() {
    assert_eq!(
        named_modules("use crate::store::Store;"),
        BTreeSet::from(["store".to_owned()])
    );
    assert_eq!(
        named_modules("use crate::{\n    engine::{decide, Run},\n    worker,\n};\nlet x = crate::api::y();"),
        BTreeSet::from(["engine".to_owned(), "worker".to_owned(), "api".to_owned()])
    );
    assert_eq!(named_modules("// crate::store in a comment"), BTreeSet::new());
    assert!(names_crate("let a = kube::Client::x();", "kube") && names_crate("use kube::{Api};", "kube"));
    assert!(!names_crate("let kubernetes = my_kube::x;", "kube"));
}

/// Every source below `src`, by its path there, without the comments.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 10, "the sources were not found below {}", root.display());
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source can be read");
            let place = path.strip_prefix(&root).expect("it was found below the root");
            let name = place
                .to_str()
                .expect("names of sources are UTF-8")
                .trim_end_matches(".rs")
                .to_owned();
            (name, without_comments(&text))
        })
        .collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder of sources can be listed") {
        let path = entry.expect("a folder of sources can be listed").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn module_of(file: &str) -> String {
    file.split('/').next().unwrap_or(file).to_owned()
}

fn without_comments(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The first segments of all paths that begin with `crate::`, grouped imports included.
fn named_modules(text: &str) -> BTreeSet<String> {
    let text = without_comments(text);
    let mut named = BTreeSet::new();
    for root in ["crate::", "everstep::"] {
        for (at, _) in text.match_indices(root) {
            let rest = &text[at + root.len()..];
            match rest.strip_prefix('{') {
                Some(group) => named.extend(first_segments(group)),
                None => named.extend(identifier(rest)),
            }
        }
    }
    named
}

/// The first identifiers of the items of a `{…}` group, up to its closing brace.
fn first_segments(group: &str) -> Vec<String> {
    let (mut depth, mut at_start, mut found) = (0, true, Vec::new());
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                found.extend(identifier(&group[at..]));
                at_start = false;
            }
            _ => {}
        }
    }
    found
}

fn identifier(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    (end > 0).then(|| text[..end].to_owned())
}

fn names_crate(text: &str, library: &str) -> bool {
    text.match_indices(library).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = &text[at + library.len()..];
        let whole = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':' || c == '"' || c == '.');
        whole && (after.starts_with("::") || after.starts_with(';') && text[..at].ends_with("use "))
    })
}
