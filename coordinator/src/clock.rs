//! The daemon's clock: set to the wall clock once, steady from then on.

use std::time::{SystemTime, UNIX_EPOCH};

use fleet_model::At;
use tokio::time::Instant;

/// Gives [`At`]s that never go back, whatever happens to the wall clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: At,
    started: Instant,
}

impl Clock {
    /// A clock that shows the wall clock's time now.
    pub(crate) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let start = At(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        // tokio's clock, so that a test can let hours pass.
        Self { start, started: Instant::now() }
    }

    /// This moment.
    pub(crate) fn now(&self) -> At {
        self.start + self.started.elapsed()
    }
}
