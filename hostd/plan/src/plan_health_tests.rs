//! Agents that are not well, and agents that an operator wants restarted.

use fleet_model::{AgentOrder, AgentVerb, numbers::START_UP_GRACE};
use proptest::prelude::*;

use super::*;
use crate::{Renewal, Role};

fn check() -> Action {
    Action::CheckWorker { agent: agent(1), attempt: 1 }
}

fn read() -> Action {
    Action::ReadRow { agent: agent(1), row: Some(ROW) }
}

fn disable() -> Action {
    Action::Disable { agent: agent(1), row: ROW }
}

fn none() -> Outcome {
    Outcome::Worker(Worker::None)
}

impl Story {
    /// The coordinator's watcher saw the row of agent 1.
    fn rows(&mut self, online: bool, job: Option<i64>) {
        let assigned = job.map(|id| Assigned::new(id, format!("job {id}")));
        let state = RowState { agent_id: 1, enabled: true, online, assigned };
        self.tell(Event::Rows([(agent(1), Some(state))].into()));
    }

    fn restart(&mut self) -> Result<(), crate::Unfit> {
        let reason = Some("it looks odd".parse().expect("a reason"));
        let verb = AgentVerb::Restart;
        let order = AgentOrder { agent: agent(1), verb, by: "ann".into(), reason };
        self.known.order_agent(&order, self.now)
    }

    fn role(&self) -> Role {
        self.known.ledger.slots[&agent(1)].role
    }
}

/// Offline at Azure for as long as an agent may be.
fn offline() -> Story {
    let mut story = Story::idle(1);
    story.rows(false, None);
    assert_eq!(story.act(), [], "a moment is nothing");
    story.wait(START_UP_GRACE + OFFLINE_GRACE);
    story
}

#[test]
fn an_agent_that_is_long_offline_is_replaced_behind_a_disabled_row() {
    let mut story = offline();
    assert_eq!(story.answer(&none()), [check()]);
    assert_eq!(story.answer(&row(true, false, None)), [read()]);
    assert_eq!(story.answer(&Outcome::Done), [disable()], "from here on it is a removal");
    assert_eq!((story.role(), story.phase(1)), (Role::Renew, Phase::Draining));
    assert!(story.why().contains("offline for 5 min"), "{}", story.why());
    assert_eq!(story.answer(&row(false, false, None)), [read()]);
    story.wait(SETTLE);
    assert_eq!(story.answer(&row(false, false, None)), [read()]);
    assert_eq!(story.answer(&none()), [check()]);
    assert_eq!(story.answer(&Outcome::Done), [Action::Interrupt { agent: agent(1), attempt: 1 }]);
    story.end(1, 0);
    // The same slot and row go on, and it counts as its failure.
    assert_eq!(story.answer(&Outcome::Done), [Action::Enable { agent: agent(1), row: ROW }]);
    let start = Action::Start { agent: agent(1), attempt: 2, registered: true };
    assert_eq!(story.answer(&Outcome::Done), [start]);
    let slot = &story.known.ledger.slots[&agent(1)];
    assert_eq!((slot.role, slot.failures, slot.failed_at.len()), (Role::Run, 1, 1));
}

#[test]
fn in_doubt_nothing_is_done_and_the_time_counts_anew() {
    let later = START_UP_GRACE + OFFLINE_GRACE;
    let away = AzureFailure::Unavailable { why: "503".into(), retry_after: None };
    type Doubt<'a> = (&'static str, &'a dyn Fn(&mut Story));
    let doubts: [Doubt<'_>; 8] = [
        ("it is online", &|story| story.rows(true, None)),
        ("it has a request", &|story| story.rows(false, Some(7))),
        ("its listener speaks", &|story| story.hear(1, Heard::Listening)),
        ("it is another run", &|story| {
            story.hear(1, Heard::JobStarted("j".into()));
            story.hear(1, Heard::JobFinished);
            story.end(1, 0);
            story.answer(&Outcome::Done);
            story.answer(&Outcome::Done);
        }),
        ("a worker lives", &|story| {
            assert_eq!(story.answer(&Outcome::Worker(Worker::Present)), [check()]);
        }),
        ("the process list cannot be read", &|story| {
            story.answer(&Outcome::Worker(Worker::Unknown("no answer".into())));
        }),
        ("its row is online after all", &|story| {
            story.answer(&none());
            assert_eq!(story.answer(&row(true, true, None)), [read()]);
        }),
        ("Azure does not answer", &|story| {
            story.answer(&none());
            story.answer(&Outcome::Azure(away.clone()));
        }),
    ];
    for (doubt, happens) in doubts {
        let mut story = offline();
        happens(&mut story);
        assert_eq!(story.act(), [], "{doubt}");
        assert_eq!(story.role(), Role::Run, "{doubt}");
        story.wait(later - std::time::Duration::from_secs(61));
        assert_eq!(story.act(), [], "{doubt}: not yet");
    }
}

