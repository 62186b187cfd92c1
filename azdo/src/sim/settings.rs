//! The numbers of the service, as far as they are known, and the switches of its worse days.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Times and limits. The defaults are the real service's, as observed or stated by its maintainers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A message poll without a message is answered 202 after this long (about 50 s).
    pub poll_limit: Duration,
    /// A session without any contact ends after this long (about 5 min).
    pub session_expiry: Duration,
    /// A job's lock, from assignment and from every renewal (10 min).
    pub lock_time: Duration,
    /// From assignment to the message being there for the listener: shortest and longest (2 to 15 s).
    pub delivery_lag: (Duration, Duration),
    /// Life of a listener's token (50 min).
    pub token_life: Duration,
    /// Jobs that may be held at once in the organisation: the parallel-job licence.
    pub parallel_jobs: usize,
    /// Added to every job, as the service does; empty for none.
    pub implied_demand: String,
    /// What a delete of a busy agent does.
    pub busy_delete: BusyDelete,
    /// Every random choice comes from here.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            poll_limit: Duration::from_secs(50),
            session_expiry: Duration::from_secs(300),
            lock_time: Duration::from_secs(600),
            delivery_lag: (Duration::from_secs(2), Duration::from_secs(15)),
            token_life: Duration::from_secs(3000),
            parallel_jobs: 1000,
            implied_demand: "Agent.Version -gtVersion 2.182.1".to_owned(),
            busy_delete: BusyDelete::Refuse,
            seed: 1,
        }
    }
}

impl Settings {
    /// Real rules with short waits: jobs are delivered at once and polls end after 2 s.
    pub fn brisk() -> Self {
        Self {
            poll_limit: Duration::from_secs(2),
            delivery_lag: (Duration::ZERO, Duration::ZERO),
            ..Self::default()
        }
    }
}

/// Whether a busy row can be deleted. The real service is known to refuse; nobody promised it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BusyDelete {
    /// 400 `TaskAgentJobStillRunningException`.
    Refuse,
    /// The row goes, and the job with it: abandoned.
    Obey,
}
