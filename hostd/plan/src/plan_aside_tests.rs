//! Agents that fail too often, and what becomes of them.

use std::time::Duration;

use fleet_model::{
    AgentOrder, AgentVerb, Quarantine,
    numbers::{BACKOFF_MAX, QUARANTINE_FAILURES, QUARANTINE_TIME, QUARANTINE_WINDOW},
};
use proptest::prelude::*;

use super::*;
use crate::{Role, Unfit};

impl Story {
    /// Agent 1 fails once more, and everything that is done about it is answered kindly.
    fn fails(&mut self, code: i32) {
        self.end(1, code);
        self.goes_on();
    }

    /// Answers what is planned until nothing is, or the run of agent 1 has started.
    fn goes_on(&mut self) -> Vec<Action> {
        let mut all = Vec::new();
        for _ in 0..40 {
            let actions = self.act();
            if actions.is_empty() {
                let wait = plan(&self.known, self.now).wake_after;
                let Some(wait) = wait.filter(|wait| *wait <= BACKOFF_MAX * 2) else { return all };
                self.wait(wait);
            }
            for action in actions {
                let outcome = match &action {
                    Action::ReadRow { .. } => {
                        let slot = &self.known.ledger.slots[&agent(1)];
                        row(!slot.disabled_by_us, false, None)
                    }
                    Action::CheckWorker { .. } => Outcome::Worker(Worker::None),
                    Action::KeepEvidence { .. } => Outcome::Evidence("/evidence/1".into()),
                    _ => Outcome::Done,
                };
                let started = matches!(&action, Action::Start { agent: of, .. } if *of == agent(1));
                all.push(action.clone());
                self.tell(Event::Done { action, outcome });
                if started {
                    return all;
                }
            }
        }
        all
    }

    fn quarantine(&self) -> Option<&Quarantine> {
        self.known.ledger.slots[&agent(1)].quarantine.as_ref()
    }

    fn ordered(&mut self, verb: AgentVerb) -> Result<(), Unfit> {
        let order = AgentOrder { agent: agent(1), verb, by: "ann".into(), reason: None };
        self.known.order_agent(&order, self.now)
    }

    fn slots(&self) -> usize {
        self.known.ledger.slots.len()
    }
}

/// With `count` agents, the first of which just went aside.
fn aside(count: u16) -> Story {
    let mut story = Story::idle(count);
    for failure in 1..=QUARANTINE_FAILURES {
        assert_eq!(story.quarantine(), None, "not after {failure}");
        story.fails(1);
    }
    assert_eq!(story.phase(1), Phase::Quarantined);
    story
}

#[test]
fn the_fifth_failure_sets_an_agent_aside_with_its_evidence_and_another_takes_its_place() {
    let mut story = Story::idle(2);
    (1..QUARANTINE_FAILURES).for_each(|_| story.fails(1));
    assert_eq!((story.phase(1), story.slots()), (Phase::Starting, 2));
    story.end(1, 1);
    let done = story.goes_on();
    assert_eq!((story.phase(1), story.slots()), (Phase::Quarantined, 3));
    let kept = Action::KeepEvidence { agent: agent(1), attempt: 5 };
    assert!(done.contains(&kept), "{done:?}");
    assert!(done.contains(&Action::Disable { agent: agent(1), row: ROW }), "{done:?}");
    // The newest run is left to look at; those before it are not.
    assert!(!done.contains(&Action::RemoveRun { agent: agent(1), attempt: 5 }), "{done:?}");
    let quarantine = story.quarantine().expect("aside");
    assert_eq!(quarantine.until, quarantine.since + QUARANTINE_TIME);
    assert_eq!(quarantine.evidence.as_deref(), Some("/evidence/1"));
    assert!(quarantine.why.contains("5 failures within 30 min, the last:"), "{}", quarantine.why);
    let status = &story.known.statuses()[&agent(1)];
    assert_eq!((&status.quarantine, &status.why), (&Some(quarantine.clone()), &quarantine.why));
    let slot = &story.known.ledger.slots[&agent(1)];
    assert_eq!((slot.role, slot.row), (Role::Quarantine, Some(ROW)), "its row stays, disabled");
}

#[test]
fn a_row_that_it_may_have_made_is_found_and_disabled() {
    let mut story = Story::new();
    story.assign(1, false);
    story.answer(&Outcome::Done);
    story.answer(&Outcome::Done);
    // Never a word of a registration, and Azure knows the name: a run that nobody heard made a row.
    for _ in 0..QUARANTINE_FAILURES {
        let attempt = story.known.ledger.slots[&agent(1)].attempt;
        story.tell(Event::RunEnded { agent: agent(1), attempt, code: Some(71) });
        let quarantined = |story: &Story| story.quarantine().is_some();
        for _ in 0..6 {
            story.wait(BACKOFF_MAX / 10);
            for action in story.act() {
                let outcome = match &action {
                    // As long as it tries, Azure cannot say whose the name is.
                    Action::ReadRow { .. } if !quarantined(&story) => Outcome::Row(RowRead::Gone),
                    Action::ReadRow { .. } => {
                        row(!story.known.ledger.slots[&agent(1)].disabled_by_us, false, None)
                    }
                    Action::KeepEvidence { .. } => Outcome::Evidence("there".into()),
                    _ => Outcome::Done,
                };
                story.tell(Event::Done { action, outcome });
            }
        }
    }
    let slot = &story.known.ledger.slots[&agent(1)];
    assert_eq!(slot.role, Role::Quarantine);
    assert_eq!((slot.row, slot.disabled_by_us), (Some(ROW), true), "{slot:?}");
}

