//! Azure answers nothing for long: without a leave nothing running is stopped, with one what is idle
//! ends, and what works works on.

use std::time::Duration;

use crate::{
    moves::Move,
    purse::Purse,
    world::{Life, Unwanted, World},
};

const PURSE: Purse = Purse {
    jobs: 1,
    flips: 1,
    crashes: 0,
    lost: 0,
    stale: 0,
    unknown: 0,
    deaths: 0,
    late: 0,
    forged: 0,
    stubborn: 0,
    lapses: 0,
    hangs: 0,
    meddles: 0,
    pauses: 0,
    outages: 1,
    unanswered: 1,
    forces: 1,
    restarts: 0,
    fills: 0,
    announced: 0,
};

/// An agent that is online, has the job if `works`, is not wanted any more, and whose host does not
/// hear Azure for long.
fn cut_off(unwanted: Unwanted, works: bool) -> World {
    let world = World::new(unwanted, PURSE).play_out().expect("it comes online");
    let mut world = match works {
        true => world.after(&Move::Assign).after(&Move::Go(1)),
        false => world,
    };
    world = world.after(&Move::Outage).after(&Move::Flip);
    world.for_long = true;
    world
}

/// Plays on kindly, for hours, until `done`.
fn play(mut world: World, done: impl Fn(&World) -> bool) -> World {
    for _ in 0..1_000 {
        if done(&world) {
            return world;
        }
        let Some(next) = world.kind_move() else { return world };
        world = world.after(&next);
        assert_eq!(world.violation, None, "after {next:?}: {world}");
    }
    world
}

fn life(world: &World) -> Option<Life> {
    world.runs.get(&1).map(|run| run.life)
}

#[test]
fn without_a_leave_nothing_running_is_stopped() {
    for unwanted in [Unwanted::Gone, Unwanted::Held] {
        let world = play(cut_off(unwanted, false), |_| false);
        assert_eq!(life(&world), Some(Life::Online), "{world}");
        assert!(!world.runs[&1].asked);
        world.play_out().expect("it goes when Azure is back");
    }
}

#[test]
fn with_a_leave_what_is_idle_ends_and_its_row_goes_when_azure_is_back() {
    for unwanted in [Unwanted::Gone, Unwanted::Held] {
        let world = cut_off(unwanted, false).after(&Move::Force);
        let began = world.now;
        let world = play(world, |world| !world.runs.values().any(|run| run.runs()));
        assert!(!world.runs.values().any(|run| run.runs()), "{world}");
        assert!(world.now.since(began) < Duration::from_secs(600), "{world}");
        let world = play(world, |_| false);
        assert!(world.row.is_some() && !world.disk.slots.is_empty(), "nothing is forgotten");
        assert_eq!(world.exceptions, 0);
        world.play_out().expect("the rest follows");
    }
}

#[test]
fn a_job_that_shows_is_finished_first_whatever_leave_there_is() {
    let mut world = cut_off(Unwanted::Gone, true).after(&Move::Force);
    assert_eq!(life(&world), Some(Life::Working));
    // All that a kind world does but end the job: for more than an hour.
    let began = world.now;
    for _ in 0..1_000 {
        let patient = |next: &Move| !matches!(next, Move::Go(_));
        let Some(next) = world.kind_move().filter(patient).or_else(|| {
            let kind = |next: &Move| matches!(next, Move::Wake | Move::Back | Move::Store);
            world.moves().into_iter().find(kind)
        }) else {
            break;
        };
        world = world.after(&next);
        assert_eq!(world.violation, None, "after {next:?}: {world}");
        assert_eq!(life(&world), Some(Life::Working), "after {next:?}: {world}");
        assert!(!world.runs[&1].asked, "{world}");
    }
    assert_eq!((world.exceptions, world.now > began), (0, true));
    world.play_out().expect("it goes after its job");
}
