//! What the coordinator stores: the objects behind a [`crate::Fleet`].

use std::collections::BTreeMap;

use fleet_model::{
    At, CredentialName, GroupName, HostName, Labels, Order, PoolName, PoolSpec, Restraint,
};
use serde::{Deserialize, Serialize};

use crate::pace::Moves;

/// A host as the operator and its enrolment made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its name.
    pub name: HostName,
    /// Labels given with the invitation, `lab` among them; they win over the host's own.
    pub labels: Labels,
    /// An operator holds it back.
    #[serde(default)]
    pub restraint: Option<Restraint>,
    /// When it was first invited.
    pub invited: At,
    /// When it joined; absent: not yet.
    pub joined: Option<At>,
    /// SHA-256 (hex) of the public keys it may come back with, newest last.
    pub keys: Vec<String>,
    /// End of its newest certificate.
    pub certificate_expires: Option<At>,
}

/// Where the agents of a pool are kept. Stored, because after a restart of the coordinator the same
/// places must come out: a count that moved would end agents for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Placed {
    /// Agents by host and group; no entry is zero.
    pub by_host: BTreeMap<HostName, BTreeMap<GroupName, u32>>,
    /// The host that keeps a group's last registration when the group has no agent.
    pub keeper: BTreeMap<GroupName, HostName>,
    /// Where it is not so yet. Stored as well: after a restart the agents that were leaving are not
    /// known until their hosts have reported.
    #[serde(default, skip_serializing_if = "Moves::is_empty")]
    pub moving: Moves,
    /// A host takes agents again: idle ones are to move until the hosts are level.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uneven: bool,
}

impl Placed {
    /// Agents of `group` on `host`.
    pub fn count(&self, host: &HostName, group: &GroupName) -> u32 {
        self.by_host.get(host).and_then(|groups| groups.get(group)).copied().unwrap_or(0)
    }

    /// Agents of all groups on `host`.
    pub fn on_host(&self, host: &HostName) -> u32 {
        self.by_host.get(host).map_or(0, |groups| groups.values().sum())
    }

    /// All agents.
    pub fn total(&self) -> u32 {
        self.by_host.values().flat_map(BTreeMap::values).sum()
    }

    /// True when `host` has a part in this pool: agents, also such that leave, or the keeper's duty.
    pub fn involves(&self, host: &HostName) -> bool {
        self.by_host.contains_key(host)
            || self.moving.contains_key(host)
            || self.keeper.values().any(|keeper| keeper == host)
    }

    /// As [`Self::set`], over what was there.
    pub(crate) fn put(&mut self, host: &HostName, group: &GroupName, count: u32) {
        if count > 0 {
            return self.set(host, group, count);
        }
        let Some(groups) = self.by_host.get_mut(host) else { return };
        groups.remove(group);
        if groups.is_empty() {
            self.by_host.remove(host);
        }
    }

    pub(crate) fn set(&mut self, host: &HostName, group: &GroupName, count: u32) {
        if count > 0 {
            self.by_host.entry(host.clone()).or_default().insert(group.clone(), count);
        }
    }
}

/// Everything a restarted coordinator goes on with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// Newest order ever given out, or about to be.
    pub order: Order,
    /// All pools, tombstones too.
    pub pools: Vec<PoolSpec>,
    /// All hosts.
    pub hosts: Vec<HostRecord>,
    /// Placement by pool.
    pub placements: BTreeMap<PoolName, Placed>,
    /// Fingerprint of each credential's present secret.
    pub credentials: BTreeMap<CredentialName, String>,
}
