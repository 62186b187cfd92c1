//! Tables and properties of placement.

use std::collections::BTreeSet;

use fleet_model::{At, AzureTarget, GroupName, ImageRef, Mode, Restraint, Template};
use proptest::prelude::*;

use super::*;

#[derive(Debug)]
struct HostSeed {
    name: HostName,
    labels: Labels,
    availability: Availability,
    state: HostState,
    capacity: Option<u32>,
    taken: u32,
    runtimes: BTreeSet<RuntimeKind>,
}

impl HostSeed {
    fn new(name: &str, lab: &str) -> Self {
        Self {
            name: name.parse().expect("host"),
            labels: [("lab".parse().expect("key"), lab.to_owned())].into(),
            availability: Availability::Active,
            state: HostState::Ready,
            capacity: None,
            taken: 0,
            runtimes: [RuntimeKind::Docker].into(),
        }
    }

    fn view(&self) -> HostView<'_> {
        HostView {
            name: &self.name,
            labels: &self.labels,
            availability: self.availability,
            state: self.state,
            runtimes: Some(&self.runtimes),
            capacity: self.capacity,
            taken: self.taken,
        }
    }
}

fn group(name: &str, selector: &str, weight: u32) -> GroupSpec {
    let image: ImageRef = "img:1".parse().expect("image");
    GroupSpec {
        name: name.parse().expect("group"),
        selector: selector.parse().expect("selector"),
        template: Template::docker(image, Mode::Once).into(),
        weight,
        max_per_host: None,
    }
}

fn pool(replicas: u32, groups: Vec<GroupSpec>) -> PoolSpec {
    let name: fleet_model::PoolName = "nightly".parse().expect("pool");
    let target = AzureTarget { url: "https://dev.example/f".into(), pool: "nightly".into() };
    let template = groups[0].template.clone();
    let credential = "nightly".parse().expect("credential");
    let mut pool =
        PoolSpec::single(name, target, credential, Default::default(), template).expect("a prefix");
    pool.replicas = replicas;
    pool.groups = groups;
    pool
}

fn run(pool: &PoolSpec, hosts: &[HostSeed], prior: &Placed) -> Placement {
    let views: Vec<_> = hosts.iter().map(HostSeed::view).collect();
    place(pool, &views, prior)
}

fn counts(placement: &Placement) -> Vec<(String, u32)> {
    let by = &placement.placed.by_host;
    by.keys().map(|h| (h.to_string(), placement.placed.on_host(h))).collect()
}

fn list(pairs: &[(&str, u32)]) -> Vec<(String, u32)> {
    pairs.iter().map(|(h, n)| ((*h).to_owned(), *n)).collect()
}

#[test]
fn a_pool_spreads_evenly_over_its_labs() {
    let hosts = [HostSeed::new("a", "str"), HostSeed::new("b", "str3"), HostSeed::new("c", "svc")];
    let pool = pool(5, vec![group("default", "lab in (str,str3)", 1)]);
    let placed = run(&pool, &hosts, &Placed::default());
    assert_eq!(counts(&placed), list(&[("a", 3), ("b", 2)]));
    assert_eq!(placed.unplaced, 0);
}

#[test]
fn a_new_host_takes_nothing_from_the_others_but_takes_what_is_new() {
    let mut hosts = vec![HostSeed::new("a", "str")];
    let four = run(&pool(4, vec![group("default", "", 1)]), &hosts, &Placed::default());
    hosts.push(HostSeed::new("b", "str"));
    let same = run(&pool(4, vec![group("default", "", 1)]), &hosts, &four.placed);
    assert_eq!(counts(&same), list(&[("a", 4)]));
    let more = run(&pool(7, vec![group("default", "", 1)]), &hosts, &same.placed);
    assert_eq!(counts(&more), list(&[("a", 4), ("b", 3)]));
}

#[test]
fn a_down_cordoned_or_paused_host_keeps_what_it_has_and_gets_no_more() {
    let mut hosts = [HostSeed::new("a", "str"), HostSeed::new("b", "str")];
    let even = run(&pool(4, vec![group("default", "", 1)]), &hosts, &Placed::default());
    for (state, availability) in [
        (HostState::Down, Availability::Active),
        (HostState::Ready, Availability::Cordoned),
        (HostState::Ready, Availability::Paused),
    ] {
        hosts[0].state = state;
        hosts[0].availability = availability;
        let grown = run(&pool(8, vec![group("default", "", 1)]), &hosts, &even.placed);
        assert_eq!(counts(&grown), list(&[("a", 2), ("b", 6)]));
    }
}

