//! Agents on their way out, told as short stories.

use super::*;

#[test]
fn an_idle_agent_goes_only_through_all_its_steps() {
    let mut story = Story::idle(1);
    story.assign(0, false);
    let own = RowId { pool_id: 1, agent_id: 1 };
    assert_eq!(story.answer(&Outcome::Done), [Action::Disable { agent: agent(1), row: own }]);
    assert!(story.known.ledger.slots[&agent(1)].disabled_by_us, "written down before the PATCH");
    let read = Action::ReadRow { agent: agent(1), row: Some(own) };
    assert_eq!(story.answer(&row(false, true, None)), [read]);
    assert_eq!(story.act(), [], "the settle time passes first");
    story.wait(SETTLE);
    assert!(matches!(story.answer(&row(false, true, None))[..], [Action::ReadRow { .. }]));
    let check = story.answer(&Outcome::Worker(Worker::None));
    assert!(matches!(check[..], [Action::CheckWorker { .. }]), "{check:?}");
    assert!(matches!(story.answer(&Outcome::Done)[..], [Action::Interrupt { .. }]));
    assert_eq!(story.phase(1), Phase::Drained);
    story.end(1, 0);
    assert!(matches!(story.answer(&Outcome::Done)[..], [Action::RemoveRun { .. }]));
    assert!(matches!(story.answer(&Outcome::Done)[..], [Action::DeleteRow { .. }]));
    assert!(matches!(story.answer(&Outcome::Done)[..], [Action::Forget { .. }]));
    assert!(story.known.ledger.slots.is_empty());
}

#[test]
fn unknown_counts_as_busy() {
    let mut story = Story::idle(1);
    story.assign(0, false);
    story.answer(&Outcome::Done);
    story.answer(&row(false, true, None));
    story.wait(SETTLE);
    story.answer(&row(false, true, None));
    story.answer(&Outcome::Worker(Worker::Unknown("no such process list".into())));
    assert_eq!(story.removal(1), Some(Removal::Watching));
}

#[test]
fn a_job_that_slips_in_takes_the_removal_back() {
    for slip in ["row", "line", "watcher", "process list"] {
        let mut story = Story::idle(1);
        story.assign(0, false);
        story.answer(&Outcome::Done);
        story.answer(&row(false, true, None));
        story.wait(SETTLE);
        match slip {
            "row" => {
                story.answer(&row(false, true, Some(5)));
            }
            "line" => story.hear(1, Heard::JobStarted("slipped in".into())),
            "watcher" => {
                let state = RowState {
                    agent_id: 1,
                    enabled: false,
                    online: true,
                    assigned: Some(Assigned::new(5, "slipped in")),
                };
                story.tell(Event::Rows([(agent(1), Some(state))].into()));
            }
            _ => {
                story.answer(&row(false, true, None));
                story.answer(&Outcome::Worker(Worker::Present));
            }
        }
        assert_eq!(story.removal(1), Some(Removal::Watching), "{slip}");
    }
}

#[test]
fn a_disable_that_did_not_stand_does_not_count() {
    let mut story = Story::idle(1);
    story.assign(0, false);
    story.answer(&Outcome::Done);
    story.answer(&row(true, true, None));
    assert_eq!(story.removal(1), Some(Removal::Disabling));
}

#[test]
fn wanted_again_it_is_enabled_again_and_nothing_is_restarted() {
    let mut story = Story::idle(1);
    story.assign(0, false);
    story.answer(&Outcome::Done);
    story.answer(&row(false, true, None));
    story.assign(1, false);
    assert!(matches!(story.answer(&Outcome::Done)[..], [Action::Enable { .. }]));
    assert_eq!(story.act(), []);
    assert_eq!((story.phase(1), story.removal(1)), (Phase::Idle, None));
}

#[test]
fn the_keeper_holds_the_last_registration_and_uses_it_again() {
    let mut story = Story::idle(2);
    story.assign(0, true);
    for _ in 0..20 {
        for action in story.act() {
            let outcome = match &action {
                Action::ReadRow { agent, .. } => {
                    let row = story.known.ledger.slots[agent].row.expect("it has a row");
                    let state = RowState {
                        agent_id: row.agent_id,
                        enabled: false,
                        online: true,
                        assigned: None,
                    };
                    Outcome::Row(RowRead::There(row, state))
                }
                Action::CheckWorker { .. } => Outcome::Worker(Worker::None),
                _ => Outcome::Done,
            };
            let ends = match &action {
                Action::Interrupt { agent, attempt } => Some((agent.clone(), *attempt)),
                _ => None,
            };
            story.tell(Event::Done { action, outcome });
            if let Some((agent, attempt)) = ends {
                story.tell(Event::RunEnded { agent, attempt, code: Some(0) });
            }
        }
        story.wait(SETTLE);
    }
    assert_eq!(story.known.ledger.slots.len(), 1, "{:?}", story.known.ledger.slots);
    assert_eq!(story.phase(1), Phase::Stopped);
    assert!(story.known.statuses()[&agent(1)].placeholder);
    story.assign(1, true);
    let start = story.act();
    assert_eq!(start, [Action::Start { agent: agent(1), attempt: 2, registered: true }]);
}

#[test]
fn the_tombstone_takes_everything() {
    let mut story = Story::idle(1);
    story.order([(pool(), PoolAssignment { wanted: Wanted::Gone, ..part(0, false) })].into());
    assert!(matches!(story.act()[..], [Action::Disable { .. }]));
}

