//! Holding hosts and pools back: what hosts are told, and when it is done.

use std::collections::BTreeMap;

use fleet_model::{
    AgentName, Assigned, AtDeadline, Deadline, HostReport, Intent, Job, PoolSpec, RowState, Wanted,
};

use super::*;
use crate::{FleetEvent, samples::*};

const LATER: At = At(START.0 + 60_000);

fn restraint(kind: RestraintKind) -> Restraint {
    Restraint {
        kind,
        by: "ann".into(),
        reason: "disk swap".parse().ok(),
        since: START,
        until: None,
        deadline: None,
        done: None,
    }
}

fn hold_host(fleet: &mut Fleet, name: &str, restraint: Option<Restraint>) {
    let record = crate::HostRecord { restraint, ..record(name) };
    fleet.apply(FleetEvent::HostPut(record), START);
    settle(fleet, START);
}

fn hold_pool(fleet: &mut Fleet, restraint: Option<Restraint>) {
    fleet.apply(FleetEvent::PoolPut(PoolSpec { restraint, ..pool(4) }), START);
    settle(fleet, START);
}

fn told(fleet: &Fleet, name: &str) -> (u32, Option<String>) {
    let assignment = fleet.hosts[&host(name)].assignment.clone().expect("an assignment");
    let part = &assignment.pools[&pool_name()];
    assert!(matches!(part.wanted, Wanted::Groups(_)));
    (part.replicas(), part.paused.clone())
}

fn numbered(agent_id: i64, phase: Phase) -> AgentStatus {
    let name = format!("nightly-a-{agent_id:02}");
    AgentStatus { agent_id: Some(agent_id), ..agent(&name, phase, Intent::Keep) }
}

fn rows(fleet: &mut Fleet, all: &[(i64, bool, Option<i64>)]) {
    let row = |(agent_id, enabled, job): &(i64, bool, Option<i64>)| {
        let name: AgentName = format!("nightly-a-{agent_id:02}").parse().expect("agent");
        let assigned = job.map(|job| Assigned::new(job, "build"));
        (name, RowState { agent_id: *agent_id, enabled: *enabled, online: true, assigned })
    };
    let rows: BTreeMap<_, _> = all.iter().map(row).collect();
    fleet.apply(FleetEvent::Rows { pool: pool_name(), rows, shows: LATER }, LATER);
}

fn steps(fleet: &Fleet) -> Vec<RestraintStep> {
    fleet.restraint_steps(LATER).into_iter().map(|(_, step)| step).collect()
}

#[test]
fn a_paused_host_keeps_its_agents_and_is_told_why_they_rest() {
    let mut fleet = fleet();
    hold_host(&mut fleet, "a", Some(restraint(RestraintKind::Pause)));
    assert_eq!(told(&fleet, "a"), (2, Some("ann: disk swap".into())));
    assert_eq!(told(&fleet, "b"), (2, None));
    hold_host(&mut fleet, "a", None);
    assert_eq!(told(&fleet, "a"), (2, None));
    hold_pool(&mut fleet, Some(restraint(RestraintKind::Pause)));
    assert_eq!(told(&fleet, "b"), (2, Some("ann: disk swap".into())));
}

#[test]
fn a_drained_host_gives_its_agents_to_the_others_and_a_cordoned_one_keeps_them() {
    let mut fleet = fleet();
    hold_host(&mut fleet, "a", Some(restraint(RestraintKind::Cordon)));
    assert_eq!((told(&fleet, "a"), told(&fleet, "b")), ((2, None), (2, None)));
    hold_host(&mut fleet, "a", Some(restraint(RestraintKind::Drain)));
    // The others get them as they leave.
    for (left, beside) in [(2, 2), (1, 3), (0, 4)] {
        let agents = (1..=left).map(|n| numbered(n, Phase::Draining)).collect();
        report(&mut fleet, "a", true, agents, START);
        settle(&mut fleet, START);
        assert_eq!((told(&fleet, "a").0, told(&fleet, "b").0), (0, beside));
    }
    hold_pool(&mut fleet, Some(restraint(RestraintKind::Drain)));
    assert_eq!((told(&fleet, "a"), told(&fleet, "b")), ((0, None), (0, None)));
}

