//! What is wanted and what is known. Only [`Fleet::apply`] changes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use fleet_model::{
    AgentName, AgentStatus, Assignment, At, CacheSize, Condition, CredentialName, CredentialRef,
    Disk, HostFacts, HostName, HostReport, HostState, Labels, Order, Phase, PoolName, PoolSpec,
    RowState, numbers::HOST_LEASE,
};

use crate::{
    records::{HostRecord, Placed, Saved},
    tally::{PoolCounts, takes_place},
};

/// Everything that may happen to a fleet.
#[derive(Debug, Clone)]
pub enum FleetEvent {
    /// A pool was created, scaled, changed, or marked as deleted.
    PoolPut(PoolSpec),
    /// A deleted pool's last trace is gone from the store.
    PoolForgotten(PoolName),
    /// A host was invited, joined, or changed by an operator.
    HostPut(HostRecord),
    /// A host was removed from the fleet.
    HostRemoved(HostName),
    /// A host's session began.
    SessionOpened {
        /// Which host.
        host: HostName,
        /// What it says about itself.
        facts: HostFacts,
        /// Highest order it ever took.
        highest: Order,
    },
    /// A host's session ended.
    SessionClosed {
        /// Which host.
        host: HostName,
    },
    /// A heartbeat.
    Heard {
        /// Which host.
        host: HostName,
        /// Highest order it has taken.
        applied: Order,
    },
    /// A report, full or of changes.
    Reported {
        /// Which host.
        host: HostName,
        /// What it said.
        report: HostReport,
    },
    /// A credential has a new secret.
    CredentialPut {
        /// Its name.
        name: CredentialName,
        /// The new secret's fingerprint.
        fingerprint: String,
    },
    /// A look at Azure: all rows of a pool, by agent name.
    Rows {
        /// The fleet's pool.
        pool: PoolName,
        /// Its rows, foreign ones included.
        rows: BTreeMap<AgentName, RowState>,
        /// What was so before then does not show in them any more: when they were asked for, less the
        /// age that Azure's answers may have.
        shows: At,
    },
    /// Azure trouble of a pool as the coordinator sees it, or its end.
    PoolTrouble {
        /// The fleet's pool.
        pool: PoolName,
        /// In words; none when it is over.
        trouble: Option<String>,
    },
}

/// Why the coordinator gives no orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOnly {
    /// The host that took a newer order than this store knows.
    pub host: HostName,
    /// That order.
    pub highest: Order,
    /// The store's newest.
    pub own: Order,
}

/// A host with what is known of it.
#[derive(Debug, Clone)]
pub struct HostEntry {
    /// As stored.
    pub record: HostRecord,
    /// What it said when its last session began; none: no session since the coordinator started.
    pub facts: Option<HostFacts>,
    /// Its own labels with the operator's over them.
    pub labels: Labels,
    /// In session now.
    pub in_session: bool,
    /// It has sent its full report in this session.
    pub reported: bool,
    /// It has sent one since the coordinator started.
    pub heard_all: bool,
    /// Last sign of life; the coordinator's start before the first.
    pub heard: At,
    /// Not heard of for longer than its lease.
    pub down: bool,
    /// Since when its state is what it is.
    pub since: At,
    /// Highest order it took.
    pub applied: Order,
    /// Its agents as last reported.
    pub agents: BTreeMap<AgentName, AgentStatus>,
    /// Since when each of its agents is said to be paused and without a job.
    pub(crate) paused_since: BTreeMap<AgentName, At>,
    /// Conditions as last reported.
    pub conditions: Vec<Condition>,
    /// Credentials it holds.
    pub credentials: Vec<CredentialRef>,
    /// Its disks as last reported.
    pub disks: Vec<Disk>,
    /// What takes room on it beside its agents.
    pub caches: Vec<CacheSize>,
    /// What it is told to keep; none: nothing decided since the coordinator started.
    pub assignment: Option<Arc<Assignment>>,
}