#[test]
fn a_draining_host_gives_its_agents_to_the_others() {
    let mut hosts = [HostSeed::new("a", "str"), HostSeed::new("b", "str")];
    let even = run(&pool(4, vec![group("default", "", 1)]), &hosts, &Placed::default());
    hosts[0].availability = Availability::Draining;
    let drained = run(&pool(4, vec![group("default", "", 1)]), &hosts, &even.placed);
    assert_eq!(counts(&drained), list(&[("b", 4)]));
}

#[test]
fn a_pool_that_is_held_back_keeps_or_loses_its_agents_and_gets_no_more() {
    let hosts = [HostSeed::new("a", "str"), HostSeed::new("b", "str")];
    let even = run(&pool(4, vec![group("default", "", 1)]), &hosts, &Placed::default());
    for (kind, expected, unplaced, why) in [
        (RestraintKind::Cordon, vec![("a", 2), ("b", 2)], 4, "the pool is cordoned"),
        (RestraintKind::Pause, vec![("a", 2), ("b", 2)], 4, "the pool is paused"),
        (RestraintKind::Drain, vec![], 8, "the pool is draining"),
    ] {
        let mut spec = pool(8, vec![group("default", "", 1)]);
        spec.restraint = Some(restraint(kind));
        let held = run(&spec, &hosts, &even.placed);
        assert_eq!((counts(&held), held.unplaced), (list(&expected), unplaced), "{kind}");
        assert_eq!(held.reasons(), [format!("2 hosts: {why}")]);
        spec.replicas = 3;
        let fewer = run(&spec, &hosts, &even.placed).placed.total();
        assert_eq!(fewer, if kind == RestraintKind::Drain { 0 } else { 3 }, "{kind}");
        spec.restraint = None;
        assert_eq!(run(&spec, &hosts, &held.placed).placed.total(), 3, "it is over");
    }
}

#[test]
fn what_cannot_be_placed_is_explained() {
    let mut hosts =
        [HostSeed::new("a", "svc"), HostSeed::new("b", "str"), HostSeed::new("c", "svc")];
    hosts[0].capacity = Some(3);
    hosts[2].state = HostState::Down;
    let placed = run(&pool(10, vec![group("default", "lab=svc", 1)]), &hosts, &Placed::default());
    assert_eq!(placed.unplaced, 7);
    let said = placed.reasons().join("; ");
    for part in ["full (3 agents)", "label lab=svc is not met", "down"] {
        assert!(said.contains(part), "{said:?} should say {part:?}");
    }
    let none = run(&pool(1, vec![group("default", "", 1)]), &[], &Placed::default());
    assert!(none.reasons()[0].contains("no host has joined"));
}

#[test]
fn the_keeper_of_the_last_registration_stays_where_it_was() {
    let hosts = [HostSeed::new("a", "str"), HostSeed::new("b", "str")];
    let groups = vec![group("default", "", 1)];
    let default: GroupName = "default".parse().expect("group");
    let some = run(&pool(3, groups.clone()), &hosts, &Placed::default());
    assert_eq!(some.placed.keeper[&default].as_str(), "a");
    let none = run(&pool(0, groups.clone()), &hosts, &some.placed);
    assert_eq!((none.placed.total(), none.placed.keeper[&default].as_str()), (0, "a"));
    let elsewhere = run(&pool(0, groups), &hosts[1..], &none.placed);
    assert!(elsewhere.placed.keeper.is_empty(), "its keeper left the fleet");
}

fn any_host() -> impl Strategy<Value = HostSeed> {
    (0..20_u32, 0..3_usize, 0..4_usize, 0..4_usize, prop::option::of(0..20_u32), 0..5_u32).prop_map(
        |(n, lab, availability, state, capacity, taken)| HostSeed {
            availability: [
                Availability::Active,
                Availability::Cordoned,
                Availability::Paused,
                Availability::Draining,
            ][availability],
            state: [HostState::Ready, HostState::Ready, HostState::Disconnected, HostState::Down]
                [state],
            capacity,
            taken,
            ..HostSeed::new(&format!("h{n:02}"), ["str", "svc", "tk5"][lab])
        },
    )
}

