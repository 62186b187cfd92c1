//! What is left over at Azure.

use fleet_proto::v1;
use jiff::Timestamp;
use serde::Serialize;

use super::some;
use crate::{when, words};

/// A row without an agent, or an agent without a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Leftover {
    /// `row` or `agent`: what there is; the other is missing.
    pub(crate) kind: String,
    pub(crate) agent: String,
    /// The row; of an agent: the one that is gone.
    pub(crate) agent_id: i64,
    pub(crate) host: String,
    /// Of a row: since when it is offline.
    pub(crate) since: Option<Timestamp>,
    /// `delete`, `going`, `wait`, `keep` or `replace`.
    pub(crate) verdict: String,
    /// With `wait`: until then.
    pub(crate) until: Option<Timestamp>,
    pub(crate) why: String,
}

/// One Azure pool that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TidyPool {
    /// The fleet's pools that register there.
    pub(crate) pools: Vec<String>,
    /// Rows with an agent.
    pub(crate) in_use: u32,
    /// Rows that are not ours.
    pub(crate) foreign: u32,
    /// Why Azure could not be asked; null: it was.
    pub(crate) trouble: Option<String>,
}

impl From<v1::Leftover> for Leftover {
    fn from(wire: v1::Leftover) -> Self {
        Self {
            kind: words::leftover_kind(wire.kind),
            agent: wire.agent,
            agent_id: wire.agent_id,
            host: wire.host,
            since: when::at(wire.since.as_ref()),
            verdict: words::leftover_verdict(wire.verdict),
            until: when::at(wire.until.as_ref()),
            why: wire.why,
        }
    }
}

impl From<v1::TidyPool> for TidyPool {
    fn from(wire: v1::TidyPool) -> Self {
        Self {
            pools: wire.pools,
            in_use: wire.in_use,
            foreign: wire.foreign,
            trouble: some(wire.trouble),
        }
    }
}
