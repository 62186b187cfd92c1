//! Azure DevOps as the simulation needs it: rows, sessions, jobs. PATCH and assignment take turns;
//! reads may be old, answers may be lost, a delete of a busy row is refused or obeyed.

use std::collections::BTreeMap;

use fleet_model::{AgentName, Assigned, At, HostName, PoolName, RowState};

use super::RunKey;

/// Life of a session after its listener died without a word.
const SESSION_LIFE_MS: u64 = 300_000;
/// Life of a job's lock after its worker died.
const LOCK_MS: u64 = 600_000;

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: AgentName,
    pub(super) pool: PoolName,
    pub(super) enabled: bool,
    /// Whose session it is.
    pub(super) session: Option<RunKey>,
    /// The session's listener is dead since.
    pub(super) silent: Option<At>,
    pub(super) assigned: Option<u64>,
    /// What the row looked like lately, for reads that are old.
    past: Vec<(At, RowState)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JobState {
    Queued,
    /// Given to a row, at that time.
    Assigned(i64, At),
    Running(i64),
}

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) pool: PoolName,
    pub(super) length_ms: u64,
    pub(super) state: JobState,
}

#[derive(Debug)]
pub(super) struct Azure {
    pub(super) rows: BTreeMap<i64, Row>,
    /// Those that are not over.
    pub(super) jobs: BTreeMap<u64, Job>,
    /// Jobs that ran to their end.
    pub(super) finished: usize,
    /// The token that hosts ask and register with is good.
    pub(super) token_is_good: bool,
    next_row: i64,
    next_job: u64,
    pub(super) conflicts: u64,
    /// Deletes of a row that held a request: refused, or (worse) obeyed.
    pub(super) busy_deletes_obeyed: u64,
    /// Until then it answers nothing.
    pub(super) down_until: At,
    pub(super) obeys_busy_delete: bool,
}

pub(super) enum Registered {
    Row(i64),
    NameTaken,
}

impl Default for Azure {
    fn default() -> Self {
        Self {
            rows: BTreeMap::new(),
            jobs: BTreeMap::new(),
            finished: 0,
            token_is_good: true,
            next_row: 0,
            next_job: 0,
            conflicts: 0,
            busy_deletes_obeyed: 0,
            down_until: At(0),
            obeys_busy_delete: false,
        }
    }
}

impl Azure {
    /// It does what hosts ask of it.
    pub(super) fn answers(&self, now: At) -> bool {
        self.down_until <= now && self.token_is_good
    }

    /// A host's agents of a pool that wait for jobs or have one.
    pub(super) fn online(&self, pool: &PoolName, host: &HostName) -> u64 {
        let prefix = format!("{pool}-{host}-");
        let of_host = |row: &&Row| row.pool == *pool && row.name.as_str().starts_with(&prefix);
        let alive = |row: &&Row| row.session.is_some() && row.silent.is_none();
        self.rows.values().filter(of_host).filter(alive).count() as u64
    }

    pub(super) fn register(&mut self, pool: &PoolName, name: &AgentName) -> Registered {
        if self.rows.values().any(|row| row.name == *name) {
            return Registered::NameTaken;
        }
        self.next_row += 1;
        let row = Row {
            name: name.clone(),
            pool: pool.clone(),
            enabled: true,
            session: None,
            silent: None,
            assigned: None,
            past: Vec::new(),
        };
        self.rows.insert(self.next_row, row);
        Registered::Row(self.next_row)
    }

    pub(super) fn find(&self, name: &AgentName) -> Option<i64> {
        self.rows.iter().find(|(_, row)| row.name == *name).map(|(id, _)| *id)
    }

    /// True when the session is made; false when another one lives.
    pub(super) fn open_session(&mut self, id: i64, run: &RunKey) -> Option<bool> {
        let row = self.rows.get_mut(&id)?;
        if row.session.as_ref().is_some_and(|other| other != run) {
            self.conflicts += 1;
            return Some(false);
        }
        row.session = Some(run.clone());
        row.silent = None;
        Some(true)
    }

    pub(super) fn close_session(&mut self, id: i64, run: &RunKey) {
        if let Some(row) = self.rows.get_mut(&id)
            && row.session.as_ref() == Some(run)
        {
            row.session = None;
            row.silent = None;
        }
    }

