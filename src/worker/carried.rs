//! One run in memory: what it waits for, what ended meanwhile, and its next append. No I/O and no clock.
//!
//! ```text
//!                 inputs                    Mine                      nothing to write
//!   at rest ───────────────▶ unanswered ───────────▶ wants performed ──────────────────▶ at rest
//!      ▲                         │  │                      │   ▲
//!      └─────────────────────────┼──┼── nothing pending ───┘   └── inputs that came meanwhile: the next append
//!                                │  └── Mine, and it parked or finished ──▶ leaves memory
//!                                └───── Lost ──▶ leaves memory; comes back through a load only (P2)
//! ```
//! While the append is unanswered nothing is decided and no attempt starts (P7); whatever ends joins the next decision.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use tokio::task::AbortHandle;

use super::{counters::Attempted, mailbox::Mailbox};
use crate::{
    engine::{self, Definition, Effect, Event, Input, Outcome, Run, StepKey, StepName, Summary},
    store::{Append, InboxRow, Then, Told},
};

/// A run that is due sooner is not parked: coming back would cost more than waiting.
const WORTH_PARKING: SignedDuration = SignedDuration::from_secs(1);

/// A run's summary is written at most so often while the run stays in memory.
const SUMMARY_EVERY: Duration = Duration::from_secs(1);

/// A run as its owner has it.
pub(super) struct Carried {
    run: Run,
    definition: Arc<Definition>,
    /// The last sequence number that is known to be in the journal.
    seq: i32,
    /// Tells attempts of an earlier stay in memory from those of this one.
    pub(super) life: u64,
    /// `Claimed` was not told yet.
    fresh: bool,
    /// An attempt of an earlier stay in memory was cut off here: nobody knows what it did.
    cut_off: bool,
    /// Attempts that ended and were not decided on.
    ended: Vec<Input>,
    mailbox: Mailbox,
    attempts: Vec<Running>,
    unanswered: Option<Unanswered>,
    wants: Vec<Effect>,
    /// When it was decided on last, here.
    decided_at: Option<Timestamp>,
    /// In the driver's queue of runs to decide on.
    pub(super) queued: bool,
    /// The alarm that counts; others of this run in the heap are void.
    pub(super) alarm: Option<Instant>,
    /// When the summary was written last, or the run came into memory.
    summary_at: Instant,
    /// Something was decided since.
    summary_stale: bool,
    summary: Option<Summary>,
}

/// An attempt from its start until its result is decided on.
struct Running {
    step: StepName,
    attempt: u32,
    /// None once it has ended.
    abort: Option<AbortHandle>,
    /// Where it counts; nowhere, when it was answered without running.
    attempted: Option<Arc<Attempted>>,
}

struct Unanswered {
    taken: Vec<i64>,
    leaving: Option<Leaving>,
}

/// Why a run leaves memory with an append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    Parked,
    Finished,
}

/// The circumstances of a decision.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// By the database's clock.
    pub(super) at: Timestamp,
    /// By ours.
    pub(super) instant: Instant,
    /// Runs are handed on: nothing begins any more.
    pub(super) draining: bool,
}

/// An attempt that is wanted and does not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) step: StepName,
    pub(super) attempt: u32,
    pub(super) key: StepKey,
}

impl Carried {
    /// A run as it was loaded: `summary_seq` is the decision that the stored summary belongs to, which is an earlier one
    /// when the worker before us died in between.
    pub(super) fn new(run: Run, definition: Arc<Definition>, seq: i32, summary_seq: i32, instant: Instant) -> Self {
        let wants = engine::effects(&run, &definition);
        Self {
            run,
            definition,
            seq,
            life: 0,
            fresh: true,
            cut_off: false,
            ended: Vec::new(),
            mailbox: Mailbox::new(0, Vec::new()),
            attempts: Vec::new(),
            unanswered: None,
            wants,
            decided_at: None,
            queued: false,
            alarm: None,
            summary_at: instant,
            summary_stale: summary_seq < seq,
            summary: None,
        }
    }

