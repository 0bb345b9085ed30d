//! The one write path of a run: decisions of many runs in one statement. What the statements say: `statement`.

pub(super) mod statement;

use std::collections::HashSet;

use jiff::Timestamp;
use serde_json::Value;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{Bell, Cause, Error, Store, pool, row::column};
use crate::engine::Summary;

/// One decision of one run.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// The run; at most once in a batch.
    pub run: Uuid,
    /// The expected sequence number: the head that was decided on, plus one. This is the fence.
    pub seq: i32,
    /// The `now` of the decision.
    pub at: Timestamp,
    /// Drawn at random for this decision: tells whose row it is after an ambiguous commit.
    pub nonce: i64,
    /// A JSON array of [`Event`](crate::engine::Event)s, as text.
    pub events: String,
    /// Rows of the inbox that this decision has taken; a command is consumed by being taken.
    pub taken: Vec<i64>,
    /// Signals that a wait of this decision matched, taken now or by an earlier decision.
    pub consumed: Vec<i64>,
    /// Signals, taken now or earlier, that no wait will match: the run ends, or cannot keep them.
    pub undelivered: Vec<i64>,
    /// What becomes of the worker's hold on the run.
    pub then: Then,
}

/// What becomes of the worker's hold on a run, in the same statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Then {
    /// The worker goes on with it.
    Keep {
        /// What people shall see, when it changed: at most once a second a run.
        told: Option<Told>,
    },
    /// It is released: only timers or mail move it on.
    Park {
        /// Its earliest timer.
        wake_at: Option<Timestamp>,
        /// Its state, so that nobody reads the whole journal again.
        snapshot: Value,
        /// What people shall see.
        told: Told,
    },
    /// It is over.
    Finish {
        /// What people shall see for ever; `summary.phase` is terminal.
        told: Told,
    },
}

/// What people shall see of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// The run in a few words; its phase, start and finish go to columns of their own.
    pub summary: Summary,
    /// Why, as a CamelCase constant.
    pub reason: Option<String>,
    /// When the run times out.
    pub deadline: Option<Timestamp>,
}

/// What came of one decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// It is in the journal.
    Mine,
    /// Somebody else's is, or its mail was taken before: drop the memory of the run; it comes back through `load` (P2).
    Lost,
    /// The database cannot store it, and never will: the text says why. Nothing was written.
    Poison(String),
}