    /// A listener died without a word.
    pub(super) fn silence(&mut self, run: &RunKey, now: At) {
        for row in self.rows.values_mut().filter(|row| row.session.as_ref() == Some(run)) {
            row.silent = Some(now);
        }
    }

    pub(super) fn queue(&mut self, pool: &PoolName, length_ms: u64) {
        self.next_job += 1;
        let job = Job { pool: pool.clone(), length_ms, state: JobState::Queued };
        self.jobs.insert(self.next_job, job);
    }

    /// Gives queued jobs to rows that are enabled, online and free; lets dead sessions and locks
    /// expire. Returns what was given to a living listener.
    pub(super) fn turn(&mut self, now: At) -> Vec<(RunKey, u64)> {
        for row in self.rows.values_mut() {
            let state = row.state(0);
            row.past.push((now, state));
            row.past.retain(|(at, _)| now.0.saturating_sub(at.0) <= 30_000);
            if row.silent.is_some_and(|at| now.0.saturating_sub(at.0) >= SESSION_LIFE_MS) {
                row.session = None;
                row.silent = None;
            }
        }
        self.abandon(now);
        let mut given = Vec::new();
        if self.down_until > now {
            return given;
        }
        let queued: Vec<u64> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.state == JobState::Queued)
            .map(|(id, _)| *id)
            .collect();
        for id in queued {
            let pool = self.jobs[&id].pool.clone();
            let free = |row: &Row| row.pool == pool && row.enabled && row.assigned.is_none();
            let Some((row_id, row)) = self
                .rows
                .iter_mut()
                .map(|(row_id, row)| (*row_id, row))
                .find(|(_, row)| row.session.is_some() && free(row))
            else {
                continue;
            };
            row.assigned = Some(id);
            if let Some(run) = row.session.clone().filter(|_| row.silent.is_none()) {
                given.push((run, id));
            }
            if let Some(job) = self.jobs.get_mut(&id) {
                job.state = JobState::Assigned(row_id, now);
            }
        }
        given
    }

    /// Jobs whose lock nobody renews: their listener never got them, or their worker died through no
    /// fault of the fleet.
    fn abandon(&mut self, now: At) {
        let rows = &mut self.rows;
        self.jobs.retain(|id, job| {
            let JobState::Assigned(row, at) = job.state else { return true };
            let over = now.0.saturating_sub(at.0) >= LOCK_MS;
            if let Some(row) = rows.get_mut(&row).filter(|_| over) {
                row.assigned = row.assigned.filter(|assigned| assigned != id);
            }
            !over
        });
    }

    /// A worker died with its job: the lock runs out, nobody cancels.
    pub(super) fn job_lost(&mut self, id: u64, row: i64, now: At) {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.state = JobState::Assigned(row, now);
        }
    }

    pub(super) fn finish(&mut self, id: u64, row: i64) {
        if self.jobs.remove(&id).is_some() {
            self.finished += 1;
        }
        if let Some(row) = self.rows.get_mut(&row) {
            row.assigned = None;
        }
    }

    pub(super) fn read(&self, id: i64, old_by_ms: u64, now: At) -> Option<RowState> {
        let row = self.rows.get(&id)?;
        let wanted = At(now.0.saturating_sub(old_by_ms));
        let old = row.past.iter().find(|(at, _)| *at >= wanted).filter(|_| old_by_ms > 0);
        Some(match old {
            Some((_, state)) => RowState { agent_id: id, ..state.clone() },
            None => row.state(id),
        })
    }

    /// True when the row is gone, false when the delete was refused.
    pub(super) fn delete(&mut self, id: i64) -> bool {
        let Some(row) = self.rows.get(&id) else { return true };
        if row.assigned.is_some() && !self.obeys_busy_delete {
            return false;
        }
        if row.assigned.is_some() {
            self.busy_deletes_obeyed += 1;
        }
        self.rows.remove(&id);
        true
    }
}

impl Row {
    pub(super) fn state(&self, id: i64) -> RowState {
        RowState {
            agent_id: id,
            enabled: self.enabled,
            online: self.session.is_some(),
            assigned: self
                .assigned
                .map(|job| Assigned::new(i64::try_from(job).unwrap_or(0), format!("job {job}"))),
        }
    }
}