#[test]
fn failures_that_are_far_apart_or_not_its_own_set_nobody_aside() {
    let mut seldom = Story::idle(1);
    for _ in 0..20 {
        seldom.wait(QUARANTINE_WINDOW / 4);
        seldom.fails(1);
    }
    // Refused, without a package, too old: so is every agent like it.
    let mut common = Story::idle(1);
    (0..20).for_each(|_| common.fails(70));
    (0..20).for_each(|_| common.fails(78));
    // Azure cannot be reached: nor by any other.
    let mut cut_off = Story::idle(1);
    for _ in 0..20 {
        cut_off.hear(1, Heard::ConnectError("no route".into()));
        cut_off.fails(1);
    }
    // Killed by somebody while it was well.
    let mut killed = Story::idle(1);
    for _ in 0..20 {
        killed.hear(1, Heard::Listening);
        killed.wait(Duration::from_secs(60));
        killed.fails(137);
    }
    for story in [seldom, common, cut_off, killed] {
        assert_eq!((story.quarantine(), story.slots()), (None, 1));
    }
}

#[test]
fn it_comes_back_by_itself_after_its_time_and_makes_room() {
    let mut story = aside(1);
    assert_eq!(story.slots(), 2);
    assert!(plan(&story.known, story.now).wake_after.is_some(), "its end is waited for");
    story.wait(QUARANTINE_TIME);
    let done = story.goes_on();
    // The other agent has its place; of the two the one that is online stays.
    assert!(done.contains(&Action::Forget { agent: agent(1) }), "{done:?}");
    assert_eq!(story.slots(), 1);
}

#[test]
fn released_or_built_anew_it_starts_at_once() {
    let released = |story: &mut Story| story.ordered(AgentVerb::Release).expect("fits");
    let built_anew = |story: &mut Story| {
        let mut part = part(2, false);
        if let Wanted::Groups(groups) = &mut part.wanted {
            let group = groups.values_mut().next().expect("one");
            let image = "img:2".parse().expect("image");
            group.template = Template::docker(image, Mode::Once).into();
        }
        story.order([(pool(), part)].into());
    };
    for comes_back in [&released as &dyn Fn(&mut Story), &built_anew] {
        let mut story = aside(1);
        story.assign(2, false);
        comes_back(&mut story);
        let done = story.goes_on();
        assert!(done.contains(&Action::Enable { agent: agent(1), row: ROW }), "{done:?}");
        let start =
            |action: &Action| matches!(action, Action::Start { agent: of, .. } if *of == agent(1));
        assert!(done.iter().any(start), "{done:?}");
        assert_eq!(story.known.ledger.slots[&agent(1)].role, Role::Run);
    }
}

#[test]
fn an_operator_sets_a_busy_agent_aside_at_its_jobs_end() {
    let mut story = Story::idle(1);
    story.hear(1, Heard::JobStarted("nightly".into()));
    story.ordered(AgentVerb::Quarantine(Duration::from_secs(3600))).expect("fits");
    let disable = Action::Disable { agent: agent(1), row: ROW };
    let begun = story.answer(&Outcome::Done);
    assert!(begun.contains(&disable), "{begun:?}");
    story.answer(&row(false, true, Some(5)));
    assert_eq!(story.phase(1), Phase::Draining);
    assert_eq!(story.slots(), 2, "another one takes its place already");
    story.hear(1, Heard::JobFinished);
    story.end(1, 0);
    story.goes_on();
    assert_eq!(story.phase(1), Phase::Quarantined);
    let quarantine = story.quarantine().expect("aside");
    assert_eq!(quarantine.by.as_deref(), Some("ann"));
    // A new template does not undo what an operator wants.
    story.assign(0, false);
    story.act();
    assert!(story.quarantine().is_some());
}

#[test]
fn deletion_takes_what_is_aside_too() {
    let mut story = aside(1);
    let gone = PoolAssignment { wanted: Wanted::Gone, ..part(0, false) };
    story.order([(pool(), gone)].into());
    for _ in 0..20 {
        let actions = story.act();
        for action in actions {
            let outcome = match action {
                Action::ReadRow { .. } => row(false, false, None),
                Action::CheckWorker { .. } => Outcome::Worker(Worker::None),
                _ => Outcome::Done,
            };
            if let Action::Interrupt { agent, attempt } = &action {
                let (agent, attempt) = (agent.clone(), *attempt);
                story.tell(Event::RunEnded { agent, attempt, code: Some(0) });
            }
            story.tell(Event::Done { action, outcome });
        }
        story.wait(SETTLE * 2);
    }
    assert_eq!(story.slots(), 0);
}

