//! One call to the API server: a deadline, and few tries of our own. The client's own retries are to be off, since
//! they obey any `Retry-After` and can hold a call for minutes.

use std::hash::RandomState;
use std::time::Duration;

use super::backoff::jitter;

/// The longest one try may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Tries of a call; after them the object's backoff takes over.
const TRIES: u32 = 3;
/// The pause after the first try; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// Why the API server did not do what we asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No answer in time.
    #[error("{0}: the API server gave no answer within 10 s")]
    Timeout(&'static str),
    /// An answer that is an error, or a broken connection.
    #[error("{0}: {1}")]
    Failed(&'static str, #[source] Box<kube::Error>),
}

impl CallError {
    /// The HTTP status of the answer, when there was one.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Timeout(_) => None,
            Self::Failed(_, error) => match &**error {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            },
        }
    }

    /// Whether the answer says that there is no object of this name. A server that does not know the kind, or not yet
    /// after its start, answers 404 too, but names no object: that says nothing about ours.
    pub(crate) fn is_absence_of(&self, name: &str) -> bool {
        match self {
            Self::Timeout(_) => false,
            Self::Failed(_, error) => match &**error {
                kube::Error::Api(status) if status.code == 404 => {
                    status.details.as_ref().is_some_and(|details| details.name == name)
                }
                _ => false,
            },
        }
    }

    /// Whether the same call may succeed a moment later, for this object as for any other.
    pub(crate) fn is_outage(&self) -> bool {
        self.code().is_none_or(|code| code == 429 || code >= 500)
    }
}

/// Performs `call`, again after what may pass. It must be safe to repeat: an answer may be lost after the write.
pub(crate) async fn call<T, F>(what: &'static str, call: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    call_within(what, DEADLINE, call).await
}

async fn call_within<T, F>(what: &'static str, deadline: Duration, mut call: impl FnMut() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let mut tries = 1;
    loop {
        let error = match tokio::time::timeout(deadline, call()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => CallError::Failed(what, Box::new(error)),
            Err(_) => CallError::Timeout(what),
        };
        if tries == TRIES || !error.is_outage() {
            return Err(error);
        }
        let pause = PAUSE * 2_u32.pow(tries - 1);
        tokio::time::sleep(pause.mul_f64(0.5 + jitter(&RandomState::new(), tries))).await;
        tries += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use kube::core::Status;

    use super::*;

    fn answer(code: u16) -> kube::Error {
        kube::Error::Api(Status::failure("no", "Test").with_code(code).boxed())
    }

    async fn tries_for(code: u16) -> u32 {
        let tries = AtomicU32::new(0);
        let result = call("test", || {
            tries.fetch_add(1, Ordering::Relaxed);
            async { Err::<(), _>(answer(code)) }
        })
        .await;
        assert_eq!(result.unwrap_err().code(), Some(code));
        tries.into_inner()
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
        for (code, tries) in [
            (429, 3),
            (500, 3),
            (503, 3),
            (400, 1),
            (403, 1),
            (404, 1),
            (409, 1),
            (422, 1),
        ] {
            assert_eq!(tries_for(code).await, tries, "{code}");
        }
    }

    #[test]
    fn only_an_answer_that_names_the_object_says_that_it_is_absent() {
        let failed = |error| CallError::Failed("test", Box::new(error));
        let named = |code, name: &str| {
            let details = serde_json::from_value(serde_json::json!({"name": name, "kind": "workflows"})).unwrap();
            let status = Status::failure("no", "Test").with_code(code).with_details(details);
            failed(kube::Error::Api(status.boxed()))
        };
        assert!(named(404, "order").is_absence_of("order"));
        assert!(!named(404, "other").is_absence_of("order"));
        assert!(!named(409, "order").is_absence_of("order"));
        assert!(!failed(answer(404)).is_absence_of("order"), "the kind is not served");
        assert!(!CallError::Timeout("test").is_absence_of("order"));
    }

    #[tokio::test]
    async fn silent_server_is_given_up_after_the_deadline_of_each_try() {
        let tries = AtomicU32::new(0);
        let silent = || {
            tries.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<Result<(), kube::Error>>()
        };
        let result = call_within("test", Duration::from_millis(10), silent).await;
        assert!(matches!(result, Err(CallError::Timeout("test"))));
        assert_eq!(tries.into_inner(), TRIES);
    }
}
