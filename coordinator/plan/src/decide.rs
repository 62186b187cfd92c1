//! What follows from what is wanted and known: placements, and what each host is told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fleet_model::{
    AgentStatus, Assignment, At, Availability, CredentialRef, GroupAssignment, GroupName, HostName,
    Intent, Order, Phase, PoolAssignment, PoolName, Wanted, numbers::HOST_LEASE,
};

use crate::{
    fleet::{Fleet, HostEntry, PoolEntry},
    level::level,
    pace::{Moves, pace},
    place::{HostView, Placement, place},
    records::Placed,
    tally::takes_place,
};

/// What is to be stored, then sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// The new order, when any host is told something new.
    pub order: Option<Order>,
    /// Placements that changed, to be stored with the order.
    pub placements: BTreeMap<PoolName, Placed>,
    /// What hosts are told now; each carries the new order.
    pub assignments: BTreeMap<HostName, Arc<Assignment>>,
    /// Deleted pools of which no host has anything left.
    pub forgotten: Vec<PoolName>,
    /// When to decide again if nothing happens before: the next lease or restraint that runs out.
    pub wake_after: Option<Duration>,
    /// How placement came out, for [`Fleet::begin`].
    outcomes: BTreeMap<PoolName, Placement>,
}

impl Decision {
    /// Nothing to store and nothing to send.
    pub fn is_empty(&self) -> bool {
        self.order.is_none() && self.placements.is_empty() && self.forgotten.is_empty()
    }
}

impl Fleet {
    /// Decides. In read-only mode the decision is empty: a store that is behind its hosts must not
    /// order them about.
    pub fn decide(&mut self, now: At) -> Decision {
        self.expire_leases(now);
        let mut decision = Decision { wake_after: self.next_moment(now), ..Decision::default() };
        if self.read_only.is_some() {
            return decision;
        }
        self.place_dirty(&mut decision);
        let next = self.order.next();
        for name in &self.dirty_hosts {
            let Some(host) = self.hosts.get(name) else { continue };
            let wanted = self.assignment(name, host, &decision, next);
            if host.assignment.as_ref().is_none_or(|old| !says_the_same(old, &wanted)) {
                decision.assignments.insert(name.clone(), Arc::new(wanted));
            }
        }
        decision.order = (!decision.assignments.is_empty()).then_some(next);
        decision.forgotten = self
            .pools
            .iter()
            .filter(|(name, pool)| pool.spec.deleted && self.is_gone_everywhere(name, pool))
            .map(|(name, _)| name.clone())
            .collect();
        decision
    }

    /// Takes the stored decision as what is wanted from now on.
    pub fn begin(&mut self, decision: &Decision) {
        if let Some(order) = decision.order {
            self.order = order;
        }
        for (name, outcome) in &decision.outcomes {
            if let Some(pool) = self.pools.get_mut(name) {
                pool.unplaced = outcome.unplaced;
                pool.reasons = if outcome.unplaced > 0 { outcome.reasons() } else { Vec::new() };
            }
        }
        for (name, placed) in &decision.placements {
            if let Some(pool) = self.pools.get_mut(name) {
                pool.placed = placed.clone();
            }
        }
        for (name, assignment) in &decision.assignments {
            if let Some(host) = self.hosts.get_mut(name) {
                host.assignment = Some(Arc::clone(assignment));
            }
        }
        self.returned = false;
        self.dirty_pools.clear();
        self.dirty_hosts.clear();
    }

    fn place_dirty(&mut self, decision: &mut Decision) {
        let names: Vec<PoolName> = self.dirty_pools.iter().cloned().collect();
        let mut touched = Vec::new();
        for name in names {
            let Some(pool) = self.pools.get(&name) else { continue };
            // A tombstone keeps its last placement: those are the hosts to wait for.
            if pool.spec.deleted {
                continue;
            }
            let views = self.views(&name, decision);
            let mut outcome = place(&pool.spec, &views, &pool.placed);
            if pool.placed.uneven || self.returned {
                outcome.placed.uneven = self.level(&name, pool, &views, &mut outcome.placed);
            }
            outcome.placed.moving = self.moves(&name, pool, &outcome.placed);
            if outcome.placed != pool.placed {
                touched.extend(changed_hosts(&pool.placed, &outcome.placed));
                decision.placements.insert(name.clone(), outcome.placed.clone());
            }
            decision.outcomes.insert(name, outcome);
        }
        self.dirty_hosts.extend(touched);
    }

    /// Says whether there is more to level.
    fn level(
        &self,
        name: &PoolName,
        pool: &PoolEntry,
        views: &[HostView<'_>],
        placed: &mut Placed,
    ) -> bool {
        let idle = |host: &HostName, group: &GroupName| {
            self.hosts.get(host).map_or(0, |host| host.idle(name, group))
        };
        level(&pool.spec, views, placed, pool.placed.waiting(), idle)
    }

    /// What hosts are told on the way to `target`: no more agents than are wanted are there at once.
    fn moves(&self, name: &PoolName, pool: &PoolEntry, target: &Placed) -> Moves {
        let there = |host: &HostName, group: &GroupName| match self.hosts.get(host) {
            // Whose host was removed is nobody's to wait for.
            None => Some(0),
            Some(host) if !host.heard_all => None,
            Some(host) => Some(host.having(name, group)),
        };
        pace(target, &pool.placed, there, pool.spec.replicas)
    }

    /// All hosts as placement of `pool` sees them, in the order of their names. What other pools
    /// take of a host is counted as this decision leaves it.
    pub(crate) fn views(&self, pool: &PoolName, decision: &Decision) -> Vec<HostView<'_>> {
        let limited = self.hosts.values().any(|h| h.capacity().is_some());
        self.hosts
            .iter()
            .map(|(name, host)| HostView {
                name,
                labels: &host.labels,
                availability: Availability::under(host.record.restraint.as_ref()),
                state: host.state(),
                runtimes: host.facts.as_ref().map(|facts| &facts.runtimes),
                capacity: host.capacity(),
                taken: if limited { self.taken(name, pool, decision) } else { 0 },
            })
            .collect()
    }

