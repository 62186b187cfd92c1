//! Jobs that are announced on a listener's socket, by the listener or by anybody else.

use std::time::Duration;

use fleet_model::Forced;
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
/// Until an announcement is doubted, and between two looks at a worker that lives.
const FIRST: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(30);

fn check() -> Action {
    Action::CheckWorker { agent: agent(1), attempt: 1 }
}

fn worker(seen: Worker) -> Outcome {
    Outcome::Worker(seen)
}

impl Story {
    fn announce(&mut self) {
        self.hear(1, Heard::JobAnnounced);
    }
}

/// Agent 1 has announced a job, and nothing else was heard of it.
fn announced() -> Story {
    let mut story = Story::idle(1);
    story.announce();
    story
}

/// Its row is disabled and was read without a job.
fn settling() -> Story {
    let mut story = Story::idle(1);
    story.assign(0, false);
    story.answer(&Outcome::Done);
    story.answer(&row(false, true, None));
    assert!(matches!(story.removal(1), Some(Removal::Settling { .. })));
    story
}

/// And once more, a settle time later.
fn checking() -> Story {
    let mut story = settling();
    story.wait(SETTLE);
    story.answer(&row(false, true, None));
    assert_eq!(story.removal(1), Some(Removal::Checking));
    story
}

impl Story {
    /// What is under way ends so.
    fn answer_flying(&mut self, outcome: &Outcome) {
        let flying: Vec<Action> = self.known.flights.values().cloned().collect();
        for action in flying {
            self.tell(Event::Done { action, outcome: outcome.clone() });
        }
    }
}

#[test]
fn an_announced_job_makes_busy_at_once_and_a_look_decides() {
    let mut story = announced();
    assert_eq!(story.phase(1), Phase::Busy);
    assert_eq!(story.why(), "its listener announced a job");
    assert_eq!(story.act(), [], "its worker is given a moment");
    story.wait(FIRST);
    assert_eq!(story.answer(&worker(Worker::None)), [check()]);
    assert_eq!((story.phase(1), story.why()), (Phase::Idle, "waiting for a job"));
    assert_eq!(story.act(), []);
}

#[test]
fn a_worker_keeps_it_busy_until_it_is_gone() {
    let mut story = announced();
    story.wait(FIRST);
    for _ in 0..5 {
        assert_eq!(story.answer(&worker(Worker::Present)), [check()]);
        assert_eq!((story.phase(1), story.why()), (Phase::Busy, "a job runs"));
        assert_eq!(story.act(), []);
        story.wait(AGAIN);
    }
    assert_eq!(story.answer(&worker(Worker::None)), [check()]);
    assert_eq!(story.phase(1), Phase::Idle);
}

#[test]
fn what_its_console_says_of_the_job_counts_from_then_on() {
    let mut story = announced();
    story.hear(1, Heard::JobStarted("build".into()));
    story.wait(AGAIN);
    assert_eq!((story.act(), story.phase(1)), (vec![], Phase::Busy));
    story.hear(1, Heard::JobAnnouncedOver);
    assert_eq!((story.act(), story.phase(1)), (vec![], Phase::Busy), "only the console ends it");
}

#[test]
fn the_word_that_it_is_over_brings_the_look_forward_and_no_more() {
    for over in [Heard::JobAnnouncedOver, Heard::JobFinished] {
        let mut story = announced();
        story.hear(1, over.clone());
        assert_eq!(story.phase(1), Phase::Busy, "{over:?}");
        assert_eq!(story.answer(&worker(Worker::Present)), [check()], "{over:?}");
        story.hear(1, over.clone());
        assert_eq!(story.act(), [], "it was looked at a moment ago");
        story.wait(FIRST);
        assert_eq!(story.answer(&worker(Worker::None)), [check()], "{over:?}");
        let shown = if over == Heard::JobFinished { Phase::Busy } else { Phase::Idle };
        // In once mode a finished listener is about to end.
        assert_eq!(story.phase(1), shown);
    }
}

#[test]
fn a_look_from_before_the_announcement_says_nothing_of_it() {
    let mut story = announced();
    story.wait(FIRST);
    assert_eq!(story.act(), [check()]);
    story.announce();
    story.answer_flying(&worker(Worker::None));
    assert_eq!(story.phase(1), Phase::Busy);
    story.wait(FIRST);
    assert_eq!(story.answer(&worker(Worker::None)), [check()]);
    assert_eq!(story.phase(1), Phase::Idle);
}

#[test]
fn it_sends_a_removal_back_to_watching() {
    for mut story in [settling(), checking()] {
        story.announce();
        assert_eq!(story.removal(1), Some(Removal::Watching));
        assert_eq!(story.phase(1), Phase::Draining);
        assert_eq!(story.why(), "disabled; its listener announced a job");
        // Its end is said, and changes nothing: the whole way is gone once more.
        story.hear(1, Heard::JobAnnouncedOver);
        assert_eq!(story.removal(1), Some(Removal::Watching));
        story.wait(SETTLE);
        story.answer(&row(false, true, None));
        assert!(matches!(story.removal(1), Some(Removal::Settling { .. })));
    }
}

