//! The fleet as operators see it.

use coordinator_plan::{Fleet, HostEntry};
use fleet_model::{
    AgentName, AgentStatus, Availability, Condition, ConditionKind, CredentialRef, HostName,
    HostState, PoolName,
};
use fleet_proto::{convert::timestamp, v1};

use super::{event::Filter, watchers::Watched};
use crate::book::Book;

/// Looks at the fleet; changes nothing.
pub(crate) struct Views<'a> {
    pub(crate) fleet: &'a Fleet,
    pub(crate) book: &'a Book,
}

impl Views<'_> {
    /// Everything that can be watched.
    pub(crate) fn all(&self) -> impl Iterator<Item = Watched> {
        let pools = self.fleet.pool_names().cloned().map(Watched::Pool);
        let hosts = self.fleet.hosts().map(|(name, _)| Watched::Host(name.clone()));
        let agents = self
            .fleet
            .agents()
            .map(|(host, _, agent)| Watched::Agent(host.clone(), agent.agent.clone()));
        pools.chain(hosts).chain(agents)
    }

    pub(crate) fn pools(&self) -> Vec<v1::Pool> {
        self.fleet.pool_names().filter_map(|name| self.pool(name)).collect()
    }

    pub(crate) fn hosts(&self) -> Vec<v1::Host> {
        self.fleet.hosts().map(|(name, entry)| self.host_of(name, entry)).collect()
    }

    pub(crate) fn agents(&self, filter: &Filter) -> Vec<v1::Agent> {
        let same = |asked: &Option<String>, is: &str| asked.as_deref().is_none_or(|a| a == is);
        self.fleet
            .agents()
            .filter(|(host, _, agent)| {
                same(&filter.host, host.as_str())
                    && same(&filter.pool, agent.pool.as_str())
                    && same(&filter.agent, agent.agent.as_str())
            })
            .map(|(host, entry, agent)| self.agent_of(host, entry, agent))
            .collect()
    }

    pub(crate) fn pool(&self, name: &PoolName) -> Option<v1::Pool> {
        let view = self.fleet.pool_view(name)?;
        let counts = view.counts;
        let placement = view.placed.by_host.iter().flat_map(|(host, groups)| {
            groups.iter().map(move |(group, replicas)| v1::PlacedCount {
                host: host.to_string(),
                group: group.to_string(),
                replicas: *replicas,
            })
        });
        let seen_here = view.trouble.map(|message| Condition {
            kind: ConditionKind::AzureTrouble,
            pool: Some(name.clone()),
            message: message.to_owned(),
        });
        let troubles = self
            .fleet
            .pool_conditions(name)
            .map(|(host, condition)| (host.to_string(), condition.clone()))
            .chain(seen_here.map(|condition| (String::new(), condition)))
            .map(|(host, condition)| v1::PoolTrouble { host, condition: Some(condition.into()) });
        Some(v1::Pool {
            spec: Some(view.spec.clone().into()),
            counts: Some(v1::PoolCounts {
                desired: view.spec.replicas,
                ready: counts.ready(),
                idle: counts.idle,
                busy: counts.busy,
                starting: counts.starting,
                failed: counts.failed,
                leaving: counts.leaving,
                unknown: counts.unknown,
                quarantined: counts.quarantined,
                paused: counts.paused,
            }),
            unplaced: view.unplaced,
            unplaced_reasons: view.reasons.to_vec(),
            placement: placement.collect(),
            troubles: troubles.collect(),
            credential: self.credential(&view.spec.credential),
            azure_seen: view.azure_seen.map(timestamp),
            waiting: view.placed.waiting(),
        })
    }

    fn credential(&self, name: &fleet_model::CredentialName) -> Option<v1::CredentialStatus> {
        let record = self.book.credentials.get(name)?;
        let credential =
            CredentialRef { name: name.clone(), fingerprint: record.fingerprint.clone() };
        Some(v1::CredentialStatus {
            credential: Some(credential.into()),
            loaded: Some(timestamp(record.loaded)),
            expires: record.expires.map(timestamp),
        })
    }

    pub(crate) fn host(&self, name: &HostName) -> Option<v1::Host> {
        self.fleet.host(name).map(|entry| self.host_of(name, entry))
    }

    fn host_of(&self, name: &HostName, entry: &HostEntry) -> v1::Host {
        let agents = || entry.agents.values().filter(|agent| !agent.placeholder);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let facts = entry.facts.as_ref();
        let restraint = entry.record.restraint.as_ref();
        v1::Host {
            name: name.to_string(),
            lab: lab(entry),
            labels: entry.labels.iter().map(|(k, v)| (k.to_string(), v.clone())).collect(),
            state: v1::HostState::from(entry.state()).into(),
            since: Some(timestamp(entry.since)),
            availability: v1::Availability::from(Availability::under(restraint)).into(),
            capacity: facts.and_then(|facts| facts.capacity),
            version: facts.map(|facts| facts.version.clone()).unwrap_or_default(),
            engine: facts.map(|facts| facts.engine.clone()).unwrap_or_default(),
            agents: count(agents().count()),
            busy: count(agents().filter(|agent| agent.job.is_some()).count()),
            applied: Some(entry.applied.into()),
            ordered: entry.assignment.as_ref().map(|told| told.order.into()),
            conditions: entry.conditions.iter().cloned().map(Into::into).collect(),
            certificate_expires: entry.record.certificate_expires.map(timestamp),
            disks: entry.disks.iter().cloned().map(Into::into).collect(),
            caches: entry.caches.iter().cloned().map(Into::into).collect(),
            restraint: restraint.cloned().map(Into::into),
        }
    }

    pub(crate) fn agent(&self, host: &HostName, name: &AgentName) -> Option<v1::Agent> {
        let entry = self.fleet.host(host)?;
        entry.agents.get(name).map(|agent| self.agent_of(host, entry, agent))
    }

    fn agent_of(&self, host: &HostName, entry: &HostEntry, agent: &AgentStatus) -> v1::Agent {
        // The name alone does not make a row ours: the ids must agree too.
        let row = self
            .fleet
            .pool_view(&agent.pool)
            .and_then(|pool| pool.rows.get(&agent.agent))
            .filter(|row| agent.agent_id.is_none_or(|id| id == row.agent_id));
        v1::Agent {
            status: Some(agent.clone().into()),
            host: host.to_string(),
            lab: lab(entry),
            online: row.map(|row| row.online),
            enabled: row.map(|row| row.enabled),
            stale: entry.state() != HostState::Ready,
            run_url: row.and_then(|row| row.assigned.as_ref()?.run_url.clone()).unwrap_or_default(),
        }
    }
}

fn lab(entry: &HostEntry) -> String {
    entry.labels.get("lab").cloned().unwrap_or_default()
}
