//! Telling operators what changes.
//!
//! A watcher's mailbox holds at most one entry per object, the newest: somebody who reads slowly
//! misses steps in between, never the outcome, and costs no more memory than the fleet has objects.
//! Changes are collected for a moment, so that a burst of reports makes one message per object.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use fleet_model::{AgentName, At, HostName, PoolName};
use fleet_proto::v1::{WatchResponse, watch_response::Change};

use super::{
    event::{Filter, Kinds},
    views::Views,
};
use crate::mailbox::Mailbox;

/// How long changes are collected. Short enough for progress bars to look alive.
const COLLECT: Duration = Duration::from_millis(50);

/// An object that may be watched. The order is that of telling: what counts agents comes after the
/// agents, so that nobody sees a sum before its parts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Watched {
    Agent(HostName, AgentName),
    Host(HostName),
    Pool(PoolName),
}

/// What lies ready for a watcher.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    /// The newest of each object.
    pub(crate) objects: BTreeMap<Watched, Arc<WatchResponse>>,
    /// With these, everything that was there at the beginning has been told.
    pub(crate) synced: bool,
}

struct Watcher {
    filter: Filter,
    kinds: Kinds,
    mailbox: Mailbox<Changed>,
}

/// All watchers and what they have to be told.
#[derive(Default)]
pub(crate) struct Watchers {
    watchers: Vec<Watcher>,
    touched: BTreeSet<Watched>,
    since: Option<At>,
}

impl Watchers {
    /// Begins a watch with everything that is there.
    pub(crate) fn begin(
        &mut self,
        filter: Filter,
        kinds: Kinds,
        views: &Views<'_>,
    ) -> Mailbox<Changed> {
        let mailbox = Mailbox::default();
        let watcher = Watcher { filter, kinds, mailbox: mailbox.clone() };
        let objects = views
            .all()
            .filter(|object| watcher.wants(object))
            .map(|object| {
                let response = Arc::new(response(&object, views));
                (object, response)
            })
            .filter(|(_, response)| watcher.takes(response))
            .collect();
        mailbox.change(|changed: &mut Changed| {
            changed.objects = objects;
            changed.synced = true;
        });
        self.watchers.push(watcher);
        mailbox
    }

    /// Notes a change. Costs nothing while nobody watches.
    pub(crate) fn touch(&mut self, object: Watched, now: At) {
        if !self.watchers.is_empty() {
            self.touched.insert(object);
            self.since.get_or_insert(now);
        }
    }

    /// When the collected changes are due; none: there are none.
    pub(crate) fn due_in(&self, now: At) -> Option<Duration> {
        self.since.map(|since| COLLECT.saturating_sub(now.since(since)))
    }

    /// Tells what was collected, if it is time.
    pub(crate) fn flush(&mut self, views: &Views<'_>, now: At) {
        if self.due_in(now) != Some(Duration::ZERO) {
            return;
        }
        self.since = None;
        self.watchers.retain(|watcher| !watcher.mailbox.is_abandoned());
        for object in std::mem::take(&mut self.touched) {
            let mut shared = None;
            for watcher in self.watchers.iter().filter(|w| w.wants(&object)) {
                // Made once, whoever and how many want it.
                let response = shared.get_or_insert_with(|| Arc::new(response(&object, views)));
                if watcher.takes(response) {
                    watcher.mailbox.change(|changed| {
                        changed.objects.insert(object.clone(), Arc::clone(response));
                    });
                }
            }
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.watchers.iter().filter(|w| !w.mailbox.is_abandoned()).count() as u64
    }
}

impl Watcher {
    fn wants(&self, object: &Watched) -> bool {
        let same = |asked: &Option<String>, is: &str| asked.as_deref().is_none_or(|a| a == is);
        match object {
            Watched::Pool(pool) => self.kinds.pools && same(&self.filter.pool, pool.as_str()),
            Watched::Host(host) => self.kinds.hosts && same(&self.filter.host, host.as_str()),
            Watched::Agent(host, _) => self.kinds.agents && same(&self.filter.host, host.as_str()),
        }
    }

    /// An agent's pool is known only while it lives; the end of one that was never told is harmless.
    fn takes(&self, response: &WatchResponse) -> bool {
        match (&response.change, &self.filter.pool) {
            (Some(Change::Agent(agent)), Some(pool)) => {
                agent.status.as_ref().is_some_and(|status| status.pool == *pool)
            }
            _ => true,
        }
    }
}

/// The object as it is now, or its end.
fn response(object: &Watched, views: &Views<'_>) -> WatchResponse {
    let change = match object {
        Watched::Pool(name) => {
            views.pool(name).map_or_else(|| Change::PoolRemoved(name.to_string()), Change::Pool)
        }
        Watched::Host(name) => {
            views.host(name).map_or_else(|| Change::HostRemoved(name.to_string()), Change::Host)
        }
        Watched::Agent(host, name) => views
            .agent(host, name)
            .map_or_else(|| Change::AgentRemoved(name.to_string()), Change::Agent),
    };
    WatchResponse { change: Some(change) }
}
