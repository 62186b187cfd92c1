//! A pool's groups that come, go, and are not spoken of.

use super::*;

fn group(name: &str) -> GroupName {
    name.parse().expect("group")
}

/// One agent of group `default` and one of `units`, as far as they are named.
fn groups(named: &[&str], gone: &[&str]) -> BTreeMap<PoolName, PoolAssignment> {
    let one = part(1, false);
    let built = one.group(&group("default")).expect("it has one").clone();
    let groups = named.iter().map(|name| (group(name), built.clone())).collect();
    let gone_groups = gone.iter().map(|name| group(name)).collect();
    [(pool(), PoolAssignment { wanted: Wanted::Groups(groups), gone_groups, ..one })].into()
}

/// Both agents wait for jobs: the first is of `default`, the second of `units`.
fn two_groups() -> Story {
    let mut story = Story::new();
    story.order(groups(&["default", "units"], &[]));
    story.answer(&Outcome::Done);
    story.answer(&Outcome::Done);
    for number in 1..=2 {
        story.hear(number, Heard::Registered(RowId { pool_id: 1, agent_id: number.into() }));
        story.hear(number, Heard::Listening);
    }
    story.wait(AZURE_STALE);
    assert_eq!(story.act(), []);
    assert_eq!(story.known.ledger.slots[&agent(2)].group, group("units"));
    story
}

#[test]
fn the_agents_of_a_removed_group_go_through_all_steps_and_the_others_stay() {
    let mut story = two_groups();
    story.order(groups(&["default"], &["units"]));
    let row = RowId { pool_id: 1, agent_id: 2 };
    let state = RowState { agent_id: 2, enabled: false, online: true, assigned: None };
    let clear = Outcome::Row(RowRead::There(row, state));
    let agent = agent(2);
    // Azure is asked with the pool's own credential, which the host still holds.
    assert_eq!(story.answer(&Outcome::Done), [Action::Disable { agent: agent.clone(), row }]);
    let read = Action::ReadRow { agent: agent.clone(), row: Some(row) };
    assert_eq!(story.answer(&clear), std::slice::from_ref(&read));
    assert_eq!(story.act(), [], "the pool's settle time passes first");
    story.wait(SETTLE);
    assert_eq!(story.answer(&clear), [read]);
    let check = story.answer(&Outcome::Worker(Worker::None));
    assert_eq!(check, [Action::CheckWorker { agent: agent.clone(), attempt: 1 }]);
    let stop = story.answer(&Outcome::Done);
    assert_eq!(stop, [Action::Interrupt { agent, attempt: 1 }]);
    story.end(2, 0);
    let rest: Vec<Action> = (0..3).flat_map(|_| story.answer(&Outcome::Done)).collect();
    assert!(matches!(
        rest[..],
        [Action::RemoveRun { .. }, Action::DeleteRow { .. }, Action::Forget { .. }]
    ));
    assert_eq!(story.act(), []);
    assert_eq!((story.known.ledger.slots.len(), story.phase(1)), (1, Phase::Idle));
}

#[test]
fn a_busy_agent_of_a_removed_group_works_to_its_jobs_end() {
    let mut story = two_groups();
    story.hear(2, Heard::JobStarted("nightly".into()));
    story.order(groups(&["default"], &["units"]));
    story.answer(&Outcome::Done);
    let row = RowId { pool_id: 1, agent_id: 2 };
    let assigned = Some(Assigned::new(7, "nightly"));
    let state = RowState { agent_id: 2, enabled: false, online: true, assigned };
    for _ in 0..10 {
        let asked = story.answer(&Outcome::Row(RowRead::There(row, state.clone())));
        assert!(asked.iter().all(|action| matches!(action, Action::ReadRow { .. })), "{asked:?}");
        story.wait(std::time::Duration::from_secs(60));
    }
    assert_eq!(story.removal(2), Some(Removal::Watching));
}

#[test]
fn a_group_that_is_not_spoken_of_goes_on_as_it_was_and_is_shown() {
    let mut story = two_groups();
    // An older store that never heard of the group.
    story.order(groups(&["default"], &[]));
    assert_eq!(story.act(), []);
    let conditions = story.known.conditions(story.now);
    let told = |text: &str| conditions.iter().any(|c| c.message.contains(text));
    assert!(told("does not know group units"), "{conditions:?}");
    story.hear(2, Heard::JobStarted("job".into()));
    story.hear(2, Heard::JobFinished);
    story.end(2, 0);
    let next = story.answer(&Outcome::Done);
    assert!(matches!(next[..], [Action::Start { attempt: 2, registered: true, .. }]), "{next:?}");
    assert_eq!(story.answer(&Outcome::Done), [Action::RemoveRun { agent: agent(2), attempt: 1 }]);
    // The same through a pool that is not named at all, and back.
    story.order(BTreeMap::new());
    story.order(groups(&["default"], &[]));
    assert_eq!(story.act(), []);
    assert!(story.known.ledger.orphaned_groups[&pool()].contains(&group("units")));
    // Known again, it is as it ever was; gone, it goes.
    story.order(groups(&["default", "units"], &[]));
    assert!(story.known.ledger.orphaned_groups.is_empty());
    assert_eq!(story.act(), []);
    story.order(groups(&["default"], &["units"]));
    assert!(matches!(story.act()[..], [Action::Disable { .. }]));
}

#[test]
fn an_adopted_run_of_an_unknown_group_is_left_alone() {
    let mut story = Story::new();
    story.order(groups(&["default"], &[]));
    let run = RunListed {
        agent: agent(7),
        attempt: 4,
        pool: pool(),
        group: group("units"),
        number: 7,
        state: RunState::Running,
    };
    story.tell(Event::Listed { kind: RuntimeKind::Docker, runs: vec![run] });
    let actions = story.act();
    let touches = |a: &Action| a.subject() == Subject::Agent(agent(7));
    assert!(!actions.iter().any(touches), "{actions:?}");
    assert_eq!(story.known.ledger.slots[&agent(7)].role, Role::Run);
}
