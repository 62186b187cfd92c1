//! One agent.

use fleet_proto::v1;
use jiff::Timestamp;
use serde::Serialize;

use super::some;
use crate::{when, words};

/// One agent as `get agents -o json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) pool: String,
    pub(crate) group: String,
    pub(crate) host: String,
    pub(crate) lab: String,
    pub(crate) slot: u32,
    pub(crate) runtime: String,
    pub(crate) phase: String,
    pub(crate) since: Option<Timestamp>,
    pub(crate) intent: String,
    pub(crate) job: Option<Job>,
    pub(crate) why: Option<String>,
    pub(crate) attempt: u32,
    /// Its row at Azure.
    pub(crate) agent_id: Option<i64>,
    /// As Azure sees it; null before the first look.
    pub(crate) online: Option<bool>,
    pub(crate) enabled: Option<bool>,
    /// The host is not in session: this is what it last said.
    pub(crate) stale: bool,
    /// Only the pool's last registration, kept offline; it is in no count.
    pub(crate) placeholder: bool,
    /// It is kept aside, or on its way there.
    pub(crate) quarantine: Option<Quarantine>,
    /// What it takes on its host's disks, without what it shares; null: not measured (yet).
    pub(crate) disk_bytes: Option<u64>,
    /// The page of the run that its job belongs to; null: not known.
    pub(crate) run_url: Option<String>,
}

/// Why and how long an agent is kept aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Quarantine {
    pub(crate) since: Option<Timestamp>,
    pub(crate) until: Option<Timestamp>,
    pub(crate) why: Option<String>,
    /// The operator who asked for it; null: its host, after too many failures.
    pub(crate) by: Option<String>,
    /// Where on its host the evidence is.
    pub(crate) evidence: Option<String>,
}

/// The job of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    pub(crate) name: Option<String>,
    pub(crate) request_id: Option<i64>,
    pub(crate) since: Option<Timestamp>,
}

impl From<v1::Agent> for Agent {
    fn from(wire: v1::Agent) -> Self {
        let status = wire.status.unwrap_or_default();
        Self {
            name: status.agent,
            pool: status.pool,
            group: status.group,
            host: wire.host,
            lab: wire.lab,
            slot: status.slot,
            runtime: words::runtime(status.runtime),
            phase: words::phase(status.phase),
            since: when::at(status.since.as_ref()),
            intent: words::intent(status.intent),
            job: status.job.map(Job::from),
            why: some(status.why),
            attempt: status.attempt,
            agent_id: status.agent_id,
            online: wire.online,
            enabled: wire.enabled,
            stale: wire.stale,
            placeholder: status.placeholder,
            quarantine: status.quarantine.map(Quarantine::from),
            disk_bytes: status.disk_bytes,
            run_url: some(wire.run_url),
        }
    }
}

impl From<v1::Quarantine> for Quarantine {
    fn from(wire: v1::Quarantine) -> Self {
        Self {
            since: when::at(wire.since.as_ref()),
            until: when::at(wire.until.as_ref()),
            why: some(wire.why),
            by: some(wire.by),
            evidence: some(wire.evidence),
        }
    }
}

impl From<v1::Job> for Job {
    fn from(wire: v1::Job) -> Self {
        Self {
            name: some(wire.name),
            request_id: wire.request_id,
            since: when::at(wire.since.as_ref()),
        }
    }
}
