//! What `-o json` and `-o yaml` show: our own structs, so that a change of the contract never
//! changes the output unseen. Fields are added, never renamed or taken away;
//! `docs/agentctl-json.schema.json` describes them.

mod agent;
mod event;
mod host;
mod leftover;
mod line;
mod pool;
mod restraint;
mod share;

pub(crate) use agent::Agent;
pub(crate) use event::Event;
use fleet_proto::v1;
pub(crate) use host::Host;
pub(crate) use leftover::{Leftover, TidyPool};
pub(crate) use line::{Line, LineKind};
pub(crate) use pool::{Credential, Group, Placed, Pool};
pub(crate) use restraint::Restraint;
use serde::Serialize;
pub(crate) use share::Share;

/// Position in the fleet's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Order {
    /// Compared first.
    pub(crate) term: u64,
    /// Compared within a term.
    pub(crate) generation: u64,
}

impl From<v1::Order> for Order {
    fn from(wire: v1::Order) -> Self {
        Self { term: wire.term, generation: wire.generation }
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.term, self.generation)
    }
}

/// Something that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    /// Where it was seen; none means the coordinator.
    pub(crate) host: Option<String>,
    /// The pool it is about; none means the host.
    pub(crate) pool: Option<String>,
    /// A fixed word.
    pub(crate) kind: String,
    /// The cause in words.
    pub(crate) message: String,
}

impl Condition {
    pub(crate) fn new(host: &str, pool: &str, wire: v1::Condition) -> Self {
        let pool = if wire.pool.is_empty() { pool.to_owned() } else { wire.pool };
        Self {
            host: some(host.to_owned()),
            pool: some(pool),
            kind: crate::words::condition(wire.kind),
            message: wire.message,
        }
    }
}

/// proto3 says "absent" with an empty text; JSON says it with null.
fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