    /// It comes into memory at this moment, with the mail that was read with it.
    pub(super) fn arrive(&mut self, moment: u64, mail: Vec<InboxRow>) {
        self.life = moment;
        self.mailbox = Mailbox::new(moment, mail);
    }

    /// It left memory while an attempt ran, and nobody took it over since: what follows is what follows a takeover.
    pub(super) fn was_cut_off(&mut self) {
        self.cut_off = true;
    }

    /// The state, for rendering an attempt.
    pub(super) fn state(&self) -> (&Run, &Definition) {
        (&self.run, &self.definition)
    }

    /// The last sequence number that is known to be in the journal.
    pub(super) fn seq(&self) -> i32 {
        self.seq
    }

    /// No decision was ever appended.
    pub(super) fn never_began(&self) -> bool {
        self.seq == 0
    }

    /// Whether its append is unanswered.
    pub(super) fn is_unanswered(&self) -> bool {
        self.unanswered.is_some()
    }

    /// Whether there is something to decide on that does not depend on the time.
    pub(super) fn has_inputs(&self) -> bool {
        self.fresh || !self.ended.is_empty() || !self.mailbox.is_empty()
    }

    /// Whether, while handing on, nothing of it runs here any more.
    pub(super) fn may_be_handed_on(&self, now: Now) -> bool {
        now.draining && self.attempts.is_empty()
    }

    /// An attempt began to run.
    pub(super) fn started(&mut self, wanted: &Wanted, abort: AbortHandle, attempted: Arc<Attempted>) {
        self.attempts.push(Running {
            step: Arc::clone(&wanted.step),
            attempt: wanted.attempt,
            abort: Some(abort),
            attempted: Some(attempted),
        });
    }

    /// An attempt was answered without running: a no-op, or its request could not be rendered.
    pub(super) fn answered_at_once(&mut self, wanted: &Wanted, outcome: Outcome) {
        self.attempts.push(Running {
            step: Arc::clone(&wanted.step),
            attempt: wanted.attempt,
            abort: None,
            attempted: None,
        });
        self.ended.push(Input::StepEnded {
            step: Arc::clone(&wanted.step),
            attempt: wanted.attempt,
            outcome,
        });
    }

    /// A running attempt ended; false when nobody waits for it any more.
    pub(super) fn ended(&mut self, step: StepName, attempt: u32, outcome: Outcome) -> bool {
        let Some(running) = self.attempts.iter_mut().find(|running| running.is(&step, attempt)) else {
            return false;
        };
        if running.abort.take().is_none() {
            return false;
        }
        self.ended.push(Input::StepEnded { step, attempt, outcome });
        true
    }

    /// A sweep that began at `began` saw this row; true when it is new.
    pub(super) fn tell(&mut self, began: u64, row: InboxRow) -> bool {
        self.mailbox.tell(began, row)
    }

    /// How late its timer is, when one is due. By the decision that let it count at the most: who resumes a run that was
    /// paused makes no timer late.
    pub(super) fn lateness(&self, now: Now) -> Option<Duration> {
        let due = self.wake_at().filter(|at| *at <= now.at)?;
        let since = self.decided_at.map_or(due, |decided| due.max(decided));
        Duration::try_from(now.at.duration_since(since)).ok()
    }

    /// Decides on all that is pending, in the order results, mail, claim, timeouts, and says what to append; none when there is
    /// nothing to write. Not to be called while an append is unanswered.
    pub(super) fn decide(&mut self, now: Now, nonce: i64) -> Option<Append> {
        debug_assert!(!self.is_unanswered(), "one unanswered append a run");
        let mut events = Vec::new();
        if std::mem::take(&mut self.cut_off) {
            self.advance(Input::TakenOver, now.at, &mut events);
        }
        for input in std::mem::take(&mut self.ended) {
            self.judge(input, now.at, &mut events);
        }
        let (taken, mail) = self.mailbox.take();
        if !mail.is_empty() {
            self.advance(Input::Mail(mail), now.at, &mut events);
        }
        // After the mail: a run that was paused or cancelled before anybody carried it begins nothing.
        if std::mem::take(&mut self.fresh) {
            self.advance(Input::Claimed, now.at, &mut events);
        }
        if self.wake_at().is_some_and(|at| at <= now.at) {
            self.advance(Input::TimersDue, now.at, &mut events);
        }
        if !events.is_empty() {
            self.wants = engine::effects(&self.run, &self.definition);
            self.summary_stale = true;
        }
        self.append(now, nonce, &events, taken)
    }

