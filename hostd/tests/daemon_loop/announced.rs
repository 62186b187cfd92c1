//! Jobs that are announced on a listener's socket, while its log does not come through.

use std::time::Duration;

use fleet_model::Phase;
use hostd::runtime::Sign;

use crate::world::{HOUR, MINUTE, World, phases};

#[tokio::test(start_paused = true)]
async fn an_agent_whose_log_is_withheld_is_busy_by_its_socket_alone() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 2).await;
    host.until_idle(2).await;
    let agent = host.agents().remove(0);
    let run = host.run(&agent);
    world.fake.job_starts_silently(&run, "nightly build");
    host.until(Duration::from_millis(100), "busy", |view| phases(view, Phase::Busy) == 1).await;
    // Its worker is seen, and that is enough for as long as it lives.
    tokio::time::sleep(HOUR).await;
    assert_eq!(host.view.borrow().agents[&agent].phase, Phase::Busy);
    world.fake.job_ends_silently(&run);
    host.until(Duration::from_secs(6), "idle", |view| phases(view, Phase::Idle) == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_forged_flood_costs_looks_and_delays_nothing_for_long() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 1).await;
    host.until_idle(1).await;
    let run = host.run(&host.agents().remove(0));
    for second in 0..120 {
        world.fake.says(&run, Sign::JobAnnounced);
        world.fake.says(&run, Sign::JobAnnouncedOver);
        if second == 60 {
            host.want(2, 0).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    host.until(MINUTE, "gone", |view| view.agents.is_empty()).await;
    let worker = world.journal.about(&["worker"]).len();
    assert!((2..=4).contains(&worker), "{worker} looks: three, and that of its removal");
    assert_eq!(world.journal.count("interrupt"), 1);
}
