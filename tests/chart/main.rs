//! The Helm chart, with the real helm against a real API server: what it renders, whom it lets do what, how a release
//! lives, and that its processes work with its accounts, rights and arguments.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod admission;
mod alerting;
mod alerts;
mod dashboard;
mod life;
mod looking;
mod manifests;
mod restored;
mod rights;
mod running;
#[path = "../support/mod.rs"]
mod support;
mod values;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Set it to write `tests/golden/chart/` instead of comparing it: `UPDATE_CHART=1 cargo test --test chart`.
const UPDATE: &str = "UPDATE_CHART";

/// The only value that must be given.
fn least() -> Value {
    json!({"database": {"existingSecret": "everstep-database"}})
}

/// Everything on, and every list with something in it.
fn all() -> Value {
    let text = include_str!("all.yaml");
    serde_saphyr::from_str(text).unwrap()
}

/// Holds a text against a file of `tests/golden/chart/`.
fn golden(name: &str, text: &str) {
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(golden_file(name), text).unwrap();
    }
    assert!(
        is_golden(name, text),
        "{} differs; it would be:\n{text}\n{UPDATE}=1 cargo test --test chart writes it",
        golden_file(name).display()
    );
}

/// Whether a text is that of a file of `tests/golden/chart/`, or will be written to it.
fn is_golden(name: &str, text: &str) -> bool {
    let committed = std::fs::read_to_string(golden_file(name)).unwrap_or_default();
    committed == text || std::env::var_os(UPDATE).is_some()
}

fn golden_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/chart")
        .join(name)
}
