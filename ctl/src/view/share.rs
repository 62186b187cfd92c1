//! How a host stands to a group of a pool.

use fleet_proto::v1;
use serde::Serialize;

use super::some;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Share {
    pub(crate) pool: String,
    pub(crate) group: String,
    pub(crate) host: String,
    /// Agents that have their place there.
    pub(crate) placed: u32,
    /// Agents that it is told to keep: fewer while others have to leave elsewhere first.
    pub(crate) told: u32,
    /// Agents that may be there: more while some leave.
    pub(crate) there: u32,
    /// Why it gets no more; null: it may.
    pub(crate) refusal: Option<String>,
}

impl From<v1::Share> for Share {
    fn from(wire: v1::Share) -> Self {
        Self {
            pool: wire.pool,
            group: wire.group,
            host: wire.host,
            placed: wire.placed,
            told: wire.told,
            there: wire.there,
            refusal: some(wire.refusal),
        }
    }
}
