//! Moving agents without having more of them than are wanted: a place is filled when another one is
//! free.
//!
//! ```text
//!   placed on A: 0, there: 3     B is told 3 more only as A's leave: 0 ─► 1 ─► 2 ─► 3
//! ```

use std::collections::BTreeMap;

use fleet_model::{GroupName, HostName};
use serde::{Deserialize, Serialize};

use crate::records::Placed;

/// A group on a host that is not as placed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Moving {
    /// Agents that the host is told to keep.
    pub told: u32,
    /// Agents that may be there: those that leave count until they are gone.
    pub there: u32,
}

/// By host and group; what is as placed is not named.
pub type Moves = BTreeMap<HostName, BTreeMap<GroupName, Moving>>;

/// What hosts are told on the way from `before` to `target`, when `there` says how many agents a host
/// is known to have of a group (none: it has not said so yet) and at most `most` may be there at once.
///
/// Nobody is told to give up what it has and `target` wants; nobody is told more than `target`.
pub(crate) fn pace(
    target: &Placed,
    before: &Placed,
    there: impl Fn(&HostName, &GroupName) -> Option<u32>,
    most: u32,
) -> Moves {
    let mut steps: BTreeMap<(&HostName, &GroupName), Moving> = BTreeMap::new();
    let wanted =
        target.by_host.iter().flat_map(|(host, groups)| groups.keys().map(move |g| (host, g)));
    let had =
        before.by_host.iter().flat_map(|(host, groups)| groups.keys().map(move |g| (host, g)));
    let moved =
        before.moving.iter().flat_map(|(host, groups)| groups.keys().map(move |g| (host, g)));
    for (host, group) in wanted.chain(had).chain(moved) {
        let old = before.step(host, group);
        let there = there(host, group).unwrap_or(old.there);
        let told = target.count(host, group).min(old.told.max(there));
        steps.insert((host, group), Moving { told, there: there.max(told) });
    }
    let mut room = most.saturating_sub(steps.values().map(|step| step.there).sum());
    for ((host, group), step) in &mut steps {
        // Who has agents that leave gets no new ones for them: they may yet be wanted again.
        let more = (target.count(host, group) - step.told).min(room);
        room -= more.saturating_sub(step.there - step.told);
        step.told += more;
        step.there = step.there.max(step.told);
    }
    let mut moves = Moves::new();
    for ((host, group), step) in steps {
        let wanted = target.count(host, group);
        if step != (Moving { told: wanted, there: wanted }) {
            moves.entry(host.clone()).or_default().insert(group.clone(), step);
        }
    }
    moves
}

impl Placed {
    /// What the host is told of the group, and what may be there.
    pub(crate) fn step(&self, host: &HostName, group: &GroupName) -> Moving {
        let moving = self.moving.get(host).and_then(|groups| groups.get(group)).copied();
        moving.unwrap_or_else(|| {
            let count = self.count(host, group);
            Moving { told: count, there: count }
        })
    }

