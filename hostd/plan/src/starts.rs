//! When a start is allowed: back-off per agent, cap per pool, one question per missing image.

use std::time::Duration;

use fleet_model::{
    At,
    numbers::{
        BACKOFF_FIRST, BACKOFF_JITTER_PERCENT, BACKOFF_MAX, IMAGE_BACKOFF_FIRST,
        START_CAP_BURST_FACTOR, START_CAP_REFILL_PER_MINUTE,
    },
};

use crate::clock::Moments;

/// Wait after the `failures`-th failure in a row: doubling from the first to the longest wait,
/// spread by a jitter that depends on `seed` alone, so that equal input gives an equal plan.
pub(crate) fn backoff(first: Duration, failures: u32, seed: &str) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(20));
    jitter(doubled.min(BACKOFF_MAX), &format!("{seed}/{failures}"))
}

/// The wait after a failed start of an agent.
pub(crate) fn start_backoff(failures: u32, agent: &str) -> Duration {
    backoff(BACKOFF_FIRST, failures, agent)
}

/// Spreads `wait` by ±[`BACKOFF_JITTER_PERCENT`].
pub(crate) fn jitter(wait: Duration, seed: &str) -> Duration {
    let spread = 2 * BACKOFF_JITTER_PERCENT * 10 + 1;
    let percent_tenths = 1000 - BACKOFF_JITTER_PERCENT * 10 + fnv(seed) % spread;
    wait * percent_tenths / 1000
}

/// FNV-1a with a final mix: spreads names that differ by a digit; no secret, no security.
fn fnv(text: &str) -> u32 {
    let hash = text
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash ^ (hash >> 15)).wrapping_mul(0x2c1b_3c6d) >> 3
}

/// A pool's start cap on this host: a bucket that starts which came to nothing are taken out of.
/// A start that led to a job costs nothing, so once mode is never held back by its own success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StartCap {
    /// Thousandths of a start.
    level: u64,
    at: At,
}

impl StartCap {
    /// A full bucket for `desired` agents.
    pub(crate) fn new(desired: u32, now: At) -> Self {
        Self { level: full(desired), at: now }
    }

    /// Starts left at `now`.
    pub(crate) fn left(&self, desired: u32, now: At) -> u32 {
        u32::try_from(self.refilled(desired, now) / 1000).unwrap_or(u32::MAX)
    }

    /// One start came to nothing.
    pub(crate) fn charge(&mut self, desired: u32, now: At) {
        self.level = self.refilled(desired, now).saturating_sub(1000);
        self.at = now;
    }

    /// How long until one start is left.
    pub(crate) fn wait(&self, desired: u32, now: At, wanted: u32) -> Duration {
        let missing = (u64::from(wanted) * 1000).saturating_sub(self.refilled(desired, now));
        Duration::from_millis(missing * 60 / u64::from(START_CAP_REFILL_PER_MINUTE))
    }

    fn refilled(&self, desired: u32, now: At) -> u64 {
        let elapsed = u64::try_from(now.since(self.at).as_millis()).unwrap_or(u64::MAX);
        let back = elapsed.saturating_mul(u64::from(START_CAP_REFILL_PER_MINUTE)) / 60;
        self.level.saturating_add(back).min(full(desired))
    }
}

impl Moments for StartCap {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        let Self { level: _, at } = self;
        see(at);
    }
}

fn full(desired: u32) -> u64 {
    // A pool of none still needs to start what it adopted.
    u64::from(desired.max(1)) * u64::from(START_CAP_BURST_FACTOR) * 1000
}

/// What is known of an image on an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageState {
    /// It is there.
    Present,
    /// It is not, and cannot be had. One question for all agents that need it.
    Missing {
        /// The engine's words.
        why: String,
        /// Asked again then.
        next: At,
        /// Questions in a row.
        tries: u32,
    },
}

impl ImageState {
    /// The state after one more unsuccessful question.
    pub(crate) fn missing(before: Option<&ImageState>, why: String, image: &str, now: At) -> Self {
        let tries = match before {
            Some(Self::Missing { tries, .. }) => tries + 1,
            _ => 1,
        };
        // Two and a half times from one question to the next; a question is two engine calls.
        let grown =
            IMAGE_BACKOFF_FIRST.mul_f64(2.5_f64.powi(i32::try_from(tries - 1).unwrap_or(9).min(9)));
        let next = now + jitter(grown.min(BACKOFF_MAX), image);
        Self::Missing { why, next, tries }
    }
}

/// Azure trouble of a pool, as this host met it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) why: String,
    pub(crate) next: At,
    pub(crate) failures: u32,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_missing_image_is_asked_for_at_most_four_times_in_ten_minutes() {
        for image in ["a:1", "reg.example:443/b:2", "c@sha256:00", "zzzz"] {
            let (mut now, mut questions) = (At(0), 0);
            let mut state = None;
            while now < At(600_000) {
                questions += 1;
                let missing = ImageState::missing(state.as_ref(), "no".into(), image, now);
                let ImageState::Missing { next, .. } = &missing else { continue };
                now = *next;
                state = Some(missing);
            }
            // Each question costs two engine calls, and eight calls are the limit.
            assert!(questions <= 4, "{image}: {questions} questions");
        }
    }

    #[test]
    fn the_cap_gives_back_ten_a_minute_up_to_twice_the_wanted() {
        let mut cap = StartCap::new(2, At(0));
        for _ in 0..4 {
            cap.charge(2, At(0));
        }
        assert_eq!(cap.left(2, At(0)), 0);
        assert_eq!(cap.wait(2, At(0), 1), Duration::from_secs(6));
        assert_eq!(cap.left(2, At(6_000)), 1);
        assert_eq!(cap.left(2, At(3_600_000)), 4);
    }

    proptest! {
        #[test]
        fn waits_stay_within_their_bounds(failures in 1..200_u32, agent in "[a-z]{1,12}") {
            let wait = start_backoff(failures, &agent);
            let plain = BACKOFF_FIRST.saturating_mul(1 << (failures - 1).min(20)).min(BACKOFF_MAX);
            prop_assert!(wait >= plain * 8 / 10 && wait <= plain * 12 / 10);
        }

        #[test]
        fn never_more_failed_starts_than_burst_and_refill(
            desired in 1..20_u32, steps in prop::collection::vec(0..20_000_u64, 1..200),
        ) {
            let mut cap = StartCap::new(desired, At(0));
            let (mut now, mut failed) = (At(0), 0_u64);
            for step in steps {
                now = now + Duration::from_millis(step);
                if cap.left(desired, now) > 0 {
                    cap.charge(desired, now);
                    failed += 1;
                }
            }
            let refill = now.0 * u64::from(START_CAP_REFILL_PER_MINUTE) / 60_000;
            prop_assert!(failed <= u64::from(desired * START_CAP_BURST_FACTOR) + refill + 1);
        }
    }
}
