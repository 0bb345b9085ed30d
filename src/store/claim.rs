//! Claims: unowned rows of `active` get an owner.

use uuid::Uuid;

use super::{Error, Store};

impl Store {
    /// Claims up to `limit` ready runs and answers how many. Only a hint (P1): [`load`](Self::load) says what is mine.
    /// `namespaces`: only these; `None`: all.
    pub async fn claim(&self, worker: Uuid, limit: i64, namespaces: Option<&[String]>) -> Result<u64, Error> {
        let _ = (worker, limit, namespaces);
        Err(Error::NotFound)
    }
}
