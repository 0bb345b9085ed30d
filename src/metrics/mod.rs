//! Every metric, declared once, with its help text. Not where the figures come from: `app` gathers them.
//!
//! Labels come from closed sets, but for `namespace` and `workflow`, whose series are bounded where they are counted; there
//! is never a run id among them. What a process does not know, it does not show.

mod family;
mod figures;

use prometheus::TextEncoder;

use self::family::{Family, counter, gauge, histogram};
pub use self::figures::{
    AttemptFigures, ControllerFigures, DetectorFigures, Figures, FinishedFigures, StoreFigures, WorkerFigures,
};

/// The figures in Prometheus' text format.
pub fn render(figures: &Figures) -> String {
    let mut families = vec![
        gauge("everstep_store_up", "1 when PostgreSQL answered this scrape, else 0.").is(one(figures.store.is_some())),
    ];
    families.extend(figures.store.iter().flat_map(of_store));
    families.extend(figures.worker.iter().flat_map(of_worker));
    families.extend(figures.controller.iter().flat_map(of_controller));
    families.extend(figures.detector.iter().flat_map(of_detector));
    let families: Vec<_> = families.into_iter().filter_map(Family::into_inner).collect();
    let encoded = TextEncoder::new().encode_to_string(&families);
    encoded.unwrap_or_else(|error| format!("# the metrics could not be encoded: {error}\n"))
}

fn of_store(figures: &StoreFigures) -> Vec<Family> {
    let runs = gauge("everstep_runs", "Runs that have not ended, by phase.");
    let epoch = gauge(
        "everstep_epoch",
        "Which incarnation of the database this is: it grows when the database has gone back in time.",
    );
    vec![
        figures.runs.iter().fold(runs, |runs, (phase, count)| {
            runs.with(&[("phase", phase)], *count as f64)
        }),
        gauge(
            "everstep_ready_oldest_seconds",
            "How long the oldest run that a worker could claim has waited.",
        )
        .is(figures.ready_oldest.as_secs_f64()),
        figures.epoch.into_iter().fold(epoch, |all, epoch| all.is(epoch.into())),
    ]
}

fn of_worker(figures: &WorkerFigures) -> Vec<Family> {
    let mut attempts = counter(
        "everstep_step_attempts_total",
        "Attempts that ended on this worker, by action and outcome: succeeded, failed (its step, or another follows), aborted.",
    );
    let mut time = histogram(
        "everstep_step_duration_seconds",
        "How long attempts took that ended on this worker by themselves, by action.",
    );
    for (action, of) in &figures.attempts {
        for (outcome, count) in [
            ("succeeded", of.succeeded),
            ("failed", of.failed),
            ("aborted", of.aborted),
        ] {
            attempts = attempts.with(&[("action", action), ("outcome", outcome)], count as f64);
        }
        time = time.of(&[("action", action)], &of.time);
    }
    let finished = counter(
        "everstep_runs_finished_total",
        "Runs that ended on this worker, by namespace, Workflow and phase; past 2,000 such series, as other.",
    );
    let finished = figures.finished.iter().fold(finished, |all, of| {
        let labels = [
            ("namespace", &*of.namespace),
            ("workflow", &of.workflow),
            ("phase", of.phase),
        ];
        all.with(&labels, of.runs as f64)
    });
    vec![
        attempts,
        time,
        finished,
        histogram(
            "everstep_timer_lateness_seconds",
            "How long after it was due a timer of a run was decided on, on this worker.",
        )
        .of(&[], &figures.timer_lateness),
        histogram(
            "everstep_settle_batch_size",
            "Decisions of each batch that was settled.",
        )
        .of(&[], &figures.settle_size),
        histogram(
            "everstep_settle_seconds",
            "From when a batch of decisions was sent until it was settled, outages included.",
        )
        .of(&[], &figures.settle_time),
        counter("everstep_appended_total", "Decisions that became journal rows.").is(figures.appended as f64),
        counter(
            "everstep_append_conflicts_total",
            "Decisions that lost against another writer and were dropped.",
        )
        .is(figures.append_conflicts as f64),
        counter(
            "everstep_claims_expired_total",
            "Runs whose worker had died and which this worker freed for others.",
        )
        .is(figures.claims_expired as f64),
        counter(
            "everstep_runs_set_aside_total",
            "Times this worker left a run alone that it holds and cannot carry; once a minute for each.",
        )
        .is(figures.set_aside as f64),
        counter(
            "everstep_worker_fenced_total",
            "Times this worker lost its lease and registered anew.",
        )
        .is(figures.fenced as f64),
    ]
}

