//! What is stored, by kind. Pools, hosts and placements are the plan's own words
//! ([`coordinator_plan::HostRecord`] and others); the rest stands here.

use coordinator_plan::Claim;
use fleet_model::{AgentName, At, AzureTarget, CredentialName, HostName, Order, PoolName};
use serde::{Deserialize, Serialize};

/// One [`Meta`], under the id `fleet`.
pub const META: &str = "meta";
/// A `PoolSpec` by its name.
pub const POOL: &str = "pool";
/// A `HostRecord` by its name.
pub const HOST: &str = "host";
/// A `Placed` by its pool.
pub const PLACEMENT: &str = "placement";
/// A [`CredentialRecord`] by its name.
pub const CREDENTIAL: &str = "credential";
/// A [`TokenRecord`] by the token's hash.
pub const TOKEN: &str = "token";
/// A [`RemovedHost`] by its name.
pub const REMOVED: &str = "removed";
/// An [`Orphan`] by pool and agent id.
pub const ORPHAN: &str = "orphan";
/// The id of the one [`Meta`].
pub const META_ID: &str = "fleet";

/// The fleet as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Its name: part of the owner mark of every agent.
    pub fleet: String,
    /// Names and addresses of the server's certificate, as given to `init`.
    #[serde(default)]
    pub names: Vec<String>,
    /// Newest order given out, or about to be.
    pub order: Order,
    /// The newest order that a host was seen to have taken while it was newer than ours.
    #[serde(default)]
    pub ahead: Option<Ahead>,
    /// What the hosts keep is to be taken as what is wanted, before any order is given.
    #[serde(default)]
    pub adopt: bool,
}

/// A host that took an order this store never gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    /// Which host.
    pub host: HostName,
    /// The order it took.
    pub order: Order,
}

/// A one-time invitation. The token itself is never stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// SHA-256 of the token, hex.
    pub hash: String,
    /// Whom it invites.
    pub host: HostName,
    /// From when on it is worth nothing.
    pub expires: At,
    /// When it was used.
    pub used: Option<At>,
    /// Who invited.
    pub by: String,
}

/// A secret, sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CredentialRecord {
    /// Its name.
    pub name: CredentialName,
    /// First 12 hex digits of the secret's SHA-256.
    pub fingerprint: String,
    /// The sealed secret, base64. The key lies in a file of its own.
    pub sealed: String,
    /// When it was given to us.
    pub loaded: At,
    /// When it ends, where the operator said so; Azure does not tell.
    pub expires: Option<At>,
}

/// A host that was removed: its keys stay known, so that its certificate does not bring it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedHost {
    /// Which host.
    pub host: HostName,
    /// SHA-256 (hex) of the public keys it had.
    pub keys: Vec<String>,
    /// When.
    pub at: At,
}

/// A row at Azure that no host keeps an agent for: nobody else will delete it. Stored before anything is
/// done to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// The fleet's pool.
    pub pool: PoolName,
    /// Where it is registered.
    pub azure: AzureTarget,
    /// The row, from its host's ledger.
    pub agent_id: i64,
    /// Its name when the host last spoke of it.
    pub agent: AgentName,
    /// The host that is gone, or has no such agent.
    pub host: HostName,
    /// Why the row goes; empty: its host was removed.
    #[serde(default)]
    pub why: String,
    /// It was enabled when it was given up: if it is disabled now, that is our doing.
    #[serde(default)]
    pub was_enabled: bool,
    /// A host has an agent for it after all: what was done to it is undone.
    #[serde(default)]
    pub claimed: bool,
}

impl Orphan {
    /// Its id in the store.
    pub fn id(&self) -> String {
        format!("{}/{}", self.pool, self.agent_id)
    }

    /// Whether somebody has an agent for it.
    pub(crate) fn claim(&self) -> Claim {
        match (self.claimed, self.was_enabled) {
            (false, _) => Claim::Nobody,
            (true, true) => Claim::Undo,
            (true, false) => Claim::Kept,
        }
    }
}
