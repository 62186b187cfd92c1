//! The main job: what is wanted comes about, in order, and then there is rest.

use std::time::Duration;

use fleet_model::{ConditionKind, Order, Phase, numbers::AZURE_STALE};
use hostd::host_loop::Input;

use crate::world::{HOUR, MINUTE, SETTLE, World, assignment, condition, phases};

#[tokio::test(start_paused = true)]
async fn an_assignment_becomes_idle_agents_that_registered_once() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 3).await;
    host.until_idle(3).await;
    assert_eq!(world.fake.calls().registrations, 3);
    assert_eq!(host.view.borrow().applied, Order::new(1, 1));
    assert_eq!(host.view.borrow().conditions, []);
}

#[tokio::test(start_paused = true)]
async fn a_removal_keeps_its_order_and_its_settle_time() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 1).await;
    host.until_idle(1).await;
    let agent = host.agents().remove(0);
    let (row, run) = (host.row(&agent).to_string(), host.run(&agent).to_string());
    host.want(2, 0).await;
    host.until(2 * MINUTE, "gone", |view| view.agents.is_empty()).await;
    let steps: Vec<(Duration, String)> = world.journal.about(&[&row, &run, agent.as_str()]);
    let verbs: Vec<&str> =
        steps.iter().filter_map(|(_, line)| line.split(' ').next()).skip(1).collect();
    let wanted = ["disable", "read", "read", "worker", "interrupt", "remove", "delete", "forget"];
    assert_eq!(verbs, wanted, "{steps:?}");
    assert!(steps[2].0 >= AZURE_STALE, "no answer from before its registration counts: {steps:?}");
    assert!(steps[3].0 - steps[2].0 >= SETTLE, "{steps:?}");
    // In the history too, with its reason, since the row is somebody else's place.
    let told = host.history.try_recv().expect("told");
    assert_eq!((told.kind, told.agent), ("agent.disable", Some(agent)));
    assert!(told.message.contains("to be removed"), "{}", told.message);
}

#[tokio::test(start_paused = true)]
async fn idle_ones_leave_and_a_busy_one_stays_until_its_job_ends() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 3).await;
    host.until_idle(3).await;
    let busy = host.agents().remove(1);
    let (row, run) = (host.row(&busy), host.run(&busy));
    world.azure.give_job(row, 77);
    world.fake.job_starts(&run, "nightly build");
    host.until(MINUTE, "one busy", |view| phases(view, Phase::Busy) == 1).await;
    host.want(2, 0).await;
    host.until(2 * MINUTE, "only the busy one", |view| view.agents.len() == 1).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(host.agents(), std::slice::from_ref(&busy));
    assert_eq!(world.journal.about(&[&run.to_string()]).len(), 1, "only its start");
    assert_eq!(host.view.borrow().agents[&busy].phase, Phase::Draining);
    world.azure.end_job(row);
    world.fake.job_ends(&run, "Succeeded");
    host.until(2 * MINUTE, "gone", |view| view.agents.is_empty()).await;
    assert!(world.journal.about(&[&run.to_string()]).iter().all(|(_, l)| !l.starts_with("interr")));
    assert!(world.azure.deleted().contains(&row));
}

#[tokio::test(start_paused = true)]
async fn an_older_order_changes_nothing_and_is_told() {
    let world = World::new();
    let mut host = world.start();
    host.want(5, 2).await;
    host.until_idle(2).await;
    host.tell(Input::Assignment(assignment(4, 0))).await;
    tokio::time::sleep(5 * MINUTE).await;
    assert_eq!(phases(&host.view.borrow(), Phase::Idle), 2);
    assert_eq!(host.view.borrow().applied, Order::new(1, 5));
    let mut kinds = Vec::new();
    while let Ok(happened) = host.history.try_recv() {
        kinds.push(happened.kind);
    }
    assert!(kinds.contains(&"order.refused"));
}

#[tokio::test(start_paused = true)]
async fn a_late_credential_is_waited_for_and_said() {
    let world = World::new();
    let mut host = world.start();
    host.tell(Input::Assignment(assignment(1, 2))).await;
    host.until(MINUTE, "told", |v| condition(v, ConditionKind::NoCredential).is_some()).await;
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.fake.calls().creates, 0);
    host.give_credential().await;
    host.until_idle(2).await;
    assert_eq!(host.view.borrow().conditions, []);
}

#[tokio::test(start_paused = true)]
async fn an_orderly_end_stores_what_came_last_and_leaves_agents_alone() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 2).await;
    host.until_idle(2).await;
    host.want(7, 2).await;
    host.stop().await;
    assert_eq!(world.running().await.len(), 2);
    assert_eq!(world.journal.count("interrupt") + world.journal.count("remove"), 0);
    let mut host = world.start();
    host.until_idle(2).await;
    assert_eq!(host.view.borrow().applied, Order::new(1, 7));
}

#[tokio::test(start_paused = true)]
async fn at_rest_it_does_nothing_but_look_now_and_then() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 50).await;
    host.until_idle(50).await;
    let (before, asked) = (world.fake.calls(), world.azure.calls());
    let written = std::fs::metadata(world.data().join("ledger/ledger.json")).expect("there");
    tokio::time::sleep(6 * HOUR).await;
    let after = world.fake.calls();
    assert!((50..=100).contains(&(after.lists - before.lists)), "{after:?}");
    assert_eq!((after.creates, after.worker_checks), (before.creates, before.worker_checks));
    assert_eq!(world.azure.calls(), asked);
    let again = std::fs::metadata(world.data().join("ledger/ledger.json")).expect("there");
    assert_eq!(written.modified().expect("known"), again.modified().expect("known"));
}

#[tokio::test(start_paused = true)]
async fn alone_for_long_it_looks_at_its_rows_itself_and_stops_when_it_is_not() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 2).await;
    host.until_idle(2).await;
    host.in_session.send_replace(false);
    let agent = host.agents().remove(0);
    world.azure.disable(host.row(&agent));
    host.until(10 * MINUTE, "seen", |view| view.agents[&agent].phase == Phase::DisabledElsewhere)
        .await;
    tokio::time::sleep(HOUR).await;
    let looks = world.journal.count("list");
    assert!((35..65).contains(&looks), "{looks} looks in an hour");
    assert_eq!(world.journal.count("enable"), 0, "a disable that is not ours is never undone");
    host.in_session.send_replace(true);
    tokio::time::sleep(HOUR).await;
    assert!(world.journal.count("list") <= looks + 1);
}
