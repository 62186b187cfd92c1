//! The daemon's time: the wall clock once, at the start, and from then on the steady clock. A jump
//! of the wall clock moves no deadline.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fleet_model::At;
use tokio::time::Instant;

/// Reads the time. Under a paused tokio clock it stands still with it, so tests run hours in
/// milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: At,
    zero: Instant,
}

impl Clock {
    /// Set to the wall clock now.
    pub fn from_wall() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::starting(At(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Set to `start` now.
    pub fn starting(start: At) -> Self {
        Self { start, zero: Instant::now() }
    }

    /// The moment, to the millisecond.
    pub fn now(&self) -> At {
        self.start + self.zero.elapsed()
    }
}

/// `wait` spread by up to a fifth to both sides, so that hosts do not do the same at once.
pub(crate) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(rand::random_range(0.8..1.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_runs_with_the_steady_clock() {
        let clock = Clock::starting(At(1_000));
        tokio::time::advance(Duration::from_millis(2_500)).await;
        assert_eq!(clock.now(), At(3_500));
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        for _ in 0..1000 {
            let wait = jittered(Duration::from_secs(10));
            assert!((Duration::from_secs(8)..=Duration::from_secs(12)).contains(&wait));
        }
    }
}
