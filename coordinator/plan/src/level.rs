//! Levelling a pool when a host takes agents again: idle agents move, a few at a time, and busy ones
//! not at all.

use fleet_model::{GroupName, GroupSpec, HostName, PoolSpec};

use crate::{
    place::{HostView, refuses, room},
    records::Placed,
};

/// Of a group's agents at most one in so many is on its way at a time, and at least one.
const SHARE: u32 = 4;

/// Moves places of idle agents from the fullest hosts to the emptiest. `idle` says how many agents of
/// a group on a host have no job now. Says whether more is to be moved later.
///
/// The sum stays, and no limit of [`crate::place()`] is broken. Only hosts that may get new agents give
/// some, so what an operator holds back stays as it is.
pub(crate) fn level(
    pool: &PoolSpec,
    hosts: &[HostView<'_>],
    placed: &mut Placed,
    moving: u32,
    idle: impl Fn(&HostName, &GroupName) -> u32,
) -> bool {
    let mut uneven = false;
    for group in &pool.groups {
        uneven |= level_group(pool, group, hosts, placed, moving, &idle);
    }
    uneven
}

/// A host that gives or takes.
struct Stand<'a> {
    host: &'a HostName,
    count: u32,
    room: u32,
    /// Agents that may still be taken from it.
    idle: u32,
}

