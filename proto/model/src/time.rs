//! Time as an argument.

use std::{fmt, ops::Add, ops::Sub, time::Duration};

use serde::{Deserialize, Serialize};

/// A moment, in milliseconds since the Unix epoch. A daemon takes it from a steady clock that was
/// set to the wall clock: a jump of the wall clock makes no wait shorter or longer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct At(pub u64);

impl At {
    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: At) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The same moment by a clock that was set by `by_ms` milliseconds, forward or back; not before
    /// the epoch.
    pub fn moved(self, by_ms: i64) -> At {
        At(self.0.saturating_add_signed(by_ms))
    }
}

impl Add<Duration> for At {
    type Output = At;
    fn add(self, wait: Duration) -> At {
        At(self.0.saturating_add(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Sub<At> for At {
    type Output = Duration;
    fn sub(self, earlier: At) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}
