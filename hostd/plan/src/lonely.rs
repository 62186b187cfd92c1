//! What follows on a listener's end while no hostd is there to say it: the agent's own process goes
//! on by these rules, and hostd takes over again when it is back.
//!
//! | end | what follows |
//! |---|---|
//! | after a job, any code but an update's | the next listener at once |
//! | 3, 4: it is updating itself | again after a pause; a second time in a row counts as a failure |
//! | 1 after a session conflict | again after the time that Azure may keep a dead session |
//! | anything else | again, after longer and longer waits |

use std::time::Duration;

use fleet_model::numbers::START_UP_GRACE;

use crate::{ends::UPDATE_WAIT, starts::start_backoff};

/// Exit codes of a listener that ends for its update: long-lived, and once.
const UPDATES: [i32; 2] = [3, 4];

/// How a listener ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListenerEnd {
    /// Its exit code, where known.
    pub code: Option<i32>,
    /// It ran a job before.
    pub had_job: bool,
    /// It said that another session of this agent exists.
    pub conflict: bool,
}

impl ListenerEnd {
    /// It ended for its update.
    pub fn is_update(&self) -> bool {
        self.code.is_some_and(|code| UPDATES.contains(&code))
    }
}

/// What is remembered from one listener to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lonely {
    /// Ends in a row that led to nothing.
    pub failures: u32,
    /// Updates in a row.
    pub updates: u32,
}

impl Lonely {
    /// How long to wait before the next listener. The waits of different `agent`s spread.
    pub fn wait_after(&mut self, end: ListenerEnd, agent: &str) -> Duration {
        let updating = end.is_update();
        self.updates = if updating { self.updates.saturating_add(1) } else { 0 };
        if end.had_job && !updating {
            self.failures = 0;
            return Duration::ZERO;
        }
        if updating && self.updates == 1 {
            return UPDATE_WAIT;
        }
        self.failures = self.failures.saturating_add(1);
        let wait = start_backoff(self.failures, agent);
        // It has tried for minutes itself; asking at once would only begin the same again.
        if end.conflict { wait.max(START_UP_GRACE) } else { wait }
    }
}

#[cfg(test)]
mod tests {
    use fleet_model::numbers::{BACKOFF_JITTER_PERCENT, BACKOFF_MAX};
    use proptest::prelude::*;

    use super::*;

    const AFTER_JOB: ListenerEnd = ListenerEnd { code: Some(0), had_job: true, conflict: false };
    const FAILED: ListenerEnd = ListenerEnd { code: Some(1), had_job: false, conflict: false };
    const UPDATING: ListenerEnd = ListenerEnd { code: Some(4), had_job: false, conflict: false };

    fn secs(state: &mut Lonely, end: ListenerEnd) -> f64 {
        state.wait_after(end, "a-01").as_secs_f64()
    }

    #[test]
    fn every_code_of_the_reference_is_answered() {
        for (code, had_job, least, most) in [
            (Some(0), true, 0.0, 0.0),
            (Some(0), false, 0.8, 1.2),
            (Some(1), false, 0.8, 1.2),
            (Some(2), false, 0.8, 1.2),
            (Some(2), true, 0.0, 0.0),
            (Some(3), false, 5.0, 5.0),
            (Some(4), false, 5.0, 5.0),
            (Some(70), false, 0.8, 1.2),
            (None, true, 0.0, 0.0),
            (None, false, 0.8, 1.2),
        ] {
            let end = ListenerEnd { code, had_job, conflict: false };
            let waited = secs(&mut Lonely::default(), end);
            assert!((least..=most).contains(&waited), "{end:?}: {waited}");
        }
    }

    #[test]
    fn a_second_update_in_a_row_is_no_update_any_more() {
        let mut state = Lonely::default();
        assert_eq!(secs(&mut state, UPDATING), 5.0);
        for failure in 1..20_u32 {
            secs(&mut state, UPDATING);
            assert_eq!(state.failures, failure);
        }
        assert!(secs(&mut state, UPDATING) >= 240.0, "it does not turn in circles");
        assert_eq!(secs(&mut state, AFTER_JOB), 0.0);
        assert_eq!(secs(&mut state, UPDATING), 5.0, "a job in between begins anew");
    }

    #[test]
    fn a_conflict_is_waited_out() {
        let end = ListenerEnd { conflict: true, ..FAILED };
        assert!(secs(&mut Lonely::default(), end) >= 60.0);
    }

    fn ends() -> impl Strategy<Value = ListenerEnd> {
        (proptest::option::of(-1..130_i32), any::<bool>(), any::<bool>())
            .prop_map(|(code, had_job, conflict)| ListenerEnd { code, had_job, conflict })
    }

    proptest! {
        #[test]
        fn waits_are_bounded_and_only_a_job_is_followed_at_once(
            all in proptest::collection::vec(ends(), 1..60)
        ) {
            let longest = BACKOFF_MAX * (100 + BACKOFF_JITTER_PERCENT) / 100;
            let mut state = Lonely::default();
            for end in all {
                let wait = state.wait_after(end, "a-01");
                prop_assert!(wait <= longest);
                prop_assert!(!wait.is_zero() || end.had_job, "{:?}", end);
            }
        }

        #[test]
        fn failures_in_a_row_wait_longer_and_longer(count in 2..12_u32) {
            let mut state = Lonely::default();
            let waits: Vec<f64> = (0..count).map(|_| secs(&mut state, FAILED)).collect();
            // Doubling is more than the jitter takes away, until the longest wait is reached.
            let longest = BACKOFF_MAX.as_secs_f64() * 0.8;
            prop_assert!(waits.windows(2).all(|w| w[1] > w[0] || w[1] >= longest), "{:?}", waits);
        }
    }
}