fn level_group(
    pool: &PoolSpec,
    group: &GroupSpec,
    hosts: &[HostView<'_>],
    placed: &mut Placed,
    moving: u32,
    idle: impl Fn(&HostName, &GroupName) -> u32,
) -> bool {
    let held = pool.restraint.as_ref().map(|restraint| restraint.kind);
    let mut stands: Vec<Stand<'_>> = hosts
        .iter()
        .filter(|host| refuses(group, held, host).is_none())
        .map(|host| {
            let count = placed.count(host.name, &group.name);
            let (room, _) = room(group, host, placed.on_host(host.name) - count);
            Stand { host: host.name, count, room, idle: idle(host.name, &group.name).min(count) }
        })
        .collect();
    let all: u32 = stands.iter().map(|stand| stand.count).sum();
    let mut may_move = (all / SHARE).max(1).saturating_sub(moving);
    let uneven = loop {
        // Of equals the first by name takes and the last gives, as in placement.
        let to = (0..stands.len())
            .filter(|&at| stands[at].count < stands[at].room)
            .min_by_key(|&at| (stands[at].count, at));
        let Some(to) = to else { break false };
        let too_full = |&at: &usize| stands[at].count >= stands[to].count + 2;
        if !(0..stands.len()).any(|at| too_full(&at)) {
            break false;
        }
        let from = (0..stands.len())
            .filter(too_full)
            .filter(|&at| stands[at].idle > 0)
            .max_by_key(|&at| (stands[at].count, at));
        let Some(from) = from.filter(|_| may_move > 0) else { break true };
        stands[from].count -= 1;
        stands[from].idle -= 1;
        stands[to].count += 1;
        may_move -= 1;
    };
    for stand in stands {
        placed.put(stand.host, &group.name, stand.count);
    }
    uneven
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use fleet_model::{Availability, HostState, Labels, RuntimeKind};
    use proptest::prelude::*;

    use super::*;
    use crate::{place, samples::*};

    struct World {
        names: Vec<HostName>,
        labels: Labels,
        runtimes: BTreeSet<RuntimeKind>,
        placed: Placed,
        idle: BTreeMap<HostName, u32>,
        capacity: Vec<Option<u32>>,
        availability: Vec<Availability>,
    }

    fn group() -> GroupName {
        "default".parse().expect("group")
    }

    impl World {
        /// Hosts `h0`, `h1`, … with so many agents, and so many of them idle.
        fn new(counts: &[(u32, u32)]) -> Self {
            let names: Vec<HostName> = (0..counts.len()).map(|n| host(&format!("h{n}"))).collect();
            let mut placed = Placed::default();
            for (name, (count, _)) in names.iter().zip(counts) {
                placed.put(name, &group(), *count);
            }
            let idle = names.iter().cloned().zip(counts.iter().map(|(_, idle)| *idle)).collect();
            Self {
                labels: Labels::new(),
                runtimes: [RuntimeKind::Docker].into(),
                placed,
                idle,
                capacity: vec![None; names.len()],
                availability: vec![Availability::Active; names.len()],
                names,
            }
        }

        fn views(&self) -> Vec<HostView<'_>> {
            let view = |(at, name)| HostView {
                name,
                labels: &self.labels,
                availability: self.availability[at],
                state: HostState::Ready,
                runtimes: Some(&self.runtimes),
                capacity: self.capacity[at],
                taken: 0,
            };
            self.names.iter().enumerate().map(view).collect()
        }

        fn counts(&self) -> Vec<u32> {
            self.names.iter().map(|name| self.placed.count(name, &group())).collect()
        }

        fn level(&mut self, moving: u32) -> bool {
            let mut placed = self.placed.clone();
            let spec = pool(placed.total());
            let idle = |name: &HostName, _: &GroupName| self.idle[name];
            let more = level(&spec, &self.views(), &mut placed, moving, idle);
            self.placed = placed;
            more
        }
    }

    #[test]
    fn a_host_that_is_back_gets_idle_agents_a_few_at_a_time() {
        let mut world = World::new(&[(0, 0), (12, 12)]);
        assert!(world.level(0));
        assert_eq!(world.counts(), [3, 9]);
        assert!(world.level(3), "those are still on their way");
        assert_eq!(world.counts(), [3, 9]);
        assert!(!world.level(0));
        assert_eq!(world.counts(), [6, 6]);
    }

    #[test]
    fn busy_agents_stay_until_they_are_idle() {
        let mut world = World::new(&[(0, 0), (4, 0)]);
        assert!(world.level(0), "it is to be gone on with");
        assert_eq!(world.counts(), [0, 4]);
        world.idle.insert(host("h1"), 1);
        assert!(world.level(0));
        assert_eq!(world.counts(), [1, 3]);
    }

    #[test]
    fn what_is_held_back_or_full_neither_gives_nor_takes() {
        let mut world = World::new(&[(0, 0), (4, 4), (6, 6)]);
        world.availability[2] = Availability::Cordoned;
        world.capacity[0] = Some(1);
        assert!(!world.level(0));
        assert_eq!(world.counts(), [1, 3, 6]);
    }

    proptest! {
        #[test]
        fn it_ends_level_and_moves_only_who_is_idle(
            counts in prop::collection::vec((0..20_u32, 0..20_u32), 1..8),
            capacity in prop::collection::vec(prop::option::of(0..20_u32), 8),
            moving in 0..5_u32,
        ) {
            let mut world = World::new(&counts);
            world.capacity = capacity[..counts.len()].to_vec();
            let before = world.counts();
            let more = world.level(moving);
            let after = world.counts();
            prop_assert_eq!(before.iter().sum::<u32>(), after.iter().sum::<u32>());
            let mut moved = 0;
            for (at, name) in world.names.iter().enumerate() {
                let gave = before[at].saturating_sub(after[at]);
                prop_assert!(gave <= world.idle[name]);
                let room = world.capacity[at].unwrap_or(u32::MAX);
                prop_assert!(after[at] <= room.max(before[at]));
                moved += gave;
            }
            prop_assert!(moved <= (before.iter().sum::<u32>() / SHARE).max(1).saturating_sub(moving));
            let open = (0..after.len()).filter(|&at| after[at] < world.capacity[at].unwrap_or(u32::MAX));
            let least = open.map(|at| after[at]).min();
            let most = after.iter().max().copied().unwrap_or(0);
            if let Some(least) = least {
                prop_assert_eq!(more, most >= least + 2);
            }
            // Placement leaves alone what was levelled.
            let spec = pool(world.placed.total());
            if world.capacity.iter().all(Option::is_none) {
                let again = place(&spec, &world.views(), &world.placed);
                prop_assert_eq!(again.placed.by_host, world.placed.by_host);
            }
        }
    }
}
