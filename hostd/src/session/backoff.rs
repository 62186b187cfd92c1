//! When to call again. Soon at first, because a coordinator that restarts is back in a second and
//! wants its hosts; then less and less often, because one that is gone for an hour needs no crowd.

use std::time::Duration;

/// First wait.
const FIRST: Duration = Duration::from_millis(200);
/// Longest wait while it has not been away for long.
const SOON: Duration = Duration::from_secs(1);
/// Longest wait.
const LONGEST: Duration = Duration::from_secs(30);
/// Waits grow to this part of the time it has been away.
const PART: u32 = 8;

/// The next wait before jitter, after `tries` in vain over `away`.
pub(super) fn next_wait(tries: u32, away: Duration) -> Duration {
    let doubled = FIRST.saturating_mul(1 << tries.min(10));
    doubled.min(SOON.max(away / PART)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls in vain within `length`, and the longest gap between two of them.
    fn calls(length: Duration) -> (u32, Duration) {
        let (mut away, mut tries, mut gap) = (Duration::ZERO, 0, Duration::ZERO);
        while away < length {
            let wait = next_wait(tries, away);
            (away, tries, gap) = (away + wait, tries + 1, gap.max(wait));
        }
        (tries, gap)
    }

    #[test]
    fn a_coordinator_that_restarts_has_its_hosts_within_seconds() {
        assert!(calls(Duration::from_secs(8)).1 <= SOON);
    }

    #[test]
    fn one_that_is_gone_is_not_stormed() {
        let (tries, gap) = calls(Duration::from_secs(24 * 3600));
        assert!(tries < 3000, "{tries}");
        assert_eq!(gap, LONGEST);
    }
}
