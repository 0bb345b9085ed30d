//! Gathers the figures of a scrape from the parts that a process has.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::timeout;

use crate::{
    controller::Controller,
    leading::Leading,
    maintenance::{detector, orphans},
    metrics::{
        self, AttemptFigures, ControllerFigures, DetectorFigures, Figures, FinishedFigures, StoreFigures, WorkerFigures,
    },
    store::{Error, Store, StuckReason},
    worker::{Attempted, Counters, Ended},
};

/// A scrape must not wait for a database that is away: scrapers give up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where the figures come from; the parts are filled in as they start.
#[derive(Default)]
pub(super) struct Gather {
    store: OnceLock<Store>,
    worker: OnceLock<Arc<Counters>>,
    controller: OnceLock<(Controller, Arc<orphans::Counters>)>,
    leading: OnceLock<Leading>,
    detector: OnceLock<Arc<detector::Seen>>,
}

impl Gather {
    pub(super) fn store(&self, store: Store) {
        // A process has one; a second would be a defect of ours that changes no figure.
        self.store.get_or_init(|| store);
    }

    pub(super) fn worker(&self, counters: Arc<Counters>) {
        self.worker.get_or_init(|| counters);
    }

    pub(super) fn controller(&self, controller: Controller, orphans: Arc<orphans::Counters>) {
        self.controller.get_or_init(|| (controller, orphans));
    }

    pub(super) fn leading(&self, leading: Leading) {
        self.leading.get_or_init(|| leading);
    }

    pub(super) fn detector(&self, seen: Arc<detector::Seen>) {
        self.detector.get_or_init(|| seen);
    }

    /// The metrics in Prometheus' text format.
    pub(super) async fn scrape(&self) -> String {
        let figures = Figures {
            store: self.store_figures().await,
            worker: self.worker.get().map(|counters| worker_figures(counters)),
            controller: self.controller.get().map(|(controller, orphans)| {
                let leads = self.leading.get().is_some_and(Leading::is);
                controller_figures(controller, orphans, leads)
            }),
            detector: self.detector.get().map(|seen| detector_figures(&seen.last())),
        };
        metrics::render(&figures)
    }

    async fn store_figures(&self) -> Option<StoreFigures> {
        let store = self.store.get()?;
        match timeout(PATIENCE, ask(store)).await {
            Ok(Ok(figures)) => Some(figures),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the database gave no figures");
                None
            }
            Err(_) => None,
        }
    }
}

async fn ask(store: &Store) -> Result<StoreFigures, Error> {
    let runs = store
        .phase_counts()
        .await?
        .into_iter()
        .map(|count| (count.phase.as_str().to_owned(), count.runs))
        .collect();
    Ok(StoreFigures {
        runs,
        ready_oldest: store.ready_oldest().await?,
        epoch: store.epoch().await?,
    })
}

fn worker_figures(counters: &Counters) -> WorkerFigures {
    let attempts = counters.by_action();
    WorkerFigures {
        attempts: attempts.map(|(action, of)| (action, attempt_figures(of))).into(),
        timer_lateness: counters.timer_lateness.get(),
        settle_size: counters.settle_size.get(),
        settle_time: counters.settle_time.get(),
        appended: counters.appended.get(),
        append_conflicts: counters.lost.get(),
        finished: counters.finished.get().into_iter().map(finished_figures).collect(),
        fenced: counters.registrations.get().saturating_sub(1),
        claims_expired: counters.claims_expired.get(),
        set_aside: counters.set_aside.get(),
    }
}

fn attempt_figures(attempted: &Attempted) -> AttemptFigures {
    AttemptFigures {
        succeeded: attempted.succeeded.get(),
        failed: attempted.failed.get(),
        aborted: attempted.aborted.get(),
        time: attempted.time.get(),
    }
}

fn finished_figures(ended: Ended) -> FinishedFigures {
    FinishedFigures {
        namespace: ended.namespace,
        workflow: ended.workflow,
        phase: ended.phase.as_str(),
        runs: ended.runs,
    }
}

/// Every reason, also without a run: an alert must see that one has gone.
fn detector_figures(sight: &detector::Sight) -> DetectorFigures {
    let Some(at) = sight.at else {
        return DetectorFigures::default();
    };
    let of = |reason| {
        let stuck = sight.stuck.iter().find(|stuck| stuck.reason == reason);
        stuck.map_or((0, Duration::ZERO), |stuck| (stuck.runs, stuck.oldest))
    };
    DetectorFigures {
        at: at.as_duration().as_secs_f64(),
        stuck: StuckReason::ALL.map(|reason| (reason.as_str(), of(reason))).into(),
    }
}

fn controller_figures(controller: &Controller, orphans: &orphans::Counters, leads: bool) -> ControllerFigures {
    let of = |counter: &AtomicU64| counter.load(Relaxed);
    let counters = controller.counters();
    ControllerFigures {
        statuses_written: of(&counters.statuses_written),
        statuses_outdated: of(&counters.statuses_outdated),
        signals_stored: of(&counters.signals_stored),
        signals_consumed: of(&counters.signals_consumed),
        signals_duplicate: of(&counters.signals_duplicate),
        signals_refused: of(&counters.signals_refused),
        signals_undelivered: of(&counters.signals_undelivered),
        statuses_failed: of(&counters.statuses_failed),
        events_written: of(&counters.events_written),
        events_lost: of(&counters.events_lost),
        reconciled: of(&counters.reconciled),
        reconciles_by_outage: of(&counters.failed_by_outage),
        reconciles_by_object: of(&counters.failed_by_object),
        projection_lag: controller.projection_lag(),
        orphans_suspected: of(&orphans.suspected),
        orphans_returned: of(&orphans.returned),
        orphans_cancelled: of(&orphans.cancelled),
        orphan_passes: of(&orphans.passes),
        orphan_passes_given_up: of(&orphans.given_up),
        // Who does not lead weighs nothing: its brake stands as it was.
        orphan_brake: leads && orphans.brake.load(Relaxed),
        leads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_were_set_aside_are_shown() {
        let counters = Counters::default();
        counters.set_aside.add(3);
        assert_eq!(worker_figures(&counters).set_aside, 3);
    }
}
