//! Drives all runs of a worker: one task that owns them in plain maps, without a lock and without a task per run.
//!
//! ```text
//!        claim, load                        decide                       append
//!   ┌──── intake ────┐   ready queue   ┌───────────────┐   filling   ┌── settler 1 ──┐
//!   │                ├────────────────▶│  the driver   ├────────────▶│   …           ├──┐
//!   └────────────────┘                 │ owns all runs │   batch     └── settler n ──┘  │
//!   mail sweep ───────────────────────▶│               │◀──── answers ──────────────────┘
//!   attempts ◀── start, abort ─────────│               │
//!       └───────── outcomes ──────────▶└───────────────┘
//! ```
//! While the settlers' batches are written by PostgreSQL the next one fills, and what ends meanwhile waits for it.
//! After a wake the driver yields to the runtime a few times before it sends (*yield-linger*): what is about to end
//! joins the batch, and nothing waits on a timer, so a lone run is appended at once.
//!
//! A driver lives as long as a registration. When the fence falls it is dropped with all it holds (P8).

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{
    action::{Actions, Attempt},
    alarm::Alarms,
    aside::ASIDE_FOR,
    attempts::{Attempts, Ended},
    carried::{Carried, Leaving, Now, Wanted},
    counters::Counters,
    definitions::Definitions,
    intake::{Found, Look},
    lease::Registration,
    mailbox::Moment,
    nonce::Nonces,
    options::WorkerOptions,
    pace::Pace,
    settle::{Settled, settle},
};
use crate::{
    engine,
    store::{Append, Appended, InboxRow, Listener, Store},
};

/// Decisions in one append: past this a batch gains little and its runs wait longer for each other.
const BATCH: usize = 256;

/// No batch is cut shorter than this so that every settler has one: below it the flush is what takes the time, and two
/// flushes take twice as long as one.
const SHARE: usize = 64;

/// Appends at once: while one is flushed and the next is executed, the third fills. With two, a thousand runs left the
/// machine idle for an eighth of the time; at 128 and fewer in flight a third changed nothing.
pub const SETTLERS: usize = 3;

/// How often the driver yields for more before it sends a batch that is not full.
const LINGER: usize = 20;

/// How long it is remembered that an attempt was cut off: longer than a run is left alone. A run that has not come back
/// by then belongs to somebody else, who took it over.
const CUT_OFF_FOR: Duration = Duration::from_secs(600);

/// How long after the drain's deadline unanswered appends are waited for.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// What wakes a driver, besides its own tasks. Outlives registrations.
pub(super) struct Signals {
    /// `active` has a new row.
    pub(super) work: Listener,
    /// Mail sweeps.
    pub(super) told: mpsc::Receiver<Told>,
    /// Hand everything on and end.
    pub(super) shutdown: CancellationToken,
}

/// What a mail sweep that began at a [`Moment`] saw of the runs that its worker owns.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) began: u64,
    pub(super) rows: Vec<(Uuid, InboxRow)>,
}

/// Why a driver ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// The lease is lost, or a defect made memory doubtful: begin anew with nothing.
    Dropped,
    /// Shut down, and as much as possible handed on.
    Drained,
}

/// What all drivers of a process share.
pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) actions: Actions,
    pub(super) options: WorkerOptions,
    pub(super) counters: Arc<Counters>,
    pub(super) moment: Moment,
}

/// The runs of one registration.
pub(super) struct Driver {
    shared: Arc<Shared>,
    me: Arc<Registration>,
    runs: HashMap<Uuid, Carried>,
    /// Runs with something to decide on, in the order in which it came.
    ready: VecDeque<Uuid>,
    /// Decided and not sent.
    filling: Vec<Append>,
    settling: JoinSet<Settled>,
    attempts: Attempts,
    alarms: Alarms,
    nonces: Nonces,
    /// At most one look at a time; it has the definitions while it lasts.
    looking: JoinSet<Found>,
    definitions: Option<Definitions>,
    pace: Pace,
    /// Look as soon as possible: a run left memory without being released.
    look: bool,
    /// The last look failed: said once.
    failing: bool,
    /// Mine, and left alone until then. They take no slot, so that a few bad runs do not stop the good ones.
    aside: HashMap<Uuid, Instant>,
    /// Runs that left memory while an attempt ran, at this place in their journal: its effect may have happened, so they
    /// come back as after a takeover, unless somebody else has judged it since.
    cut_off: HashMap<Uuid, (i32, Instant)>,
    /// Handing on until then.
    deadline: Option<Instant>,
    /// A part panicked.
    broken: bool,
}