/// A pool with what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct PoolEntry {
    pub(crate) spec: PoolSpec,
    pub(crate) placed: Placed,
    pub(crate) unplaced: u32,
    pub(crate) reasons: Vec<String>,
    pub(crate) counts: PoolCounts,
    pub(crate) rows: BTreeMap<AgentName, RowState>,
    /// See [`FleetEvent::Rows`].
    pub(crate) rows_show: At,
    pub(crate) azure_seen: Option<At>,
    pub(crate) trouble: Option<String>,
}

/// What is wanted and known of the whole fleet.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    pub(crate) order: Order,
    pub(crate) pools: BTreeMap<PoolName, PoolEntry>,
    pub(crate) hosts: BTreeMap<HostName, HostEntry>,
    pub(crate) credentials: BTreeMap<CredentialName, String>,
    pub(crate) read_only: Option<ReadOnly>,
    /// Pools to place anew.
    pub(crate) dirty_pools: BTreeSet<PoolName>,
    /// A host takes agents again that did not for a while: pools are to be levelled.
    pub(crate) returned: bool,
    /// Hosts whose assignment may have changed.
    pub(crate) dirty_hosts: BTreeSet<HostName>,
}

impl Fleet {
    /// Goes on with what was stored. Every host counts as disconnected at `now`: it has its whole
    /// lease to come back before it is Down.
    pub fn restore(saved: Saved, now: At) -> Self {
        let mut fleet = Self {
            order: saved.order,
            credentials: saved.credentials,
            dirty_pools: saved.pools.iter().map(|pool| pool.name.clone()).collect(),
            dirty_hosts: saved.hosts.iter().map(|host| host.name.clone()).collect(),
            ..Self::default()
        };
        let mut placements = saved.placements;
        for spec in saved.pools {
            let placed = placements.remove(&spec.name).unwrap_or_default();
            fleet.pools.insert(spec.name.clone(), PoolEntry::new(spec, placed));
        }
        for record in saved.hosts {
            fleet.hosts.insert(record.name.clone(), HostEntry::new(record, now));
        }
        fleet
    }

    /// Takes in what happened.
    pub fn apply(&mut self, event: FleetEvent, now: At) {
        match event {
            FleetEvent::PoolPut(spec) => self.put_pool(spec),
            FleetEvent::PoolForgotten(name) => {
                self.pools.remove(&name);
                self.dirty_hosts.extend(self.hosts.keys().cloned());
            }
            FleetEvent::HostPut(record) => self.put_host(record, now),
            FleetEvent::HostRemoved(name) => self.remove_host(&name),
            FleetEvent::SessionOpened { host, facts, highest } => {
                self.open_session(&host, facts, highest, now);
            }
            FleetEvent::SessionClosed { host } => {
                if let Some(entry) = self.hosts.get_mut(&host) {
                    entry.in_session = false;
                    entry.reported = false;
                    entry.since = now;
                }
            }
            FleetEvent::Heard { host, applied } => {
                if let Some(entry) = self.hosts.get_mut(&host) {
                    entry.heard = now;
                    entry.applied = entry.applied.max(applied);
                }
            }
            FleetEvent::Reported { host, report } => self.take_report(&host, report, now),
            FleetEvent::CredentialPut { name, fingerprint } => {
                self.credentials.insert(name.clone(), fingerprint);
                // Who uses it is told which secret is meant.
                let users: BTreeSet<&PoolName> = self
                    .pools
                    .iter()
                    .filter(|(_, pool)| pool.spec.credential == name)
                    .map(|(pool, _)| pool)
                    .collect();
                if !users.is_empty() {
                    self.dirty_hosts.extend(self.hosts.keys().cloned());
                }
            }
            FleetEvent::Rows { pool, rows, shows } => {
                if let Some(entry) = self.pools.get_mut(&pool) {
                    entry.rows = rows;
                    entry.rows_show = shows;
                    entry.azure_seen = Some(now);
                    entry.trouble = None;
                }
            }
            FleetEvent::PoolTrouble { pool, trouble } => {
                if let Some(entry) = self.pools.get_mut(&pool) {
                    entry.trouble = trouble;
                }
            }
        }
    }

