//! What is said in a session: who the host is, what it reports, what Azure says of its rows.

use std::collections::BTreeSet;

use fleet_model::{
    AgentName, Assigned, HostFacts, HostName, HostReport, Labels, Order, PoolName, RowState,
    RuntimeKind,
};

use super::{
    WireError,
    read::{element, list, parsed, parsed_list, word},
    words::order,
};
use crate::v1;

/// The first message of a session, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Who speaks; must be the name in its certificate.
    pub host: HostName,
    /// One id per start of hostd. With the boot id it tells a restart from a second live instance.
    pub instance_id: String,
    /// Highest order the host ever took.
    pub highest: Order,
    /// What it says about itself.
    pub facts: HostFacts,
}

impl From<Hello> for v1::Hello {
    fn from(hello: Hello) -> Self {
        let facts = hello.facts;
        Self {
            host: hello.host.into(),
            boot_id: facts.boot_id,
            instance_id: hello.instance_id,
            version: facts.version,
            labels: facts.labels.into_iter().map(|(k, v)| (k.into(), v)).collect(),
            capacity: facts.capacity,
            runtimes: facts.runtimes.into_iter().map(|r| v1::RuntimeKind::from(r).into()).collect(),
            engine: facts.engine,
            highest_order: Some(hello.highest.into()),
        }
    }
}

impl TryFrom<v1::Hello> for Hello {
    type Error = WireError;
    fn try_from(wire: v1::Hello) -> Result<Self, WireError> {
        // Two nameless instances could not be told from one that came back.
        for (field, text) in [("boot_id", &wire.boot_id), ("instance_id", &wire.instance_id)] {
            if text.is_empty() {
                return Err(WireError::new(field, "is missing"));
            }
        }
        Ok(Self {
            host: parsed("host", &wire.host)?,
            instance_id: wire.instance_id,
            highest: order("highest_order", wire.highest_order)?,
            facts: HostFacts {
                labels: labels(wire.labels)?,
                capacity: wire.capacity,
                runtimes: runtimes(&wire.runtimes)?,
                version: wire.version,
                boot_id: wire.boot_id,
                engine: wire.engine,
            },
        })
    }
}

pub(super) fn labels(
    wire: impl IntoIterator<Item = (String, String)>,
) -> Result<Labels, WireError> {
    wire.into_iter().map(|(key, value)| Ok((parsed("labels", &key)?, value))).collect()
}

pub(super) fn runtimes(wire: &[i32]) -> Result<BTreeSet<RuntimeKind>, WireError> {
    let read =
        |(n, number): (usize, &i32)| word::<v1::RuntimeKind, _>(&element("runtimes", n), *number);
    wire.iter().enumerate().map(read).collect()
}

impl From<HostReport> for v1::Report {
    fn from(report: HostReport) -> Self {
        Self {
            full: report.full,
            applied: Some(report.applied.into()),
            agents: report.agents.into_iter().map(Into::into).collect(),
            removed: report.removed.into_iter().map(String::from).collect(),
            conditions: report.conditions.into_iter().map(Into::into).collect(),
            credentials: report.credentials.into_iter().map(Into::into).collect(),
            disks: report.disks.into_iter().map(Into::into).collect(),
            caches: report.caches.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::Report> for HostReport {
    type Error = WireError;
    fn try_from(wire: v1::Report) -> Result<Self, WireError> {
        Ok(Self {
            full: wire.full,
            applied: order("applied", wire.applied)?,
            agents: list("agents", wire.agents)?,
            removed: parsed_list("removed", &wire.removed)?,
            conditions: list("conditions", wire.conditions)?,
            credentials: list("credentials", wire.credentials)?,
            disks: list("disks", wire.disks)?,
            caches: wire.caches.into_iter().map(Into::into).collect(),
        })
    }
}

/// What Azure says about one row of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The pool in the fleet.
    pub pool: PoolName,
    /// The agent whose row it is.
    pub agent: AgentName,
    /// What changed.
    pub change: RowChange,
}

/// See [`Row`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowChange {
    /// The row is there.
    Seen(RowState),
    /// The row of this id is no more; a new one may already have the same name.
    Gone {
        /// Its id in the Azure pool.
        agent_id: i64,
    },
}

impl From<Row> for v1::Row {
    fn from(row: Row) -> Self {
        let (pool, agent) = (row.pool.into(), row.agent.into());
        match row.change {
            RowChange::Gone { agent_id } => {
                Self { pool, agent, agent_id, gone: true, ..Self::default() }
            }
            RowChange::Seen(state) => {
                let (assigned_request, job_name) =
                    state.assigned.map(|held| (held.request_id, held.job)).unzip();
                Self {
                    pool,
                    agent,
                    agent_id: state.agent_id,
                    enabled: state.enabled,
                    online: state.online,
                    assigned_request,
                    job_name: job_name.unwrap_or_default(),
                    gone: false,
                }
            }
        }
    }
}

impl TryFrom<v1::Row> for Row {
    type Error = WireError;
    fn try_from(wire: v1::Row) -> Result<Self, WireError> {
        let agent_id = wire.agent_id;
        let change = if wire.gone {
            RowChange::Gone { agent_id }
        } else {
            RowChange::Seen(RowState {
                agent_id,
                enabled: wire.enabled,
                online: wire.online,
                assigned: wire
                    .assigned_request
                    .map(|request| Assigned::new(request, wire.job_name)),
            })
        };
        Ok(Self { pool: parsed("pool", &wire.pool)?, agent: parsed("agent", &wire.agent)?, change })
    }
}
