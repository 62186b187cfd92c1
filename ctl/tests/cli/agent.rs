//! Orders for one agent: waited for, refused, shown.

use fleet_proto::v1::{self, Phase};
use tonic::Status;

use crate::{
    fake::Act,
    samples::{SVC, agent, ago, fleet},
    world::{World, shown},
};

const NAME: &str = "nightly-svc-svcstr-server-2-01";

/// The agent with a change.
fn changed(change: impl FnOnce(&mut v1::AgentStatus)) -> Act {
    let mut agent = agent("nightly-svc", SVC, 1, Phase::Idle);
    change(agent.status.as_mut().unwrap());
    Act::agent(agent)
}

fn quarantine(evidence: &str) -> Option<v1::Quarantine> {
    Some(v1::Quarantine {
        since: ago(std::time::Duration::from_secs(60)),
        until: Some(prost_types::Timestamp { seconds: 4_102_444_800, nanos: 0 }),
        why: "5 failures within 30 min, the last: it ended with exit code 1".into(),
        by: String::new(),
        evidence: evidence.into(),
    })
}

#[tokio::test]
async fn a_restart_waits_for_a_newer_run_that_is_online() {
    let world = World::start(fleet()).await;
    world.state().scripts.push_back(vec![
        changed(|status| status.phase = Phase::Draining.into()),
        changed(|status| (status.attempt, status.phase) = (9, Phase::Starting.into())),
        changed(|status| status.attempt = 9),
    ]);
    let done = world.run(&["agent", "restart", NAME, "--reason", "odd since noon"]).await;
    let detached = world.run(&["agent", "restart", NAME, "--detach"]).await;
    let log = world.state().log.join("\n");
    shown!(format!("{done}{detached}{log}\n"));
}

#[tokio::test]
async fn an_agent_is_set_aside_and_released() {
    let world = World::start(fleet()).await;
    let place = "/var/lib/hostd/evidence/nightly-svc-svcstr-server-2-01-4";
    world.state().scripts.push_back(vec![
        changed(|status| {
            (status.phase, status.quarantine) = (Phase::Draining.into(), quarantine(""));
        }),
        changed(|status| {
            (status.phase, status.quarantine) = (Phase::Quarantined.into(), quarantine(place));
        }),
    ]);
    world.state().scripts.push_back(vec![changed(|status| status.phase = Phase::Starting.into())]);
    let aside = world.run(&["agent", "quarantine", NAME, "--for", "8h"]).await;
    let wide = world.run(&["get", "agents", NAME, "-o", "wide"]).await;
    let json = world.run(&["get", "agents", NAME, "-o", "json"]).await;
    let (_, json) = json.split_once("\"quarantine\"").unwrap();
    let json = json.lines().filter(|line| !line.contains("since")).collect::<Vec<_>>().join("\n");
    let pools = world.run(&["get", "pools", "nightly-svc"]).await;
    let status = world.run(&["status"]).await;
    let (_, attention) = status.split_once("needs attention").unwrap();
    let released = world.run(&["agent", "release", NAME]).await;
    shown!(format!("{aside}{wide}{json}\n{pools}{attention}{released}"));
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_with_the_next_step() {
    let world = World::start(fleet()).await;
    let mut all = String::new();
    for args in [
        &["agent", "restart", "nightly-svc-svcstr-server-2-77"][..],
        &["agent", "quarantine", NAME, "--for", "40d"],
        &["agent", "quarantine", NAME, "--for", "soon"],
        &["agent", "release", NAME, "--reason", " "],
        &["agent", "restart"],
    ] {
        all += &world.run(args).await;
    }
    for status in [
        Status::failed_precondition(format!("{NAME} is in quarantine; release it first")),
        Status::unavailable("host h is not in session"),
    ] {
        world.state().refuse = Some(status);
        all += &world.run(&["agent", "restart", NAME]).await;
    }
    shown!(all);
}