fn restraint(kind: RestraintKind) -> Restraint {
    Restraint {
        kind,
        by: "ann".into(),
        reason: None,
        since: At(0),
        until: None,
        deadline: None,
        done: None,
    }
}

fn any_hosts() -> impl Strategy<Value = Vec<HostSeed>> {
    prop::collection::vec(any_host(), 0..12).prop_map(|mut hosts| {
        hosts.sort_by(|a, b| a.name.cmp(&b.name));
        hosts.dedup_by(|a, b| a.name == b.name);
        hosts
    })
}

fn any_pool() -> impl Strategy<Value = PoolSpec> {
    let held = prop::option::weighted(
        0.3,
        prop::sample::select(vec![
            RestraintKind::Cordon,
            RestraintKind::Pause,
            RestraintKind::Drain,
        ]),
    );
    (0..60_u32, 0..3_u32, 0..3_u32, prop::option::of(0..6_u32), held).prop_map(
        |(n, w1, w2, max, held)| {
            let mut second = group("second", "lab in (svc,tk5)", w2);
            second.max_per_host = max;
            let spec = pool(n, vec![group("first", "lab!=tk5", w1), second]);
            PoolSpec { restraint: held.map(restraint), ..spec }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_limit_is_broken_and_nothing_is_lost(
        spec in any_pool(), before in any_pool(), hosts in any_hosts(),
    ) {
        let prior = run(&before, &hosts, &Placed::default()).placed;
        let placement = run(&spec, &hosts, &prior);
        prop_assert_eq!(placement.placed.total() + placement.unplaced, spec.replicas);
        prop_assert_eq!(placement.unplaced > 0, !placement.reasons().is_empty());
        for host in &hosts {
            let here = placement.placed.on_host(&host.name);
            if let Some(capacity) = host.capacity {
                prop_assert!(here <= capacity.saturating_sub(host.taken));
            }
            let drains = host.availability == Availability::Draining
                || spec.restraint.as_ref().is_some_and(|r| r.kind == RestraintKind::Drain);
            prop_assert!(!drains || here == 0);
            for group in &spec.groups {
                let count = placement.placed.count(&host.name, &group.name);
                prop_assert!(count <= group.max_per_host.unwrap_or(u32::MAX));
                prop_assert!(count == 0 || group.selector.unmet(&host.labels).is_none());
                prop_assert!(count == 0 || group.weight > 0);
                // Nothing new goes where nothing new may go.
                let may = host.availability == Availability::Active
                    && host.state != HostState::Down
                    && spec.restraint.is_none();
                prop_assert!(may || count <= prior.count(&host.name, &group.name));
            }
        }
    }

    #[test]
    fn placing_again_changes_nothing(spec in any_pool(), hosts in any_hosts()) {
        let once = run(&spec, &hosts, &Placed::default());
        let again = run(&spec, &hosts, &once.placed);
        prop_assert_eq!(once.placed, again.placed);
    }

    #[test]
    fn growing_takes_from_no_host(hosts in any_hosts(), from in 0..40_u32, more in 0..20_u32) {
        let one = |n| pool(n, vec![group("default", "", 1)]);
        let before = run(&one(from), &hosts, &Placed::default()).placed;
        let after = run(&one(from + more), &hosts, &before).placed;
        for host in &hosts {
            prop_assert!(after.on_host(&host.name) >= before.on_host(&host.name));
        }
    }

    #[test]
    fn shrinking_gives_to_no_host(hosts in any_hosts(), from in 0..40_u32, less in 0..40_u32) {
        let one = |n| pool(n, vec![group("default", "", 1)]);
        let before = run(&one(from), &hosts, &Placed::default()).placed;
        let after = run(&one(from.saturating_sub(less)), &hosts, &before).placed;
        for host in &hosts {
            prop_assert!(after.on_host(&host.name) <= before.on_host(&host.name));
        }
    }
}
