//! Removing without Azure's word: with an operator's leave, on the host's word, and not otherwise.

use std::time::Duration;

use fleet_model::{Forced, numbers::FORCED_LAPSE};

use super::*;

fn away() -> Outcome {
    Outcome::Azure(AzureFailure::Unavailable { why: "no route".into(), retry_after: None })
}

fn none() -> Outcome {
    Outcome::Worker(Worker::None)
}

impl Story {
    /// None is wanted any more, with a leave given now.
    fn force(&mut self) {
        let reason = "the rack moves".parse().expect("a reason");
        let forced = Some(Forced { by: "ann".into(), reason, at: self.now });
        self.order([(pool(), PoolAssignment { forced, ..part(0, false) })].into());
    }

    /// Whatever asks Azure is not answered; what comes then.
    fn without_azure(&mut self) -> Vec<Action> {
        for _ in 0..5 {
            let actions = self.act();
            if !actions.iter().any(Action::asks_azure) {
                return actions;
            }
            for action in actions {
                self.tell(Event::Done { action, outcome: away() });
            }
        }
        panic!("Azure is asked without end");
    }

    /// The process list is looked at, and shows `seen`.
    fn looks(&mut self, seen: &Outcome) {
        let actions = self.without_azure();
        assert!(matches!(actions[..], [Action::CheckWorker { .. }]), "{actions:?}");
        for action in actions {
            self.tell(Event::Done { action, outcome: seen.clone() });
        }
    }
}

/// One idle agent, unwanted, forced, and looked at once.
fn unheard() -> Story {
    let mut story = Story::idle(1);
    story.force();
    story.looks(&none());
    assert!(matches!(story.removal(1), Some(Removal::Unheard { .. })), "{:?}", story.removal(1));
    story
}

#[test]
fn an_idle_agent_goes_after_two_looks_and_its_row_when_azure_is_back() {
    let mut story = unheard();
    assert!(
        story.why().starts_with("forced by ann: the rack moves; Azure does not"),
        "{}",
        story.why()
    );
    story.wait(SETTLE.saturating_sub(Duration::from_secs(1)));
    assert_eq!(story.without_azure(), [], "a settle time lies between the two looks");
    story.wait(Duration::from_secs(1));
    story.looks(&none());
    assert_eq!(story.removal(1), Some(Removal::Stopping { asked: None }));
    assert!(matches!(story.answer(&Outcome::Done)[..], [Action::Interrupt { .. }]));
    assert!(story.why().ends_with("on this host's word alone"), "{}", story.why());
    story.end(1, 0);
    assert!(matches!(story.answer(&Outcome::Done)[..], [Action::RemoveRun { .. }]));
    for _ in 0..20 {
        assert_eq!(story.without_azure(), [], "its row is not forgotten");
        story.wait(Duration::from_secs(60));
    }
    assert_eq!(story.removal(1), Some(Removal::Releasing));
    assert!(story.why().starts_with("forced by ann"), "{}", story.why());
    // Azure is back: the row was never disabled, so that comes first.
    story.wait(OFFLINE_GRACE);
    story.answer(&row(true, false, None));
    assert!(matches!(story.answer(&Outcome::Done)[..], [Action::Disable { .. }]));
    story.answer(&row(false, false, None));
    assert!(matches!(story.answer(&Outcome::Done)[..], [Action::DeleteRow { .. }]));
    assert!(matches!(story.answer(&Outcome::Done)[..], [Action::Forget { .. }]));
}

#[test]
fn without_a_leave_nothing_running_goes() {
    let mut story = Story::idle(1);
    story.assign(0, false);
    for _ in 0..100 {
        assert_eq!(story.without_azure(), []);
        story.wait(Duration::from_secs(60));
    }
    assert_eq!(story.removal(1), Some(Removal::Disabling));
}

#[test]
fn a_leave_alone_is_nothing_while_azure_answers() {
    let mut story = Story::idle(1);
    story.force();
    assert!(matches!(story.answer(&Outcome::Done)[..], [Action::Disable { .. }]));
    assert!(matches!(story.answer(&row(false, true, Some(5)))[..], [Action::ReadRow { .. }]));
    assert_eq!(story.act(), []);
    // It falls silent now; what it said last is that there is a job.
    for _ in 0..10 {
        assert_eq!(story.without_azure(), [], "Azure's last word counts");
        story.wait(Duration::from_secs(60));
    }
}

#[test]
fn a_worker_or_a_list_that_cannot_be_read_holds_it_up() {
    for seen in [Worker::Present, Worker::Unknown("no answer".into())] {
        let mut story = unheard();
        for _ in 0..10 {
            story.wait(Duration::from_secs(60));
            story.looks(&Outcome::Worker(seen.clone()));
            assert_eq!(story.removal(1), Some(Removal::Disabling));
        }
        // What was seen before does not count any more.
        story.wait(Duration::from_secs(60));
        story.looks(&none());
        assert!(matches!(story.removal(1), Some(Removal::Unheard { .. })));
        assert_eq!(story.without_azure(), []);
    }
}

