//! Whether this process leads: said by an election, asked by what one process does for all. Not how it is decided.
//!
//! Leading saves work and never makes anything right: two processes that both believe they lead do no harm.

use std::future::pending;

use tokio::sync::watch;

/// Asks. Clones hear the same.
#[derive(Debug, Clone)]
pub struct Leading(watch::Receiver<bool>);

/// Says.
#[derive(Debug)]
pub struct Told(watch::Sender<bool>);

impl Leading {
    /// Who has nobody to share the work with.
    #[must_use]
    pub fn always() -> Self {
        Self(watch::channel(true).1)
    }

    /// Who does not lead until told.
    #[must_use]
    pub fn when_told() -> (Told, Self) {
        let (told, leading) = watch::channel(false);
        (Told(told), Self(leading))
    }

    /// Whether it leads now.
    #[must_use]
    pub fn is(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns as soon as it leads. Cancel safe.
    pub async fn begins(&mut self) {
        self.until(true).await;
    }

    /// Returns as soon as it does not lead. Cancel safe.
    pub async fn ends(&mut self) {
        self.until(false).await;
    }

    async fn until(&mut self, leads: bool) {
        if self.0.wait_for(|now| *now == leads).await.is_err() {
            // Nobody is left who could say so.
            pending::<()>().await;
        }
    }
}

impl Told {
    /// Says whether it leads from now on; true when that is news.
    pub fn say(&self, leads: bool) -> bool {
        self.0.send_if_modified(|now| std::mem::replace(now, leads) != leads)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn what_is_told_is_heard_by_all_clones_and_is_news_once() {
        let (told, mut leading) = Leading::when_told();
        let clone = leading.clone();
        assert!(!leading.is());
        assert!(leading.begins().now_or_never().is_none());
        assert!(told.say(true));
        assert!(!told.say(true));
        assert!(leading.begins().now_or_never().is_some());
        assert!(clone.is());
        assert!(leading.ends().now_or_never().is_none());
        assert!(told.say(false));
        assert!(leading.ends().now_or_never().is_some());
    }

    #[test]
    fn who_has_nobody_beside_it_always_leads() {
        let mut leading = Leading::always();
        assert!(leading.is());
        assert!(leading.begins().now_or_never().is_some());
        assert!(leading.ends().now_or_never().is_none());
    }
}