/// Why nothing is known of a batch, or nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The connection ended before the answer: each decision may or may not be in the journal.
    /// Keep the memory (P11), start no attempt (P7), and call [`Store::append_again`] with the identical batch.
    #[error("the outcome of an append is unknown: {0}")]
    Ambiguous(#[source] Cause),
    /// Nothing of the batch was written. The same batch may be sent again.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Store {
    /// Appends each decision at its expected sequence number, or not at all; in one statement and one commit. Answers in
    /// the order given. Rings for the controllers when there is something new to be seen.
    ///
    /// # Errors
    /// [`AppendError`]: ambiguous, or nothing was written.
    pub async fn append(&self, batch: &[Append]) -> Result<Vec<Appended>, AppendError> {
        self.settle(batch, Conflict::Lost).await
    }

    /// The identical batch again after an ambiguous end. It waits for the old transaction where that is still committing;
    /// where a row is there, its nonce tells whose it is.
    ///
    /// # Errors
    /// [`AppendError`]: still ambiguous, whichever variant it is; call it again.
    pub async fn append_again(&self, batch: &[Append]) -> Result<Vec<Appended>, AppendError> {
        self.settle(batch, Conflict::AskNonce).await
    }

    async fn settle(&self, batch: &[Append], conflict: Conflict) -> Result<Vec<Appended>, AppendError> {
        let mut order: Vec<usize> = (0..batch.len()).collect();
        // Batches in different orders would deadlock on the runs that they share.
        order.sort_unstable_by_key(|&place| batch[place].run);
        let mut answers = vec![Appended::Lost; batch.len()];
        // Halves of the batch yet to be sent: more than one only after a data error.
        let mut open = vec![&order[..]];
        while let Some(places) = open.pop().filter(|places| !places.is_empty()) {
            let part: Vec<&Append> = places.iter().map(|&place| &batch[place]).collect();
            match self.send(&part, conflict).await {
                Ok(written) => {
                    for &place in places {
                        if written.has(batch[place].run) {
                            answers[place] = Appended::Mine;
                        }
                    }
                }
                Err(Sent::Poison(why)) => match places {
                    [place] => answers[*place] = Appended::Poison(why),
                    _ => {
                        let (first, second) = places.split_at(places.len() / 2);
                        open.extend([second, first]);
                    }
                },
                // Parts that went before may be in the journal: of those, only the identical batch tells.
                Err(Sent::Failed(Error::Unavailable(cause))) if places.len() < batch.len() => {
                    return Err(AppendError::Ambiguous(cause));
                }
                Err(Sent::Failed(error)) => return Err(AppendError::Failed(error)),
                Err(Sent::Unknown(cause)) => return Err(AppendError::Ambiguous(cause)),
            }
        }
        let tells = |(append, answer): (&Append, &Appended)| {
            let ends_signals = !append.consumed.is_empty() || !append.undelivered.is_empty();
            (append.then.told().is_some() || ends_signals) && *answer == Appended::Mine
        };
        if batch.iter().zip(&answers).any(tells) {
            self.ring(Bell::Changed);
        }
        Ok(answers)
    }

    /// One statement, sorted by run; again, when it lost against others.
    async fn send(&self, part: &[&Append], conflict: Conflict) -> Result<Written, Sent> {
        let mut straight = conflict == Conflict::Lost;
        let mut tried = 0;
        loop {
            tried += 1;
            let mut link = self.pool.link().await.map_err(Sent::Failed)?;
            let answer = match statement::straight(part).filter(|_| straight) {
                Some(statement) => link.execute(statement).await.map(|_| None),
                None => link.fetch(statement::careful(part)).await.map(Some),
            };
            match answer {
                Ok(None) => return Ok(Written::All),
                Ok(Some(rows)) => {
                    let mut mine = runs(&rows)?;
                    if conflict == Conflict::AskNonce && mine.len() < part.len() {
                        let rows = link
                            .fetch(statement::whose(part))
                            .await
                            .map_err(|error| Sent::Unknown(error.into()))?;
                        mine.extend(runs(&rows)?);
                    }
                    return Ok(Written::Only(mine));
                }
                // Somebody else was there first: nothing was written, and the careful statement tells whose run it is.
                Err(error) if straight && statement::is_taken(&error) => straight = false,
                Err(error) if pool::is_retryable(&error) && tried < pool::tries() => {
                    drop(link);
                    pool::pause(tried).await;
                }
                Err(error) => return Err(Sent::of(error)),
            }
        }
    }
}

/// Whose decisions of a statement are in the journal.
enum Written {
    All,
    Only(HashSet<Uuid>),
}

impl Written {
    fn has(&self, run: Uuid) -> bool {
        match self {
            Self::All => true,
            Self::Only(runs) => runs.contains(&run),
        }
    }
}

/// What a row at the expected place means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Conflict {
    /// The first time: it is somebody else's.
    Lost,
    /// After an ambiguous end: it may be ours.
    AskNonce,
}

/// Why one statement gave no answer.
enum Sent {
    /// The data of at least one decision cannot be stored; nothing was written.
    Poison(String),
    /// Nothing was written.
    Failed(Error),
    /// Written or not.
    Unknown(Cause),
}

impl Sent {
    fn of(error: sqlx::Error) -> Self {
        match pool::code(&error) {
            // The server has ended the session, perhaps after the commit; or it never answered.
            Some(code) if pool::is_end(&code) => Self::Unknown(error.into()),
            // Data and constraints. 54: a value larger than the server takes.
            Some(code) if ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => {
                Self::Poison(error.to_string())
            }
            Some(_) => Self::Failed(Error::of_statement(error)),
            None => Self::Unknown(error.into()),
        }
    }
}

fn runs(rows: &[PgRow]) -> Result<HashSet<Uuid>, Sent> {
    rows.iter()
        .map(|row| column(row, "run_id"))
        .collect::<Result<_, _>>()
        .map_err(|error| Sent::Unknown(error.into()))
}

impl Then {
    fn as_str(&self) -> &'static str {
        match self {
            Self::Keep { .. } => "keep",
            Self::Park { .. } => "park",
            Self::Finish { .. } => "finish",
        }
    }

    fn told(&self) -> Option<&Told> {
        match self {
            Self::Keep { told } => told.as_ref(),
            Self::Park { told, .. } | Self::Finish { told } => Some(told),
        }
    }

    fn snapshot(&self) -> Option<&Value> {
        match self {
            Self::Park { snapshot, .. } => Some(snapshot),
            Self::Keep { .. } | Self::Finish { .. } => None,
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        match self {
            Self::Park { wake_at, .. } => *wake_at,
            Self::Keep { .. } | Self::Finish { .. } => None,
        }
    }
}