#[test]
fn a_drain_is_done_when_the_host_has_taken_its_order_and_nothing_runs() {
    let mut fleet = fleet();
    report(&mut fleet, "a", true, vec![numbered(1, Phase::Idle)], START);
    hold_host(&mut fleet, "a", Some(restraint(RestraintKind::Drain)));
    assert_eq!(steps(&fleet), [], "its agent is there");
    let old = fleet.hosts[&host("a")].applied;
    let gone = HostReport {
        applied: old,
        removed: vec!["nightly-a-01".parse().expect("agent")],
        ..HostReport::default()
    };
    fleet.apply(FleetEvent::Reported { host: host("a"), report: gone }, START);
    assert_eq!(steps(&fleet), [], "it has not taken the order: another may come");
    let kept = [
        AgentStatus { placeholder: true, ..numbered(2, Phase::Stopped) },
        numbered(3, Phase::Quarantined),
    ];
    report(&mut fleet, "a", false, kept.to_vec(), START);
    assert_eq!(steps(&fleet), [RestraintStep::Done]);
    let mut away = fleet.clone();
    away.apply(FleetEvent::SessionClosed { host: host("a") }, START);
    assert_eq!(steps(&away), [], "who is away says nothing");
    // Once it was done, only its own word takes that back: it is switched off next.
    let done = restraint(RestraintKind::Drain).after(RestraintStep::Done, START);
    hold_host(&mut fleet, "a", done);
    fleet.apply(FleetEvent::SessionClosed { host: host("a") }, START);
    assert_eq!(steps(&fleet), []);
    let highest = fleet.order();
    open(&mut fleet, "a", highest, START);
    assert_eq!(steps(&fleet), []);
    report(&mut fleet, "a", true, vec![numbered(9, Phase::Idle)], START);
    assert_eq!(steps(&fleet), [RestraintStep::Undone]);
}

#[test]
fn a_host_that_never_joined_has_nothing_to_end() {
    let mut fleet = fleet();
    let restraint = Some(restraint(RestraintKind::Drain));
    let invited = crate::HostRecord { joined: None, restraint, ..record("c") };
    fleet.apply(FleetEvent::HostPut(invited), START);
    settle(&mut fleet, START);
    assert_eq!(steps(&fleet), [RestraintStep::Done]);
}

#[test]
fn a_pause_is_done_when_azure_shows_every_row_disabled_and_free() {
    let mut fleet = fleet();
    hold_host(&mut fleet, "a", Some(restraint(RestraintKind::Pause)));
    let paused = [numbered(1, Phase::Paused), numbered(2, Phase::Paused)];
    report(&mut fleet, "a", true, paused.to_vec(), START);
    assert_eq!(steps(&fleet), [], "Azure was not heard of it");
    for (row, done) in [
        ((2, true, None), false),
        ((2, false, Some(7)), false),
        ((9, false, None), false),
        ((2, false, None), true),
    ] {
        rows(&mut fleet, &[(1, false, None), row]);
        assert_eq!(!steps(&fleet).is_empty(), done, "{row:?}");
    }
    // It is paused anew: what was seen before may be what was before.
    report(&mut fleet, "a", false, vec![numbered(1, Phase::Idle)], START);
    fleet.apply(
        FleetEvent::Reported {
            host: host("a"),
            report: HostReport {
                applied: fleet.order(),
                agents: vec![numbered(1, Phase::Paused)],
                ..HostReport::default()
            },
        },
        At(LATER.0 + 1),
    );
    assert_eq!(steps(&fleet), []);
    report(&mut fleet, "a", false, vec![numbered(1, Phase::Idle)], START);
    report(&mut fleet, "a", false, vec![numbered(1, Phase::Paused)], START);
    assert_eq!(steps(&fleet), [RestraintStep::Done]);
    let job = Job { name: "build".into(), request_id: None, since: START };
    let works = AgentStatus { job: Some(job), ..numbered(1, Phase::Paused) };
    report(&mut fleet, "a", false, vec![works], START);
    assert_eq!(steps(&fleet), []);
    report(&mut fleet, "a", false, vec![numbered(1, Phase::Busy)], START);
    assert_eq!(steps(&fleet), []);
}

#[test]
fn a_pool_is_drained_when_every_host_with_a_part_in_it_says_so() {
    let mut fleet = fleet();
    report(&mut fleet, "a", true, vec![], START);
    report(&mut fleet, "b", true, vec![], START);
    hold_pool(&mut fleet, Some(restraint(RestraintKind::Drain)));
    report(&mut fleet, "a", false, vec![], START);
    assert_eq!(steps(&fleet), [], "b has not taken the order");
    report(&mut fleet, "b", false, vec![], START);
    let done = (Target::Pool(pool_name()), RestraintStep::Done);
    assert_eq!(fleet.restraint_steps(LATER), [done]);
}

