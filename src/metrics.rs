//! Every metric, declared once, with its help text. Not where the figures come from: `app` gathers them.
//!
//! Labels come from closed sets; there is never a run id among them.

use std::{collections::BTreeMap, time::Duration};

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

/// The figures of one scrape. A role that a process does not have leaves its part out.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// What the database says; none while it does not answer.
    pub store: Option<StoreFigures>,
    /// What this process' worker did.
    pub worker: Option<WorkerFigures>,
    /// What this process' controller did.
    pub controller: Option<ControllerFigures>,
    /// What this process saw of stuck runs; none when it does not look, or has not yet.
    pub detector: Option<DetectorFigures>,
}

/// What the last look at stuck runs saw.
#[derive(Debug, Clone, Default)]
pub struct DetectorFigures {
    /// When it was, in seconds since 1970.
    pub at: f64,
    /// Stuck runs, and for how long the oldest has been, by reason: every reason, also without a run.
    pub stuck: BTreeMap<&'static str, (i64, Duration)>,
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

/// What a controller and its orphan passes did since they started.
#[derive(Debug, Clone, Copy, Default)]
pub struct ControllerFigures {
    /// Statuses written.
    pub statuses_written: u64,
    /// Statuses whose object had changed meanwhile.
    pub statuses_outdated: u64,
    /// Statuses that the API server did not take.
    pub statuses_failed: u64,
    /// Signals that came to lie in an inbox.
    pub signals_stored: u64,
    /// Signals that a step has taken.
    pub signals_consumed: u64,
    /// Signals whose dedup key their run had seen.
    pub signals_duplicate: u64,
    /// Signals that were not stored and never will be.
    pub signals_refused: u64,
    /// Stored signals that no step will ever take.
    pub signals_undelivered: u64,
    /// Events written.
    pub events_written: u64,
    /// Events that the API server did not take.
    pub events_lost: u64,
    /// Reconciles that came to their end.
    pub reconciled: u64,
    /// Reconciles that the database or the API server, being away, put off.
    pub reconciles_by_outage: u64,
    /// Reconciles that failed for the object's own sake.
    pub reconciles_by_object: u64,
    /// How long the oldest change that no status shows has waited.
    pub projection_lag: Duration,
    /// Objects that became suspects.
    pub orphans_suspected: u64,
    /// Suspects that were seen alive.
    pub orphans_returned: u64,
    /// Objects whose runs were cancelled.
    pub orphans_cancelled: u64,
    /// Orphan passes that came to their end.
    pub orphan_passes: u64,
    /// Orphan passes given up.
    pub orphan_passes_given_up: u64,
    /// Whether the orphan brake holds.
    pub orphan_brake: bool,
    /// Whether this controller leads.
    pub leads: bool,
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
    statuses: IntCounterVec,
    signals: IntCounterVec,
    events: IntCounterVec,
    reconciles: IntCounterVec,
    projection_lag: Gauge,
    orphans: IntCounterVec,
    orphan_passes: IntCounterVec,
    orphan_brake: IntGauge,
    leader: IntGauge,
    stuck: IntGaugeVec,
    stuck_oldest: GaugeVec,
    detector: Gauge,
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
            statuses: by_result(
                "everstep_status_patches_total",
                "Writes of a status: written, outdated (the object had changed or was gone), failed.",
            )?,
            signals: by_result(
                "everstep_signals_total",
                "Signal objects: stored, consumed, duplicate, refused (never stored), undelivered (stored in vain).",
            )?,
            events: by_result("everstep_events_total", "Kubernetes Events: written, lost.")?,
            reconciles: by_result(
                "everstep_reconciles_total",
                "Reconciles: done, outage (the database or the API server was away), failed.",
            )?,
            projection_lag: Gauge::new(
                "everstep_projection_lag_seconds",
                "How long the oldest change of a run has not been shown by its object. Up to a second is intended.",
            )?,
            orphans: by_result(
                "everstep_orphans_total",
                "Objects that seemed to be gone: suspected, returned (seen alive again), cancelled (their runs were).",
            )?,
            orphan_passes: by_result(
                "everstep_orphan_passes_total",
                "Orphan passes: done, given_up (there was no proof; nothing was cancelled).",
            )?,
            orphan_brake: IntGauge::new(
                "everstep_orphan_brake",
                "1 while too many objects are missing at once and none of their runs is cancelled, else 0.",
            )?,
            leader: IntGauge::new(
                "everstep_leader",
                "1 while this controller leads and reconciles, 0 while it stands by.",
            )?,
            stuck: IntGaugeVec::new(
                Opts::new(
                    "everstep_runs_stuck",
                    "Runs that do not move though they should, or stand still until a person acts, by reason.",
                ),
                &["reason"],
            )?,
            stuck_oldest: GaugeVec::new(
                Opts::new(
                    "everstep_runs_stuck_oldest_seconds",
                    "For how long the oldest stuck run has been, by reason; 0 without one.",
                ),
                &["reason"],
            )?,
            detector: Gauge::new(
                "everstep_detector_last_success_timestamp_seconds",
                "When stuck runs were looked for last, of the controller that leads; 0 while this one does not.",
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
        self.registry.register(Box::new(self.statuses.clone()))?;
        self.registry.register(Box::new(self.signals.clone()))?;
        self.registry.register(Box::new(self.events.clone()))?;
        self.registry.register(Box::new(self.reconciles.clone()))?;
        self.registry.register(Box::new(self.projection_lag.clone()))?;
        self.registry.register(Box::new(self.orphans.clone()))?;
        self.registry.register(Box::new(self.orphan_passes.clone()))?;
        self.registry.register(Box::new(self.orphan_brake.clone()))?;
        self.registry.register(Box::new(self.leader.clone()))?;
        self.registry.register(Box::new(self.stuck.clone()))?;
        self.registry.register(Box::new(self.stuck_oldest.clone()))?;
        self.registry.register(Box::new(self.detector.clone()))
    }

