//! The timer sweep: parked runs whose time has come.

use jiff::Timestamp;

use super::{Error, Store};

impl Store {
    /// Moves due timers to `active`; answers how many.
    pub async fn timer_sweep(&self) -> Result<u64, Error> {
        Err(Error::NotFound)
    }

    /// When the next timer of a parked run is due: no sweep finds anything before.
    pub async fn next_timer(&self) -> Result<Option<Timestamp>, Error> {
        Err(Error::NotFound)
    }
}
