//! What the coordinator's stream of changes adds up to. Pure: it is told, and says what is new.
//!
//! ```text
//! present state … ── Synced ──► changes … ── stream breaks ──► restart
//!       ▲                                                         │
//!       └───────── present state again; what is no longer there ──┘
//!                  by the next Synced is reported as gone
//! ```

use std::collections::{BTreeMap, BTreeSet};

use fleet_proto::v1::{self, watch_response::Change as Wire};

/// Everything watched, by name.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) pools: BTreeMap<String, v1::Pool>,
    pub(crate) hosts: BTreeMap<String, v1::Host>,
    pub(crate) agents: BTreeMap<String, v1::Agent>,
    /// The present state is complete.
    pub(crate) synced: bool,
    /// Known before the stream broke and not said again since.
    unseen: BTreeSet<Key>,
}

/// Names one thing.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Pool(String),
    Host(String),
    Agent(String),
}

/// One thing that is new to the reader.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    Set(Key),
    Gone(Key),
    Synced,
}

impl Live {
    /// A new stream begins: it will say everything again.
    pub(crate) fn restart(&mut self) {
        self.synced = false;
        self.unseen = self.keys().collect();
    }

    /// Takes one message and returns what it changes; a repeated message changes nothing.
    pub(crate) fn take(&mut self, message: v1::WatchResponse) -> Vec<Change> {
        let set = |(key, new): (Key, bool)| if new { vec![Change::Set(key)] } else { Vec::new() };
        match message.change {
            None => Vec::new(),
            Some(Wire::Pool(pool)) => {
                let name = pool.spec.as_ref().map(|s| s.name.clone()).unwrap_or_default();
                set(put(&mut self.unseen, &mut self.pools, Key::Pool(name), pool))
            }
            Some(Wire::Host(host)) => {
                let key = Key::Host(host.name.clone());
                set(put(&mut self.unseen, &mut self.hosts, key, host))
            }
            Some(Wire::Agent(agent)) => {
                let name = agent.status.as_ref().map(|s| s.agent.clone()).unwrap_or_default();
                set(put(&mut self.unseen, &mut self.agents, Key::Agent(name), agent))
            }
            Some(Wire::PoolRemoved(name)) => self.drop(Key::Pool(name)),
            Some(Wire::HostRemoved(name)) => self.drop(Key::Host(name)),
            Some(Wire::AgentRemoved(name)) => self.drop(Key::Agent(name)),
            Some(Wire::Synced(_)) => self.complete(),
        }
    }

    /// Agents of a pool.
    pub(crate) fn agents_of<'a>(&'a self, pool: &'a str) -> impl Iterator<Item = &'a v1::Agent> {
        self.agents.values().filter(move |a| a.status.as_ref().is_some_and(|s| s.pool == pool))
    }

    fn complete(&mut self) -> Vec<Change> {
        self.synced = true;
        let lost = std::mem::take(&mut self.unseen);
        lost.into_iter().flat_map(|key| self.drop(key)).chain([Change::Synced]).collect()
    }

    fn drop(&mut self, key: Key) -> Vec<Change> {
        self.unseen.remove(&key);
        let was_there = match &key {
            Key::Pool(name) => self.pools.remove(name).is_some(),
            Key::Host(name) => self.hosts.remove(name).is_some(),
            Key::Agent(name) => self.agents.remove(name).is_some(),
        };
        if was_there { vec![Change::Gone(key)] } else { Vec::new() }
    }

    fn keys(&self) -> impl Iterator<Item = Key> {
        let pools = self.pools.keys().cloned().map(Key::Pool);
        let hosts = self.hosts.keys().cloned().map(Key::Host);
        pools.chain(hosts).chain(self.agents.keys().cloned().map(Key::Agent))
    }
}

impl Key {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Pool(name) | Self::Host(name) | Self::Agent(name) => name,
        }
    }
}

fn put<T: PartialEq>(
    unseen: &mut BTreeSet<Key>,
    map: &mut BTreeMap<String, T>,
    key: Key,
    value: T,
) -> (Key, bool) {
    unseen.remove(&key);
    let new = map.get(key.name()) != Some(&value);
    if new {
        map.insert(key.name().to_owned(), value);
    }
    (key, new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, agents: u32) -> v1::WatchResponse {
        let host = v1::Host { name: name.into(), agents, ..Default::default() };
        v1::WatchResponse { change: Some(Wire::Host(host)) }
    }

    fn synced() -> v1::WatchResponse {
        v1::WatchResponse { change: Some(Wire::Synced(v1::Synced {})) }
    }

    #[test]
    fn a_repeated_message_changes_nothing() {
        let mut live = Live::default();
        assert_eq!(live.take(host("a", 1)), [Change::Set(Key::Host("a".into()))]);
        assert_eq!(live.take(host("a", 1)), []);
        assert_eq!(live.take(host("a", 2)), [Change::Set(Key::Host("a".into()))]);
        assert_eq!(live.take(v1::WatchResponse { change: None }), []);
    }

    #[test]
    fn what_a_new_stream_no_longer_names_is_gone() {
        let mut live = Live::default();
        for message in [host("a", 1), host("b", 1), synced()] {
            live.take(message);
        }
        live.restart();
        assert!(!live.synced);
        assert_eq!(live.take(host("a", 1)), [], "it is as it was");
        assert_eq!(live.take(synced()), [Change::Gone(Key::Host("b".into())), Change::Synced]);
        assert!(live.synced && live.hosts.len() == 1);
    }

    #[test]
    fn only_what_was_there_can_go() {
        let gone = |name: &str| v1::WatchResponse { change: Some(Wire::HostRemoved(name.into())) };
        let mut live = Live::default();
        live.take(host("a", 1));
        assert_eq!(live.take(gone("x")), []);
        assert_eq!(live.take(gone("a")), [Change::Gone(Key::Host("a".into()))]);
    }
}
