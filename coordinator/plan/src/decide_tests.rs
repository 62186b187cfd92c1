//! Orders, restarts, tombstones and leases of a small fleet.

use fleet_model::{HostFacts, Intent, Phase, PoolSpec};

use super::*;
use crate::{FleetEvent, Saved, samples::*};

#[test]
fn a_new_label_of_the_operator_is_a_new_order_for_that_host_alone() {
    let mut fleet = fleet();
    settle(&mut fleet, START);
    assert!(fleet.decide(START).is_empty(), "nothing is new");
    let mut renamed = record("a");
    renamed.labels.insert("rack".parse().expect("key"), "r12".into());
    fleet.apply(FleetEvent::HostPut(renamed), START);
    let told = settle(&mut fleet, START);
    assert_eq!(told.assignments.keys().collect::<Vec<_>>(), [&host("a")]);
    assert_eq!(told.assignments[&host("a")].labels.len(), 1);
    assert!(fleet.decide(START).is_empty());
}

#[test]
fn one_scale_is_one_order_for_the_hosts_it_concerns() {
    let mut fleet = fleet();
    assert_eq!(fleet.order(), Order::new(1, 1));
    fleet.apply(FleetEvent::PoolPut(pool(5)), START);
    let decision = settle(&mut fleet, START);
    assert_eq!(decision.order, Some(Order::new(1, 2)));
    assert_eq!(decision.assignments.keys().collect::<Vec<_>>(), [&host("a")]);
    assert_eq!(decision.assignments[&host("a")].pools[&pool_name()].replicas(), 3);
    let again = settle(&mut fleet, START);
    assert!(again.is_empty(), "nothing happened, nothing is decided: {again:?}");
}

#[test]
fn a_restart_moves_nothing_and_orders_stay_above_the_old_ones() {
    let mut before = fleet();
    let placed = before.pool_view(&pool_name()).expect("pool").placed.clone();
    let saved = Saved {
        order: before.order(),
        pools: vec![pool(4)],
        hosts: vec![record("a"), record("b")],
        placements: [(pool_name(), placed.clone())].into(),
        ..Saved::default()
    };
    let mut after = Fleet::restore(saved, START);
    let first = settle(&mut after, START);
    assert!(first.placements.is_empty());
    assert!(first.order > Some(before.order()));
    open(&mut after, "a", before.order(), START);
    settle(&mut after, START);
    assert!(after.read_only().is_none());
    assert_eq!(after.pool_view(&pool_name()).expect("pool").placed, &placed);
    settle(&mut before, START);
}

#[test]
fn a_store_behind_its_hosts_orders_nobody_about() {
    let mut empty = Fleet::restore(
        Saved { hosts: vec![record("a")], order: Order::new(1, 0), ..Saved::default() },
        START,
    );
    open(&mut empty, "a", Order::new(1, 7), START);
    assert!(empty.decide(START).is_empty());
    assert_eq!(empty.read_only().map(|r| r.highest), Some(Order::new(1, 7)));
    empty.recover(Order::new(1, 7));
    let decision = settle(&mut empty, START);
    assert!(decision.order.is_none_or(|order| order > Order::new(1, 7)));
    assert!(empty.order() > Order::new(1, 7));
}

#[test]
fn a_pool_that_the_store_does_not_know_is_left_out_not_zero() {
    let mut fleet = fleet();
    let mut stranger = agent("other-a-01", Phase::Idle, Intent::Keep);
    stranger.pool = "other".parse().expect("pool");
    report(&mut fleet, "a", true, vec![stranger.clone()], START);
    let decision = settle(&mut fleet, START);
    let told = fleet.host(&host("a")).and_then(|h| h.assignment.clone()).expect("told");
    assert!(!told.pools.contains_key(&stranger.pool), "{decision:?}");
}

#[test]
fn a_deleted_pool_is_forgotten_only_when_every_host_says_so() {
    let mut fleet = fleet();
    for name in ["a", "b"] {
        let mine = agent(&format!("nightly-{name}-01"), Phase::Idle, Intent::Keep);
        report(&mut fleet, name, true, vec![mine], START);
    }
    fleet.apply(FleetEvent::PoolPut(PoolSpec { deleted: true, ..pool(0) }), START);
    let decision = settle(&mut fleet, START);
    assert!(decision.forgotten.is_empty());
    assert_eq!(decision.assignments.len(), 2);
    for part in decision.assignments.values() {
        assert_eq!(part.pools[&pool_name()].wanted, Wanted::Gone);
    }
    report(&mut fleet, "a", true, vec![], START);
    assert!(settle(&mut fleet, START).forgotten.is_empty(), "b still has one");
    report(&mut fleet, "b", true, vec![], START);
    assert_eq!(settle(&mut fleet, START).forgotten, [pool_name()]);
}

#[test]
fn a_host_is_down_after_its_lease_and_keeps_its_agents_in_the_plan() {
    let mut fleet = fleet();
    let mine = agent("nightly-a-01", Phase::Idle, Intent::Keep);
    report(&mut fleet, "a", true, vec![mine], START);
    fleet.apply(FleetEvent::SessionClosed { host: host("a") }, START);
    let soon = fleet.decide(START);
    assert_eq!(soon.wake_after, Some(HOST_LEASE));
    let late = START + HOST_LEASE;
    let decision = settle(&mut fleet, late);
    assert!(decision.placements.is_empty(), "waiting is the default: {decision:?}");
    let view = fleet.pool_view(&pool_name()).expect("pool");
    assert_eq!((view.counts.ready(), view.counts.unknown), (0, 1));
    open(&mut fleet, "a", Order::default(), late);
    let view = fleet.pool_view(&pool_name()).expect("pool");
    assert_eq!((view.counts.ready(), view.counts.unknown), (1, 0));
}

#[test]
fn counts_follow_reports_of_changes() {
    let mut fleet = fleet();
    let one = |phase, intent| vec![agent("nightly-a-01", phase, intent)];
    let mut check = |phase, intent, idle, busy, leaving| {
        report(&mut fleet, "a", false, one(phase, intent), START);
        let counts = fleet.pool_view(&pool_name()).expect("pool").counts;
        assert_eq!((counts.idle, counts.busy, counts.leaving), (idle, busy, leaving));
        assert_eq!(counts.total(), 1);
    };
    check(Phase::Idle, Intent::Keep, 1, 0, 0);
    check(Phase::Busy, Intent::Keep, 0, 1, 0);
    check(Phase::Draining, Intent::Remove, 0, 0, 1);
}

#[test]
fn capacity_is_shared_by_pools() {
    let mut fleet = fleet();
    let mut other = pool(10);
    other.name = "other".parse().expect("pool");
    let limited = HostFacts { capacity: Some(4), ..facts() };
    for name in ["a", "b"] {
        let event = FleetEvent::SessionOpened {
            host: host(name),
            facts: limited.clone(),
            highest: Order::default(),
        };
        fleet.apply(event, START);
    }
    fleet.apply(FleetEvent::PoolPut(other.clone()), START);
    settle(&mut fleet, START);
    let view = fleet.pool_view(&other.name).expect("pool");
    assert_eq!((view.placed.total(), view.unplaced), (4, 6));
    assert!(view.reasons[0].contains("full"), "{:?}", view.reasons);
}