#[test]
fn a_sign_of_a_job_takes_it_back_until_it_is_asked_to_end() {
    let assigned = |story: &mut Story| {
        let assigned = Some(Assigned::new(5, "slipped in"));
        let state = RowState { agent_id: 1, enabled: true, online: true, assigned };
        story.tell(Event::Rows([(agent(1), Some(state))].into()));
    };
    let line = |story: &mut Story| story.hear(1, Heard::JobStarted("slipped in".into()));
    for sign in [&assigned as &dyn Fn(&mut Story), &line] {
        for looks in 1..=2 {
            let mut story = unheard();
            story.wait(SETTLE);
            if looks == 2 {
                story.looks(&none());
            }
            sign(&mut story);
            assert_eq!(story.removal(1), Some(Removal::Disabling));
            for _ in 0..10 {
                assert_eq!(story.without_azure(), []);
                story.wait(Duration::from_secs(60));
            }
            story.hear(1, Heard::JobFinished);
            story.looks(&none());
        }
    }
}

#[test]
fn when_azure_answers_the_ordinary_way_is_taken_again() {
    let mut story = unheard();
    story.wait(SETTLE);
    assert!(matches!(story.answer(&Outcome::Done)[..], [Action::Disable { .. }]));
    assert_eq!(story.removal(1), Some(Removal::Watching));
    assert_eq!(story.known.ledger.slots[&agent(1)].forced_why, None);
    assert!(matches!(story.answer(&row(false, true, None))[..], [Action::ReadRow { .. }]));
    assert!(matches!(story.removal(1), Some(Removal::Settling { .. })));
}

#[test]
fn a_leave_lapses_and_can_be_taken_back() {
    let mut story = unheard();
    story.wait(FORCED_LAPSE);
    assert_eq!(story.without_azure(), []);
    let mut story = unheard();
    story.assign(0, false);
    story.wait(SETTLE);
    assert_eq!(story.without_azure(), []);
    // Given while a look is on its way and gone when it is back.
    let mut story = unheard();
    story.wait(SETTLE);
    let looks = story.without_azure();
    story.assign(0, false);
    for action in looks {
        story.tell(Event::Done { action, outcome: none() });
    }
    assert_eq!(story.removal(1), Some(Removal::Disabling));
}

#[test]
fn trouble_from_before_the_removal_is_not_enough() {
    let mut story = Story::idle(2);
    story.assign(1, false);
    // The other agent's removal met it.
    assert_eq!(story.without_azure(), []);
    story.wait(Duration::from_millis(10));
    story.force();
    assert_eq!(story.act().len(), 1, "one looks already, the other waits for a fresh failure");
    story.wait(OFFLINE_GRACE);
    let probe = story.act();
    assert!(matches!(probe[..], [Action::Disable { .. }]), "{probe:?}");
}

#[test]
fn a_restart_begins_anew() {
    let mut story = unheard();
    let ledger = story.known.ledger.clone();
    let served = BTreeSet::from([RuntimeKind::Docker]);
    story.known = Known::new("h".parse().expect("host"), served, ledger);
    assert_eq!(story.removal(1), Some(Removal::Disabling));
    story.tell(Event::Credentials(vec![credential()]));
    let runs = vec![listed(1, RunState::Running)];
    story.tell(Event::Listed { kind: RuntimeKind::Docker, runs });
    story.wait(SETTLE);
    assert!(matches!(story.answer(&away())[..], [Action::Disable { .. }]), "Azure first");
    story.looks(&none());
    assert!(matches!(story.removal(1), Some(Removal::Unheard { .. })));
}

#[test]
fn a_stop_that_was_held_up_looks_again() {
    let mut story = unheard();
    story.wait(SETTLE);
    story.looks(&none());
    let refused = Outcome::Failed("the engine is busy".into());
    assert!(matches!(story.answer(&refused)[..], [Action::Interrupt { .. }]));
    story.wait(Duration::from_secs(5));
    let check = story.answer(&Outcome::Worker(Worker::Present));
    assert!(matches!(check[..], [Action::CheckWorker { .. }]), "{check:?}");
    assert_eq!(story.removal(1), Some(Removal::Watching));
    // Without a worker it goes on.
    let mut story = unheard();
    story.wait(SETTLE);
    story.looks(&none());
    story.answer(&refused);
    story.wait(Duration::from_secs(5));
    story.answer(&none());
    assert!(matches!(story.act()[..], [Action::Interrupt { .. }]));
}

#[test]
fn a_refused_credential_is_no_answer_either() {
    let mut story = Story::idle(1);
    story.force();
    story.answer(&Outcome::Azure(AzureFailure::NotAllowed("401".into())));
    assert!(matches!(story.act()[..], [Action::CheckWorker { .. }]));
}