    /// The append was answered `Mine` at this moment. Says how the run left memory, if it did.
    pub(super) fn mine(&mut self, moment: u64) -> Option<Leaving> {
        let unanswered = self.unanswered.take()?;
        self.seq += 1;
        if !unanswered.taken.is_empty() {
            self.mailbox.taken(&unanswered.taken, moment);
        }
        unanswered.leaving
    }

    /// Aborts attempts that are not wanted any more.
    pub(super) fn abort_unwanted(&mut self) {
        let wants = &self.wants;
        self.attempts.retain(|running| {
            // What has ended is decided on first: the engine knows what a late result means.
            let Some(abort) = &running.abort else { return true };
            let wanted = wants.iter().any(|effect| match effect {
                Effect::Perform { step, attempt, .. } => running.is(step, *attempt),
                Effect::AwaitSignal { .. } | Effect::WakeAt { .. } => false,
            });
            if !wanted {
                abort.abort();
            }
            wanted
        });
    }

    /// Aborts all attempts: the run leaves memory. Answers whether there was one.
    pub(super) fn abort_all(&mut self) -> bool {
        let running = self.attempts.drain(..).filter_map(|running| running.abort);
        running.map(|abort| abort.abort()).count() > 0
    }

    /// Attempts that are wanted and neither run nor have ended. None while mail is pending: it may be a cancel.
    pub(super) fn to_start(&self) -> Vec<Wanted> {
        if !self.mailbox.is_empty() {
            return Vec::new();
        }
        let wanted = self.wants.iter().filter_map(|effect| match effect {
            Effect::Perform { step, attempt, key } => {
                let there = self.attempts.iter().any(|running| running.is(step, *attempt));
                (!there).then(|| Wanted {
                    step: Arc::clone(step),
                    attempt: *attempt,
                    key: *key,
                })
            }
            Effect::AwaitSignal { .. } | Effect::WakeAt { .. } => None,
        });
        wanted.collect()
    }

    /// When the run, at rest, wants to be looked at next: its earliest timer, or its summary is behind.
    pub(super) fn next_look(&self, now: Now) -> Option<Instant> {
        let timer = self.wake_at().map(|at| {
            let wait = Duration::try_from(at.duration_since(now.at)).unwrap_or(Duration::ZERO);
            // A moment later than due: our idea of the database's time is never ahead, but may be behind.
            now.instant + wait + Duration::from_millis(1)
        });
        let summary = self.summary_stale.then(|| self.summary_at + SUMMARY_EVERY);
        [timer, summary].into_iter().flatten().min()
    }

    /// Decides on an attempt that ended, and counts what it is found to be.
    fn judge(&mut self, ended: Input, at: Timestamp, events: &mut Vec<Event>) {
        let running = self.take_running(&ended);
        let before = events.len();
        self.advance(ended, at, events);
        let Some(running) = running else { return };
        let verdict = engine::verdict(&events[before..], &running.step);
        if let (Some(attempted), Some(verdict)) = (running.attempted, verdict) {
            attempted.judged(verdict);
        }
    }

    fn take_running(&mut self, ended: &Input) -> Option<Running> {
        let Input::StepEnded { step, attempt, .. } = ended else {
            return None;
        };
        let place = self.attempts.iter().position(|running| running.is(step, *attempt));
        place.map(|place| self.attempts.swap_remove(place))
    }