#[test]
fn azure_away_touches_nothing_and_one_agent_asks_for_all() {
    let mut story = Story::idle(3);
    story.assign(0, false);
    let away = Outcome::Azure(AzureFailure::Unavailable { why: "503".into(), retry_after: None });
    story.answer(&away);
    assert_eq!(story.act(), [], "everyone waits");
    let conditions = story.known.conditions(story.now);
    assert!(conditions.iter().any(|c| c.message == "503"), "{conditions:?}");
    story.wait(OFFLINE_GRACE);
    let probe = story.act();
    assert_eq!(probe.len(), 1, "one probe: {probe:?}");
}

#[test]
fn what_was_asked_for_in_vain_is_removed_before_its_slot_is_forgotten() {
    let mut story = Story::new();
    story.assign(1, false);
    story.answer(&Outcome::Done);
    story.answer(&Outcome::Failed("no answer in time".into()));
    story.assign(0, false);
    let removed = story.answer(&Outcome::Done);
    assert_eq!(removed, [Action::RemoveRun { agent: agent(1), attempt: 1 }]);
    // It may have begun, registered and ended unheard: Azure has the last word.
    assert_eq!(story.act(), []);
    story.wait(AZURE_STALE);
    let looked = story.answer(&Outcome::Row(RowRead::Gone));
    assert_eq!(looked, [Action::ReadRow { agent: agent(1), row: None }]);
    assert_eq!(story.act(), [Action::Forget { agent: agent(1) }]);
}

#[test]
fn an_agent_removed_right_after_its_registration_waits_for_answers_that_count() {
    let mut story = Story::new();
    story.assign(1, false);
    story.answer(&Outcome::Done);
    story.answer(&Outcome::Done);
    story.hear(1, Heard::Registered(ROW));
    story.hear(1, Heard::Listening);
    story.assign(0, false);
    let disable = Action::Disable { agent: agent(1), row: ROW };
    assert_eq!(story.answer(&Outcome::Done), [disable]);
    assert_eq!(story.act(), [], "an answer may still show the time before its row");
    let why = story.known.statuses()[&agent(1)].why.clone();
    assert!(why.contains("may still be older"), "{why}");
    story.wait(AZURE_STALE);
    assert_eq!(story.act(), [Action::ReadRow { agent: agent(1), row: Some(ROW) }]);
}

#[test]
fn what_an_adopted_run_may_have_registered_is_looked_for_before_its_slot_is_forgotten() {
    let mut story = Story::new();
    story.assign(0, false);
    // Its container is there, and the ledger that knew of it was lost.
    let left = RunListed {
        agent: agent(1),
        attempt: 3,
        pool: pool(),
        group: "default".parse().expect("a group"),
        number: 1,
        state: RunState::Ended(Some(137)),
    };
    story.tell(Event::Listed { kind: RuntimeKind::Docker, runs: vec![left] });
    assert_eq!(story.answer(&Outcome::Done), [Action::RemoveRun { agent: agent(1), attempt: 3 }]);
    assert_eq!(story.act(), [], "an answer may be older than a row that it just made");
    story.wait(AZURE_STALE);
    let looked = story.answer(&row(true, false, None));
    assert_eq!(looked, [Action::ReadRow { agent: agent(1), row: None }]);
    let disable = Action::Disable { agent: agent(1), row: ROW };
    assert_eq!(story.act(), [disable], "it is ours by its owner mark, and goes");
}

#[test]
fn only_what_others_go_by_is_stored_twice() {
    let mut story = Story::idle(2);
    let mut stored = story.known.ledger.clone();
    let mut twice = |story: &Story| {
        let before = std::mem::replace(&mut stored, story.known.ledger.clone());
        story.known.ledger.must_outlive_damage(&before)
    };
    story.hear(1, Heard::JobStarted("job".into()));
    story.hear(1, Heard::JobFinished);
    story.end(1, 0);
    story.answer(&Outcome::Done);
    assert!(!twice(&story), "once mode cycles with one write for each run");
    story.hear(1, Heard::Listening);
    story.assign(1, false);
    assert!(twice(&story), "a newer order");
    assert!(!twice(&story), "once");
    story.answer(&Outcome::Done);
    assert!(twice(&story), "a disable");
    for clear in [0, 1] {
        story.wait(SETTLE * clear + AZURE_STALE);
        let second = AgentName::clone(&agent(2));
        let read = |action: &Action| action.subject() == crate::Subject::Agent(second.clone());
        for action in story.act().into_iter().filter(read) {
            let state = RowState { agent_id: 2, enabled: false, online: true, assigned: None };
            let id = RowId { pool_id: 1, agent_id: 2 };
            let outcome = Outcome::Row(RowRead::There(id, state));
            story.tell(Event::Done { action, outcome });
        }
    }
    story.answer(&Outcome::Worker(Worker::None));
    assert!(!twice(&story), "what was seen is seen anew after a restart");
    let stop = story.act();
    assert!(matches!(stop[..], [Action::Interrupt { .. }]), "{stop:?}");
    assert!(twice(&story), "a run that is asked to end");
}

/// A run was asked to end, ended and was removed; then hostd lost its newest ledger.
#[test]
fn a_stop_whose_end_was_lost_holds_no_slot_for_ever() {
    let mut ledger = Story::idle(1).known.ledger;
    ledger.slots.get_mut(&agent(1)).expect("its slot").stop_begun = true;
    let host: HostName = "h".parse().expect("host");
    let mut known = Known::new(host, BTreeSet::from([RuntimeKind::Docker]), ledger);
    known.apply(Event::Listed { kind: RuntimeKind::Docker, runs: vec![] }, At(2_000_000));
    assert!(!known.ledger.slots[&agent(1)].stop_begun);
}
