//! Logs: one line an event, as JSON with the ids as fields, or as text for people. Not metrics.

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Installs the process's subscriber: lines go to standard error.
///
/// # Errors
/// When `filter` is not a tracing filter; the message names the part that is wrong.
pub fn init(format: Format, filter: &str) -> Result<(), String> {
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("--log {filter:?} is no filter: {error}"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = fmt::layer().with_writer(std::io::stderr);
    let installed = match format {
        Format::Json => registry
            .with(lines.json().flatten_event(true).with_current_span(false))
            .try_init(),
        Format::Text => registry.with(lines.compact()).try_init(),
    };
    installed.map_err(|error| format!("logs could not be set up: {error}"))
}
