//! What tests and demos see and do, the same in process and over HTTP.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::faults::Fault;
use super::journal::{About, Kind};
use super::shell::Core;
use super::state::JobRecord;
use super::{Agent, Job, JobState, Refusal, State};

/// A job as tests look at it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "fields are named as on the wire")]
pub struct JobView {
    pub request_id: i64,
    pub pool: String,
    pub name: String,
    /// `queued`, `assigned`, `running`, `finished`.
    pub state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    pub demands: Vec<String>,
    pub queue_time: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assign_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receive_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status_message: Option<String>,
    /// What the stub agent found when the job began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<JobRecord>,
}

impl JobView {
    pub(super) fn of(state: &State, job: &Job) -> Self {
        let word = match job.state() {
            JobState::Queued => "queued",
            JobState::Assigned => "assigned",
            JobState::Running => "running",
            JobState::Finished => "finished",
        };
        Self {
            request_id: job.id,
            pool: state.world.pools.get(&job.pool).map(|p| p.name.clone()).unwrap_or_default(),
            name: job.name().to_owned(),
            state: word.to_owned(),
            result: job.result.clone(),
            agent: job.reserved.as_ref().map(|(_, name)| name.clone()),
            demands: job.demands.iter().map(ToString::to_string).collect(),
            queue_time: job.queue_time,
            assign_time: job.assign_time,
            receive_time: job.receive_time,
            finish_time: job.finish_time,
            status_message: job.status_message.clone(),
            record: job.record.clone(),
        }
    }
}

/// A row as tests look at it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "fields are named as on the wire")]
pub struct RowView {
    pub pool: String,
    pub id: i64,
    pub name: String,
    pub online: bool,
    pub enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The request it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned: Option<i64>,
    /// Version the service wants.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_update: Option<String>,
    /// Names of the system capabilities: what the listener's environment gave away.
    pub capabilities: Vec<String>,
}

impl RowView {
    pub(super) fn of(state: &State, pool: i64, agent: &Agent) -> Self {
        Self {
            pool: state.world.pools.get(&pool).map(|p| p.name.clone()).unwrap_or_default(),
            id: agent.id,
            name: agent.name.clone(),
            online: agent.is_online(),
            enabled: agent.enabled,
            version: agent.version.clone(),
            assigned: agent.assigned,
            pending_update: agent.pending_update.as_ref().map(|u| u.target_version.clone()),
            capabilities: agent.system_capabilities.keys().cloned().collect(),
        }
    }
}

/// Jobs of a pool, or all.
pub(super) fn jobs(state: &State, pool: Option<&str>) -> Vec<JobView> {
    let all = state.world.jobs.values().map(|j| JobView::of(state, j));
    all.filter(|j| pool.is_none_or(|p| j.pool.eq_ignore_ascii_case(p))).collect()
}

/// Rows of a pool, or of all but the hosted one.
pub(super) fn rows(state: &State, pool: Option<&str>) -> Vec<RowView> {
    let pools = state.world.pools.values().filter(|p| !p.is_hosted);
    let pools = pools.filter(|p| pool.is_none_or(|name| p.name.eq_ignore_ascii_case(name)));
    pools.flat_map(|p| p.agents.values().map(|a| RowView::of(state, p.id, a))).collect()
}

/// A pool by name or id.
pub(super) fn find_pool(state: &State, pool: &str) -> Result<i64, Refusal> {
    let by_id = pool.parse().ok().filter(|id| state.world.pools.contains_key(id));
    let by_name = || state.world.pool_named(pool).map(|p| p.id);
    by_id.or_else(by_name).ok_or_else(|| Refusal::pool_not_found(pool))
}

/// An agent by name or id.
pub(super) fn find_agent<'s>(
    state: &'s State,
    pool: &str,
    agent: &str,
) -> Result<(i64, &'s Agent), Refusal> {
    let pool = state.world.pool(find_pool(state, pool)?)?;
    let by_id = agent.parse().ok().and_then(|id: i64| pool.agents.get(&id));
    let found = pool.agent_named(agent).or(by_id);
    let missing = || {
        Refusal::new(
            404,
            "TaskAgentNotFoundException",
            format!("No agent {agent} in pool {}.", pool.name),
        )
    };
    found.map(|a| (pool.id, a)).ok_or_else(missing)
}

pub(super) fn set_fault(core: &mut Core, fault: Fault, now: Timestamp) {
    let note = serde_json::to_string(&fault).unwrap_or_default();
    core.state.journal.add(now, Kind::FaultSet, About::default().note(note));
    core.faults.add(fault);
}

pub(super) fn clear_faults(core: &mut Core, now: Timestamp) {
    core.state.journal.add(now, Kind::FaultsCleared, About::default());
    core.faults.clear();
}
