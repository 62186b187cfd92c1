//! Bad days: restarts, refusals, missing images, full disks. Nothing that runs is touched, nothing
//! becomes a storm, and afterwards everything is as it should be.

use std::{sync::atomic::Ordering, time::Duration};

use fleet_model::{ConditionKind, Order, Phase};
use hostd_plan::AzureFailure;

use crate::world::{HOUR, MINUTE, SETTLE, World, condition, image, phases};

#[tokio::test(start_paused = true)]
async fn a_killed_hostd_adopts_its_agents_and_goes_on_alone() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 3).await;
    host.until_idle(3).await;
    let runs = world.running().await;
    host.kill().await;
    // No assignment and no credential arrive from here on.
    let mut host = world.start();
    host.until_idle(3).await;
    assert_eq!(world.running().await, runs);
    let before = world.fake.calls();
    assert_eq!((before.starts, before.registrations), (3, 3));
    assert_eq!(host.view.borrow().applied, Order::new(1, 1));
    for job in 0..5 {
        let agent = host.agents().remove(0);
        let run = host.run(&agent);
        world.fake.job_starts(&run, "job");
        host.until(MINUTE, "busy", |view| view.agents[&agent].phase == Phase::Busy).await;
        world.fake.job_ends(&run, "Failed");
        host.until(MINUTE, "its next run", |view| {
            let next = &view.agents[&agent];
            next.phase == Phase::Idle && next.attempt == run.attempt + 1
        })
        .await;
        assert_eq!(world.fake.calls().starts, 4 + job);
    }
    assert_eq!(world.fake.calls().registrations, 3, "the slot's registration is used again");
    assert_eq!(world.journal.count("delete"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_hangs_after_its_job_makes_room_for_the_next() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 1).await;
    host.until_idle(1).await;
    world.fake.script(|script| script.hang_after_job = true);
    let agent = host.agents().remove(0);
    let run = host.run(&agent);
    world.fake.job_starts(&run, "long");
    host.until(MINUTE, "busy", |view| view.agents[&agent].phase == Phase::Busy).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.journal.count("worker"), 0, "a long job is no hang");
    world.fake.job_ends(&run, "Succeeded");
    host.until(3 * MINUTE, "its next run", |view| {
        let next = &view.agents[&agent];
        next.phase == Phase::Idle && next.attempt == run.attempt + 1
    })
    .await;
    assert_eq!(world.fake.calls().registrations, 1, "the slot's registration is used again");
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_moment_of_scaling_it_converges_without_twins() {
    for step in 0..25 {
        let world = World::new();
        world.fake.script(|script| {
            script.start = Duration::from_millis(300);
            script.register = Duration::from_millis(200);
            script.listen = Duration::from_millis(100);
        });
        let host = world.start();
        host.want(1, 4).await;
        tokio::time::sleep(Duration::from_millis(40 * step)).await;
        host.kill().await;
        let mut host = world.start();
        // The coordinator says it again, as it does in each session.
        host.want(1, 4).await;
        host.until(10 * MINUTE, "4 idle", |view| phases(view, Phase::Idle) == 4).await;
        assert_eq!(world.running().await.len(), 4, "killed after {} ms", 40 * step);
        host.want(2, 0).await;
        host.until(10 * MINUTE, "none", |view| view.agents.is_empty()).await;
        assert_eq!(world.running().await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_moment_of_a_removal_it_finishes_it_with_both_reads() {
    for step in 0..30 {
        let world = World::new();
        let mut host = world.start();
        host.want(1, 1).await;
        host.until_idle(1).await;
        let row = host.row(&host.agents()[0]);
        host.want(2, 0).await;
        tokio::time::sleep(Duration::from_millis(900 * step)).await;
        host.kill().await;
        let mut host = world.start();
        host.want(2, 0).await;
        host.until(10 * MINUTE, "gone", |view| view.agents.is_empty()).await;
        // After the last disable: two reads at least, a look for a worker, then the interrupt.
        let lines = world.journal.about(&["interrupt", "worker", "read", "delete", "disable"]);
        let at = |line: &(Duration, String)| line.0;
        let interrupt = lines.iter().position(|(_, line)| line.starts_with("interrupt"));
        let before = &lines[..interrupt.unwrap_or(lines.len())];
        let reads: Vec<_> = before.iter().filter(|(_, line)| line.starts_with("read")).collect();
        assert!(reads.len() >= 2, "killed after {} ms: {lines:?}", 900 * step);
        assert!(at(reads[reads.len() - 1]) - at(reads[0]) >= SETTLE, "{lines:?}");
        assert!(world.azure.deleted().contains(&row));
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_costs_at_most_eight_calls_in_ten_minutes() {
    let world = World::new();
    world.fake.script(|script| {
        script.missing_images.insert(image());
    });
    let mut host = world.start();
    host.want(1, 10).await;
    host.until(MINUTE, "told", |v| condition(v, ConditionKind::ImageMissing).is_some()).await;
    tokio::time::sleep(10 * MINUTE).await;
    let calls = world.fake.calls();
    let asked = calls.looks + calls.pulls + calls.creates + calls.starts;
    assert!((2..=8).contains(&asked), "{calls:?}");
    world.fake.image_comes(&image());
    host.until_idle(10).await;
}

#[tokio::test(start_paused = true)]
async fn while_azure_refuses_nothing_that_runs_is_touched() {
    let refused = AzureFailure::NotAllowed("Azure refuses credential pat".into());
    let retry_after = Some(Duration::from_secs(90));
    let away = AzureFailure::Unavailable { why: "HTTP 503".into(), retry_after };
    for failure in [refused, away] {
        let world = World::new();
        let mut host = world.start();
        host.want(1, 5).await;
        host.until_idle(5).await;
        let runs = world.running().await;
        world.azure.fail(Some(failure));
        host.want(2, 2).await;
        host.until(MINUTE, "told", |v| condition(v, ConditionKind::AzureTrouble).is_some()).await;
        let before = world.azure.calls();
        tokio::time::sleep(HOUR).await;
        assert_eq!(world.running().await, runs);
        assert_eq!(world.journal.count("interrupt") + world.journal.count("remove"), 0);
        // One of the pool asks for all of them, less and less often.
        let asked = world.azure.calls() - before;
        assert!((5..60).contains(&asked), "{asked} calls in an hour");
        world.azure.fail(None);
        host.until(10 * MINUTE, "two left", |view| view.agents.len() == 2).await;
        assert_eq!(host.view.borrow().conditions, []);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_done_that_is_not_stored_first() {
    let world = World::new();
    std::fs::write(world.data().join("ledger"), "in the way").expect("written");
    std::fs::remove_file(world.data().join("ledger")).expect("removed");
    let mut host = world.start();
    host.give_credential().await;
    // As a full disk: nothing can be written any more.
    std::fs::write(world.data().join("ledger"), "in the way").expect("written");
    host.want(1, 2).await;
    host.until(MINUTE, "told", |view| condition(view, ConditionKind::LedgerTrouble).is_some())
        .await;
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(world.fake.calls().creates + world.fake.calls().looks, 0);
    assert_eq!(host.view.borrow().applied, Order::default(), "not taken before it is stored");
    std::fs::remove_file(world.data().join("ledger")).expect("removed");
    host.until_idle(2).await;
    assert_eq!(host.view.borrow().applied, Order::new(1, 1));
    assert_eq!(host.view.borrow().conditions, []);
}

#[tokio::test(start_paused = true)]
async fn hours_of_failing_starts_are_no_storm() {
    let world = World::new();
    world.fake.script(|script| script.fail_starts = Some("no space left".into()));
    let mut host = world.start();
    host.want(1, 10).await;
    tokio::time::sleep(3 * HOUR).await;
    let calls = world.fake.calls();
    // Ten agents, each every five minutes at last: about 400, and the cap's burst before.
    assert!((50..600).contains(&calls.creates), "{calls:?}");
    assert_eq!(phases(&host.view.borrow(), Phase::Failed), 10);
    world.fake.script(|script| script.fail_starts = None);
    host.until(10 * MINUTE, "ten idle", |view| phases(view, Phase::Idle) == 10).await;
}

#[tokio::test(start_paused = true)]
async fn hours_of_refused_registrations_are_no_storm() {
    let world = World::new();
    world.fake.script(|script| script.refuse_registration = Some(70));
    let host = world.start();
    host.want(1, 5).await;
    tokio::time::sleep(3 * HOUR).await;
    let calls = world.fake.calls();
    assert!((20..400).contains(&calls.creates), "{calls:?}");
    assert!(world.azure.calls() < 400, "{}", world.azure.calls());
    assert_eq!(world.running().await, []);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_takes_no_agent_with_it() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 4).await;
    host.until_idle(4).await;
    let runs = world.running().await;
    let before = world.fake.calls();
    world.fake.script(|script| script.engine_down = Some("connection refused".into()));
    host.until(MINUTE, "told", |v| condition(v, ConditionKind::EngineDown).is_some()).await;
    tokio::time::sleep(HOUR).await;
    let lists = world.fake.calls().lists - before.lists;
    assert!((60..200).contains(&lists), "{lists} questions in an hour");
    world.fake.script(|script| script.engine_down = None);
    host.until_idle(4).await;
    assert_eq!(world.running().await, runs);
    assert_eq!(world.fake.calls().starts, before.starts);
}

#[tokio::test(start_paused = true)]
async fn an_unclean_end_looks_at_the_row_before_the_next_start() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 1).await;
    host.until_idle(1).await;
    let agent = host.agents().remove(0);
    let (row, run) = (host.row(&agent), host.run(&agent));
    // Azure still holds its session, as it does for minutes after a kill.
    world.azure.set_online(row, true);
    world.fake.exit(&run, 137);
    host.until(MINUTE, "idle under a new row", |view| {
        let now = &view.agents[&agent];
        now.phase == Phase::Idle && now.agent_id != Some(row)
    })
    .await;
    assert!(world.azure.deleted().contains(&row));
    let steps = world.journal.about(&[&row.to_string()]);
    let verbs: Vec<&str> = steps.iter().filter_map(|(_, l)| l.split(' ').next()).collect();
    assert_eq!(verbs, ["read", "delete"]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_registration_is_made_anew() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 1).await;
    host.until_idle(1).await;
    let agent = host.agents().remove(0);
    let run = host.run(&agent);
    std::fs::remove_dir_all(world.data().join("slots")).expect("lost");
    world.fake.job_starts(&run, "job");
    world.fake.job_ends(&run, "Succeeded");
    host.until(10 * MINUTE, "idle again", |view| {
        let now = &view.agents[&agent];
        now.phase == Phase::Idle && now.attempt > run.attempt
    })
    .await;
    assert_eq!(world.fake.calls().registrations, 2);
}

#[tokio::test(start_paused = true)]
async fn what_the_engine_is_still_starting_for_the_hostd_before_is_waited_for() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 3).await;
    host.until_idle(3).await;
    let runs = world.running().await;
    host.kill().await;
    world.half_made.store(3, Ordering::SeqCst);
    let mut host = world.start();
    host.until_idle(3).await;
    assert_eq!(world.running().await, runs);
    assert_eq!(world.journal.count("remove"), 0);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_blinks_while_agents_start_makes_no_second_runs() {
    for blink in 1..20 {
        let world = World::new();
        world.fake.script(|script| script.start = Duration::from_secs(2));
        let mut host = world.start();
        // More than are started at once.
        host.want(1, 20).await;
        tokio::time::sleep(Duration::from_millis(400 * blink)).await;
        world.fake.script(|script| script.engine_down = Some("it blinks".into()));
        tokio::time::sleep(Duration::from_millis(150 * blink)).await;
        world.fake.script(|script| script.engine_down = None);
        host.until(10 * MINUTE, "20 idle", |view| phases(view, Phase::Idle) == 20).await;
        assert_eq!(world.running().await.len(), 20);
        assert_eq!(world.fake.calls().registrations, 20, "after {} ms", 400 * blink);
    }
}