    /// Places that wait until agents have left elsewhere.
    pub fn waiting(&self) -> u32 {
        let waits = |host, group: &GroupName, step: &Moving| {
            self.count(host, group).saturating_sub(step.told)
        };
        self.moving
            .iter()
            .flat_map(|(host, groups)| {
                groups.iter().map(move |(group, step)| waits(host, group, step))
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn host(name: &str) -> HostName {
        name.parse().expect("host")
    }

    fn group() -> GroupName {
        "default".parse().expect("group")
    }

    fn placed(counts: &[(&str, u32)]) -> Placed {
        let mut placed = Placed::default();
        for (name, count) in counts {
            placed.set(&host(name), &group(), *count);
        }
        placed
    }

    /// Told by host, in the order of their names; `moving` goes into the target, as it is stored.
    fn step(target: &mut Placed, before: &Placed, there: &[(&str, u32)], most: u32) -> Vec<u32> {
        let known = |name: &HostName, _: &GroupName| {
            there.iter().find(|(known, _)| *known == name.as_str()).map(|(_, count)| *count)
        };
        target.moving = pace(target, before, known, most);
        ["a", "b"].iter().map(|name| target.step(&host(name), &group()).told).collect()
    }

    #[test]
    fn a_place_is_filled_when_another_is_free() {
        let before = placed(&[("a", 3), ("b", 1)]);
        let mut target = placed(&[("b", 4)]);
        assert_eq!(step(&mut target, &before, &[("a", 3), ("b", 1)], 4), [0, 1]);
        assert_eq!(target.waiting(), 3);
        let mut next = target.clone();
        assert_eq!(step(&mut next, &target, &[("a", 1), ("b", 1)], 4), [0, 3]);
        // The coordinator restarts, and a says nothing yet: what was known counts.
        let mut after = next.clone();
        assert_eq!(step(&mut after, &next, &[], 4), [0, 3]);
        let mut end = after.clone();
        assert_eq!(step(&mut end, &after, &[("a", 0), ("b", 3)], 4), [0, 4]);
        let mut still = end.clone();
        assert_eq!(step(&mut still, &end, &[("a", 0), ("b", 4)], 4), [0, 4]);
        assert!(still.moving.is_empty() && still.waiting() == 0, "{still:?}");
    }

    #[test]
    fn more_agents_come_at_once_and_a_surge_is_used() {
        let before = placed(&[("a", 2)]);
        let mut target = placed(&[("a", 4), ("b", 3)]);
        assert_eq!(step(&mut target, &before, &[("a", 2)], 7), [4, 3]);
        let mut drained = placed(&[("b", 4)]);
        let before = placed(&[("a", 4)]);
        assert_eq!(step(&mut drained, &before, &[("a", 4)], 6), [0, 2]);
    }

    #[test]
    fn what_is_wanted_again_is_told_at_once() {
        let before = placed(&[("a", 4)]);
        let mut away = placed(&[("b", 4)]);
        assert_eq!(step(&mut away, &before, &[("a", 4)], 4), [0, 0]);
        let mut back = placed(&[("a", 4)]);
        assert_eq!(step(&mut back, &away, &[("a", 4)], 4), [4, 0]);
    }

    fn counts() -> impl Strategy<Value = [u32; 3]> {
        [0..9_u32, 0..9, 0..9]
    }

    fn of(counts: [u32; 3]) -> Placed {
        placed(&[("a", counts[0]), ("b", counts[1]), ("c", counts[2])])
    }

    proptest! {
        /// Hosts that do as they are told, at their own speed, come to what is placed, and never are
        /// there more than may be or were there already.
        #[test]
        fn every_move_ends_and_never_has_too_many(
            from in counts(),
            to in counts(),
            surge in 0..3_u32,
            busy in prop::collection::vec(0..3_usize, 0..40),
        ) {
            let names = ["a", "b", "c"];
            let mut target = of(to);
            let most = to.iter().sum::<u32>() + surge;
            let mut before = of(from);
            let mut there = from;
            let limit = most.max(from.iter().sum());
            for turn in 0..60 {
                let known: Vec<(&str, u32)> = names.into_iter().zip(there).collect();
                step(&mut target, &before, &known, most);
                before = target.clone();
                // One host after the other does one thing; some are slow.
                let slow = busy.get(turn).copied();
                for (at, name) in names.iter().enumerate() {
                    let told = target.step(&host(name), &group()).told;
                    prop_assert!(told <= to[at]);
                    if slow != Some(at) {
                        match there[at].cmp(&told) {
                            std::cmp::Ordering::Less => there[at] = told,
                            std::cmp::Ordering::Greater => there[at] -= 1,
                            std::cmp::Ordering::Equal => {}
                        }
                    }
                }
                prop_assert!(there.iter().sum::<u32>() <= limit, "{there:?} of {limit}");
            }
            prop_assert_eq!(there, to);
            prop_assert_eq!(target.waiting(), 0);
        }
    }
}
