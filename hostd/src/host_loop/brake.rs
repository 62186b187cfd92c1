//! The last line against a storm: whatever the plan says, one subject gets no more than a number
//! of actions in a stretch of time. In a sound plan it never holds.
//!
//! A storm is the same again and again: the very same action, run and all. Agents in once mode whose
//! jobs take no time need many actions too, but each of them is about another run; for those there is
//! only a limit that no engine could reach.

use std::{collections::BTreeMap, time::Duration};

use hostd_plan::{Action, Subject};
use tokio::time::Instant;

/// Equal actions that are let through in one [`STRETCH`]. A removal takes about a dozen in all.
const MOST_EQUAL: usize = 40;
/// Actions of any kind on one subject. Fifty in a second: a cycle of start and removal is two.
const MOST: usize = 1000;
const STRETCH: Duration = Duration::from_secs(20);
/// What comes after them waits this long.
const WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Brake(BTreeMap<Subject, (Instant, Vec<Action>)>);

impl Brake {
    /// How long this action waits first; nearly always not at all.
    pub(super) fn delay(&mut self, action: &Action, now: Instant) -> Option<Duration> {
        self.0.retain(|_, (since, _)| now.duration_since(*since) < STRETCH);
        let (_, before) = self.0.entry(action.subject()).or_insert((now, Vec::new()));
        let equal = before.iter().filter(|other| *other == action).count();
        if equal < MOST_EQUAL && before.len() < MOST {
            before.push(action.clone());
            return None;
        }
        // Said once; what is slowed down is counted no further.
        if before.len() <= MOST {
            before.resize(MOST + 1, action.clone());
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
        for _ in 0..MOST_EQUAL {
            assert_eq!(brake.delay(&action, now), None);
        }
        assert_eq!(brake.delay(&action, now), Some(WAIT));
        let other = Action::Forget { agent: "p-h-02".parse().expect("a name") };
        assert_eq!(brake.delay(&other, now), None);
        now += STRETCH;
        assert_eq!(brake.delay(&action, now), None);
    }

    #[tokio::test(start_paused = true)]
    async fn once_mode_with_jobs_of_no_length_is_no_storm_and_one_run_after_the_other_without_end_is()
     {
        let mut brake = Brake::default();
        let agent: fleet_model::AgentName = "p-h-01".parse().expect("a name");
        let mut now = Instant::now();
        let mut slowed = 0;
        for attempt in 1..400 {
            let start = Action::Start { agent: agent.clone(), attempt, registered: true };
            let remove = Action::RemoveRun { agent: agent.clone(), attempt };
            for action in [start, remove] {
                slowed += usize::from(brake.delay(&action, now).is_some());
            }
            now += Duration::from_millis(150);
        }
        assert_eq!(slowed, 0);
        let start = |attempt| Action::Start { agent: agent.clone(), attempt, registered: true };
        let slowed = (1000..3000).filter(|attempt| brake.delay(&start(*attempt), now).is_some());
        assert!(slowed.count() > 900);
    }
}
