//! The endpoints `/livez`, `/readyz` and `/metrics`. Not what they report: that is handed in.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Which parts of the process are not ready, and why. Ready when no part says otherwise.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, Part>>>);

/// What is known of a part.
enum Part {
    /// It is not ready, and why.
    Missing(String),
    /// It is asked each time.
    Asked(Box<dyn Fn() -> Option<String> + Send>),
}

impl Readiness {
    /// A part says that it is ready.
    pub fn ready(&self, part: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(part);
    }

    /// A part says that it is not, and why.
    pub fn not_ready(&self, part: &'static str, why: impl Into<String>) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(part, Part::Missing(why.into()));
    }

    /// From now on a part is asked why it is not ready, each time; none: it is.
    pub fn ask(&self, part: &'static str, why_not: impl Fn() -> Option<String> + Send + 'static) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(part, Part::Asked(Box::new(why_not)));
    }

    /// What is missing, one line a part; empty when all are ready.
    fn missing(&self) -> String {
        let parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let why = |part: &Part| match part {
            Part::Missing(why) => Some(why.clone()),
            Part::Asked(why_not) => why_not(),
        };
        parts
            .iter()
            .filter_map(|(part, state)| why(state).map(|why| format!("{part}: {why}\n")))
            .collect()
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Readiness").field(&self.missing()).finish()
    }
}

/// Serves until `shutdown`. `scrape` yields the metrics in Prometheus' text format.
///
/// # Errors
/// When the listener fails.
pub async fn serve<Scrape, Answer>(
    listener: TcpListener,
    readiness: Readiness,
    scrape: Scrape,
    shutdown: CancellationToken,
) -> std::io::Result<()>
where
    Scrape: Fn() -> Answer + Clone + Send + Sync + 'static,
    Answer: Future<Output = String> + Send + 'static,
{
    let metrics = move || {
        let answer = scrape();
        async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], answer.await) }
    };
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(readiness);
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let missing = readiness.missing();
    if missing.is_empty() {
        "ok\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, missing).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_names_what_is_missing_until_it_is_there() {
        let readiness = Readiness::default();
        assert_eq!(readiness.missing(), "");
        readiness.not_ready("store", "connection refused");
        readiness.not_ready("caches", "not listed yet");
        assert_eq!(
            readiness.missing(),
            "caches: not listed yet\nstore: connection refused\n"
        );
        readiness.ready("store");
        readiness.ready("caches");
        assert_eq!(readiness.missing(), "");
    }

    #[test]
    fn part_that_is_asked_may_change_its_mind() {
        let readiness = Readiness::default();
        let lost = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let state = Arc::clone(&lost);
        readiness.ask("worker", move || {
            state
                .load(std::sync::atomic::Ordering::Relaxed)
                .then(|| "not registered".to_owned())
        });
        assert_eq!(readiness.missing(), "worker: not registered\n");
        lost.store(false, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(readiness.missing(), "");
    }
}
