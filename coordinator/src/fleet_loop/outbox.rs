//! What lies ready for a host: only the newest of each thing.

use std::{collections::BTreeMap, sync::Arc};

use fleet_model::{
    AgentName, AgentOrder, Assignment, CredentialName, CredentialRef, Order, PoolName,
};
use fleet_proto::{convert::Row, v1};
use tonic::Status;

/// See the module. Emptied by the session whenever the host takes something.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Secrets that the assignment needs; sent before it.
    pub(crate) credentials: BTreeMap<CredentialName, CredentialRef>,
    /// The newest assignment. An older one that was not sent yet is of no use to anybody.
    pub(crate) assignment: Option<Arc<Assignment>>,
    /// Rows that changed at Azure.
    pub(crate) rows: BTreeMap<(PoolName, AgentName), Row>,
    /// Orders for single agents, with their numbers, in their order.
    pub(crate) agent_orders: Vec<(u64, AgentOrder)>,
    /// Logs that operators want to read. Bounded: an operator who asks waits for its answer.
    pub(crate) logs: Vec<v1::OpenLogs>,
    /// The newest order of this host, for heartbeats; none: no change.
    pub(crate) newest: Option<Order>,
    /// The session has to end, and what the host is told.
    pub(crate) end: Option<Status>,
}
