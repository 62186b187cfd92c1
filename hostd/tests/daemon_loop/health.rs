//! Agents that keep failing, agents that are not well, and orders for single ones.

use std::time::Duration;

use fleet_model::{
    AgentName, AgentOrder, AgentVerb, Phase,
    numbers::{OFFLINE_GRACE, START_UP_GRACE},
};
use fleet_proto::convert::{Row, RowChange};
use hostd::host_loop::Input;
use tokio::sync::oneshot;

use crate::world::{HOUR, Host, MINUTE, TOKEN, World, phases, pool};

async fn order(host: &Host, agent: &AgentName, verb: AgentVerb) -> Result<(), String> {
    let (answer, answered) = oneshot::channel();
    let order = AgentOrder { agent: agent.clone(), verb, by: "ann".into(), reason: None };
    host.tell(Input::Order(order, answer)).await;
    answered.await.expect("an answer")
}

/// It fails until it is in quarantine.
async fn fails(world: &World, host: &mut Host, agent: &AgentName) {
    for _ in 0..5 {
        let run = host.run(agent);
        world.fake.writes(&run, "it leaked a-token here\n");
        world.fake.exit(&run, 1);
        let what = "failed, and started again or put aside";
        host.until(HOUR, what, |view| {
            let status = &view.agents[agent];
            status.phase == Phase::Quarantined
                || (status.phase == Phase::Idle && status.attempt > run.attempt)
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_keeps_failing_is_kept_aside_with_its_evidence_and_replaced() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 2).await;
    host.until_idle(2).await;
    let agent = host.agents().remove(0);
    let row = host.row(&agent);
    world.azure.set_online(row, false);
    fails(&world, &mut host, &agent).await;
    host.until(MINUTE, "two others", |view| phases(view, Phase::Idle) == 2).await;
    host.until(MINUTE, "its evidence", |view| {
        let quarantine = view.agents[&agent].quarantine.as_ref();
        quarantine.is_some_and(|quarantine| quarantine.evidence.is_some())
    })
    .await;
    let status = host.view.borrow().agents[&agent].clone();
    assert_eq!(status.phase, Phase::Quarantined, "{}", status.why);
    // Its evidence is on disk, and no job comes to it.
    let place = status.quarantine.expect("aside").evidence.expect("kept");
    let read = |name: &str| std::fs::read_to_string(format!("{place}/{name}")).expect("a file");
    assert!(read("engine.txt").ends_with("ended\n"), "{}", read("engine.txt"));
    let (log, token) = (read("log.txt"), String::from_utf8_lossy(TOKEN));
    assert!(log.contains("it leaked *** here") && !log.contains(&*token), "{log}");
    assert!(!world.journal.about(&[&row.to_string(), "disable"]).is_empty());
    // hostd's end and return change nothing of it.
    host.stop().await;
    let mut host = world.start();
    host.until(MINUTE, "as before", |view| phases(view, Phase::Quarantined) == 1).await;
    // Its time comes: another has its place, so it leaves.
    host.until(HOUR * 25, "gone", |view| !view.agents.contains_key(&agent)).await;
    assert_eq!(host.agents().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_azure_shows_offline_is_replaced_and_one_with_a_worker_is_not() {
    for has_worker in [false, true] {
        let world = World::new();
        let mut host = world.start();
        host.want(1, 1).await;
        host.until_idle(1).await;
        let agent = host.agents().remove(0);
        let (row, run) = (host.row(&agent), host.run(&agent));
        if has_worker {
            world.fake.job_starts(&run, "nightly build");
        }
        world.azure.set_online(row, false);
        let assigned = None;
        let state = fleet_model::RowState { agent_id: row, enabled: true, online: false, assigned };
        let seen = Row { pool: pool(), agent: agent.clone(), change: RowChange::Seen(state) };
        host.tell(Input::Rows(vec![seen])).await;
        if has_worker {
            tokio::time::sleep(HOUR).await;
            assert_eq!(host.run(&agent), run, "nothing is done to it");
            assert!(world.journal.about(&["disable"]).is_empty());
            continue;
        }
        let grace = OFFLINE_GRACE + START_UP_GRACE + 3 * MINUTE;
        let next = |view: &hostd::view::View| view.agents[&agent].attempt == run.attempt + 1;
        host.until(grace, "its next run", |view| next(view)).await;
        host.until_idle(1).await;
        let verbs: Vec<String> = world
            .journal
            .about(&[&row.to_string(), &run.to_string()])
            .into_iter()
            .filter_map(|(_, line)| line.split(' ').next().map(str::to_owned))
            .collect();
        let wanted =
            ["start", "worker", "read", "disable", "read", "read", "worker", "interrupt", "enable"];
        assert_eq!(verbs[..wanted.len()], wanted, "{verbs:?}");
        assert_eq!(host.row(&agent), row, "the same row");
    }
}

#[tokio::test(start_paused = true)]
async fn orders_are_taken_when_they_are_stored_and_refused_with_the_reason() {
    let world = World::new();
    let mut host = world.start();
    host.want(1, 1).await;
    host.until_idle(1).await;
    let agent = host.agents().remove(0);
    let run = host.run(&agent);
    let refused = order(&host, &agent, AgentVerb::Release).await.expect_err("not aside");
    assert!(refused.contains("is not in quarantine"), "{refused}");
    order(&host, &agent, AgentVerb::Restart).await.expect("taken");
    // It survives a kill right after the answer.
    host.kill().await;
    let mut host = world.start();
    host.until(3 * MINUTE, "its next run", |view| {
        view.agents.get(&agent).is_some_and(|status| status.attempt == run.attempt + 1)
    })
    .await;
    host.until_idle(1).await;
    let quarantine = AgentVerb::Quarantine(Duration::from_secs(3600));
    order(&host, &agent, quarantine).await.expect("taken");
    host.until(3 * MINUTE, "aside", |view| phases(view, Phase::Quarantined) == 1).await;
    order(&host, &agent, AgentVerb::Release).await.expect("taken");
    host.until(3 * MINUTE, "one agent", |view| view.agents.len() == 1).await;
    host.until_idle(1).await;
    // A disk that takes nothing: the order is not lost, and whoever asked knows why it waits.
    let agent = host.agents().remove(0);
    let (ledger, away) = (world.data().join("ledger"), world.data().join("away"));
    std::fs::rename(&ledger, &away).expect("moved");
    std::fs::write(&ledger, "").expect("in the way");
    let waits = order(&host, &agent, AgentVerb::Restart).await.expect_err("not stored");
    assert!(waits.contains("as soon as it can"), "{waits}");
    let before = host.run(&agent);
    std::fs::remove_file(&ledger).expect("removed");
    std::fs::rename(&away, &ledger).expect("moved");
    host.until(3 * MINUTE, "carried out", |view| view.agents[&agent].attempt == before.attempt + 1)
        .await;
}
