//! How long to wait until the next look. Pure.

use std::time::Duration;

use fleet_model::numbers::{BACKOFF_JITTER_PERCENT, BACKOFF_MAX};

/// The wait after a look that was good (`failures` 0) or the so-manieth bad one in a row.
///
/// `wish` is what the server asked for, which it may do on a good answer too; it is always obeyed.
/// `dice` from 0 to 1 spreads pools, so that a fleet does not ask all at once.
pub(super) fn next_look(
    interval: Duration,
    failures: u32,
    wish: Option<Duration>,
    dice: f64,
) -> Duration {
    let doubled = interval.saturating_mul(2_u32.saturating_pow(failures.min(16)));
    let base = if failures == 0 { interval } else { doubled.min(BACKOFF_MAX.max(interval)) };
    let spread = f64::from(BACKOFF_JITTER_PERCENT) / 100.0;
    let jittered = base.mul_f64(1.0 + spread * (2.0 * dice.clamp(0.0, 1.0) - 1.0));
    jittered.max(wish.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn a_good_look_is_followed_by_the_next_after_the_interval() {
        assert_eq!(next_look(TEN, 0, None, 0.5), TEN);
        assert_eq!(next_look(TEN, 0, None, 0.0), Duration::from_secs(8));
        assert_eq!(next_look(TEN, 0, None, 1.0), Duration::from_secs(12));
    }

    #[test]
    fn what_the_server_wishes_is_obeyed_also_after_a_good_look() {
        let minute = Duration::from_secs(60);
        assert_eq!(next_look(TEN, 0, Some(minute), 0.5), minute);
        assert_eq!(next_look(TEN, 3, Some(Duration::from_secs(3600)), 0.5).as_secs(), 3600);
        assert_eq!(next_look(TEN, 0, Some(Duration::from_secs(1)), 0.5), TEN);
    }

    #[test]
    fn failures_double_the_wait_up_to_five_minutes() {
        let waits: Vec<u64> = (0..8).map(|n| next_look(TEN, n, None, 0.5).as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(next_look(TEN, u32::MAX, None, 0.5), BACKOFF_MAX);
    }
}
