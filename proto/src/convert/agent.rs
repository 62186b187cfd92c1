//! Agents as their host sees them.

use fleet_model::{
    AgentOrder, AgentStatus, AgentVerb, Condition, Job, Quarantine,
    numbers::{QUARANTINE_MAX, QUARANTINE_TIME},
};

use super::{
    WireError,
    read::{narrow, optional, parsed, parsed_or_none, word},
    time::{at, duration, timestamp, wire_duration},
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
            quarantine: status.quarantine.map(Into::into),
            disk_bytes: status.disk_bytes,
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
            quarantine: optional("quarantine", wire.quarantine)?,
            disk_bytes: wire.disk_bytes,
        })
    }
}

impl From<Quarantine> for v1::Quarantine {
    fn from(quarantine: Quarantine) -> Self {
        Self {
            since: Some(timestamp(quarantine.since)),
            until: Some(timestamp(quarantine.until)),
            why: quarantine.why,
            by: quarantine.by.unwrap_or_default(),
            evidence: quarantine.evidence.unwrap_or_default(),
        }
    }
}

impl TryFrom<v1::Quarantine> for Quarantine {
    type Error = WireError;
    fn try_from(wire: v1::Quarantine) -> Result<Self, WireError> {
        let said = |text: String| Some(text).filter(|text| !text.is_empty());
        Ok(Self {
            since: at("since", wire.since)?,
            until: at("until", wire.until)?,
            why: wire.why,
            by: said(wire.by),
            evidence: said(wire.evidence),
        })
    }
}

/// Without a number: whoever sends it knows which answer it waits for.
impl From<AgentOrder> for v1::AgentOrder {
    fn from(order: AgentOrder) -> Self {
        let (verb, time) = match order.verb {
            AgentVerb::Restart => (v1::AgentVerb::Restart, None),
            AgentVerb::Quarantine(time) => (v1::AgentVerb::Quarantine, Some(time)),
            AgentVerb::Release => (v1::AgentVerb::Release, None),
        };
        Self {
            id: 0,
            agent: order.agent.into(),
            verb: verb.into(),
            quarantine_for: time.map(wire_duration),
            by: order.by,
            reason: order.reason.map(|reason| reason.to_string()).unwrap_or_default(),
        }
    }
}

impl TryFrom<v1::AgentOrder> for AgentOrder {
    type Error = WireError;
    fn try_from(wire: v1::AgentOrder) -> Result<Self, WireError> {
        Ok(Self {
            agent: parsed("agent", &wire.agent)?,
            verb: agent_verb(wire.verb, wire.quarantine_for)?,
            by: wire.by,
            reason: parsed_or_none("reason", &wire.reason)?,
        })
    }
}

/// What is asked of an agent, as hosts and operators write it: a quarantine without a time has the
/// usual one.
///
/// # Errors
/// A word that is not known, or a time of nothing or of more than [`QUARANTINE_MAX`].
pub fn agent_verb(verb: i32, time: Option<prost_types::Duration>) -> Result<AgentVerb, WireError> {
    let time = time.map(|time| duration("quarantine_for", Some(time))).transpose()?;
    match v1::AgentVerb::try_from(verb) {
        Ok(v1::AgentVerb::Restart) => Ok(AgentVerb::Restart),
        Ok(v1::AgentVerb::Release) => Ok(AgentVerb::Release),
        Ok(v1::AgentVerb::Quarantine) => match time.unwrap_or(QUARANTINE_TIME) {
            time if time.is_zero() || time > QUARANTINE_MAX => {
                let days = QUARANTINE_MAX.as_secs() / 86_400;
                Err(WireError::new(
                    "quarantine_for",
                    format!("is not between nothing and {days} days"),
                ))
            }
            time => Ok(AgentVerb::Quarantine(time)),
        },
        Ok(v1::AgentVerb::Unspecified) | Err(_) => Err(WireError::new("verb", "is not known")),
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