impl Driver {
    pub(super) fn new(shared: Arc<Shared>, me: Arc<Registration>) -> Self {
        let attempts = Attempts::new(shared.actions.clone(), Arc::clone(&me), Arc::clone(&shared.counters));
        Self {
            shared,
            me,
            runs: HashMap::new(),
            ready: VecDeque::new(),
            filling: Vec::with_capacity(BATCH),
            settling: JoinSet::new(),
            attempts,
            alarms: Alarms::default(),
            nonces: Nonces::new(),
            looking: JoinSet::new(),
            definitions: Some(Definitions::default()),
            pace: Pace::new(Instant::now()),
            look: true,
            failing: false,
            aside: HashMap::new(),
            cut_off: HashMap::new(),
            deadline: None,
            broken: false,
        }
    }

    /// Carries runs until the fence falls, or until `shutdown` and all is handed on. Afterwards no attempt runs.
    pub(super) async fn run(mut self, signals: &mut Signals, fenced: impl Future<Output = ()>) -> Ending {
        let mut fenced = std::pin::pin!(fenced);
        let ending = loop {
            self.start_look();
            let wake = self.next_wake();
            tokio::select! {
                biased;
                () = &mut fenced => break Ending::Dropped,
                () = signals.shutdown.cancelled(), if self.deadline.is_none() => self.drain(),
                Some(settled) = self.settling.join_next(), if !self.settling.is_empty() => self.settled(settled),
                Some(found) = self.looking.join_next(), if !self.looking.is_empty() => self.looked(found),
                Some(told) = signals.told.recv() => self.told(told),
                ended = self.attempts.next() => self.ended(ended),
                () = signals.work.rung(), if self.deadline.is_none() => self.rung(),
                () = tokio::time::sleep_until(wake.into()) => {}
            }
            self.absorb(signals);
            self.linger(signals).await;
            if self.broken || !self.me.fence.holds() {
                break Ending::Dropped;
            }
            if self.is_drained() {
                break Ending::Drained;
            }
        };
        self.attempts.stop().await;
        self.settling.shutdown().await;
        self.looking.shutdown().await;
        ending
    }

    /// Takes what has come by now and decides on it; true when there was anything.
    fn absorb(&mut self, signals: &mut Signals) -> bool {
        let mut something = false;
        while let Some(settled) = self.settling.try_join_next() {
            self.settled(settled);
            something = true;
        }
        while let Some(found) = self.looking.try_join_next() {
            self.looked(found);
            something = true;
        }
        while let Ok(told) = signals.told.try_recv() {
            self.told(told);
            something = true;
        }
        while let Some(ended) = self.attempts.try_next() {
            self.ended(ended);
            something = true;
        }
        let instant = Instant::now();
        while let Some((at, run)) = self.alarms.pop(instant) {
            self.alarm(run, at);
            something = true;
        }
        self.fill();
        something
    }

    /// Yields for more while a settler waits and the batch is not full; then sends. Afterwards either no settler is idle,
    /// or nothing is left to send.
    async fn linger(&mut self, signals: &mut Signals) {
        while self.settling.len() < SETTLERS && !self.filling.is_empty() {
            for _ in 0..LINGER {
                if self.filling.len() >= self.full() {
                    break;
                }
                tokio::task::yield_now().await;
                if !self.absorb(signals) {
                    break;
                }
            }
            if !self.send() {
                return;
            }
            self.fill();
        }
    }

    /// How many decisions a batch takes. Not all runs at once, else the other settlers rest while one works, and all runs
    /// stay in step with each other for ever.
    fn full(&self) -> usize {
        (self.runs.len() / SETTLERS).clamp(SHARE, BATCH)
    }

    /// Decides on runs that are ready until the batch is full.
    fn fill(&mut self) {
        if self.ready.is_empty() {
            return;
        }
        let now = self.now();
        let full = self.full();
        while self.filling.len() < full {
            let Some(run) = self.ready.pop_front() else { return };
            let Some(carried) = self.runs.get_mut(&run) else {
                continue;
            };
            carried.queued = false;
            if carried.is_unanswered() {
                continue;
            }
            if let Some(late) = carried.lateness(now) {
                self.shared.counters.timer_lateness.add(late);
            }
            match carried.decide(now, self.nonces.next()) {
                Some(append) => self.filling.push(append),
                // Nothing to write: what it wants is what the journal already says.
                None => self.go_on(run, now),
            }
        }
    }

    /// Sends the batch; false when the fence is down.
    fn send(&mut self) -> bool {
        if !self.me.fence.holds() {
            return false;
        }
        let batch = std::mem::replace(&mut self.filling, Vec::with_capacity(BATCH));
        let (store, me, counters) = (
            self.shared.store.clone(),
            Arc::clone(&self.me),
            Arc::clone(&self.shared.counters),
        );
        self.settling.spawn(settle(store, batch, me, counters));
        true
    }

