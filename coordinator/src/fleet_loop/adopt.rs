//! A store that is behind its hosts: noticing it, and after `recover` taking over what they run.
//!
//! ```text
//!   all well ──a host took a newer order──► read-only ──`coordinator recover`──► adopting ──► all well
//! ```
//!
//! While adopting, hosts report and are told nothing. Then what they keep becomes what is wanted,
//! so that the first order of the new term ends no agent.

use std::collections::BTreeSet;
use std::time::Duration;

use coordinator_plan::{Fleet, FleetEvent, HostEntry, HostRecord, Placed, Saved};
use fleet_model::{AgentStatus, At, HostName, HostReport, Intent, PoolName, PoolSpec};
use fleet_proto::convert::Hello;

use super::{
    denied::Denied,
    state::{LoopSettings, SELF, State},
    turn::Turn,
    watchers::Watched,
};
use crate::{
    records::{Ahead, HOST, PLACEMENT, POOL},
    store::NewEvent,
};

/// A term that far above ours was never given by anybody: a term rises with each recovery only.
const TERMS_AHEAD_MAX: u64 = 1_000_000;

/// Hosts are asked what they run.
#[derive(Debug)]
pub(crate) struct Adoption {
    /// Known hosts that have not reported yet.
    waiting: BTreeSet<HostName>,
    ends: At,
}

