//! Words for hosts.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{Labels, RuntimeKind};

/// Whether the coordinator hears of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostState {
    /// Invited; it never joined.
    Invited,
    /// In session.
    Ready,
    /// Its session broke within the lease.
    Disconnected,
    /// Not heard of for longer than the lease.
    Down,
}

impl fmt::Display for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Invited => "Invited",
            Self::Ready => "Ready",
            Self::Disconnected => "Disconnected",
            Self::Down => "Down",
        })
    }
}

/// What the operator lets a host or a pool do. Why, and for how long: [`crate::Restraint`].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Availability {
    /// It takes agents.
    #[default]
    Active,
    /// Its agents stay as they are; it takes no new ones.
    Cordoned,
    /// Its agents stay and take no more jobs; it takes no new ones.
    Paused,
    /// Its agents go at their jobs' end.
    Draining,
}

impl fmt::Display for Availability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "Active",
            Self::Cordoned => "Cordoned",
            Self::Paused => "Paused",
            Self::Draining => "Draining",
        })
    }
}

/// What a host says about itself when its session begins.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostFacts {
    /// Labels from its configuration; the coordinator's own (`lab`) win over them.
    pub labels: Labels,
    /// Most agents it takes, all pools together.
    pub capacity: Option<u32>,
    /// Runtimes it can serve.
    pub runtimes: BTreeSet<RuntimeKind>,
    /// Version of hostd.
    pub version: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Engine and version, as shown to people.
    pub engine: String,
}
