//! What is held back, and whether what was asked for is so. Only the hosts' own word makes it so: one
//! that is away, or has not taken its order, leaves it as it was.

use std::time::Duration;

use fleet_model::{
    AgentStatus, At, HostName, Phase, PoolAssignment, PoolName, Restraint, RestraintKind,
    RestraintStep, Seen,
};

use crate::fleet::{Fleet, HostEntry, PoolEntry};

/// Who is held back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// All agents of a host.
    Host(HostName),
    /// All agents of a pool.
    Pool(PoolName),
}

impl Fleet {
    /// How `target` is held back.
    pub fn restraint(&self, target: &Target) -> Option<&Restraint> {
        match target {
            Target::Host(host) => self.hosts.get(host)?.record.restraint.as_ref(),
            Target::Pool(pool) => self.pools.get(pool)?.spec.restraint.as_ref(),
        }
    }

    /// What time and evidence make of all restraints at `now`: each is to be stored, told and
    /// applied.
    pub fn restraint_steps(&self, now: At) -> Vec<(Target, RestraintStep)> {
        let hosts = self.hosts.iter().filter_map(|(name, host)| {
            let restraint = host.record.restraint.as_ref()?;
            let step = restraint.step(self.seen_of_host(host, restraint.kind), now)?;
            Some((Target::Host(name.clone()), step))
        });
        let pools = self.pools.iter().filter_map(|(name, pool)| {
            let restraint = pool.spec.restraint.as_ref().filter(|_| !pool.spec.deleted)?;
            let step = restraint.step(self.seen_of_pool(name, pool, restraint.kind), now)?;
            Some((Target::Pool(name.clone()), step))
        });
        hosts.chain(pools).collect()
    }

    /// How long until time alone makes something of a restraint.
    pub(crate) fn next_restraint(&self, now: At) -> Option<Duration> {
        let hosts = self.hosts.values().filter_map(|host| host.record.restraint.as_ref());
        let pools = self.pools.values().filter_map(|pool| pool.spec.restraint.as_ref());
        hosts.chain(pools).filter_map(|restraint| restraint.due_in(now)).min()
    }

    /// Why the agents of `pool` on `host` are to take no jobs; none: they may.
    pub(crate) fn paused(&self, host: &HostEntry, pool: &PoolEntry) -> Option<String> {
        [&host.record.restraint, &pool.spec.restraint]
            .into_iter()
            .flatten()
            .find(|restraint| restraint.kind == RestraintKind::Pause)
            .map(Restraint::who)
    }

    fn seen_of_host(&self, host: &HostEntry, kind: RestraintKind) -> Seen {
        // Whom the coordinator gives no agents has none new; and nothing runs where nobody joined.
        if kind == RestraintKind::Cordon || host.record.joined.is_none() {
            return Seen::Done;
        }
        let told = || host.assignment.iter().flat_map(|told| told.pools.values());
        let says = match speaks_for_all(host) && told().all(|part| says(part, kind)) {
            true => Seen::Done,
            false => Seen::Unknown,
        };
        let agents = host.agents.values().map(|agent| self.seen_of(host, agent, kind));
        agents.fold(says, Seen::min)
    }

    fn seen_of_pool(&self, pool: &PoolName, entry: &PoolEntry, kind: RestraintKind) -> Seen {
        if kind == RestraintKind::Cordon {
            return Seen::Done;
        }
        let of_host = |(name, host): (&HostName, &HostEntry)| {
            let told = host.assignment.as_ref().and_then(|told| told.pools.get(pool));
            // After a restart nothing was told and nobody was heard yet: then the stored placement
            // knows who may have some.
            let known = host.assignment.is_some() || !host.heard_all;
            let no_part = known && told.is_none() && !entry.placed.involves(name);
            let speaks = speaks_for_all(host) && told.is_none_or(|told| says(told, kind));
            let says = if no_part || speaks { Seen::Done } else { Seen::Unknown };
            let agents = host.agents.values().filter(|agent| agent.pool == *pool);
            agents.map(|agent| self.seen_of(host, agent, kind)).fold(says, Seen::min)
        };
        self.hosts.iter().map(of_host).min().unwrap_or(Seen::Done)
    }

    /// Done: nothing of the agent runs; or, of one that is only paused, it has no job and gets none.
    ///
    /// A host calls an agent paused when Azure has disabled its row. Seen disabled and free after that,
    /// the row had no job then and gets none: Azure gives nothing to a disabled row. An older look may
    /// show a pause before, and a job may have come between the two.
    fn seen_of(&self, host: &HostEntry, agent: &AgentStatus, kind: RestraintKind) -> Seen {
        if agent.placeholder || agent.phase == Phase::Quarantined {
            return Seen::Done;
        }
        let paused = host.paused_since.get(&agent.agent).filter(|_| kind == RestraintKind::Pause);
        let Some(since) = paused else { return Seen::Open };
        let Some(id) = agent.agent_id else { return Seen::Done };
        let pool = self.pools.get(&agent.pool).filter(|pool| pool.rows_show >= *since);
        let row =
            pool.and_then(|pool| pool.rows.get(&agent.agent)).filter(|row| row.agent_id == id);
        match row {
            Some(row) if !row.enabled && row.assigned.is_none() => Seen::Done,
            Some(_) => Seen::Open,
            None => Seen::Unknown,
        }
    }
}

/// It is in session, has said all in it, and has taken its newest order.
fn speaks_for_all(host: &HostEntry) -> bool {
    host.reported && host.assignment.as_ref().is_some_and(|told| host.applied >= told.order)
}

/// What a host was told of a pool asks for it. Before that its agents may yet come.
fn says(told: &PoolAssignment, kind: RestraintKind) -> bool {
    told.replicas() == 0 || (kind == RestraintKind::Pause && told.paused.is_some())
}

#[cfg(test)]
#[path = "restrain_tests.rs"]
mod tests;
