//! The server's warnings, which the driver tells to nobody but the log.
//!
//! One of them changes what an answer means: a commit whose wait for a synchronous standby was cancelled is announced as
//! done, with a warning that it may be on this server alone. The driver hands notices to `tracing` and drops them, so
//! they are caught there: while a statement's future is polled, a subscriber of our own listens on that thread.

use std::{
    cell::RefCell,
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    dispatcher::with_default,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
};

/// The driver's name for them.
const TARGET: &str = "sqlx::postgres::notice";

/// Two, of which the first listens. While there is only one in a process, `tracing` asks the current thread's alone
/// whether somebody wants the events of a place in the code, and remembers a no: a warning that came first while nobody
/// listened, on a connection of somebody else's, would make us deaf for ever.
static EARS: LazyLock<[Dispatch; 2]> = LazyLock::new(|| [Dispatch::new(Ear::default()), Dispatch::new(Ear::default())]);

thread_local! {
    static HEARD: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The output of `answer`, and the last warning that the server gave meanwhile.
pub(super) async fn heard<T>(answer: impl Future<Output = T>) -> (T, Option<String>) {
    let mut answer = pin!(answer);
    let mut warning = None;
    let output = poll_fn(|context| {
        // Left over by nobody: whatever is heard in here is taken in here.
        let polled = with_default(&EARS[0], || answer.as_mut().poll(context));
        if let Some(said) = HEARD.take() {
            tracing::warn!(said, "PostgreSQL warns");
            warning = Some(said);
        }
        polled
    })
    .await;
    (output, warning)
}

/// Hears the driver's warnings and nothing else.
#[derive(Default)]
struct Ear {
    spans: AtomicU64,
}

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET && *metadata.level() == Level::WARN
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        if self.enabled(event.metadata()) {
            let mut said = Said(String::new());
            event.record(&mut said);
            HEARD.set(Some(said.0));
        }
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        // None is enabled; if one came nevertheless, its id only has to be valid.
        span::Id::from_u64(self.spans.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The text of an event.
struct Said(String);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_warning_of_the_driver_is_heard_and_nothing_else() {
        let warned = heard(async {
            tracing::warn!(target: "elsewhere", "not this");
            tracing::info!(target: TARGET, "nor this");
            tokio::task::yield_now().await;
            tracing::warn!(target: TARGET, "{}", "beware");
            tokio::task::yield_now().await;
            7
        });
        assert_eq!(warned.await, (7, Some("beware".to_owned())));
        assert_eq!(heard(async { 8 }).await, (8, None));
    }

    #[tokio::test]
    async fn a_place_that_warned_before_while_nobody_listened_is_heard() {
        let warn = || tracing::warn!(target: TARGET, "{}", "beware");
        assert_eq!(heard(async {}).await, ((), None));
        warn();
        assert_eq!(heard(async { warn() }).await, ((), Some("beware".to_owned())));
    }
}
