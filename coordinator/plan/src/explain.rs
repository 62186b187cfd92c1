//! Why a host has so many agents of a group and gets no more: the rules of placement, asked one by one.

use fleet_model::{GroupName, HostName, PoolName, PoolSpec};

use crate::{
    decide::Decision,
    fleet::Fleet,
    place::{HostView, Refusal, refuses, room},
    records::Placed,
};

/// How a host stands to a group of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The pool.
    pub pool: PoolName,
    /// Its group.
    pub group: GroupName,
    /// The host.
    pub host: HostName,
    /// Agents that have their place there.
    pub placed: u32,
    /// Agents that it is told to keep: fewer than placed while others leave elsewhere.
    pub told: u32,
    /// Agents that may be there: more than told while some leave.
    pub there: u32,
    /// Why it gets no more; none: it may.
    pub refusal: Option<Refusal>,
}

/// Each host's share in each group of `pool`, as `placed`.
pub(crate) fn explain(pool: &PoolSpec, hosts: &[HostView<'_>], placed: &Placed) -> Vec<Share> {
    let held = pool.restraint.as_ref().map(|restraint| restraint.kind);
    let share = |group: &fleet_model::GroupSpec, host: &HostView<'_>| {
        let count = placed.count(host.name, &group.name);
        let step = placed.step(host.name, &group.name);
        let here = placed.on_host(host.name) - count;
        let (room, limit) = room(group, host, here);
        Share {
            pool: pool.name.clone(),
            group: group.name.clone(),
            host: host.name.clone(),
            placed: count,
            told: step.told,
            there: step.there,
            refusal: refuses(group, held, host).or_else(|| limit.filter(|_| count >= room)),
        }
    };
    let of_group = |group| hosts.iter().map(move |host| share(group, host));
    pool.groups.iter().flat_map(of_group).collect()
}

impl Fleet {
    /// Each host's share in each group of a pool, by group and host.
    pub fn explain(&self, name: &PoolName) -> Vec<Share> {
        let Some(pool) = self.pools.get(name).filter(|pool| !pool.spec.deleted) else {
            return Vec::new();
        };
        explain(&pool.spec, &self.views(name, &Decision::default()), &pool.placed)
    }
}

#[cfg(test)]
mod tests {
    use fleet_model::{HostFacts, Restraint, RestraintKind};

    use super::*;
    use crate::{FleetEvent, HostRecord, samples::*};

    fn refusals(fleet: &Fleet) -> Vec<(String, u32, Option<String>)> {
        let one = |share: Share| {
            (share.host.to_string(), share.placed, share.refusal.map(|why| why.to_string()))
        };
        fleet.explain(&pool_name()).into_iter().map(one).collect()
    }

    fn list(all: &[(&str, u32, Option<&str>)]) -> Vec<(String, u32, Option<String>)> {
        all.iter().map(|(host, n, why)| ((*host).into(), *n, why.map(str::to_owned))).collect()
    }

    #[test]
    fn each_host_says_what_it_has_and_why_it_gets_no_more() {
        let mut fleet = fleet();
        assert_eq!(refusals(&fleet), list(&[("a", 2, None), ("b", 2, None)]));
        let facts = HostFacts { capacity: Some(2), ..facts() };
        let highest = fleet.order();
        let event = FleetEvent::SessionOpened { host: host("a"), facts, highest };
        fleet.apply(event, START);
        let restraint = Restraint {
            kind: RestraintKind::Cordon,
            by: "ann".into(),
            reason: None,
            since: START,
            until: None,
            deadline: None,
            done: None,
        };
        let cordoned = HostRecord { restraint: Some(restraint), ..record("b") };
        fleet.apply(FleetEvent::HostPut(cordoned), START);
        settle(&mut fleet, START);
        let expected = [("a", 2, Some("full (2 agents)")), ("b", 2, Some("cordoned"))];
        assert_eq!(refusals(&fleet), list(&expected));
    }
}