    /// A settler or a look that panicked leaves runs behind of which nothing is known: all memory goes with this
    /// registration, and its runs are taken over.
    fn settled(&mut self, settled: Result<Settled, JoinError>) {
        match settled {
            Ok(settled) => self.answered(settled),
            Err(error) => self.broke(&error),
        }
    }

    fn looked(&mut self, found: Result<Found, JoinError>) {
        match found {
            Ok(found) => self.found(found),
            Err(error) => self.broke(&error),
        }
    }

    fn broke(&mut self, error: &JoinError) {
        error!(%error, "a part of the worker panicked: this is a defect of ours; all runs are given up");
        self.broken = true;
        // What its attempts did is not known: a rescuer judges them, as after a crash.
        self.me.fence.cut();
    }

    fn answered(&mut self, settled: Settled) {
        if settled.worker != self.me.worker {
            return;
        }
        let counters = Arc::clone(&self.shared.counters);
        let moment = self.shared.moment.passes();
        let now = self.now();
        for (run, answer) in settled.answers {
            match answer {
                Appended::Mine => {
                    counters.appended.add(1);
                    self.mine(run, moment, now);
                }
                Appended::Lost => {
                    counters.lost.add(1);
                    warn!(%run, worker = %self.me.worker, "somebody else appended to a run of ours: dropped from memory");
                    self.leave(run);
                    self.look = true;
                }
                Appended::Poison(why) => {
                    error!(%run, why, "the database cannot store a decision; the run is left alone");
                    self.leave(run);
                    self.set_aside(run);
                }
            }
        }
    }

    fn mine(&mut self, run: Uuid, moment: u64, now: Now) {
        let Some(carried) = self.runs.get_mut(&run) else { return };
        match carried.mine(moment) {
            None => self.go_on(run, now),
            Some(leaving) => {
                match leaving {
                    Leaving::Parked => self.shared.counters.parked.add(1),
                    Leaving::Finished => self.shared.counters.finished.run(carried.state().0),
                }
                self.leave(run);
            }
        }
    }

    /// The journal says what memory says: aborts what is not wanted, starts what is, and then either there is something
    /// to decide on already, or the run rests until something happens.
    fn go_on(&mut self, run: Uuid, now: Now) {
        let Some(carried) = self.runs.get_mut(&run) else { return };
        carried.abort_unwanted();
        if !now.draining {
            for wanted in carried.to_start() {
                if !self.me.fence.holds() {
                    return;
                }
                start(carried, &wanted, &mut self.attempts);
            }
        }
        if carried.has_inputs() || carried.may_be_handed_on(now) {
            enqueue(&mut self.ready, run, carried);
            return;
        }
        let look = carried.next_look(now);
        if carried.alarm != look {
            carried.alarm = look;
            if let Some(at) = look {
                self.alarms.set(run, at);
            }
        }
    }

    fn ended(&mut self, ended: Ended) {
        let Some(outcome) = ended.outcome else { return };
        let Some(carried) = self.runs.get_mut(&ended.run) else {
            return;
        };
        if carried.life == ended.life && carried.ended(ended.step, ended.attempt, outcome) {
            enqueue(&mut self.ready, ended.run, carried);
        }
    }

    fn told(&mut self, told: Told) {
        for (run, row) in told.rows {
            let Some(carried) = self.runs.get_mut(&run) else {
                continue;
            };
            if carried.tell(told.began, row) {
                enqueue(&mut self.ready, run, carried);
            }
        }
    }

    fn alarm(&mut self, run: Uuid, at: Instant) {
        let Some(carried) = self.runs.get_mut(&run) else { return };
        if carried.alarm == Some(at) {
            carried.alarm = None;
            enqueue(&mut self.ready, run, carried);
        }
    }

    fn rung(&mut self) {
        self.pace.rung(Instant::now());
    }

    /// Starts a look at the database when there is a reason and room.
    fn start_look(&mut self) {
        let now = Instant::now();
        let max = self.shared.options.max_runs;
        // Past a full house of bad runs they take slots after all: memory is bounded.
        let free = max.saturating_sub(self.runs.len() + self.aside.len().saturating_sub(max));
        let due = self.look || self.pace.is_due(now, free, max);
        if self.deadline.is_some() || !due || !self.me.fence.holds() {
            return;
        }
        if free == 0 {
            self.pace.looked(now);
            self.look = false;
            self.pace.filled();
            return;
        }
        // While a look goes on its definitions are away, and there is no second one.
        let Some(definitions) = self.definitions.take() else {
            return;
        };
        self.look = false;
        self.aside.retain(|_, until| *until > now);
        self.cut_off.retain(|_, (_, until)| *until > now);
        let look = Look {
            store: self.shared.store.clone(),
            me: Arc::clone(&self.me),
            namespaces: self.shared.options.namespaces.clone(),
            held: self.runs.keys().chain(self.aside.keys()).copied().collect(),
            free,
            definitions,
        };
        self.pace.looks();
        self.looking.spawn(look.look());
    }