impl Adoption {
    pub(crate) fn begin(saved: &Saved, now: At, settings: &LoopSettings) -> Self {
        let joined = saved.hosts.iter().filter(|host| host.joined.is_some());
        Self {
            waiting: joined.map(|host| host.name.clone()).collect(),
            // The whole window, even when all known hosts are there: an old store does not know
            // who joined after its backup, and those need the time to come.
            ends: now + settings.adopt_window,
        }
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl State {
    /// Whether a host may have a session.
    pub(crate) fn admit(
        &mut self,
        hello: &Hello,
        key: &str,
        turn: &mut Turn,
    ) -> Result<(), Denied> {
        let host = &hello.host;
        let invite = |why: &str| {
            let next = format!("invite it again with `agentctl host invite {host} --lab LAB`");
            Denied::NotAdmitted(format!("host {host} {why}; {next}"))
        };
        if self.book.removed.get(host).is_some_and(|gone| gone.keys.iter().any(|k| k == key)) {
            return Err(invite("was removed from the fleet"));
        }
        if hello.highest.term.saturating_sub(self.fleet.order().term) > TERMS_AHEAD_MAX {
            let said = format!("claims to have taken order {}, which nobody gave", hello.highest);
            return Err(Denied::NotAdmitted(format!("host {host} {said}; its state is broken")));
        }
        self.note_ahead(hello, turn);
        let known = self.fleet.host(host).map(|entry| &entry.record);
        let knows_key = known.is_some_and(|record| record.keys.iter().any(|k| k == key));
        if knows_key {
            return Ok(());
        }
        // From here on: the certificate is ours, but this store has never heard of it. That is a
        // copied or forgotten host, or the store is the one that forgot.
        if self.adoption.is_some() {
            self.adopt_host(hello, key, turn);
            return Ok(());
        }
        self.writable()?;
        Err(match known {
            Some(_) => invite("shows a key that is not its own (any more)"),
            None => invite("is not part of the fleet"),
        })
    }

    fn note_ahead(&mut self, hello: &Hello, turn: &mut Turn) {
        let (own, seen) = (self.fleet.order(), hello.highest);
        let known = self.ahead().map(|ahead| ahead.order);
        if seen <= own || known.is_some_and(|known| known >= seen) {
            return;
        }
        let host = hello.host.clone();
        tracing::error!(%host, %seen, %own, "a host has taken a newer order than this store knows: read-only");
        let said = format!("it has taken order {seen}, the store's newest is {own}: read-only");
        turn.event(NewEvent::new(turn.now, "fleet.read-only", SELF).host(&host).says(said));
        self.book.meta.ahead = Some(Ahead { host, order: seen });
        self.book.put_meta(&mut turn.changes);
    }

    /// A host with a certificate of ours that the store does not know, while taking over.
    fn adopt_host(&mut self, hello: &Hello, key: &str, turn: &mut Turn) {
        let name = &hello.host;
        let known = self.fleet.host(name).map(|entry| entry.record.clone());
        let mut record = known.unwrap_or_else(|| HostRecord {
            name: name.clone(),
            labels: hello.facts.labels.clone(),
            restraint: None,
            invited: turn.now,
            joined: None,
            keys: Vec::new(),
            certificate_expires: None,
        });
        record.joined.get_or_insert(turn.now);
        record.keys.push(key.to_owned());
        turn.changes.put(HOST, name, &record);
        let said = "its certificate is of this fleet, and it was not removed";
        turn.event(NewEvent::new(turn.now, "host.adopted", SELF).host(name).says(said));
        self.apply(FleetEvent::HostPut(record), turn);
    }

    /// When the hosts' time to report is over.
    pub(crate) fn adoption_ends(&self, now: At) -> Option<Duration> {
        self.adoption.as_ref().map(|adoption| adoption.ends.since(now))
    }

    /// Ends the adoption when its time is over: what hosts reported becomes what is wanted.
    pub(crate) fn finish_adoption(&mut self, turn: &mut Turn) {
        let Some(adoption) = &mut self.adoption else { return };
        let reported = |name: &HostName| self.fleet.host(name).is_some_and(|h| h.reported);
        adoption.waiting.retain(|name| !reported(name));
        // A host that is ahead even of the raised term: the operator has to recover once more.
        if turn.now < adoption.ends || self.ahead().is_some() {
            return;
        }
        self.adoption = None;
        let saved = self.adopted(turn);
        let old = std::mem::replace(&mut self.fleet, Fleet::restore(saved, turn.now));
        self.replay(&old, turn);
        self.book.meta.adopt = false;
        self.book.put_meta(&mut turn.changes);
        turn.event(NewEvent::new(turn.now, "fleet.recovered", SELF).says(format!(
            "what the hosts run is taken over; orders go on at {}",
            self.fleet.order()
        )));
        turn.decide = true;
        turn.targets = true;
    }

    /// The stored fleet, with pools and placements as the hosts reported them.
    fn adopted(&self, turn: &mut Turn) -> Saved {
        let fleet = &self.fleet;
        let credentials = self.book.credentials.values();
        let mut saved = Saved {
            order: fleet.order(),
            hosts: fleet.hosts().map(|(_, entry)| entry.record.clone()).collect(),
            credentials: credentials.map(|c| (c.name.clone(), c.fingerprint.clone())).collect(),
            ..Saved::default()
        };
        for name in fleet.pool_names() {
            let Some(view) = fleet.pool_view(name) else { continue };
            let (mut spec, mut placed) = (view.spec.clone(), view.placed.clone());
            if !spec.deleted && take_over(&mut spec, &mut placed, fleet) {
                turn.changes.put(POOL, name, &spec);
                turn.changes.put(PLACEMENT, name, &placed);
                let said = format!("{} agents as the hosts keep them", spec.replicas);
                turn.event(NewEvent::new(turn.now, "pool.adopted", SELF).pool(name).says(said));
            }
            saved.pools.push(spec);
            saved.placements.insert(name.clone(), placed);
        }
        saved
    }

    /// Tells a rebuilt fleet what is known of the sessions that are open.
    fn replay(&mut self, old: &Fleet, turn: &mut Turn) {
        for (name, entry) in old.hosts().filter(|(name, _)| self.sessions.has(name)) {
            let facts = entry.facts.clone().unwrap_or_default();
            let (host, highest) = (name.clone(), entry.applied);
            self.fleet.apply(FleetEvent::SessionOpened { host, facts, highest }, turn.now);
            if entry.reported {
                let event = FleetEvent::Reported { host: name.clone(), report: report_of(entry) };
                self.fleet.apply(event, turn.now);
            }
            turn.begun.insert(name.clone());
            turn.hosts.insert(name.clone());
        }
        let pools: Vec<PoolName> = old.pool_names().cloned().collect();
        for pool in pools {
            if let Some(view) = old.pool_view(&pool) {
                let event = FleetEvent::Rows {
                    pool: pool.clone(),
                    rows: view.rows.clone(),
                    shows: At::default(),
                };
                self.fleet.apply(event, turn.now);
            }
            self.watchers.touch(Watched::Pool(pool), turn.now);
        }
    }
}

/// Counts of hosts that reported replace what the store believed; other hosts keep theirs. Agents
/// of a group that the stored pool does not have are left out. Says whether anything changed.
fn take_over(spec: &mut PoolSpec, placed: &mut Placed, fleet: &Fleet) -> bool {
    let before = (spec.replicas, placed.clone());
    for (host, entry) in fleet.hosts().filter(|(_, entry)| entry.reported) {
        placed.by_host.remove(host);
        for agent in entry.agents.values().filter(|agent| kept(agent, spec)) {
            let groups = placed.by_host.entry(host.clone()).or_default();
            *groups.entry(agent.group.clone()).or_default() += 1;
        }
        for agent in entry.agents.values().filter(|a| a.placeholder && a.pool == spec.name) {
            placed.keeper.entry(agent.group.clone()).or_insert_with(|| host.clone());
        }
    }
    spec.replicas = placed.total();
    before != (spec.replicas, placed.clone())
}

fn kept(agent: &AgentStatus, spec: &PoolSpec) -> bool {
    agent.pool == spec.name
        && agent.intent == Intent::Keep
        && !agent.placeholder
        && spec.groups.iter().any(|group| group.name == agent.group)
}

fn report_of(entry: &HostEntry) -> HostReport {
    HostReport {
        full: true,
        applied: entry.applied,
        agents: entry.agents.values().cloned().collect(),
        removed: Vec::new(),
        conditions: entry.conditions.clone(),
        credentials: entry.credentials.clone(),
        disks: entry.disks.clone(),
        caches: entry.caches.clone(),
    }
}
