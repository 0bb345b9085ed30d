//! Mail of one run in memory: what it was told, and what must not be told again (P6). Not the sweep itself.
//!
//! A sweep reads untaken rows in a snapshot of its own, and its answer arrives later. Meanwhile the run may have taken
//! some of those rows, or it may have been loaded after the sweep began and know them already. Consuming such a row a
//! second time would consume a signal twice; so a sweep is told only to a run that was in memory before the sweep
//! began, less the rows that its own appends took since.
//!
//! *Before* is counted, not timed: the driver moves [`Moment`] on at each arrival and each answered append, and a sweep
//! notes the moment at which it begins.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{engine::Mail, store::InboxRow};

/// A counter that orders sweeps against what happens in memory. Clones are the same counter.
#[derive(Debug, Clone, Default)]
pub(super) struct Moment(Arc<AtomicU64>);

impl Moment {
    /// Now. A sweep calls this before it sends its statement.
    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Something happened in memory; answers its moment. A sweep that begins from here on has seen it.
    pub(super) fn passes(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

/// The mail of one run.
#[derive(Debug)]
pub(super) struct Mailbox {
    /// The moment at which the run came into memory.
    since: u64,
    /// Told and not decided on, oldest first.
    untaken: Vec<InboxRow>,
    /// Told before: not to be told again. With the moment at which taking them was answered, if it was.
    known: Vec<(i64, Option<u64>)>,
}

impl Mailbox {
    /// With the rows that were read together with the run.
    pub(super) fn new(since: u64, rows: Vec<InboxRow>) -> Self {
        let known = rows.iter().map(|row| (row.id, None)).collect();
        Self {
            since,
            untaken: rows,
            known,
        }
    }

    /// What a sweep that began at `began` saw of this run; true when something is new.
    pub(super) fn tell(&mut self, began: u64, row: InboxRow) -> bool {
        if began < self.since {
            return false;
        }
        // What was taken before this sweep began is not in its answer, nor in that of any later one.
        self.known.retain(|(_, answered)| answered.is_none_or(|at| at > began));
        if self.known.iter().any(|(id, _)| *id == row.id) {
            return false;
        }
        self.known.push((row.id, None));
        let place = self.untaken.partition_point(|other| other.id < row.id);
        self.untaken.insert(place, row);
        true
    }

    /// Whether there is mail to decide on.
    pub(super) fn is_empty(&self) -> bool {
        self.untaken.is_empty()
    }

    /// All that was told: ids for the append, mail for the decision.
    pub(super) fn take(&mut self) -> (Vec<i64>, Vec<Mail>) {
        self.untaken.drain(..).map(|row| (row.id, row.mail)).unzip()
    }

    /// The append that took these rows is in the journal.
    pub(super) fn taken(&mut self, ids: &[i64], answered: u64) {
        for (id, at) in &mut self.known {
            if ids.contains(id) {
                *at = Some(answered);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64) -> InboxRow {
        InboxRow {
            id,
            mail: Mail::Cancel {
                reason: format!("mail {id}"),
            },
        }
    }

    #[test]
    fn a_sweep_that_began_before_the_run_came_is_not_told() {
        let mut mailbox = Mailbox::new(5, Vec::new());
        assert!(!mailbox.tell(4, row(1)));
        assert!(mailbox.is_empty());
        assert!(mailbox.tell(5, row(1)));
    }

    #[test]
    fn a_row_is_told_once_however_many_sweeps_see_it() {
        let mut mailbox = Mailbox::new(0, vec![row(1)]);
        assert!(!mailbox.tell(1, row(1)), "it came with the run");
        assert!(mailbox.tell(1, row(2)));
        assert!(!mailbox.tell(2, row(2)));
        assert_eq!(mailbox.take().0, [1, 2]);
        assert!(!mailbox.tell(3, row(2)), "its append is unanswered");
    }

    #[test]
    fn a_sweep_that_began_before_the_answer_may_still_show_a_taken_row() {
        let mut mailbox = Mailbox::new(0, vec![row(1)]);
        let (ids, _) = mailbox.take();
        mailbox.taken(&ids, 7);
        assert!(!mailbox.tell(6, row(1)));
        assert!(mailbox.tell(7, row(2)), "this sweep has seen that row 1 was taken");
        assert_eq!(mailbox.known, [(2, None)], "and row 1 need not be known any more");
    }

    #[test]
    fn mail_is_decided_on_in_the_order_of_arrival() {
        let mut mailbox = Mailbox::new(0, Vec::new());
        for id in [5, 3, 4] {
            mailbox.tell(1, row(id));
        }
        assert_eq!(mailbox.take().0, [3, 4, 5]);
    }
}
