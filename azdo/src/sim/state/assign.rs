//! Who gets which job: online, enabled, idle, not about to update, demands met, licence left.

use jiff::Timestamp;
use rand::Rng;

use super::super::journal::Kind;
use super::{Agent, Job, State};

impl State {
    /// Gives every queued job an agent as long as both last, oldest job first.
    pub(super) fn assign(&mut self, now: Timestamp) {
        let held = self.world.open_jobs().filter(|j| j.is_held()).count();
        let mut licence = self.settings.parallel_jobs.saturating_sub(held);
        let queued: Vec<i64> =
            self.world.open_jobs().filter(|j| j.assign_time.is_none()).map(|j| j.id).collect();
        for id in queued {
            if licence == 0 {
                return;
            }
            if let Some(agent) = self.choose(id) {
                self.give(id, agent, now);
                licence -= 1;
            }
        }
    }

    /// Any of the candidates: the service promises no order, and neither do we.
    fn choose(&mut self, id: i64) -> Option<i64> {
        let job: &Job = self.world.jobs.get(&id)?;
        let candidates: Vec<i64> =
            self.world.matched(job).filter(|a| self.can_take(a)).map(|a| a.id).collect();
        if candidates.is_empty() {
            return None;
        }
        candidates.get(self.rng.random_range(0..candidates.len())).copied()
    }

    pub(super) fn can_take(&self, agent: &Agent) -> bool {
        agent.enabled
            && agent.assigned.is_none()
            && agent.pending_update.is_none()
            && agent.session.is_some_and(|s| !self.is_closing(s))
    }

    fn give(&mut self, id: i64, agent: i64, now: Timestamp) {
        let lock = self.settings.lock_time;
        let Ok(job) = self.world.job_mut(id) else { return };
        let pool = job.pool;
        job.assign_time = Some(now);
        job.locked_until = Some(now + lock);
        let Ok(row) = self.world.agent_mut(pool, agent) else { return };
        row.assigned = Some(id);
        let name = row.name.clone();
        if let Ok(job) = self.world.job_mut(id) {
            job.reserved = Some((agent, name));
        }
        if let Ok(job) = self.world.job(id) {
            let about = self.about_job(job);
            self.journal.add(now, Kind::JobAssigned, about);
        }
        self.send_job(id, now);
    }
}