#[test]
fn an_operators_leave_waits_for_the_look() {
    let mut story = Story::idle(1);
    let reason = "the rack moves".parse().expect("a reason");
    let forced = Some(Forced { by: "ann".into(), reason, at: story.now });
    story.order([(pool(), PoolAssignment { forced, ..part(0, false) })].into());
    let away = AzureFailure::Unavailable { why: "no route".into(), retry_after: None };
    // Whatever asks Azure is not answered.
    let looks = |story: &mut Story| {
        (0..5).any(|_| story.answer(&Outcome::Azure(away.clone())).contains(&check()))
    };
    story.answer(&Outcome::Azure(away.clone()));
    story.announce();
    for _ in 0..5 {
        assert!(!looks(&mut story), "its worker is given a moment");
        story.wait(SECOND);
    }
    assert!(looks(&mut story));
}

#[test]
fn of_a_run_that_is_not_known_to_run_nothing_is_believed() {
    let mut story = Story::new();
    story.assign(1, false);
    story.answer(&Outcome::Done);
    assert!(matches!(story.act()[..], [Action::Start { .. }]));
    let before = story.known.run(&agent(1)).cloned();
    story.announce();
    assert_eq!(story.known.run(&agent(1)).cloned(), before, "its socket is older than it is");
    let mut story = Story::idle(1);
    story.end(1, 0);
    let before = story.known.run(&agent(1)).cloned();
    story.announce();
    assert_eq!(story.known.run(&agent(1)).cloned(), before, "it ended");
}

#[test]
fn whoever_cries_wolf_is_not_heard_until_there_was_one() {
    let mut story = Story::idle(1);
    for _ in 0..3 {
        story.announce();
        assert_eq!(story.phase(1), Phase::Busy);
        story.wait(FIRST);
        assert_eq!(story.answer(&worker(Worker::None)), [check()]);
    }
    story.announce();
    assert_eq!((story.phase(1), story.act()), (Phase::Idle, vec![]));
    // A job that its console told of, and then it is believed again.
    story.hear(1, Heard::JobStarted("build".into()));
    story.hear(1, Heard::Listening);
    story.announce();
    assert_eq!(story.phase(1), Phase::Busy);
}

#[test]
fn a_listener_on_for_long_is_not_said_to_hang_when_it_is_looked_at() {
    let mut story = Story::new();
    let mut long = part(1, false);
    if let Wanted::Groups(groups) = &mut long.wanted {
        for group in groups.values_mut() {
            let image = "img:1".parse().expect("image");
            group.template = Template::docker(image, Mode::LongLived).into();
        }
    }
    story.order([(pool(), long)].into());
    story.answer(&Outcome::Done);
    story.answer(&Outcome::Done);
    story.hear(1, Heard::Registered(ROW));
    story.hear(1, Heard::JobStarted("build".into()));
    story.hear(1, Heard::JobFinished);
    story.wait(HANG_WATCHDOG);
    story.announce();
    story.wait(FIRST);
    assert_eq!(story.answer(&worker(Worker::None)), [check()]);
    assert_eq!((story.phase(1), story.why()), (Phase::Idle, "waiting for a job"));
}

proptest! {
    /// However often and whenever they come: at most three of them cost a look and delay anything.
    #[test]
    fn a_flood_costs_three_looks(words in prop::collection::vec((any::<bool>(), 0_u64..8_000), 1..80)) {
        let mut story = Story::idle(1);
        let mut looks = 0;
        for (over, wait) in words {
            story.hear(1, if over { Heard::JobAnnouncedOver } else { Heard::JobAnnounced });
            looks += story.answer(&worker(Worker::None)).len();
            story.wait(Duration::from_millis(wait));
        }
        looks += story.answer(&worker(Worker::None)).len();
        story.wait(FIRST);
        looks += story.answer(&worker(Worker::None)).len();
        prop_assert!(looks <= 3, "{looks} looks");
        prop_assert_eq!(story.phase(1), Phase::Idle);
    }

    /// A removal under the same flood comes to its end, and later than without it by three settle
    /// times at most.
    #[test]
    fn a_flood_does_not_hold_a_removal(words in prop::collection::vec(any::<bool>(), 200)) {
        let mut story = Story::idle(1);
        story.assign(0, false);
        let began = story.now;
        for over in words {
            story.hear(1, if over { Heard::JobAnnouncedOver } else { Heard::JobAnnounced });
            for action in story.act() {
                let outcome = match &action {
                    Action::ReadRow { .. } => row(false, true, None),
                    Action::CheckWorker { .. } => worker(Worker::None),
                    _ => Outcome::Done,
                };
                let stops = matches!(action, Action::Interrupt { .. });
                story.tell(Event::Done { action, outcome });
                if stops {
                    prop_assert!(story.now.since(began) <= SETTLE * 6);
                    return Ok(());
                }
            }
            story.wait(SECOND);
        }
        prop_assert!(false, "it is still there: {:?}", story.removal(1));
    }
}
