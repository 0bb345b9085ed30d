//! Every metric, declared once, with its help text. Not where the figures come from: `app` gathers them.
//!
//! Labels come from closed sets; there is never a run id among them.

use std::{collections::BTreeMap, time::Duration};

use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

/// The figures of one scrape. A role that a process does not have leaves its part out.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// What the database says; none while it does not answer.
    pub store: Option<StoreFigures>,
    /// What this process' worker did.
    pub worker: Option<WorkerFigures>,
    /// Whether this process' orphan brake holds.
    pub brake: Option<bool>,
}

/// What the database says.
#[derive(Debug, Clone, Default)]
pub struct StoreFigures {
    /// Runs that have not ended, by phase.
    pub runs: BTreeMap<String, i64>,
    /// How long the oldest claimable run has waited.
    pub ready_oldest: Duration,
}

/// What a worker did since it started.
#[derive(Debug, Clone, Copy, Default)]
pub struct WorkerFigures {
    /// Attempts that ended with a result.
    pub attempts_succeeded: u64,
    /// Attempts that ended with an error.
    pub attempts_failed: u64,
    /// Attempts that were cut off.
    pub attempts_aborted: u64,
    /// Batches that were answered.
    pub settle_batches: u64,
    /// Decisions that became rows.
    pub appended: u64,
    /// Decisions that lost against another writer.
    pub append_conflicts: u64,
    /// Runs that ended here.
    pub finished: u64,
    /// Registrations after the first: the lease was lost.
    pub fenced: u64,
}

/// The process' metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    store_up: IntGauge,
    runs: IntGaugeVec,
    ready_oldest: Gauge,
    attempts: IntCounterVec,
    settle_batches: IntCounter,
    appended: IntCounter,
    append_conflicts: IntCounter,
    finished: IntCounter,
    fenced: IntCounter,
    orphan_brake: IntGauge,
}

impl Metrics {
    /// All metrics, registered.
    ///
    /// # Errors
    /// When two of them have the same name.
    pub fn new() -> Result<Self, prometheus::Error> {
        let metrics = Self {
            registry: Registry::new(),
            store_up: IntGauge::new("everstep_store_up", "1 when PostgreSQL answered this scrape, else 0.")?,
            runs: IntGaugeVec::new(
                Opts::new("everstep_runs", "Runs that have not ended, by phase."),
                &["phase"],
            )?,
            ready_oldest: Gauge::new(
                "everstep_ready_oldest_seconds",
                "How long the oldest run that a worker could claim has waited.",
            )?,
            attempts: IntCounterVec::new(
                Opts::new(
                    "everstep_step_attempts_total",
                    "Attempts that ended on this worker, by outcome.",
                ),
                &["outcome"],
            )?,
            settle_batches: IntCounter::new(
                "everstep_settle_batches_total",
                "Batches of decisions that were settled.",
            )?,
            appended: IntCounter::new("everstep_appended_total", "Decisions that became journal rows.")?,
            append_conflicts: IntCounter::new(
                "everstep_append_conflicts_total",
                "Decisions that lost against another writer and were dropped.",
            )?,
            finished: IntCounter::new("everstep_runs_finished_total", "Runs that ended on this worker.")?,
            fenced: IntCounter::new(
                "everstep_worker_fenced_total",
                "Times this worker lost its lease and registered anew.",
            )?,
            orphan_brake: IntGauge::new(
                "everstep_orphan_brake",
                "1 while the objects of too many live runs are missing, and none of those runs is cancelled.",
            )?,
        };
        metrics.register()?;
        Ok(metrics)
    }

    fn register(&self) -> Result<(), prometheus::Error> {
        self.registry.register(Box::new(self.store_up.clone()))?;
        self.registry.register(Box::new(self.runs.clone()))?;
        self.registry.register(Box::new(self.ready_oldest.clone()))?;
        self.registry.register(Box::new(self.attempts.clone()))?;
        self.registry.register(Box::new(self.settle_batches.clone()))?;
        self.registry.register(Box::new(self.appended.clone()))?;
        self.registry.register(Box::new(self.append_conflicts.clone()))?;
        self.registry.register(Box::new(self.finished.clone()))?;
        self.registry.register(Box::new(self.fenced.clone()))?;
        self.registry.register(Box::new(self.orphan_brake.clone()))
    }

    /// The figures in Prometheus' text format.
    pub fn render(&self, figures: &Figures) -> String {
        self.store_up.set(i64::from(figures.store.is_some()));
        if let Some(store) = &figures.store {
            self.runs.reset();
            for (phase, count) in &store.runs {
                self.runs.with_label_values(&[phase]).set(*count);
            }
            self.ready_oldest.set(store.ready_oldest.as_secs_f64());
        }
        if let Some(worker) = &figures.worker {
            advance(
                &self.attempts.with_label_values(&["succeeded"]),
                worker.attempts_succeeded,
            );
            advance(&self.attempts.with_label_values(&["failed"]), worker.attempts_failed);
            advance(&self.attempts.with_label_values(&["aborted"]), worker.attempts_aborted);
            advance(&self.settle_batches, worker.settle_batches);
            advance(&self.appended, worker.appended);
            advance(&self.append_conflicts, worker.append_conflicts);
            advance(&self.finished, worker.finished);
            advance(&self.fenced, worker.fenced);
        }
        self.orphan_brake.set(i64::from(figures.brake == Some(true)));
        let encoded = TextEncoder::new().encode_to_string(&self.registry.gather());
        encoded.unwrap_or_else(|error| format!("# the metrics could not be encoded: {error}\n"))
    }
}

/// Brings a counter to a total that only grows.
fn advance(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_shown_and_do_not_add_up_twice() {
        let metrics = Metrics::new().unwrap();
        let worker = WorkerFigures {
            appended: 7,
            attempts_failed: 2,
            ..WorkerFigures::default()
        };
        let figures = Figures {
            worker: Some(worker),
            ..Figures::default()
        };
        metrics.render(&figures);
        let text = metrics.render(&figures);
        assert!(text.contains("\neverstep_appended_total 7\n"), "{text}");
        assert!(
            text.contains("everstep_step_attempts_total{outcome=\"failed\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("\neverstep_store_up 0\n"), "{text}");
    }

    #[test]
    fn a_phase_without_runs_is_not_shown_for_ever() {
        let metrics = Metrics::new().unwrap();
        let of = |phase: &str| Figures {
            store: Some(StoreFigures {
                runs: [(phase.to_owned(), 3)].into(),
                ready_oldest: Duration::from_millis(1500),
            }),
            ..Figures::default()
        };
        metrics.render(&of("Running"));
        let text = metrics.render(&of("Succeeded"));
        assert!(text.contains("everstep_runs{phase=\"Succeeded\"} 3\n"), "{text}");
        assert!(!text.contains("phase=\"Running\""), "{text}");
        assert!(text.contains("everstep_ready_oldest_seconds 1.5\n"), "{text}");
        assert!(text.contains("\neverstep_store_up 1\n"), "{text}");
    }

    #[test]
    fn every_metric_has_help() {
        let metrics = Metrics::new().unwrap();
        let figures = Figures {
            store: Some(StoreFigures {
                runs: [("Running".to_owned(), 1)].into(),
                ..StoreFigures::default()
            }),
            worker: Some(WorkerFigures::default()),
            brake: Some(true),
        };
        let text = metrics.render(&figures);
        assert!(text.contains("\neverstep_orphan_brake 1\n"), "{text}");
        for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
            assert!(name.starts_with("everstep_"), "{name}");
        }
    }
}
