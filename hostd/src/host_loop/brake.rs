//! The last line against a storm: whatever the plan says, one subject gets no more than a number
//! of actions in a stretch of time. In a sound plan it never holds.

use std::{collections::BTreeMap, time::Duration};

use hostd_plan::{Action, Subject};
use tokio::time::Instant;

/// Actions on one subject that are let through in one [`STRETCH`]. A removal takes about a dozen.
const MOST: u32 = 40;
const STRETCH: Duration = Duration::from_secs(20);
/// What comes after them waits this long.
const WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Brake(BTreeMap<Subject, (Instant, u32)>);

impl Brake {
    /// How long this action waits first; nearly always not at all.
    pub(super) fn delay(&mut self, action: &Action, now: Instant) -> Option<Duration> {
        self.0.retain(|_, (since, _)| now.duration_since(*since) < STRETCH);
        let (_, count) = self.0.entry(action.subject()).or_insert((now, 0));
        *count += 1;
        if *count <= MOST {
            return None;
        }
        if *count == MOST + 1 {
            tracing::error!(%action, "too many actions in a row; slowed down. This is a fault of hostd");
        }
        Some(WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_storm_is_slowed_and_a_removal_is_not() {
        let mut brake = Brake::default();
        let action = Action::Forget { agent: "p-h-01".parse().expect("a name") };
        let mut now = Instant::now();
        for _ in 0..MOST {
            assert_eq!(brake.delay(&action, now), None);
        }
        assert_eq!(brake.delay(&action, now), Some(WAIT));
        let other = Action::Forget { agent: "p-h-02".parse().expect("a name") };
        assert_eq!(brake.delay(&other, now), None);
        now += STRETCH;
        assert_eq!(brake.delay(&action, now), None);
    }
}
