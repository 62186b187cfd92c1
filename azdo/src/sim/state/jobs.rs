//! Jobs: queued, received, finished, cancelled, given up.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::journal::{About, Kind};
use super::{Job, JobState, Refusal, State};
use crate::types::Demand;

/// A job to be queued through the control API.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct JobForm {
    /// Name shown; empty: `Job`.
    pub name: String,
    /// How long the stub agent works, in milliseconds.
    pub duration_ms: u64,
    /// What an agent must have, in the string form of the wire.
    pub demands: Vec<String>,
    /// What the stub agent reports: `succeeded`, `succeededWithIssues`, `failed`, `canceled`, `skipped`.
    pub result: String,
    /// Run by the stub agent with `sh` in place of waiting.
    pub script: Option<String>,
    /// The stub listener hangs after the job, as a known version of the real one sometimes does.
    pub hang_after_job: bool,
    /// Parallelism licence the job counts against.
    pub project: String,
}

impl Default for JobForm {
    fn default() -> Self {
        Self {
            name: String::new(),
            duration_ms: 1000,
            demands: Vec::new(),
            result: "succeeded".to_owned(),
            script: None,
            hang_after_job: false,
            project: "demo".to_owned(),
        }
    }
}

/// What the stub agent found when the job began; kept with the job.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobRecord {
    /// Files in the work folder before the first step, relative.
    pub work_folder: Vec<String>,
    /// Names of the environment variables of the worker.
    pub env: Vec<String>,
    /// Everything else it says about itself.
    #[serde(flatten)]
    pub other: serde_json::Map<String, Value>,
}

impl Job {
    /// The body of the job message: what the stub agent needs to play the job.
    pub(super) fn message(&self) -> Value {
        let sim = json!({
            "durationMs": self.form.duration_ms, "result": self.form.result,
            "script": self.form.script, "hangAfterJob": self.form.hang_after_job,
        });
        json!({
            "requestId": self.id, "jobId": self.job_id, "planId": self.plan_id,
            "jobName": self.name(), "jobDisplayName": self.name(), "lockToken": self.lock_token, "sim": sim,
        })
    }

    /// Name shown.
    pub fn name(&self) -> &str {
        if self.form.name.is_empty() { "Job" } else { &self.form.name }
    }
}

impl State {
    /// Queues a job. When no registered agent could ever take it, it fails at once instead of waiting.
    ///
    /// # Errors
    /// Unknown pool.
    pub fn queue_job(&mut self, pool: i64, form: JobForm, now: Timestamp) -> Result<i64, Refusal> {
        let pool_name = self.world.pool(pool)?.name.clone();
        let id = self.next_request;
        self.next_request += 1;
        let job = self.new_job(id, pool, form, now);
        self.journal.add(now, Kind::JobQueued, self.about_job(&job));
        let matched = self.world.matched(&job).next().is_some();
        let unmet = job.demands.iter().map(Demand::to_string).collect::<Vec<_>>().join(", ");
        self.world.jobs.insert(id, job);
        self.world.open.insert(id);
        if !matched {
            let words = format!(
                "No agent found in pool {pool_name} which satisfies the specified demands: {unmet}"
            );
            if let Ok(job) = self.world.job_mut(id) {
                job.status_message = Some(words);
            }
            self.end_job(id, "failed", now);
        }
        Ok(id)
    }

    fn new_job(&mut self, id: i64, pool: i64, form: JobForm, now: Timestamp) -> Job {
        let implied = self.settings.implied_demand.as_str();
        let texts =
            form.demands.iter().map(String::as_str).chain([implied]).filter(|t| !t.is_empty());
        let demands = texts.map(Demand::parse).collect();
        Job {
            id,
            pool,
            form,
            demands,
            job_id: self.new_uuid(),
            plan_id: self.new_uuid(),
            lock_token: self.new_uuid(),
            queue_time: now,
            assign_time: None,
            receive_time: None,
            finish_time: None,
            locked_until: None,
            result: None,
            status_message: None,
            reserved: None,
            record: None,
        }
    }

    /// The agent says that it is still on it; the first time that it has it.
    ///
    /// # Errors
    /// Unknown or finished request.
    pub fn renew(&mut self, id: i64, now: Timestamp) -> Result<(), Refusal> {
        let lock = self.settings.lock_time;
        let job = self.held(id)?;
        job.locked_until = Some(now + lock);
        if job.receive_time.is_none() {
            job.receive_time = Some(now);
            let about = self.about_job(self.world.job(id)?);
            self.journal.add(now, Kind::JobReceived, about);
        }
        Ok(())
    }