    fn advance(&mut self, input: Input, at: Timestamp, events: &mut Vec<Event>) {
        // A refused input is one that a run in this state cannot have: it changes nothing.
        if let Ok(more) = engine::advance(&mut self.run, &self.definition, input, at) {
            if events.is_empty() {
                *events = more;
            } else {
                events.extend(more);
            }
        }
    }

    fn append(&mut self, now: Now, nonce: i64, events: &[Event], taken: Vec<i64>) -> Option<Append> {
        let (then, leaving) = self.then(now);
        let says_something = match &then {
            Then::Keep { told } => told.is_some(),
            Then::Park { .. } | Then::Finish { .. } => true,
        };
        if events.is_empty() && taken.is_empty() && !says_something {
            return None;
        }
        self.decided_at = Some(now.at);
        self.unanswered = Some(Unanswered {
            taken: taken.clone(),
            leaving,
        });
        let mut undelivered: Vec<i64> = engine::rejected(events).into_iter().map(|(id, _)| id).collect();
        if leaving == Some(Leaving::Finished) {
            undelivered.extend(engine::unconsumed(&self.run));
        }
        Some(Append {
            run: self.run.origin().run,
            seq: self.seq + 1,
            at: now.at,
            nonce,
            events: serde_json::to_string(events).expect("events are JSON: string keys, no failing serializer"),
            taken,
            consumed: engine::consumed(events),
            undelivered,
            then,
        })
    }

    fn then(&mut self, now: Now) -> (Then, Option<Leaving>) {
        if self.run.is_terminal() {
            return (Then::Finish { told: self.told() }, Some(Leaving::Finished));
        }
        if let Some(wake_at) = self.parks(now) {
            let snapshot = self.run.snapshot(&self.definition);
            return (
                Then::Park {
                    wake_at,
                    snapshot,
                    told: self.told(),
                },
                Some(Leaving::Parked),
            );
        }
        let due = self.summary_stale && now.instant.saturating_duration_since(self.summary_at) >= SUMMARY_EVERY;
        let told = if due { self.told_if_new(now.instant) } else { None };
        (Then::Keep { told }, None)
    }

    /// Whether the run is released now, and until when: only timers and mail move it on. While handing on, also a run
    /// whose attempts have not begun, due at once; one whose attempt runs stays, for only a takeover may judge that.
    #[expect(clippy::option_option, reason = "outer: it parks; inner: it has a timer")]
    fn parks(&self, now: Now) -> Option<Option<Timestamp>> {
        let performs = self.wants.iter().any(|effect| matches!(effect, Effect::Perform { .. }));
        let wake_at = self.wake_at();
        if now.draining {
            let idle = self.attempts.is_empty();
            return idle.then_some(if performs { Some(now.at) } else { wake_at });
        }
        let soon = wake_at.is_some_and(|at| at.duration_since(now.at) <= WORTH_PARKING);
        (!performs && !soon).then_some(wake_at)
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let timers = self.wants.iter().filter_map(|effect| match effect {
            Effect::WakeAt { at } => Some(*at),
            Effect::Perform { .. } | Effect::AwaitSignal { .. } => None,
        });
        timers.min()
    }

    fn told_if_new(&mut self, instant: Instant) -> Option<Told> {
        self.summary_at = instant;
        self.summary_stale = false;
        let told = self.told();
        if self.summary.as_ref() == Some(&told.summary) {
            return None;
        }
        self.summary = Some(told.summary.clone());
        Some(told)
    }

    fn told(&self) -> Told {
        let summary = engine::summary(&self.run, &self.definition);
        let reason = summary.error.as_ref().map(|error| error.code.clone());
        Told {
            summary,
            reason,
            deadline: self.run.deadline(),
        }
    }
}

impl Running {
    fn is(&self, step: &StepName, attempt: u32) -> bool {
        self.attempt == attempt && self.step == *step
    }
}

#[cfg(test)]
mod tests;
