//! The figures a test or a demo asks for at the end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::journal::Kind;
use super::{JobState, Pool, State};

/// Figures of now, and counts since the last mark.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Jobs by where they stand or how they ended.
    pub jobs: JobCounts,
    /// Second sessions refused since the mark.
    pub session_conflicts: u64,
    /// Sessions that ended by silence since the mark.
    pub sessions_expired: u64,
    /// Deletes that met an assigned request since the mark, refused or not.
    pub deletes_of_busy: u64,
    /// Microsoft's hosted pool left out.
    pub pools: BTreeMap<String, PoolCounts>,
    /// Requests since the mark, by verb and resource.
    pub requests: BTreeMap<String, u64>,
    /// Journal position of the last mark.
    pub marked_at: u64,
}

/// Queued and running now; ended since the mark.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct JobCounts {
    pub queued: u64,
    /// Assigned but not yet received counts as running.
    pub running: u64,
    pub succeeded: u64,
    /// Includes those that failed at queue time.
    pub failed: u64,
    pub cancelled: u64,
    pub abandoned: u64,
    pub skipped: u64,
    /// Given back to the queue unread.
    pub requeued: u64,
}

/// Rows of a pool now; the largest number at once since the mark.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub struct PoolCounts {
    pub rows: usize,
    pub rows_max: usize,
    pub online: usize,
    pub busy: usize,
    pub enabled: usize,
}

impl State {
    /// The figures.
    pub fn summary(&self) -> Summary {
        let pools = self.world.pools.values().filter(|p| !p.is_hosted);
        Summary {
            jobs: self.job_counts(),
            session_conflicts: self.journal.count(Kind::SessionConflict),
            sessions_expired: self.journal.count(Kind::SessionExpired),
            deletes_of_busy: self.journal.count(Kind::AgentDeleteWhileBusy),
            pools: pools.map(|p| (p.name.clone(), self.pool_counts(p))).collect(),
            requests: self.journal.requests().clone(),
            marked_at: self.journal.marked_at(),
        }
    }

    /// Starts a new stretch of counting.
    pub fn mark(&mut self, note: &str, now: jiff::Timestamp) {
        self.journal.mark(now, note);
    }

    fn job_counts(&self) -> JobCounts {
        let open = |wanted: bool| {
            let queued = |j: &&super::Job| (j.state() == JobState::Queued) == wanted;
            self.world.open_jobs().filter(queued).count() as u64
        };
        let ended = |result: &str| self.journal.result(result);
        JobCounts {
            queued: open(true),
            running: open(false),
            succeeded: ended("succeeded") + ended("succeededWithIssues"),
            failed: ended("failed"),
            cancelled: ended("canceled"),
            abandoned: ended("abandoned"),
            skipped: ended("skipped"),
            requeued: self.journal.count(Kind::JobRequeued),
        }
    }

    fn pool_counts(&self, pool: &Pool) -> PoolCounts {
        let count =
            |test: fn(&super::Agent) -> bool| pool.agents.values().filter(|a| test(a)).count();
        PoolCounts {
            rows: pool.agents.len(),
            rows_max: self.journal.rows_max(&pool.name).max(pool.agents.len()),
            online: count(super::Agent::is_online),
            busy: count(|a| a.assigned.is_some()),
            enabled: count(|a| a.enabled),
        }
    }
}