    fn found(&mut self, found: Found) {
        self.definitions = Some(found.definitions);
        if found.worker != self.me.worker {
            return;
        }
        let now = Instant::now();
        if found.all {
            self.pace.filled();
        }
        if found.claimed > 0 {
            self.pace.woken(now);
        }
        self.pace.looked(now);
        match found.failed {
            Some(error) if !self.failing => {
                warn!(%error, "cannot read what there is to do; trying again");
                self.failing = true;
            }
            Some(_) => {}
            None if self.failing => {
                info!("reading what there is to do works again");
                self.failing = false;
            }
            None => {}
        }
        for run in found.aside {
            self.set_aside(run);
        }
        let moment = self.shared.moment.passes();
        for mut arrival in found.arrivals {
            // While handing on, what never began goes back with the registration, as if it had not been claimed.
            if self.deadline.is_some() && arrival.carried.never_began() {
                continue;
            }
            self.shared.counters.loaded.add(1);
            arrival.carried.arrive(moment, arrival.mail);
            let cut_off = self.cut_off.remove(&arrival.run);
            if cut_off.is_some_and(|(seq, _)| seq == arrival.carried.seq()) {
                arrival.carried.was_cut_off();
            }
            enqueue(&mut self.ready, arrival.run, &mut arrival.carried);
            self.runs.insert(arrival.run, arrival.carried);
        }
    }

    fn set_aside(&mut self, run: Uuid) {
        self.shared.counters.set_aside.add(1);
        self.aside.insert(run, Instant::now() + ASIDE_FOR);
    }

    fn leave(&mut self, run: Uuid) {
        if let Some(mut carried) = self.runs.remove(&run)
            && carried.abort_all()
        {
            self.cut_off.insert(run, (carried.seq(), Instant::now() + CUT_OFF_FOR));
        }
    }

    /// Begins to hand on: runs without a running attempt are parked, due at once; the others get until the deadline.
    fn drain(&mut self) {
        info!(
            runs = self.runs.len(),
            "shutting down: runs are handed on, running attempts may finish"
        );
        self.deadline = Some(Instant::now() + self.shared.options.drain);
        for (run, carried) in &mut self.runs {
            if !carried.is_unanswered() {
                enqueue(&mut self.ready, *run, carried);
            }
        }
    }

    fn is_drained(&self) -> bool {
        let Some(deadline) = self.deadline else { return false };
        let now = Instant::now();
        let answered = self.settling.is_empty() && self.filling.is_empty();
        let empty = self.runs.is_empty() && self.looking.is_empty() && answered;
        empty || (now >= deadline && answered) || now >= deadline + LAST_ANSWERS
    }

    fn now(&self) -> Now {
        Now {
            at: self.shared.store.now(),
            instant: Instant::now(),
            draining: self.deadline.is_some(),
        }
    }

    /// When to wake even if nothing happens.
    fn next_wake(&self) -> Instant {
        let poll = match self.deadline {
            None if self.definitions.is_some() => Some(self.pace.next()),
            // A look goes on, and its end wakes.
            None => None,
            Some(deadline) if deadline > Instant::now() => Some(deadline),
            Some(deadline) => Some(deadline + LAST_ANSWERS),
        };
        let alarm = self.alarms.next();
        [poll, alarm]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or_else(|| Instant::now() + Duration::from_secs(1))
    }
}

/// Puts a run into the queue of runs to decide on, once.
fn enqueue(ready: &mut VecDeque<Uuid>, run: Uuid, carried: &mut Carried) {
    if !carried.queued && !carried.is_unanswered() {
        carried.queued = true;
        ready.push_back(run);
    }
}

/// Starts one wanted attempt, or answers it where nothing is to be performed.
fn start(carried: &mut Carried, wanted: &Wanted, attempts: &mut Attempts) {
    let (run, definition) = carried.state();
    match engine::request(run, definition, &wanted.step) {
        Err(error) => carried.answered_at_once(wanted, Err(error)),
        #[cfg(feature = "bench")]
        Ok(engine::Request::Noop) => {
            carried.answered_at_once(wanted, Ok(serde_json::Value::Null));
        }
        Ok(request) => {
            let attempt = Attempt {
                namespace: run.origin().namespace.clone(),
                key: wanted.key.to_string(),
                timeout: engine::attempt_timeout(run, definition, &wanted.step),
                step: wanted.step.to_string(),
                run: run.origin().run,
            };
            let life = carried.life;
            let attempted = attempts.attempted(&request);
            let abort = attempts.start(life, wanted.attempt, attempt, Arc::clone(&wanted.step), request);
            carried.started(wanted, abort, attempted);
        }
    }
}
