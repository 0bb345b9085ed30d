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
mod status;
mod target;
mod tree;
mod way;

use std::io::IsTerminal;

use serde::Serialize;

use super::Failure;
use crate::{
    cli::people::{DocumentOutput, MadeOutput},
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

impl From<DocumentOutput> for Format {
    fn from(output: DocumentOutput) -> Self {
        match output {
            DocumentOutput::Json => Self::Json,
            DocumentOutput::Yaml => Self::Yaml,
        }
    }
}

impl Format {
    /// None for a name.
    fn of(output: MadeOutput) -> Option<Self> {
        match output {
            MadeOutput::Json => Some(Self::Json),
            MadeOutput::Yaml => Some(Self::Yaml),
            MadeOutput::Name => None,
        }
    }
}

/// What was made: as a line, by its name, or as a document.
fn print_made(output: Option<MadeOutput>, line: &str, name: &str, document: &impl Serialize) -> Result<(), Failure> {
    print_awaited(output, line, name)?;
    print_end(output, document)
}

/// What was made and is waited for: the document comes in the end.
fn print_awaited(output: Option<MadeOutput>, line: &str, name: &str) -> Result<(), Failure> {
    match output {
        None => print(&format!("{line}\n")),
        Some(MadeOutput::Name) => print(&format!("{name}\n")),
        Some(MadeOutput::Json | MadeOutput::Yaml) => Ok(()),
    }
}

/// What was made as it is in the end, for programs.
fn print_end(output: Option<MadeOutput>, document: &impl Serialize) -> Result<(), Failure> {
    match output.and_then(Format::of) {
        Some(format) => print_document(document, format),
        None => Ok(()),
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