fn of_controller(figures: &ControllerFigures) -> Vec<Family> {
    let of = figures;
    vec![
        by_result(
            "everstep_status_patches_total",
            "Writes of a status: written, outdated (the object had changed or was gone), failed.",
            &[
                ("written", of.statuses_written),
                ("outdated", of.statuses_outdated),
                ("failed", of.statuses_failed),
            ],
        ),
        by_result(
            "everstep_signals_total",
            "Signal objects: stored, consumed, duplicate, refused (never stored), undelivered (stored in vain).",
            &[
                ("stored", of.signals_stored),
                ("consumed", of.signals_consumed),
                ("duplicate", of.signals_duplicate),
                ("refused", of.signals_refused),
                ("undelivered", of.signals_undelivered),
            ],
        ),
        by_result(
            "everstep_events_total",
            "Kubernetes Events: written, lost.",
            &[("written", of.events_written), ("lost", of.events_lost)],
        ),
        by_result(
            "everstep_reconciles_total",
            "Reconciles: done, outage (the database or the API server was away), failed.",
            &[
                ("done", of.reconciled),
                ("outage", of.reconciles_by_outage),
                ("failed", of.reconciles_by_object),
            ],
        ),
        by_result(
            "everstep_orphans_total",
            "Objects that seemed to be gone: suspected, returned (seen alive again), cancelled (their runs were).",
            &[
                ("suspected", of.orphans_suspected),
                ("returned", of.orphans_returned),
                ("cancelled", of.orphans_cancelled),
            ],
        ),
        by_result(
            "everstep_orphan_passes_total",
            "Orphan passes: done, given_up (there was no proof; nothing was cancelled).",
            &[("done", of.orphan_passes), ("given_up", of.orphan_passes_given_up)],
        ),
        gauge(
            "everstep_orphan_brake",
            "1 while too many objects are missing at once and none of their runs is cancelled, else 0.",
        )
        .is(one(of.orphan_brake)),
        gauge(
            "everstep_projection_lag_seconds",
            "How long the oldest change of a run has not been shown by its object. Up to a second is intended.",
        )
        .is(of.projection_lag.as_secs_f64()),
        gauge(
            "everstep_leader",
            "1 while this controller leads and reconciles, 0 while it stands by.",
        )
        .is(one(of.leads)),
    ]
}

fn of_detector(figures: &DetectorFigures) -> Vec<Family> {
    let mut runs = gauge(
        "everstep_runs_stuck",
        "Runs that do not move though they should, or stand still until a person acts, by reason.",
    );
    let mut oldest = gauge(
        "everstep_runs_stuck_oldest_seconds",
        "For how long the oldest stuck run has been, by reason; 0 without one.",
    );
    for (reason, (count, since)) in &figures.stuck {
        runs = runs.with(&[("reason", reason)], *count as f64);
        oldest = oldest.with(&[("reason", reason)], since.as_secs_f64());
    }
    vec![
        gauge(
            "everstep_detector_last_success_timestamp_seconds",
            "When stuck runs were looked for last, of the controller that leads; 0 while this one does not.",
        )
        .is(figures.at),
        runs,
        oldest,
    ]
}

fn by_result(name: &str, help: &str, totals: &[(&str, u64)]) -> Family {
    let empty = counter(name, help);
    totals.iter().fold(empty, |all, (result, total)| {
        all.with(&[("result", result)], *total as f64)
    })
}

