//! What a host is told to keep: always the whole of it, never a change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    AgentPrefix, AzureTarget, CredentialName, Forced, GroupName, GroupSpec, Labels, Order,
    PoolName, Template,
};

/// Everything a host should keep. Complete: what it says replaces what an older one said.
///
/// A pool that is *absent* is unknown, not zero: its agents stay as they are. Removal is said by
/// [`Wanted::Gone`] or by a count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Assignment {
    /// Its place in history; a host refuses an older one.
    pub order: Order,
    /// By pool.
    pub pools: BTreeMap<PoolName, PoolAssignment>,
    /// What the operator calls this host. Its own labels are its own business; these win over them.
    #[serde(default)]
    pub labels: Labels,
}

/// One pool's part of an [`Assignment`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolAssignment {
    /// Where the agents register.
    pub azure: AzureTarget,
    /// First part of the agents' names.
    pub prefix: AgentPrefix,
    /// Between the two clear reads that allow a stop.
    pub settle: Duration,
    /// Which credential to use.
    pub credential: CredentialRef,
    /// Keep agents, or the tombstone.
    pub wanted: Wanted,
    /// Groups whose agents all go. As with pools, a group that is merely absent from
    /// [`Wanted::Groups`] is unknown and goes on as it was.
    #[serde(default)]
    pub gone_groups: BTreeSet<GroupName>,
    /// The operator's leave to remove idle agents without Azure's word while Azure does not answer.
    #[serde(default)]
    pub forced: Option<Forced>,
    /// Its agents here are kept and take no jobs: who said so and why. A job that runs goes on.
    #[serde(default)]
    pub paused: Option<String>,
}

/// A credential by name, and which secret of that name is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CredentialRef {
    /// Its name.
    pub name: CredentialName,
    /// First 12 hex digits of the secret's SHA-256: tells two secrets apart, reveals neither.
    pub fingerprint: String,
}

/// How many agents of a pool a host keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// These groups with these counts.
    Groups(BTreeMap<GroupName, GroupAssignment>),
    /// The tombstone: the pool is deleted, every agent and row of it goes.
    Gone,
}

/// One group's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupAssignment {
    /// How an agent is built.
    pub template: Arc<Template>,
    /// Agents to keep on this host.
    pub replicas: u32,
    /// This host keeps one registration as an offline placeholder when it has no agent: without
    /// any, jobs of the pool would fail at queue time instead of waiting.
    pub placeholder: bool,
}

impl PoolAssignment {
    /// Agents of all groups together.
    pub fn replicas(&self) -> u32 {
        match &self.wanted {
            Wanted::Groups(groups) => groups.values().map(|g| g.replicas).sum(),
            Wanted::Gone => 0,
        }
    }

    /// The group of that name, unless the pool is gone.
    pub fn group(&self, name: &GroupName) -> Option<&GroupAssignment> {
        match &self.wanted {
            Wanted::Groups(groups) => groups.get(name),
            Wanted::Gone => None,
        }
    }
}

impl GroupAssignment {
    /// The part of `group` for a host that keeps `replicas` of it.
    pub fn of(group: &GroupSpec, replicas: u32, placeholder: bool) -> Self {
        Self { template: Arc::clone(&group.template), replicas, placeholder }
    }
}