    fn taken(&self, host: &HostName, but: &PoolName, decision: &Decision) -> u32 {
        self.pools
            .iter()
            .filter(|(name, _)| *name != but)
            .map(|(name, pool)| decision.placements.get(name).unwrap_or(&pool.placed).on_host(host))
            .sum()
    }

    /// Everything `host` should keep. A pool that has nothing to do with it is left out, which
    /// tells the host nothing about it.
    fn assignment(
        &self,
        name: &HostName,
        host: &HostEntry,
        decision: &Decision,
        order: Order,
    ) -> Assignment {
        let concerns = |pool: &PoolName, entry: &PoolEntry, placed: &Placed| {
            placed.involves(name)
                || entry.placed.involves(name)
                || host.agents.values().any(|agent| agent.pool == *pool)
                || host.assignment.as_ref().is_some_and(|old| old.pools.contains_key(pool))
        };
        let pools = self
            .pools
            .iter()
            .map(|(pool, entry)| {
                (pool, entry, decision.placements.get(pool).unwrap_or(&entry.placed))
            })
            .filter(|(pool, entry, placed)| concerns(pool, entry, placed))
            .map(|(pool, entry, placed)| (pool.clone(), self.part(name, host, entry, placed)))
            .collect();
        Assignment { order, pools, labels: host.record.labels.clone() }
    }

    fn part(
        &self,
        name: &HostName,
        host: &HostEntry,
        entry: &PoolEntry,
        placed: &Placed,
    ) -> PoolAssignment {
        let spec = &entry.spec;
        let groups = || {
            spec.groups
                .iter()
                .map(|group| {
                    let keeps_last = placed.keeper.get(&group.name) == Some(name);
                    let count = placed.step(name, &group.name).told;
                    (group.name.clone(), GroupAssignment::of(group, count, keeps_last))
                })
                .collect()
        };
        PoolAssignment {
            azure: spec.azure.clone(),
            prefix: spec.prefix.clone(),
            settle: spec.settle,
            credential: CredentialRef {
                name: spec.credential.clone(),
                fingerprint: self.credentials.get(&spec.credential).cloned().unwrap_or_default(),
            },
            wanted: if spec.deleted { Wanted::Gone } else { Wanted::Groups(groups()) },
            gone_groups: spec.gone_groups.clone(),
            forced: spec.forced.clone(),
            paused: self.paused(host, entry).filter(|_| !spec.deleted),
        }
    }

    /// No host has, or may still have, an agent of the deleted pool: each one that had a part in it
    /// is in session, has taken the tombstone, and reports none.
    fn is_gone_everywhere(&self, name: &PoolName, pool: &PoolEntry) -> bool {
        self.hosts.iter().all(|(host_name, host)| {
            let has = host.agents.values().any(|agent| agent.pool == *name);
            let told = host.assignment.as_ref().filter(|told| {
                told.pools.get(name).is_some_and(|part| part.wanted == Wanted::Gone)
            });
            let done = host.reported && told.is_some_and(|told| host.applied >= told.order);
            !has && (done || !pool.placed.involves(host_name))
        })
    }

    fn next_moment(&self, now: At) -> Option<Duration> {
        self.next_lease(now).into_iter().chain(self.next_restraint(now)).min()
    }

    fn next_lease(&self, now: At) -> Option<Duration> {
        self.hosts
            .values()
            .filter(|host| !host.in_session && !host.down && host.record.joined.is_some())
            .map(|host| (host.heard + HOST_LEASE).since(now))
            .min()
    }
}

impl HostEntry {
    /// Agents of the group that are there, those that leave among them. Counted when it is asked for:
    /// kept up to date it would cost each host some kilobytes.
    fn having(&self, pool: &PoolName, group: &GroupName) -> u32 {
        let is_of = |agent: &&AgentStatus| agent.pool == *pool && agent.group == *group;
        let count = self.agents.values().filter(is_of).filter(|agent| takes_place(agent)).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Agents of the group that wait for a job and are to stay.
    fn idle(&self, pool: &PoolName, group: &GroupName) -> u32 {
        let waits = |agent: &&AgentStatus| {
            (agent.phase, agent.intent) == (Phase::Idle, Intent::Keep)
                && agent.pool == *pool
                && agent.group == *group
        };
        u32::try_from(self.agents.values().filter(waits).count()).unwrap_or(u32::MAX)
    }

    fn capacity(&self) -> Option<u32> {
        self.facts.as_ref().and_then(|facts| facts.capacity)
    }
}

/// Nothing differs but the order.
fn says_the_same(old: &Assignment, new: &Assignment) -> bool {
    (&old.pools, &old.labels) == (&new.pools, &new.labels)
}

fn changed_hosts(before: &Placed, after: &Placed) -> Vec<HostName> {
    let keepers = before.keeper.values().chain(after.keeper.values());
    let counted = before.by_host.keys().chain(after.by_host.keys());
    let moving = before.moving.keys().chain(after.moving.keys());
    counted
        .chain(moving)
        .filter(|host| {
            before.by_host.get(*host) != after.by_host.get(*host)
                || before.moving.get(*host) != after.moving.get(*host)
        })
        .chain(keepers)
        .cloned()
        .collect()
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
