//! Agents as their host sees them.

use fleet_model::{AgentStatus, Condition, Job};

use super::{
    WireError,
    read::{narrow, optional, parsed, parsed_or_none, word},
    time::{at, timestamp},
};
use crate::v1;

impl From<AgentStatus> for v1::AgentStatus {
    fn from(status: AgentStatus) -> Self {
        Self {
            agent: status.agent.into(),
            pool: status.pool.into(),
            group: status.group.into(),
            slot: status.slot.into(),
            runtime: v1::RuntimeKind::from(status.runtime).into(),
            attempt: status.attempt,
            phase: v1::Phase::from(status.phase).into(),
            since: Some(timestamp(status.since)),
            intent: v1::Intent::from(status.intent).into(),
            job: status.job.map(Into::into),
            why: status.why,
            agent_id: status.agent_id,
            placeholder: status.placeholder,
        }
    }
}

impl TryFrom<v1::AgentStatus> for AgentStatus {
    type Error = WireError;
    fn try_from(wire: v1::AgentStatus) -> Result<Self, WireError> {
        Ok(Self {
            agent: parsed("agent", &wire.agent)?,
            pool: parsed("pool", &wire.pool)?,
            group: parsed("group", &wire.group)?,
            slot: narrow("slot", wire.slot)?,
            runtime: word::<v1::RuntimeKind, _>("runtime", wire.runtime)?,
            attempt: wire.attempt,
            phase: word::<v1::Phase, _>("phase", wire.phase)?,
            since: at("since", wire.since)?,
            intent: word::<v1::Intent, _>("intent", wire.intent)?,
            job: optional("job", wire.job)?,
            why: wire.why,
            agent_id: wire.agent_id,
            placeholder: wire.placeholder,
        })
    }
}

impl From<Job> for v1::Job {
    fn from(job: Job) -> Self {
        Self { name: job.name, request_id: job.request_id, since: Some(timestamp(job.since)) }
    }
}

impl TryFrom<v1::Job> for Job {
    type Error = WireError;
    fn try_from(wire: v1::Job) -> Result<Self, WireError> {
        let since = at("since", wire.since)?;
        Ok(Self { name: wire.name, request_id: wire.request_id, since })
    }
}

impl From<Condition> for v1::Condition {
    fn from(condition: Condition) -> Self {
        Self {
            kind: v1::ConditionKind::from(condition.kind).into(),
            pool: condition.pool.map(String::from).unwrap_or_default(),
            message: condition.message,
        }
    }
}

impl TryFrom<v1::Condition> for Condition {
    type Error = WireError;
    fn try_from(wire: v1::Condition) -> Result<Self, WireError> {
        Ok(Self {
            kind: word::<v1::ConditionKind, _>("kind", wire.kind)?,
            pool: parsed_or_none("pool", &wire.pool)?,
            message: wire.message,
        })
    }
}