    fn put_pool(&mut self, spec: PoolSpec) {
        let name = spec.name.clone();
        match self.pools.get_mut(&name) {
            Some(entry) => entry.spec = spec,
            None => {
                let mut entry = PoolEntry::new(spec, Placed::default());
                // Agents of a pool that came back (a restored or re-created one) are there already.
                for host in self.hosts.values() {
                    for agent in host.agents.values().filter(|agent| agent.pool == name) {
                        entry.counts.add(agent, host.down);
                    }
                }
                self.pools.insert(name.clone(), entry);
            }
        }
        // Templates and tombstones matter to hosts even where no count changes.
        self.dirty_hosts.extend(self.hosts.keys().cloned());
        self.dirty_pools.insert(name);
    }

    fn put_host(&mut self, record: HostRecord, now: At) {
        let name = record.name.clone();
        match self.hosts.get_mut(&name) {
            Some(entry) => {
                self.returned |= entry.record.restraint.is_some() && record.restraint.is_none();
                entry.record = record;
                entry.relabel();
            }
            None => {
                self.hosts.insert(name.clone(), HostEntry::new(record, now));
            }
        }
        self.host_changed(&name);
    }

    fn remove_host(&mut self, name: &HostName) {
        let Some(entry) = self.hosts.remove(name) else { return };
        for agent in entry.agents.values() {
            if let Some(pool) = self.pools.get_mut(&agent.pool) {
                pool.counts.take(agent, entry.down);
            }
        }
        self.host_changed(name);
        self.dirty_hosts.remove(name);
    }

    fn open_session(&mut self, host: &HostName, facts: HostFacts, highest: Order, now: At) {
        if highest > self.order && self.read_only.is_none() {
            self.read_only = Some(ReadOnly { host: host.clone(), highest, own: self.order });
        }
        let Some(entry) = self.hosts.get_mut(host) else { return };
        let placement_may_change = entry.facts.as_ref() != Some(&facts) || entry.down;
        entry.facts = Some(facts);
        entry.relabel();
        entry.in_session = true;
        entry.reported = false;
        entry.heard = now;
        entry.since = now;
        entry.applied = highest;
        self.set_down(host, false, now);
        if placement_may_change {
            self.host_changed(host);
        }
        self.dirty_hosts.insert(host.clone());
    }

    fn take_report(&mut self, host: &HostName, report: HostReport, now: At) {
        let Some(entry) = self.hosts.get_mut(host) else { return };
        entry.heard = now;
        entry.applied = entry.applied.max(report.applied);
        entry.conditions = report.conditions;
        entry.credentials = report.credentials;
        entry.disks = report.disks;
        entry.caches = report.caches;
        let mut gone = report.removed;
        if report.full {
            entry.reported = true;
            entry.heard_all = true;
            let said: BTreeSet<&AgentName> = report.agents.iter().map(|a| &a.agent).collect();
            gone.extend(entry.agents.keys().filter(|name| !said.contains(name)).cloned());
        }
        let down = entry.down;
        let mut pools_seen = BTreeSet::new();
        // A place that is free is one that somebody else may be waiting for.
        let (mut freed, mut idle) = (BTreeSet::new(), BTreeSet::new());
        for name in gone {
            let Some(old) = entry.agents.remove(&name) else { continue };
            entry.paused_since.remove(&name);
            if let Some(pool) = self.pools.get_mut(&old.pool) {
                pool.counts.take(&old, down);
            }
            freed.insert(old.pool);
        }
        for agent in report.agents {
            pools_seen.insert(agent.pool.clone());
            match agent.phase == Phase::Paused && agent.job.is_none() {
                true => drop(entry.paused_since.entry(agent.agent.clone()).or_insert(now)),
                false => drop(entry.paused_since.remove(&agent.agent)),
            }
            let old = entry.agents.insert(agent.agent.clone(), agent.clone());
            if old.as_ref().is_some_and(takes_place) && !takes_place(&agent) {
                freed.insert(agent.pool.clone());
            }
            if agent.phase == Phase::Idle {
                idle.insert(agent.pool.clone());
            }
            if let Some(pool) = self.pools.get_mut(&agent.pool) {
                if let Some(old) = old {
                    pool.counts.take(&old, down);
                }
                pool.counts.add(&agent, down);
            }
        }
        let moving = |pool: &PoolName| {
            self.pools.get(pool).is_some_and(|entry| !entry.placed.moving.is_empty())
        };
        self.dirty_pools.extend(freed.into_iter().filter(moving));
        if report.full {
            // After a restart this is the first word on who has left meanwhile.
            let concerned = |entry: &&PoolEntry| entry.placed.moving.contains_key(host);
            let pools = self.pools.values().filter(concerned).map(|entry| entry.spec.name.clone());
            self.dirty_pools.extend(pools);
        }
        let uneven =
            |pool: &PoolName| self.pools.get(pool).is_some_and(|entry| entry.placed.uneven);
        self.dirty_pools.extend(idle.into_iter().filter(uneven));
        // It has agents of a pool that its assignment does not name: the assignment must say what
        // becomes of them.
        let told = |pool: &PoolName| {
            entry.assignment.as_ref().is_some_and(|told| told.pools.contains_key(pool))
        };
        if pools_seen.iter().any(|pool| self.pools.contains_key(pool) && !told(pool)) {
            self.dirty_hosts.insert(host.clone());
        }
    }

