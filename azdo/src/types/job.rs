//! A job request: one row of a pool's queue, from queued to finished.
//!
//! ```text
//! queued ──assignTime, reservedAgent──▶ assigned ──receiveTime──▶ running ──finishTime, result──▶ finished
//! ```

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AgentStatus, Demand, lenient};

/// One request for an agent.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobRequest {
    /// Id, unique in the organisation, ever rising.
    pub request_id: i64,
    /// When it was queued.
    #[serde(default, deserialize_with = "lenient::time")]
    pub queue_time: Option<Timestamp>,
    /// When an agent was chosen.
    #[serde(default, deserialize_with = "lenient::time")]
    pub assign_time: Option<Timestamp>,
    /// When the agent said that it has it.
    #[serde(default, deserialize_with = "lenient::time")]
    pub receive_time: Option<Timestamp>,
    /// When it ended.
    #[serde(default, deserialize_with = "lenient::time")]
    pub finish_time: Option<Timestamp>,
    /// Without a renewal by then the service gives the job up.
    #[serde(default, deserialize_with = "lenient::time")]
    pub locked_until: Option<Timestamp>,
    /// How it ended; absent until then.
    #[serde(default)]
    pub result: Option<JobResult>,
    /// The pool it waits in.
    #[serde(default)]
    pub pool_id: Option<i64>,
    /// The job.
    #[serde(default)]
    pub job_id: Option<String>,
    /// Its name.
    #[serde(default)]
    pub job_name: Option<String>,
    /// The plan (run) it belongs to.
    #[serde(default)]
    pub plan_id: Option<String>,
    /// What an agent must have.
    #[serde(default, deserialize_with = "lenient::list")]
    pub demands: Vec<Demand>,
    /// Agents that could take it, offline ones included. Not in the `$top` form of the list.
    #[serde(default, deserialize_with = "lenient::list")]
    pub matched_agents: Vec<AgentReference>,
    /// Every agent of the pool could take it; then `matched_agents` may be empty.
    #[serde(default)]
    pub matches_all_agents_in_pool: bool,
    /// The chosen agent.
    #[serde(default)]
    pub reserved_agent: Option<AgentReference>,
    /// The pipeline.
    #[serde(default)]
    pub definition: Option<DefinitionReference>,
    /// The run.
    #[serde(default)]
    pub owner: Option<DefinitionReference>,
    /// Why it waits or failed, seldom given.
    #[serde(default)]
    pub status_message: Option<String>,
}

impl JobRequest {
    /// Waits for an agent.
    pub fn is_queued(&self) -> bool {
        self.result.is_none() && self.assign_time.is_none() && self.reserved_agent.is_none()
    }

    /// Held by an agent, whether or not the agent knows it yet.
    pub fn is_held(&self) -> bool {
        self.result.is_none() && !self.is_queued()
    }
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum JobResult {
    /// All well.
    Succeeded,
    /// Well, with warnings.
    SucceededWithIssues,
    /// Not well.
    Failed,
    /// Stopped by a person, or by the listener's end.
    Canceled,
    /// Not run.
    Skipped,
    /// Given up by the service: the agent was not heard of in time.
    Abandoned,
    /// A word this client does not know.
    #[serde(other)]
    Unknown,
}

/// An agent as named inside a job request.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentReference {
    /// Id in the pool.
    pub id: i64,
    /// Name in the pool.
    #[serde(default)]
    pub name: String,
    /// At the time of the answer.
    #[serde(default)]
    pub status: AgentStatus,
}

/// A pipeline or a run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DefinitionReference {
    /// Id.
    pub id: i64,
    /// Name or run number.
    #[serde(default)]
    pub name: Option<String>,
}