    fn show(&self, controller: &ControllerFigures) {
        let of = controller;
        let totals = [
            (&self.statuses, "written", of.statuses_written),
            (&self.statuses, "outdated", of.statuses_outdated),
            (&self.statuses, "failed", of.statuses_failed),
            (&self.signals, "stored", of.signals_stored),
            (&self.signals, "consumed", of.signals_consumed),
            (&self.signals, "duplicate", of.signals_duplicate),
            (&self.signals, "refused", of.signals_refused),
            (&self.signals, "undelivered", of.signals_undelivered),
            (&self.events, "written", of.events_written),
            (&self.events, "lost", of.events_lost),
            (&self.reconciles, "done", of.reconciled),
            (&self.reconciles, "outage", of.reconciles_by_outage),
            (&self.reconciles, "failed", of.reconciles_by_object),
            (&self.orphans, "suspected", of.orphans_suspected),
            (&self.orphans, "returned", of.orphans_returned),
            (&self.orphans, "cancelled", of.orphans_cancelled),
            (&self.orphan_passes, "done", of.orphan_passes),
            (&self.orphan_passes, "given_up", of.orphan_passes_given_up),
        ];
        for (counter, result, total) in totals {
            advance(&counter.with_label_values(&[result]), total);
        }
        self.projection_lag.set(of.projection_lag.as_secs_f64());
        self.orphan_brake.set(i64::from(of.orphan_brake));
        self.leader.set(i64::from(of.leads));
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
        if let Some(controller) = &figures.controller {
            self.show(controller);
        }
        self.stuck.reset();
        self.stuck_oldest.reset();
        let detector = figures.detector.clone().unwrap_or_default();
        self.detector.set(detector.at);
        for (reason, (runs, oldest)) in detector.stuck {
            self.stuck.with_label_values(&[reason]).set(runs);
            self.stuck_oldest.with_label_values(&[reason]).set(oldest.as_secs_f64());
        }
        let encoded = TextEncoder::new().encode_to_string(&self.registry.gather());
        encoded.unwrap_or_else(|error| format!("# the metrics could not be encoded: {error}\n"))
    }
}

fn by_result(name: &str, help: &str) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name, help), &["result"])
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
    fn figures_of_the_controller_are_shown_by_result() {
        let metrics = Metrics::new().unwrap();
        let controller = ControllerFigures {
            statuses_written: 5,
            events_lost: 2,
            signals_undelivered: 6,
            reconciles_by_object: 3,
            orphans_cancelled: 1,
            orphan_passes_given_up: 4,
            projection_lag: Duration::from_millis(250),
            orphan_brake: true,
            leads: true,
            ..ControllerFigures::default()
        };
        let figures = Figures {
            controller: Some(controller),
            ..Figures::default()
        };
        metrics.render(&figures);
        let text = metrics.render(&figures);
        for line in [
            "everstep_status_patches_total{result=\"written\"} 5",
            "everstep_status_patches_total{result=\"outdated\"} 0",
            "everstep_events_total{result=\"lost\"} 2",
            "everstep_signals_total{result=\"undelivered\"} 6",
            "everstep_reconciles_total{result=\"failed\"} 3",
            "everstep_orphans_total{result=\"cancelled\"} 1",
            "everstep_orphan_passes_total{result=\"given_up\"} 4",
            "everstep_projection_lag_seconds 0.25",
            "everstep_orphan_brake 1",
            "everstep_leader 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_is_stuck_is_shown_by_who_looks_and_by_nobody_else() {
        let metrics = Metrics::new().unwrap();
        let detector = DetectorFigures {
            at: 1.75e9,
            stuck: [
                ("Unclaimed", (3, Duration::from_secs(90))),
                ("Paused", (0, Duration::ZERO)),
            ]
            .into(),
        };
        let looking = Figures {
            detector: Some(detector),
            ..Figures::default()
        };
        let text = metrics.render(&looking);
        for line in [
            "everstep_runs_stuck{reason=\"Unclaimed\"} 3",
            "everstep_runs_stuck{reason=\"Paused\"} 0",
            "everstep_runs_stuck_oldest_seconds{reason=\"Unclaimed\"} 90",
            "everstep_detector_last_success_timestamp_seconds 1750000000",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
        }
        let text = metrics.render(&Figures::default());
        assert!(!text.contains("everstep_runs_stuck"), "{text}");
        assert!(
            text.contains("everstep_detector_last_success_timestamp_seconds 0\n"),
            "{text}"
        );
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
            controller: Some(ControllerFigures::default()),
            detector: Some(DetectorFigures {
                at: 1.0,
                stuck: [("Unclaimed", (1, Duration::ZERO))].into(),
            }),
        };
        let text = metrics.render(&figures);
        for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
            assert!(name.starts_with("everstep_"), "{name}");
        }
    }
}