#[test]
fn one_that_comes_back_while_it_is_replaced_is_kept() {
    let mut story = offline();
    story.answer(&none());
    story.answer(&row(true, false, None));
    assert_eq!(story.answer(&Outcome::Done), [disable()]);
    // The read back shows it online: nothing is wrong with it any more.
    assert_eq!(story.answer(&row(false, true, None)), [read()]);
    let enable = Action::Enable { agent: agent(1), row: ROW };
    assert_eq!(story.answer(&Outcome::Done), [enable]);
    assert_eq!((story.role(), story.phase(1)), (Role::Run, Phase::Idle));
    assert_eq!(story.known.ledger.slots[&agent(1)].failures, 0);
}

#[test]
fn one_that_somebody_disabled_is_in_his_hands() {
    let mut story = Story::idle(1);
    let state = RowState { agent_id: 1, enabled: false, online: false, assigned: None };
    story.tell(Event::Rows([(agent(1), Some(state))].into()));
    story.wait(OFFLINE_GRACE * 10);
    assert_eq!(story.act(), []);
    assert_eq!(story.phase(1), Phase::DisabledElsewhere);
    let refused = story.restart().expect_err("not ours to enable again");
    assert!(refused.0.contains("enable it there first"), "{}", refused.0);
}

#[test]
fn a_start_is_given_its_time() {
    let mut story = Story::new();
    story.assign(1, false);
    story.answer(&Outcome::Done);
    story.answer(&Outcome::Done);
    story.hear(1, Heard::Registered(ROW));
    // Its new row is offline until the listener has a session, and nothing changes for long.
    story.rows(false, None);
    assert_eq!(story.why(), "its listener starts");
    story.wait(START_UP_GRACE);
    story.hear(1, Heard::SessionConflict);
    assert_eq!(
        story.why(),
        "its listener is not online 60 s after its start: Azure still holds a session of its last run"
    );
    story.wait(OFFLINE_GRACE - std::time::Duration::from_secs(1));
    assert_eq!(story.act(), []);
    story.wait(std::time::Duration::from_secs(1));
    assert_eq!(story.act(), [check()], "a listener that hangs while it starts is found, too");
}

#[test]
fn a_restart_replaces_an_idle_run_like_a_removal_would_and_keeps_its_row() {
    let mut story = Story::idle(1);
    story.restart().expect("fits");
    assert_eq!(story.answer(&Outcome::Done), [disable()]);
    assert!(story.why().contains("restarted by ann: it looks odd"), "{}", story.why());
    story.answer(&row(false, true, None));
    story.wait(SETTLE);
    story.answer(&row(false, true, None));
    assert_eq!(story.answer(&none()), [check()]);
    story.answer(&Outcome::Done);
    story.end(1, 0);
    story.answer(&Outcome::Done);
    let start = Action::Start { agent: agent(1), attempt: 2, registered: true };
    assert_eq!(story.act(), [start]);
    let slot = &story.known.ledger.slots[&agent(1)];
    assert_eq!((slot.role, &slot.renewal, slot.failures), (Role::Run, &None, 0));
}

