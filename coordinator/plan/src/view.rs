//! Looking at the fleet: what people and the daemon's shell read.

use std::collections::BTreeMap;

use fleet_model::{
    AgentName, AgentStatus, At, Condition, CredentialName, HostName, Order, PoolName, PoolSpec,
    RowState,
};

use crate::{
    fleet::{Fleet, HostEntry, ReadOnly},
    records::Placed,
    tally::PoolCounts,
};

/// A pool as it stands.
#[derive(Debug, Clone)]
pub struct PoolView<'a> {
    /// As wanted.
    pub spec: &'a PoolSpec,
    /// Its agents by what they are.
    pub counts: PoolCounts,
    /// Where they are kept.
    pub placed: &'a Placed,
    /// Wanted agents without a place.
    pub unplaced: u32,
    /// Why.
    pub reasons: &'a [String],
    /// Its rows at the last look at Azure.
    pub rows: &'a BTreeMap<AgentName, RowState>,
    /// When that was.
    pub azure_seen: Option<At>,
    /// Azure trouble as the coordinator sees it.
    pub trouble: Option<&'a str>,
}

impl Fleet {
    /// Newest order.
    pub fn order(&self) -> Order {
        self.order
    }

    /// Set while no orders are given.
    pub fn read_only(&self) -> Option<&ReadOnly> {
        self.read_only.as_ref()
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = (&HostName, &HostEntry)> {
        self.hosts.iter()
    }

    /// One host.
    pub fn host(&self, name: &HostName) -> Option<&HostEntry> {
        self.hosts.get(name)
    }

    /// All agents with their hosts.
    pub fn agents(&self) -> impl Iterator<Item = (&HostName, &HostEntry, &AgentStatus)> {
        self.hosts
            .iter()
            .flat_map(|(name, host)| host.agents.values().map(move |agent| (name, host, agent)))
    }

    /// Names of all pools.
    pub fn pool_names(&self) -> impl Iterator<Item = &PoolName> {
        self.pools.keys()
    }

    /// One pool as it stands.
    pub fn pool_view(&self, name: &PoolName) -> Option<PoolView<'_>> {
        self.pools.get(name).map(|pool| PoolView {
            spec: &pool.spec,
            counts: pool.counts,
            placed: &pool.placed,
            unplaced: pool.unplaced,
            reasons: &pool.reasons,
            rows: &pool.rows,
            azure_seen: pool.azure_seen,
            trouble: pool.trouble.as_deref(),
        })
    }

    /// Trouble of a pool, host by host.
    pub fn pool_conditions<'a>(
        &'a self,
        name: &'a PoolName,
    ) -> impl Iterator<Item = (&'a HostName, &'a Condition)> {
        self.hosts.iter().flat_map(move |(host, entry)| {
            let of_pool = |c: &&Condition| c.pool.as_ref() == Some(name);
            entry.conditions.iter().filter(of_pool).map(move |condition| (host, condition))
        })
    }

    /// Fingerprint of a credential's present secret.
    pub fn credential(&self, name: &CredentialName) -> Option<&str> {
        self.credentials.get(name).map(String::as_str)
    }
}
