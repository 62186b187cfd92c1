//! Pauses that an operator ordered, alone and beside a full disk.

use super::*;

fn paused(generation: u64, replicas: u32, who: Option<&str>) -> Assignment {
    let mut assignment = assignment(generation, replicas);
    let part = assignment.pools.get_mut(&pool()).expect("the pool");
    part.paused = who.map(str::to_owned);
    assignment
}

/// Everything planned is done, but Azure has not answered.
fn without_azure(host: &mut Host) {
    for action in host.plan().actions {
        if !action.asks_azure() {
            host.tell(Event::Done { action, outcome: Outcome::Done });
        }
    }
}

#[test]
fn an_ordered_pause_disables_keeps_jobs_and_ends_with_the_order() {
    let mut host = Host::idle(2);
    host.hear(2, Heard::JobStarted("build".into()));
    host.tell(Event::Assigned(paused(2, 2, Some("ann: disk swap"))));
    without_azure(&mut host);
    let (phase, why) = host.phase(1);
    assert!(phase == Phase::Idle && why.contains("may still be given a job"), "{phase}: {why}");
    assert!(host.slot(1).disabled_by_us, "written before Azure is asked");
    for number in [1, 2] {
        host.tell(Event::Done { action: disable(number), outcome: Outcome::Done });
    }
    assert_eq!(host.phase(1), (Phase::Paused, "paused by ann: disk swap"));
    assert_eq!(host.phase(2).0, Phase::Busy);
    host.hear(2, Heard::JobFinished);
    host.end(2, 0);
    assert_eq!(host.all_done(), [Action::RemoveRun { agent: agent(2), attempt: 1 }]);
    assert_eq!(host.phase(2).0, Phase::Paused);
    // Another reason: the same pause.
    host.tell(Event::Assigned(paused(3, 2, Some("bob: later"))));
    assert_eq!(host.all_done(), []);
    assert_eq!(host.phase(1).1, "paused by bob: later");
    // Without a row there is nothing to disable, and nothing starts.
    host.tell(Event::Assigned(paused(4, 3, Some("bob: later"))));
    assert_eq!(host.all_done(), []);
    host.tell(Event::Assigned(paused(5, 2, None)));
    let actions = host.all_done();
    assert!(actions.contains(&enable(1)) && actions.contains(&enable(2)), "{actions:?}");
    assert_eq!(host.phase(1).0, Phase::Idle);
}

#[test]
fn an_order_and_a_full_disk_are_two_reasons_for_one_pause() {
    let mut host = Host::idle(1);
    host.tell(Event::Assigned(paused(2, 1, Some("ann"))));
    assert_eq!(host.all_done(), [disable(1)]);
    host.measure(31);
    assert_eq!(without_cleaning(host.all_done()), []);
    assert_eq!(host.phase(1).1, "paused by ann");
    host.tell(Event::Assigned(paused(3, 1, None)));
    assert_eq!(without_cleaning(host.all_done()), [], "the disk is full");
    assert!(host.phase(1).1.starts_with("paused: 3.1 %"), "{}", host.phase(1).1);
    host.tell(Event::Assigned(paused(4, 1, Some("ann"))));
    host.measure(900);
    assert_eq!(without_cleaning(host.all_done()), [], "the operator says so");
    host.tell(Event::Assigned(paused(5, 1, None)));
    assert_eq!(without_cleaning(host.all_done()), [enable(1)]);
}

#[test]
fn a_paused_agent_that_is_no_longer_wanted_goes_and_is_never_enabled_on_the_way() {
    let mut host = Host::idle(1);
    host.tell(Event::Assigned(paused(2, 1, Some("ann"))));
    host.all_done();
    host.tell(Event::Assigned(paused(3, 0, Some("ann"))));
    let actions = host.plan().actions;
    assert!(!actions.contains(&enable(1)), "{actions:?}");
    assert_eq!(host.slot(1).role, Role::Remove);
}

#[test]
fn an_ordered_pause_outlives_hostd_and_needs_no_measurement_to_end() {
    let mut host = Host::idle(1);
    host.tell(Event::Assigned(paused(2, 1, Some("ann"))));
    host.all_done();
    let mut after = Host::with(host.known.ledger.clone(), host.now);
    let listed = RunListed {
        agent: agent(1),
        attempt: 1,
        pool: pool(),
        group: "default".parse().expect("group"),
        number: 1,
        state: RunState::Running,
    };
    after.tell(Event::Listed { kind: RuntimeKind::Docker, runs: vec![listed] });
    assert_eq!(after.all_done(), []);
    after.tell(Event::Assigned(paused(3, 1, None)));
    assert_eq!(after.all_done(), [enable(1)]);
}