#[test]
fn a_restart_waits_for_the_job_and_is_done_when_its_run_has_ended_anyhow() {
    let mut story = Story::idle(1);
    story.hear(1, Heard::JobStarted("nightly".into()));
    story.rows(true, Some(5));
    story.restart().expect("fits");
    assert_eq!(story.answer(&Outcome::Done), [disable()]);
    story.answer(&row(false, true, Some(5)));
    story.wait(SETTLE * 5);
    story.answer(&row(false, true, Some(5)));
    assert_eq!(story.act(), [], "its job runs to its end");
    story.hear(1, Heard::JobFinished);
    story.end(1, 0);
    assert_eq!(story.answer(&Outcome::Done), [Action::Enable { agent: agent(1), row: ROW }]);
    assert!(matches!(story.act()[..], [Action::Start { attempt: 2, .. }]));
}

#[test]
fn a_restart_of_one_that_waits_after_failures_is_a_start_at_once() {
    let mut story = Story::idle(2);
    story.end(1, 1);
    story.answer(&row_of(false, None));
    story.answer(&Outcome::Failed("no".into()));
    story.answer(&Outcome::Done);
    assert_eq!(story.act(), [], "a back-off");
    story.restart().expect("fits");
    assert!(matches!(story.act()[..], [Action::Start { .. }]));
    assert_eq!(story.known.ledger.slots[&agent(1)].renewal, None);
}

#[test]
fn a_restart_survives_hostds_own_and_gives_way_to_a_scale_down() {
    let mut story = Story::idle(1);
    story.restart().expect("fits");
    story.answer(&Outcome::Done);
    let ledger = story.known.ledger.clone();
    assert!(matches!(ledger.slots[&agent(1)].renewal, Some(Renewal::Asked(_))));
    story.known = Known::new("h".parse().expect("host"), [RuntimeKind::Docker].into(), ledger);
    story.tell(Event::Credentials(vec![credential()]));
    assert_eq!((story.act(), story.role()), (vec![], Role::Renew), "nothing was listed yet");
    story.tell(Event::Listed {
        kind: RuntimeKind::Docker,
        runs: vec![listed(1, RunState::Running)],
    });
    assert_eq!(story.answer(&row(false, true, None)), [read()], "it goes on where it was");
    story.assign(0, false);
    story.act();
    assert_eq!(
        (story.role(), story.removal(1)),
        (Role::Remove, Some(Removal::Settling { clear_since: story.now }))
    );
}

proptest! {
    /// Whatever is heard in whatever order: a kept agent is only ever disabled after the whole
    /// grace, a process list without a worker and a row read offline, with nothing after them that
    /// speaks for it.
    #[test]
    fn only_what_nothing_speaks_for_is_taken_for_ill(
        steps in prop::collection::vec((0..9_u8, 1..400_u64), 1..60),
    ) {
        let mut story = Story::idle(1);
        let mut quiet_since: Option<At> = None;
        let (mut free, mut seen) = (false, false);
        for (step, seconds) in steps {
            let speaks = |q: &mut Option<At>, now| *q = q.map(|_| now);
            match step {
                0 | 1 => {
                    story.rows(false, None);
                    quiet_since = quiet_since.or(Some(story.now));
                }
                2 => {
                    story.rows(true, None);
                    (quiet_since, free, seen) = (None, false, false);
                }
                3 => {
                    story.hear(1, Heard::Listening);
                    speaks(&mut quiet_since, story.now);
                    (free, seen) = (false, false);
                }
                _ => story.wait(std::time::Duration::from_secs(seconds)),
            }
            for action in story.act() {
                let outcome = match &action {
                    Action::CheckWorker { .. } => {
                        free = step != 4;
                        if !free {
                            speaks(&mut quiet_since, story.now);
                        }
                        if free { none() } else { Outcome::Worker(Worker::Present) }
                    }
                    Action::ReadRow { .. } => {
                        seen = step != 5;
                        if !seen {
                            (quiet_since, free) = (None, false);
                        }
                        row(true, !seen, None)
                    }
                    Action::Disable { .. } => {
                        let since = quiet_since.expect("nothing spoke for it");
                        prop_assert!(free && seen && story.now.since(since) >= OFFLINE_GRACE);
                        return Ok(());
                    }
                    other => panic!("{other}"),
                };
                story.tell(Event::Done { action, outcome });
            }
        }
    }
}
