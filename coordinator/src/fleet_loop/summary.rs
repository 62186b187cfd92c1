//! Figures for metrics and health.

use std::{collections::BTreeMap, time::Duration};

use coordinator_plan::{Fleet, PoolCounts};
use fleet_model::{HostState, Order, PoolName};

/// The fleet in figures, taken between two turns of the loop.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Each pool's desired count, what it has, and how many have no place.
    pub pools: BTreeMap<PoolName, PoolSummary>,
    /// Hosts by state.
    pub hosts: BTreeMap<HostState, u64>,
    /// Open sessions.
    pub sessions: u64,
    /// Open watches of operators.
    pub watchers: u64,
    /// Newest order.
    pub order: Order,
    /// No orders are given.
    pub read_only: bool,
    /// The last commit failed, and why.
    pub store_trouble: Option<String>,
}

/// A pool in figures.
#[derive(Debug, Clone)]
pub struct PoolSummary {
    /// Agents wanted.
    pub desired: u32,
    /// Agents by what they are.
    pub counts: PoolCounts,
    /// Wanted agents without a place.
    pub unplaced: u32,
    /// Azure is in trouble, as the coordinator sees it.
    pub trouble: bool,
    /// Time since the last good look at Azure.
    pub azure_age: Option<Duration>,
}

/// All that the plan knows.
pub(crate) fn pools(fleet: &Fleet, now: fleet_model::At) -> BTreeMap<PoolName, PoolSummary> {
    let names: Vec<PoolName> = fleet.pool_names().cloned().collect();
    let summary = |name: PoolName| {
        let view = fleet.pool_view(&name)?;
        let summary = PoolSummary {
            desired: view.spec.replicas,
            counts: view.counts,
            unplaced: view.unplaced,
            trouble: view.trouble.is_some(),
            azure_age: view.azure_seen.map(|seen| now.since(seen)),
        };
        Some((name, summary))
    };
    names.into_iter().filter_map(summary).collect()
}

/// Hosts by state; every state is named.
pub(crate) fn hosts(fleet: &Fleet) -> BTreeMap<HostState, u64> {
    use HostState::{Disconnected, Down, Invited, Ready};
    let mut count: BTreeMap<_, _> =
        [Invited, Ready, Disconnected, Down].map(|state| (state, 0)).into();
    for (_, host) in fleet.hosts() {
        *count.entry(host.state()).or_default() += 1;
    }
    count
}
