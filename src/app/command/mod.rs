//! Commands for people: what they speak to, and what they print. How it looks is in [`crate::show`].

mod cancel;
mod find;
mod follow;
mod history;
mod input;
mod reach;
mod retry;
mod runs;
mod signal;
mod start;
mod target;
mod tree;
mod way;

use std::io::IsTerminal;

use serde::Serialize;

use super::Failure;
use crate::{
    cli::people,
    show::{self, Palette},
    store::SurfaceError,
};

pub(super) use cancel::cancel;
pub(super) use history::history;
pub(super) use retry::retry;
pub(super) use runs::runs;
pub(super) use signal::signal;
pub(super) use start::run;
pub(super) use tree::tree;

impl From<SurfaceError> for Failure {
    fn from(error: SurfaceError) -> Self {
        match error {
            SurfaceError::Store(error) => error.into(),
            error @ (SurfaceError::NoGrant { .. } | SurfaceError::Said { .. }) => Self::Broken(error.to_string()),
        }
    }
}

/// A document for programs.
#[derive(Debug, Clone, Copy)]
enum Format {
    Json,
    Yaml,
}

impl From<people::DocumentOutput> for Format {
    fn from(output: people::DocumentOutput) -> Self {
        match output {
            people::DocumentOutput::Json => Self::Json,
            people::DocumentOutput::Yaml => Self::Yaml,
        }
    }
}

fn print_document(document: &impl Serialize, format: Format) -> Result<(), Failure> {
    let text = match format {
        Format::Json => show::json(document),
        Format::Yaml => show::yaml(document),
    };
    print(&text.map_err(Failure::Broken)?)
}

fn print(text: &str) -> Result<(), Failure> {
    super::print(text.as_bytes())
}

/// Something beside the result, for people: it does not belong into a pipe.
#[expect(clippy::print_stderr, reason = "a command speaks to whoever called it")]
fn say(text: &str) {
    eprintln!("{text}");
}

/// The colours of standard output.
fn palette() -> Palette {
    let variable = |name| std::env::var(name).ok();
    let (no_color, term) = (variable("NO_COLOR"), variable("TERM"));
    Palette::of(std::io::stdout().is_terminal(), no_color.as_deref(), term.as_deref())
}