#[test]
fn after_a_restart_silence_is_no_word() {
    let mut before = fleet();
    for name in ["a", "b"] {
        report(&mut before, name, true, vec![numbered(1, Phase::Busy)], START);
    }
    hold_pool(&mut before, Some(restraint(RestraintKind::Drain)));
    let placed = before.pools[&pool_name()].placed.clone();
    assert_eq!((placed.total(), placed.moving.len()), (0, 2), "they leave");
    let drained = PoolSpec { restraint: Some(restraint(RestraintKind::Drain)), ..pool(4) };
    let saved = crate::Saved {
        order: before.order,
        pools: vec![drained],
        hosts: vec![record("a"), record("b")],
        placements: [(pool_name(), placed)].into(),
        ..crate::Saved::default()
    };
    let mut fleet = Fleet::restore(saved, START);
    assert_eq!(steps(&fleet), [], "before anything is decided");
    settle(&mut fleet, START);
    assert_eq!(steps(&fleet), [], "nobody was heard");
    for name in ["a", "b"] {
        assert_eq!(steps(&fleet), []);
        let highest = fleet.order;
        open(&mut fleet, name, highest, START);
        report(&mut fleet, name, true, vec![], START);
        settle(&mut fleet, START);
        report(&mut fleet, name, false, vec![], START);
    }
    assert_eq!(steps(&fleet), [RestraintStep::Done]);
}

#[test]
fn time_alone_ends_a_restraint_and_passes_a_deadline() {
    let mut fleet = fleet();
    report(&mut fleet, "a", true, vec![numbered(1, Phase::Busy)], START);
    let second = |n| START + Duration::from_secs(n);
    let deadline = Deadline { at: second(20), then: AtDeadline::Wait, passed: false };
    let drain = Restraint {
        until: Some(second(30)),
        deadline: Some(deadline),
        ..restraint(RestraintKind::Drain)
    };
    hold_host(&mut fleet, "a", Some(drain.clone()));
    let decision = fleet.decide(second(5));
    assert_eq!(decision.wake_after, Some(Duration::from_secs(15)));
    let at = |fleet: &Fleet, now| fleet.restraint_steps(now).pop().map(|(_, step)| step);
    assert_eq!(at(&fleet, second(19)), None);
    assert_eq!(at(&fleet, second(20)), Some(RestraintStep::Late));
    hold_host(&mut fleet, "a", drain.after(RestraintStep::Late, second(20)));
    assert_eq!(at(&fleet, second(29)), None);
    assert_eq!(at(&fleet, second(30)), Some(RestraintStep::Over));
}

#[test]
fn a_host_that_is_back_gets_idle_agents_from_the_others() {
    let mut fleet = fleet();
    hold_host(&mut fleet, "a", Some(restraint(RestraintKind::Drain)));
    let idle =
        |from: i64, to: i64| (from..=to).map(|n| numbered(n, Phase::Idle)).collect::<Vec<_>>();
    report(&mut fleet, "a", true, vec![], START);
    settle(&mut fleet, START);
    let mut agents = idle(1, 3);
    agents.push(numbered(4, Phase::Busy));
    report(&mut fleet, "b", true, agents, START);
    settle(&mut fleet, START);
    assert_eq!((told(&fleet, "a").0, told(&fleet, "b").0), (0, 4));
    hold_host(&mut fleet, "a", None);
    // One of four at a time, and the other host is told only when one is gone.
    assert_eq!((told(&fleet, "a").0, told(&fleet, "b").0), (0, 3));
    report(
        &mut fleet,
        "b",
        true,
        vec![numbered(2, Phase::Idle), numbered(3, Phase::Busy), numbered(4, Phase::Busy)],
        START,
    );
    settle(&mut fleet, START);
    assert_eq!((told(&fleet, "a").0, told(&fleet, "b").0), (1, 3));
    report(&mut fleet, "a", true, vec![numbered(5, Phase::Idle)], START);
    settle(&mut fleet, START);
    assert_eq!((told(&fleet, "a").0, told(&fleet, "b").0), (1, 2));
    assert!(!fleet.pools[&pool_name()].placed.uneven, "that is level");
}