fn one(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::tally::Distributed;

    /// Of a process that knows everything.
    fn full() -> Figures {
        let attempts = AttemptFigures {
            succeeded: 6,
            failed: 2,
            aborted: 1,
            time: Distributed {
                within: vec![(0.001, 1), (2.5, 8)],
                count: 8,
                sum: 5.5,
            },
        };
        let finished = FinishedFigures {
            namespace: "shop".to_owned(),
            workflow: "order".to_owned(),
            phase: "Failed",
            runs: 3,
        };
        Figures {
            store: Some(StoreFigures {
                runs: [("Running".to_owned(), 1)].into(),
                ready_oldest: Duration::from_millis(1500),
                epoch: Some(1),
            }),
            worker: Some(WorkerFigures {
                attempts: [("http", attempts)].into(),
                finished: vec![finished],
                appended: 7,
                claims_expired: 4,
                set_aside: 8,
                ..WorkerFigures::default()
            }),
            controller: Some(ControllerFigures {
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
            }),
            detector: Some(DetectorFigures {
                at: 1.75e9,
                stuck: [
                    ("Unclaimed", (3, Duration::from_secs(90))),
                    ("Paused", (0, Duration::ZERO)),
                ]
                .into(),
            }),
        }
    }

    fn shows(text: &str, lines: &[&str]) {
        for line in lines {
            assert!(text.lines().any(|shown| shown == *line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn figures_are_shown_by_their_labels() {
        let text = render(&full());
        shows(
            &text,
            &[
                "everstep_store_up 1",
                "everstep_runs{phase=\"Running\"} 1",
                "everstep_ready_oldest_seconds 1.5",
                "everstep_epoch 1",
                "everstep_step_attempts_total{action=\"http\",outcome=\"succeeded\"} 6",
                "everstep_step_attempts_total{action=\"http\",outcome=\"failed\"} 2",
                "everstep_step_attempts_total{action=\"http\",outcome=\"aborted\"} 1",
                "everstep_runs_finished_total{namespace=\"shop\",workflow=\"order\",phase=\"Failed\"} 3",
                "everstep_appended_total 7",
                "everstep_claims_expired_total 4",
                "everstep_runs_set_aside_total 8",
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
                "everstep_runs_stuck{reason=\"Unclaimed\"} 3",
                "everstep_runs_stuck{reason=\"Paused\"} 0",
                "everstep_runs_stuck_oldest_seconds{reason=\"Unclaimed\"} 90",
                "everstep_detector_last_success_timestamp_seconds 1750000000",
            ],
        );
    }

    #[test]
    fn a_distribution_is_shown_by_its_bounds_which_end_with_all() {
        let text = render(&full());
        let of = |line: &str| format!("everstep_step_duration_seconds_{line}");
        shows(
            &text,
            &[
                "# TYPE everstep_step_duration_seconds histogram",
                &of("bucket{action=\"http\",le=\"0.001\"} 1"),
                &of("bucket{action=\"http\",le=\"2.5\"} 8"),
                &of("bucket{action=\"http\",le=\"+Inf\"} 8"),
                &of("sum{action=\"http\"} 5.5"),
                &of("count{action=\"http\"} 8"),
            ],
        );
    }

    /// An old figure of a database that is away would be taken for a new one.
    #[test]
    fn what_is_not_known_is_not_shown() {
        let away = Figures { store: None, ..full() };
        let text = render(&away);
        shows(&text, &["everstep_store_up 0", "everstep_appended_total 7"]);
        for name in ["everstep_runs{", "everstep_ready_oldest_seconds", "everstep_epoch"] {
            assert!(!text.contains(name), "{name}");
        }
        let text = render(&Figures::default());
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn who_does_not_lead_sees_nothing_stuck_and_says_that_it_has_not_looked() {
        let stands_by = Figures {
            detector: Some(DetectorFigures::default()),
            ..Figures::default()
        };
        let text = render(&stands_by);
        shows(&text, &["everstep_detector_last_success_timestamp_seconds 0"]);
        assert!(!text.contains("everstep_runs_stuck"), "{text}");
    }

    #[test]
    fn every_metric_has_one_name_of_ours_and_help() {
        let text = render(&full());
        let mut names = BTreeSet::new();
        for line in text.lines().filter(|line| line.starts_with("# TYPE ")) {
            let name = line.split(' ').nth(2).unwrap();
            assert!(text.contains(&format!("# HELP {name} ")), "{name}");
            assert!(name.starts_with("everstep_"), "{name}");
            assert!(names.insert(name), "{name} is there twice");
        }
        assert!(names.len() > 20, "{names:?}");
    }
}
