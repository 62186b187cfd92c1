//! The wall clock is set while hostd runs, and while it is down.

use std::time::Duration;

use fleet_model::{AgentOrder, AgentVerb, At, Phase};
use hostd::{clock::Clocks, host_loop::Input};
use tokio::sync::oneshot;

use crate::world::{HOUR, MINUTE, SETTLE, World, phases};

const DAY_MS: i64 = 86_400_000;
const JUMPS: [i64; 4] = [-400 * DAY_MS, -3_600_000, 3_600_000, 3 * DAY_MS];

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_shortens_no_settle_time_and_holds_nothing_up() {
    for (jump, second) in
        JUMPS.into_iter().flat_map(|jump| (0..60).step_by(3).map(move |s| (jump, s)))
    {
        let world = World::new();
        let mut host = world.start();
        host.want(1, 1).await;
        host.until_idle(1).await;
        host.want(2, 0).await;
        tokio::time::sleep(Duration::from_secs(second)).await;
        world.clocks.set_by(jump);
        host.until(2 * MINUTE, "gone", |view| view.agents.is_empty()).await;
        let steps = world.journal.about(&["read", "interrupt"]);
        let at = |verb: &str| {
            steps.iter().filter(|(_, line)| line.starts_with(verb)).map(|(at, _)| *at).collect()
        };
        let (reads, stops): (Vec<Duration>, Vec<Duration>) = (at("read"), at("interrupt"));
        assert!(stops[0] - reads[0] >= SETTLE, "set by {jump} ms after {second} s: {steps:?}");
        assert!(reads[0] >= Duration::from_secs(30), "{steps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_next_try_is_not_frozen_by_a_clock_set_back() {
    for down in [false, true] {
        let world = World::new();
        world.fake.script(|script| script.fail_starts = Some("no space left".into()));
        let mut host = world.start();
        host.want(1, 3).await;
        tokio::time::sleep(HOUR).await;
        if down {
            host.kill().await;
            world.clocks.set_by(-400 * DAY_MS);
            host = world.start();
        } else {
            world.clocks.set_by(-400 * DAY_MS);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.fake.script(|script| script.fail_starts = None);
        host.until(7 * MINUTE, "three idle", |view| phases(view, Phase::Idle) == 3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_lasts_as_long_whatever_the_clock_says_meanwhile() {
    for jump in JUMPS {
        let world = World::new();
        let mut host = world.start();
        host.want(1, 1).await;
        host.until_idle(1).await;
        let agent = host.agents().remove(0);
        let (answer, answered) = oneshot::channel();
        let verb = AgentVerb::Quarantine(10 * HOUR);
        let order = AgentOrder { agent: agent.clone(), verb, by: "ann".into(), reason: None };
        host.tell(Input::Order(order, answer)).await;
        answered.await.expect("answered").expect("taken");
        host.until(5 * MINUTE, "aside", |v| v.agents[&agent].phase == Phase::Quarantined).await;
        tokio::time::sleep(3 * HOUR).await;
        world.clocks.set_by(jump);
        tokio::time::sleep(HOUR).await;
        host.kill().await;
        world.clocks.set_by(2 * jump);
        tokio::time::sleep(HOUR).await;
        let mut host = world.start();
        tokio::time::sleep(4 * HOUR).await;
        assert_eq!(host.view.borrow().agents[&agent].phase, Phase::Quarantined, "{jump}");
        let until = host.view.borrow().agents[&agent].quarantine.clone().expect("aside").until;
        let left = until - world.clocks.wall();
        assert!(left > HOUR / 2 && left <= HOUR, "{left:?} by the clock that people see");
        // Another has its place meanwhile, so at the end of its time it goes.
        host.until(2 * HOUR, "over", |view| view.agents.len() == 1).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_is_told_and_what_happens_then_is_told_by_it() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 1).await;
    host.until_idle(1).await;
    world.clocks.set_by(7_200_000);
    tokio::time::sleep(MINUTE).await;
    let told = host.history.try_recv().expect("told");
    assert_eq!((told.kind, told.at <= world.clocks.wall()), ("host.clock", true));
    assert!(told.message.contains("forward by 7200 s"), "{}", told.message);
    assert!(told.at > At(1_700_000_000_000 + 7_200_000), "by the clock as it is now");
    assert!(host.history.try_recv().is_err(), "once");
}