#[test]
fn orders_that_do_not_fit_change_nothing_and_say_why() {
    let mut story = Story::idle(1);
    let said = |story: &mut Story, verb| story.ordered(verb).expect_err("does not fit").0;
    assert!(said(&mut story, AgentVerb::Release).contains("is not in quarantine"));
    story.ordered(AgentVerb::Quarantine(Duration::from_secs(60))).expect("fits");
    assert!(said(&mut story, AgentVerb::Restart).contains("release it first"));
    story.assign(0, true);
    let mut held = Story::idle(1);
    held.assign(0, true);
    held.act();
    assert!(said(&mut held, AgentVerb::Restart).contains("scale the pool up"));
    let mut unnamed = Story::idle(1);
    unnamed.order(BTreeMap::new());
    assert!(said(&mut unnamed, AgentVerb::Restart).contains("coordinator does not know"));
    let mut gone = Story::new();
    assert!(said(&mut gone, AgentVerb::Restart).contains("not on this host"));
}

proptest! {
    /// However badly everything fails, few agents are aside, few are replaced, and the others try on.
    #[test]
    fn when_all_fail_most_go_on_trying(wanted in 1..30_u16, rounds in 5..25_usize) {
        let mut story = Story::idle(wanted);
        for _ in 0..rounds {
            let live: Vec<_> = story.known.ledger.slots.keys().cloned().collect();
            for agent in live {
                if let Some(run) = story.known.live(&agent).cloned() {
                    let (attempt, code) = (run.attempt, Some(1));
                    story.tell(Event::RunEnded { agent, attempt, code });
                }
            }
            for _ in 0..6 {
                for action in story.act() {
                    let outcome = match &action {
                        Action::ReadRow { .. } => Outcome::Row(RowRead::Gone),
                        Action::KeepEvidence { .. } => Outcome::Evidence("there".into()),
                        _ => Outcome::Done,
                    };
                    story.tell(Event::Done { action, outcome });
                }
                story.wait(Duration::from_secs(10));
            }
            let aside = story.known.ledger.slots.values().filter(|slot| slot.is_aside(story.now));
            let most = (usize::from(wanted) / 5).max(1);
            prop_assert!(aside.count() <= most);
            prop_assert!(story.slots() <= usize::from(wanted) + most);
        }
    }
}

/// Azure refuses from here on: a removal asks it something.
fn refused(story: &mut Story) {
    let away = Outcome::Azure(AzureFailure::NotAllowed("the token expired".into()));
    let read = Action::ReadRow { agent: agent(2), row: Some(RowId { pool_id: 1, agent_id: 2 }) };
    story.tell(Event::Done { action: read, outcome: away });
}

#[test]
fn while_azure_is_in_trouble_nobody_is_set_aside_and_old_failures_do_not_count_later() {
    let mut story = Story::idle(2);
    refused(&mut story);
    for _ in 0..QUARANTINE_FAILURES {
        // With its job done, its end says nothing of Azure.
        story.hear(1, Heard::JobStarted("job".into()));
        story.end(1, 9);
        story.wait(OFFLINE_GRACE);
        for action in story.act() {
            let outcome = match action.asks_azure() {
                true => Outcome::Azure(AzureFailure::NotAllowed("the token expired".into())),
                false => Outcome::Done,
            };
            story.tell(Event::Done { action, outcome });
        }
        assert_eq!((story.quarantine(), story.slots()), (None, 2));
    }
    assert_eq!(story.known.ledger.slots[&agent(1)].failed_at.len(), QUARANTINE_FAILURES as usize);
    story.wait(QUARANTINE_WINDOW);
    story.known.azure_answered(&agent(1));
    story.act();
    assert_eq!((story.quarantine(), story.slots()), (None, 2), "it has been well since");
}

#[test]
fn without_a_token_one_with_a_registration_comes_back_before_one_that_gets_none() {
    let mut story = aside(1);
    assert_eq!(story.slots(), 2);
    story.tell(Event::RunEnded { agent: agent(2), attempt: 1, code: Some(70) });
    refused(&mut story);
    story.wait(QUARANTINE_TIME);
    let starts: Vec<Action> = story.act();
    let slots = &story.known.ledger.slots;
    assert_eq!((slots[&agent(1)].role, slots[&agent(2)].role), (Role::Run, Role::Remove));
    // Whether it is disabled is not known, and cannot be asked: its run is there when it is enabled.
    assert!(slots[&agent(1)].disabled_by_us);
    let starts_it = |action: &Action| matches!(action, Action::Start { agent: of, registered: true, .. } if *of == agent(1));
    assert!(starts.iter().any(starts_it), "{starts:?}");
    for start in starts {
        story.tell(Event::Done { action: start, outcome: Outcome::Done });
    }
    // And what is left of its last run goes, though it cannot be enabled yet.
    let next = story.act();
    let sweeps =
        |action: &Action| matches!(action, Action::RemoveRun { agent: of, .. } if *of == agent(1));
    assert!(next.iter().any(sweeps), "{next:?}");
}
