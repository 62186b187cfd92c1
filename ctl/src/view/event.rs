//! One line of the fleet's history.

use fleet_proto::v1;
use jiff::Timestamp;
use serde::Serialize;

use super::some;
use crate::when;

/// One event as `events -o json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Event {
    /// Rises by one with each event.
    pub(crate) seq: u64,
    pub(crate) at: Option<Timestamp>,
    /// A short fixed word: `pool.scaled`.
    pub(crate) kind: String,
    /// An operator, a host, or `coordinator`.
    pub(crate) actor: String,
    pub(crate) pool: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) agent: Option<String>,
    pub(crate) message: String,
}

impl From<v1::Event> for Event {
    fn from(wire: v1::Event) -> Self {
        Self {
            seq: wire.seq,
            at: when::at(wire.at.as_ref()),
            kind: wire.kind,
            actor: wire.actor,
            pool: some(wire.pool),
            host: some(wire.host),
            agent: some(wire.agent),
            message: wire.message,
        }
    }
}

impl Event {
    /// What the event is about, most precise first: the agent's name already names pool and host.
    pub(crate) fn about(&self) -> &str {
        let subject = self.agent.as_ref().or(self.pool.as_ref()).or(self.host.as_ref());
        subject.map_or("-", String::as_str)
    }
}