    /// Marks hosts whose lease ran out. Part of every decision; a host never is Down by itself.
    pub(crate) fn expire_leases(&mut self, now: At) {
        let late: Vec<HostName> = self
            .hosts
            .iter()
            .filter(|(_, host)| !host.down && host.record.joined.is_some())
            .filter(|(_, host)| !host.in_session && now.since(host.heard) >= HOST_LEASE)
            .map(|(name, _)| name.clone())
            .collect();
        for name in late {
            self.set_down(&name, true, now);
            self.host_changed(&name);
        }
    }

    fn set_down(&mut self, name: &HostName, down: bool, now: At) {
        let Some(entry) = self.hosts.get_mut(name) else { return };
        if entry.down == down {
            return;
        }
        for agent in entry.agents.values() {
            if let Some(pool) = self.pools.get_mut(&agent.pool) {
                pool.counts.take(agent, entry.down);
                pool.counts.add(agent, down);
            }
        }
        entry.down = down;
        entry.since = now;
        self.returned |= !down;
    }

    fn host_changed(&mut self, name: &HostName) {
        // Capacity is shared by all pools: any of them may place differently now.
        self.dirty_pools.extend(self.pools.keys().cloned());
        self.dirty_hosts.insert(name.clone());
    }

    /// Raises the term and leaves read-only mode: the operator's `recover`, with the highest order
    /// that any host is known to have taken.
    pub fn recover(&mut self, highest: Order) {
        let term = self.order.term.max(highest.term) + 1;
        self.order = Order::new(term, 0);
        self.read_only = None;
        self.dirty_hosts.extend(self.hosts.keys().cloned());
        self.dirty_pools.extend(self.pools.keys().cloned());
    }
}

impl PoolEntry {
    fn new(spec: PoolSpec, placed: Placed) -> Self {
        Self {
            spec,
            placed,
            unplaced: 0,
            reasons: Vec::new(),
            counts: PoolCounts::default(),
            rows: BTreeMap::new(),
            rows_show: At::default(),
            azure_seen: None,
            trouble: None,
        }
    }
}

impl HostEntry {
    fn new(record: HostRecord, now: At) -> Self {
        Self {
            labels: record.labels.clone(),
            record,
            facts: None,
            in_session: false,
            reported: false,
            heard_all: false,
            heard: now,
            down: false,
            since: now,
            applied: Order::default(),
            agents: BTreeMap::new(),
            paused_since: BTreeMap::new(),
            conditions: Vec::new(),
            credentials: Vec::new(),
            disks: Vec::new(),
            caches: Vec::new(),
            assignment: None,
        }
    }

    fn relabel(&mut self) {
        self.labels = self.facts.as_ref().map(|facts| facts.labels.clone()).unwrap_or_default();
        self.labels.extend(self.record.labels.clone());
    }

    /// Whether the coordinator hears of it.
    pub fn state(&self) -> HostState {
        match (self.record.joined, self.in_session, self.down) {
            (None, false, _) => HostState::Invited,
            (_, true, _) => HostState::Ready,
            (_, false, true) => HostState::Down,
            (_, false, false) => HostState::Disconnected,
        }
    }
}