    /// The agent reports the end. `last` says that it will take no other job (once mode).
    ///
    /// # Errors
    /// Unknown or finished request.
    pub fn finish(
        &mut self,
        id: i64,
        result: &str,
        last: bool,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let job = self.held(id)?;
        let (pool, agent) = (job.pool, job.reserved.as_ref().map(|(id, _)| *id));
        if last && let Some(session) = agent.and_then(|a| self.session_mut(pool, a)) {
            session.closing = true;
        }
        self.end_job(id, result, now);
        Ok(())
    }

    /// A person cancels: at once while no agent knows of it, by a message afterwards.
    ///
    /// # Errors
    /// Unknown or finished request.
    pub fn cancel(&mut self, id: i64, now: Timestamp) -> Result<(), Refusal> {
        match self.world.job(id)?.state() {
            JobState::Finished => return Err(Refusal::request_finished(id)),
            JobState::Queued | JobState::Assigned => self.end_job(id, "canceled", now),
            JobState::Running => {
                let about = self.about_job(self.world.job(id)?);
                self.journal.add(now, Kind::JobCancelRequested, about);
                self.send_cancel(id, now);
            }
        }
        Ok(())
    }

    /// Keeps what the agent found when the job began.
    ///
    /// # Errors
    /// Unknown request.
    pub fn record(&mut self, id: i64, record: JobRecord) -> Result<(), Refusal> {
        self.world.job_mut(id)?.record = Some(record);
        Ok(())
    }

    /// Locks that ran out: the job is given up, and the agent's session is taken for dead.
    pub(super) fn expire_locks(&mut self, now: Timestamp) {
        let over = |job: &&Job| job.locked_until.is_some_and(|until| until <= now);
        let lost: Vec<(i64, i64, Option<i64>)> = self
            .world
            .open_jobs()
            .filter(over)
            .map(|job| (job.id, job.pool, job.reserved.as_ref().map(|(id, _)| *id)))
            .collect();
        for (id, pool, agent) in lost {
            self.end_job(id, "abandoned", now);
            let session = agent.and_then(|a| self.world.agent(pool, a).ok()?.session);
            if let (Some(session), Some(agent)) = (session, agent) {
                self.journal.add(
                    now,
                    Kind::SessionExpired,
                    self.about(pool, agent).note("lock lost"),
                );
                self.end_session(session, now);
            }
        }
    }

    pub(super) fn requeue(&mut self, id: i64, now: Timestamp) {
        self.retract(id);
        let Ok(job) = self.world.job_mut(id) else { return };
        let holder = (job.pool, job.reserved.take());
        (job.assign_time, job.locked_until) = (None, None);
        if let (pool, Some((agent, _))) = holder
            && let Ok(agent) = self.world.agent_mut(pool, agent)
        {
            agent.assigned = None;
        }
        if let Ok(job) = self.world.job(id) {
            let about = self.about_job(job);
            self.journal.add(now, Kind::JobRequeued, about);
        }
    }

    /// The end of a job, however it came.
    pub(super) fn end_job(&mut self, id: i64, result: &str, now: Timestamp) {
        self.retract(id);
        self.world.open.remove(&id);
        let Ok(job) = self.world.job_mut(id) else { return };
        job.result = Some(result.to_owned());
        job.finish_time = Some(now);
        job.locked_until = None;
        let (pool, holder) = (job.pool, job.reserved.as_ref().map(|(id, _)| *id));
        if let Some(agent) = holder.and_then(|a| self.world.agent_mut(pool, a).ok()) {
            agent.assigned = None;
            agent.last_completed = Some(id);
        }
        let kind = match result {
            "canceled" => Kind::JobCancelled,
            "abandoned" => Kind::JobAbandoned,
            _ => Kind::JobFinished,
        };
        self.journal.count_result(result);
        if let Ok(job) = self.world.job(id) {
            let about = self.about_job(job).note(result);
            self.journal.add(now, kind, about);
        }
    }

    fn held(&mut self, id: i64) -> Result<&mut Job, Refusal> {
        let job = self.world.job_mut(id)?;
        match job.state() {
            JobState::Finished => Err(Refusal::request_finished(id)),
            // Taken back from the agent: to it the request is as good as unknown.
            JobState::Queued => Err(Refusal::request_not_found(id)),
            JobState::Assigned | JobState::Running => Ok(job),
        }
    }

    pub(super) fn about_job(&self, job: &Job) -> About {
        About {
            pool: self.world.pools.get(&job.pool).map(|p| p.name.clone()),
            agent: job.reserved.as_ref().map(|(_, name)| name.clone()),
            agent_id: job.reserved.as_ref().map(|(id, _)| *id),
            job: Some(job.id),
            note: None,
        }
    }
}
