//! Logs: one line an event, as JSON with the ids as fields, or as text for people; panics and last words in the same form.
//! Not metrics.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt,
    io::Write,
    panic::PanicHookInfo,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, fmt as lines, layer::SubscriberExt, util::SubscriberInitExt};

/// Target of our events, those of modules begin with it.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Installs the process's subscriber: lines go to standard error. In JSON, panics become lines, too.
///
/// # Errors
/// When `filter` is not a tracing filter, or one that means nothing; the message names the part that is wrong.
pub fn init(format: Format, filter: &str) -> Result<(), String> {
    let refused = |why: &dyn fmt::Display| format!("--log {filter:?} is no filter: {why}");
    if let Some(word) = meaningless(filter) {
        return Err(refused(&format!(
            "{word:?} is no level (off, error, warn, info, debug, trace); events of one target are written {word}=info"
        )));
    }
    let filter = EnvFilter::try_new(filter).map_err(|error| refused(&error))?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = lines::layer().with_writer(std::io::stderr);
    let installed = match format {
        Format::Json => {
            std::panic::set_hook(Box::new(|panic| print(&panic_line(panic).to_string())));
            registry
                .with(lines.json().flatten_event(true).with_current_span(false))
                .try_init()
        }
        Format::Text => registry.with(lines.compact()).try_init(),
    };
    installed.map_err(|error| format!("logs could not be set up: {error}"))
}

/// Says why the process ends, whatever the filter is.
pub fn last_words(format: Format, why: &impl fmt::Display) {
    match format {
        Format::Json => print(&line(&why.to_string(), json!({})).to_string()),
        Format::Text => print(&format!("{OURS}: {why}")),
    }
}

/// A word without a level that is no level itself. A tracing filter takes it for a target, of which it lets everything
/// through, and nothing of all others: a level that is misspelled would silence the process.
fn meaningless(filter: &str) -> Option<&str> {
    let means = |part: &str| {
        part.contains(['=', '[', ':']) || part == OURS || part.is_empty() || part.parse::<LevelFilter>().is_ok()
    };
    filter.split(',').find(|part| !means(part))
}

fn panic_line(panic: &PanicHookInfo<'_>) -> Value {
    let message = format!("panicked: {}", panic.payload_as_str().unwrap_or("no message"));
    let mut fields = json!({
        "location": panic.location().map(ToString::to_string),
        "thread": std::thread::current().name(),
    });
    // Only where RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        fields["backtrace"] = backtrace.to_string().into();
    }
    line(&message, fields)
}

/// As the subscriber writes it. It is not asked, since it may be what has panicked.
fn line(message: &str, fields: Value) -> Value {
    let mut line = json!({
        "timestamp": Timestamp::now().to_string(),
        "level": "ERROR",
        "message": message,
        "target": OURS,
    });
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
        line.extend(fields);
    }
    line
}

/// What cannot be said is no reason to fail.
fn print(line: &str) {
    writeln!(std::io::stderr(), "{line}").ok();
}
