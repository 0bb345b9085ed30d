//! Wake-ups by others' runs: Workflows of which SQL, or a WorkflowRun, has started a run that began, moved or ended. Such a
//! run is not listed as changed for the Workflow, which would cost a write for each of them.
//!
//! Where those runs stand is compared with where they stood: however many there are, an object is looked at once a second.

use std::collections::HashMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Shared;
use super::key::Key;
use crate::store::{self, Bell, Trace};

/// Between two looks, and so between two reconciles of one object.
const PERIOD: Duration = Duration::from_secs(1);
/// The look that needs no doorbell.
const POLL: Duration = Duration::from_secs(10);
/// Objects of one look; those that are left over come with the next ones.
const MOST: usize = 1000;

/// Where the runs of a Workflow stood when it was last looked at.
struct Known {
    trace: Trace,
    /// It was news then. Of two runs that end at once the later one may be committed first, and the other changes no trace: so
    /// the object is looked at once more.
    is_fresh: bool,
}

/// By UID. One entry for each object of the cache at most.
type Traces = HashMap<String, Known>;

/// Runs until `shutdown`; looks while this process leads.
pub(super) async fn wake(shared: &Shared, shutdown: &CancellationToken) {
    let mut bell = shared.store.listen(Bell::Changed);
    let mut leading = shared.leading.clone();
    let mut traces = Traces::new();
    let looks = async {
        loop {
            // Rung or not: whether it was is the same.
            drop(tokio::time::timeout(POLL, bell.rung()).await);
            leading.begins().await;
            if let Err(error) = round(shared, &mut traces).await {
                tracing::debug!(%error, "looking for runs that others started failed; trying again");
                tokio::time::sleep(PERIOD).await;
            }
        }
    };
    shutdown.run_until_cancelled(looks).await;
}

/// All Workflows, a page a second.
async fn round(shared: &Shared, traces: &mut Traces) -> Result<(), store::Error> {
    let all = shared
        .workflows
        .pick(|key, object| Some((object.metadata.uid.clone()?, key.clone())));
    traces.retain(|uid, _| shared.workflows.has_uid(uid));
    for page in all.chunks(MOST) {
        let uids: Vec<String> = page.iter().map(|(uid, _)| uid.clone()).collect();
        let found = shared.store.traces(&uids).await?;
        for key in news(page, found, traces) {
            shared.queue.add_now(key);
        }
        tokio::time::sleep(PERIOD).await;
    }
    Ok(())
}

/// Whose runs do not stand where they stood, or did not when they were last looked at; takes note of where they do.
fn news(page: &[(String, Key)], mut found: HashMap<String, Trace>, traces: &mut Traces) -> Vec<Key> {
    let mut news = Vec::new();
    for (uid, key) in page {
        let (before, trace) = (traces.remove(uid), found.remove(uid));
        let is_fresh = before.as_ref().map(|known| &known.trace) != trace.as_ref();
        if is_fresh || before.is_some_and(|known| known.is_fresh) {
            news.push(key.clone());
        }
        if let Some(trace) = trace {
            traces.insert(uid.clone(), Known { trace, is_fresh });
        }
    }
    news
}

#[cfg(test)]
mod tests {
    use super::super::key::Kind;
    use super::*;
    use crate::store::Newest;

    #[test]
    fn change_is_news_twice_and_what_stands_still_is_none() {
        let at = |seq| Trace {
            sql: Newest {
                seq,
                ..Newest::default()
            },
            ..Trace::default()
        };
        let key = |name: &str| Key::new(Kind::Workflow, "n", name);
        let page = ["busy", "idle"].map(|name| (name.to_owned(), key(name)));
        let mut traces = Traces::new();
        let mut look = |found: Option<Trace>| {
            let found = found.map(|trace| ("busy".to_owned(), trace)).into_iter().collect();
            news(&page, found, &mut traces)
        };
        assert_eq!(look(None), []);
        for seq in [Some(1), Some(2)] {
            assert_eq!(look(Some(at(seq))), [key("busy")], "it has moved");
            assert_eq!(look(Some(at(seq))), [key("busy")], "once more");
            assert_eq!(look(Some(at(seq))), []);
        }
        assert_eq!(look(None), [key("busy")], "they are not kept any more");
        assert_eq!(look(None), []);
    }
}
