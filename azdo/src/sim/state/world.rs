//! What a reader of the REST API can see: pools, their agents, the jobs. Plain data, cloned whole
//! for stale reads.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use uuid::Uuid;

use super::super::Refusal;
use super::jobs::{JobForm, JobRecord};
use crate::types::Demand;

/// Pools, agents and jobs at one moment.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// By id.
    pub pools: BTreeMap<i64, Pool>,
    /// By request id, finished ones included.
    pub jobs: BTreeMap<i64, Job>,
    /// Ids of the unfinished ones, so that the rules do not walk through history.
    pub open: BTreeSet<i64>,
}

/// A pool.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named as on the wire")]
pub struct Pool {
    pub id: i64,
    pub name: String,
    pub is_hosted: bool,
    pub auto_update: bool,
    pub auto_provision: bool,
    pub created_on: Timestamp,
    pub agents: BTreeMap<i64, Agent>,
}

/// A registered agent.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named as on the wire")]
pub struct Agent {
    pub id: i64,
    pub name: String,
    pub version: Option<String>,
    pub os_description: Option<String>,
    pub enabled: bool,
    pub max_parallelism: i64,
    pub provisioning_state: String,
    pub created_on: Timestamp,
    pub status_changed_on: Option<Timestamp>,
    pub client_id: Uuid,
    pub public_key: Option<PublicKey>,
    pub system_capabilities: BTreeMap<String, String>,
    pub user_capabilities: BTreeMap<String, String>,
    /// The live session, if any: online.
    pub session: Option<Uuid>,
    pub assigned: Option<i64>,
    pub last_completed: Option<i64>,
    pub pending_update: Option<PendingUpdate>,
}

/// An update the service wants from an agent.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named as on the wire")]
pub struct PendingUpdate {
    pub source_version: Option<String>,
    pub target_version: String,
    pub request_time: Timestamp,
    pub current_state: Option<String>,
}

/// The key an agent signs with, base64 as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    /// Public exponent.
    pub exponent: String,
    /// Modulus.
    pub modulus: String,
}

/// A job request.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "fields are named as on the wire")]
pub struct Job {
    pub id: i64,
    pub pool: i64,
    pub form: JobForm,
    pub demands: Vec<Demand>,
    pub job_id: Uuid,
    pub plan_id: Uuid,
    pub lock_token: Uuid,
    pub queue_time: Timestamp,
    pub assign_time: Option<Timestamp>,
    pub receive_time: Option<Timestamp>,
    pub finish_time: Option<Timestamp>,
    pub locked_until: Option<Timestamp>,
    pub result: Option<String>,
    pub status_message: Option<String>,
    /// Id and name of the chosen agent; the name outlives the row.
    pub reserved: Option<(i64, String)>,
    pub record: Option<JobRecord>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum JobState {
    Queued,
    Assigned,
    Running,
    Finished,
}

impl Job {
    /// Derived from the times, as a reader of the API must.
    pub fn state(&self) -> JobState {
        match (&self.result, self.assign_time, self.receive_time) {
            (Some(_), _, _) => JobState::Finished,
            (None, None, _) => JobState::Queued,
            (None, Some(_), None) => JobState::Assigned,
            (None, Some(_), Some(_)) => JobState::Running,
        }
    }

    /// Held by an agent.
    pub fn is_held(&self) -> bool {
        matches!(self.state(), JobState::Assigned | JobState::Running)
    }
}

impl Pool {
    pub(super) fn new(id: i64, name: &str, now: Timestamp) -> Self {
        Self {
            id,
            name: name.to_owned(),
            is_hosted: false,
            auto_update: true,
            auto_provision: true,
            created_on: now,
            agents: BTreeMap::new(),
        }
    }

    /// Names compare without case.
    pub fn agent_named(&self, name: &str) -> Option<&Agent> {
        self.agents.values().find(|a| a.name.eq_ignore_ascii_case(name))
    }
}

impl Agent {
    pub(super) fn new(id: i64, name: String, client_id: Uuid, now: Timestamp) -> Self {
        Self {
            id,
            name,
            version: None,
            os_description: None,
            enabled: true,
            max_parallelism: 1,
            provisioning_state: "Provisioned".to_owned(),
            created_on: now,
            status_changed_on: None,
            client_id,
            public_key: None,
            system_capabilities: BTreeMap::new(),
            user_capabilities: BTreeMap::new(),
            session: None,
            assigned: None,
            last_completed: None,
            pending_update: None,
        }
    }

    /// A live session exists.
    pub fn is_online(&self) -> bool {
        self.session.is_some()
    }

    /// A capability of either kind, names without case. `Agent.Version` is implied by the row's version.
    pub fn capability(&self, name: &str) -> Option<&str> {
        let of = |map: &'_ BTreeMap<String, String>| -> Option<String> {
            map.keys().find(|k| k.eq_ignore_ascii_case(name)).cloned()
        };
        for map in [&self.user_capabilities, &self.system_capabilities] {
            if let Some(value) = of(map).and_then(|k| map.get(&k)) {
                return Some(value);
            }
        }
        name.eq_ignore_ascii_case("Agent.Version").then_some(self.version.as_deref()).flatten()
    }

    /// Satisfies all demands.
    pub fn matches(&self, demands: &[Demand]) -> bool {
        demands.iter().all(|d| d.is_met_by(self.capability(&d.name)))
    }
}

impl World {
    /// # Errors
    /// Unknown pool.
    pub fn pool(&self, id: i64) -> Result<&Pool, Refusal> {
        self.pools.get(&id).ok_or_else(|| Refusal::pool_not_found(id))
    }

    /// By exact name, without case.
    pub fn pool_named(&self, name: &str) -> Option<&Pool> {
        self.pools.values().find(|p| p.name.eq_ignore_ascii_case(name))
    }

    /// # Errors
    /// Unknown pool or agent.
    pub fn agent(&self, pool: i64, agent: i64) -> Result<&Agent, Refusal> {
        self.pool(pool)?.agents.get(&agent).ok_or_else(|| Refusal::agent_not_found(agent))
    }

    pub(super) fn agent_mut(&mut self, pool: i64, agent: i64) -> Result<&mut Agent, Refusal> {
        let pool = self.pools.get_mut(&pool).ok_or_else(|| Refusal::pool_not_found(pool))?;
        pool.agents.get_mut(&agent).ok_or_else(|| Refusal::agent_not_found(agent))
    }

    /// # Errors
    /// Unknown request.
    pub fn job(&self, id: i64) -> Result<&Job, Refusal> {
        self.jobs.get(&id).ok_or_else(|| Refusal::request_not_found(id))
    }

    pub(super) fn job_mut(&mut self, id: i64) -> Result<&mut Job, Refusal> {
        self.jobs.get_mut(&id).ok_or_else(|| Refusal::request_not_found(id))
    }

    /// Unfinished jobs in the order of their ids, which is the order of queueing.
    pub fn open_jobs(&self) -> impl Iterator<Item = &Job> {
        self.open.iter().filter_map(|id| self.jobs.get(id))
    }

    /// Registered agents that satisfy a job's demands, offline and disabled ones included.
    pub fn matched<'w>(&'w self, job: &'w Job) -> impl Iterator<Item = &'w Agent> {
        let agents = self.pools.get(&job.pool).into_iter().flat_map(|p| p.agents.values());
        agents.filter(|a| a.matches(&job.demands))
    }
}
