//! Many objects in one statement: reconciles hand in their wish and await its answer.
//!
//! One statement is in flight; what arrives meanwhile shares the next one. An idle batcher waits for nobody.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use crate::store;

/// Most wishes in one statement: past this, a statement's own time outweighs what sharing saves.
pub(crate) const MOST: usize = 200;
/// How often a batcher lets other tasks run before it decides that nothing more arrives.
const YIELDS: u32 = 8;

/// A handle: cheap to clone. Dropping all of them ends the task.
pub(crate) struct Batcher<W, A> {
    wishes: mpsc::Sender<(W, Answer<A>)>,
}

type Answer<A> = oneshot::Sender<Result<A, Arc<store::Error>>>;

impl<W, A> Clone for Batcher<W, A> {
    fn clone(&self) -> Self {
        Self {
            wishes: self.wishes.clone(),
        }
    }
}

impl<W, A> Batcher<W, A>
where
    W: Clone + Send + 'static,
    A: Send + 'static,
{
    /// A batcher, and the loop that carries it: it ends when all handles are gone. `perform` answers each wish, in
    /// their order.
    pub(crate) fn new<F, P>(perform: P) -> (Self, impl Future<Output = ()> + Send)
    where
        P: Fn(Vec<W>) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Vec<A>, store::Error>> + Send,
    {
        // As many as are reconciled at once fit; more would only wait here instead of in the queue.
        let (wishes, inbox) = mpsc::channel(2 * MOST);
        (Self { wishes }, carry(inbox, perform))
    }

    /// The answer to one wish. An error is that of the statement that carried it.
    pub(crate) async fn ask(&self, wish: W) -> Result<A, Arc<store::Error>> {
        let (answer, answered) = oneshot::channel();
        // Both fail only when the loop has ended, which is at shutdown.
        let ended = || Arc::new(store::Error::Unavailable("shutting down".into()));
        self.wishes.send((wish, answer)).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }
}

async fn carry<W, A, F, P>(mut inbox: mpsc::Receiver<(W, Answer<A>)>, perform: P)
where
    W: Clone,
    P: Fn(Vec<W>) -> F,
    F: Future<Output = Result<Vec<A>, store::Error>>,
{
    while let Some(first) = inbox.recv().await {
        let mut batch = vec![first];
        let mut idle = 0;
        while batch.len() < MOST && idle < YIELDS {
            match inbox.try_recv() {
                Ok(next) => {
                    batch.push(next);
                    idle = 0;
                }
                Err(_) => {
                    idle += 1;
                    tokio::task::yield_now().await;
                }
            }
        }
        settle(batch, &perform).await;
    }
}

/// Performs a batch and gives each its answer. A batch that the database refused is halved until the one wish that
/// spoils it stands alone; an outage is everybody's answer at once.
async fn settle<W, A, F, P>(batch: Vec<(W, Answer<A>)>, perform: &P)
where
    W: Clone,
    P: Fn(Vec<W>) -> F,
    F: Future<Output = Result<Vec<A>, store::Error>>,
{
    let mut batches = VecDeque::from([batch]);
    while let Some(mut batch) = batches.pop_front() {
        let wishes: Vec<W> = batch.iter().map(|(wish, _)| wish.clone()).collect();
        match perform(wishes).await {
            // Whoever asked may have gone; nobody misses that answer.
            Ok(answers) => batch
                .into_iter()
                .zip(answers)
                .for_each(|((_, to), answer)| drop(to.send(Ok(answer)))),
            Err(error) if batch.len() == 1 || is_outage(&error) => {
                let error = Arc::new(error);
                batch.into_iter().for_each(|(_, to)| drop(to.send(Err(error.clone()))));
            }
            Err(_) => {
                let rest = batch.split_off(batch.len() / 2);
                batches.extend([batch, rest]);
            }
        }
    }
}

/// Whether the error is about the database, not about a wish.
pub(crate) fn is_outage(error: &store::Error) -> bool {
    match error {
        store::Error::Unavailable(_) | store::Error::Refused(_) => true,
        store::Error::Lost | store::Error::NotFound | store::Error::Corrupt(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Doubles numbers; refuses batches with a 13 in them; remembers the sizes.
    fn doubler(sizes: Arc<Mutex<Vec<usize>>>) -> (Batcher<u32, u32>, impl Future<Output = ()> + Send) {
        Batcher::new(move |wishes: Vec<u32>| {
            sizes.lock().unwrap().push(wishes.len());
            async move {
                tokio::task::yield_now().await;
                if wishes.contains(&13) {
                    return Err(store::Error::Corrupt("13".into()));
                }
                if wishes.contains(&99) {
                    return Err(store::Error::Unavailable("away".into()));
                }
                Ok(wishes.into_iter().map(|n| 2 * n).collect())
            }
        })
    }

    async fn ask_all(wishes: impl Iterator<Item = u32>) -> (Vec<Result<u32, Arc<store::Error>>>, Vec<usize>) {
        let sizes = Arc::new(Mutex::new(Vec::new()));
        let (batcher, carry) = doubler(sizes.clone());
        let carry = tokio::spawn(carry);
        let asked = wishes.map(|n| {
            let batcher = batcher.clone();
            async move { batcher.ask(n).await }
        });
        let answers = futures::future::join_all(asked).await;
        drop(batcher);
        carry.await.unwrap();
        let sizes = sizes.lock().unwrap().clone();
        (answers, sizes)
    }

    #[tokio::test]
    async fn wishes_that_come_together_share_a_statement_and_get_their_own_answer() {
        let (answers, sizes) = ask_all(1000..1300).await;
        let answers: Vec<u32> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(answers, (1000..1300).map(|n| 2 * n).collect::<Vec<_>>());
        assert!(sizes.len() <= 4 && sizes.iter().all(|&size| size <= MOST), "{sizes:?}");
    }

    #[tokio::test]
    async fn one_spoilt_wish_fails_alone() {
        let (answers, _) = ask_all(0..64).await;
        for (n, answer) in answers.iter().enumerate() {
            assert_eq!(answer.is_err(), n == 13, "{n}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn outage_is_answered_to_all_without_more_statements() {
        let (answers, sizes) = ask_all(90..100).await;
        assert!(
            answers
                .iter()
                .all(|answer| matches!(answer.as_deref_err(), Some(store::Error::Unavailable(_))))
        );
        assert_eq!(sizes.len(), 1, "{sizes:?}");
    }

    trait AsDerefErr {
        fn as_deref_err(&self) -> Option<&store::Error>;
    }

    impl AsDerefErr for Result<u32, Arc<store::Error>> {
        fn as_deref_err(&self) -> Option<&store::Error> {
            self.as_ref().err().map(Arc::as_ref)
        }
    }
}
