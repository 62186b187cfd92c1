//! The rules of assignment, sessions and locks.

use std::time::Duration;

use azdo::sim::Settings;
use http::Method;
use serde_json::json;

use super::sim_support::{Actor, Http, LIMIT, job, start, start_with};
use super::{agents, demanding, state};

#[tokio::test]
async fn put_keeps_id() {
    let sim = start().await;
    let old = Actor::register(&sim, "nightly", "a", json!({ "old": "1" })).await;
    let path = format!("/_apis/distributedtask/pools/{}/agents/{}", old.pool, old.id);
    let off = json!({ "id": old.id, "enabled": false });
    assert_eq!(Http::manager(&sim).send(Method::PATCH, &path, Some(off)).await.status, 200);
    let new = old.replace().await;
    assert_eq!(new.id, old.id);
    let row = &agents(&sim, "?includeCapabilities=true").await["value"][0];
    assert_eq!(row["enabled"], false, "the flag survives a replace");
    assert_eq!(row["systemCapabilities"], json!({}), "capabilities are overwritten");
    // Who holds the old key is nobody any more.
    let mut old = old;
    assert_eq!(old.sign_in().await.json()["error"], "invalid_client");
    let mut new = new;
    assert_eq!(new.sign_in().await.status, 200);
}

#[tokio::test]
async fn enabled_false_stops_assignment_but_not_the_running_job() {
    let sim = start().await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    sim.queue("nightly", job(1)).unwrap();
    let running = actor.take_job().await;
    let path = format!("/_apis/distributedtask/pools/{}/agents/{}", actor.pool, actor.id);
    let switch = |on: bool| json!({ "id": actor.id, "name": "a", "enabled": on });
    let off = Http::manager(&sim).send(Method::PATCH, &path, Some(switch(false))).await;
    assert_eq!(off.json()["enabled"], false);
    let waiting = sim.queue("nightly", job(1)).unwrap();
    assert_eq!(actor.renew(running).await.status, 200, "the running job goes on");
    assert_eq!(actor.finish(running, "succeeded").await.status, 200);
    assert_eq!(state(&sim, waiting).0, "queued", "a disabled agent matches but takes nothing");
    Http::manager(&sim).send(Method::PATCH, &path, Some(switch(true))).await;
    assert_eq!(actor.take_job().await, waiting);
}

#[tokio::test]
async fn online_with_the_session_and_offline_at_once_after_a_clean_end() {
    let sim = start().await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    let row = agents(&sim, "").await["value"][0].clone();
    assert_eq!(
        (row["status"].as_str(), row["accessPoint"].as_str()),
        (Some("online"), Some("CodexAccessMapping"))
    );
    assert_eq!(actor.close().await.status, 204);
    let row = agents(&sim, "").await["value"][0].clone();
    assert_eq!((row["status"].as_str(), row.get("accessPoint")), (Some("offline"), None));
}

#[tokio::test]
async fn a_killed_listener_stays_online_until_its_session_expires() {
    let sim = start().await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    sim.advance(Duration::from_secs(299));
    assert_eq!(agents(&sim, "").await["value"][0]["status"], "online");
    sim.advance(Duration::from_secs(2));
    assert_eq!(agents(&sim, "").await["value"][0]["status"], "offline");
    assert_eq!(actor.poll(0).await.type_key(), (404, "TaskAgentSessionExpiredException".into()));
}

#[tokio::test]
async fn an_open_poll_keeps_the_session_alive() {
    let sim =
        start_with(Settings { poll_limit: Duration::from_secs(400), ..Settings::brisk() }).await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    let polled = async {
        let (message, _) = actor.message(0).await;
        message["messageType"].clone()
    };
    let outside = async {
        let polls = |s: &azdo::sim::Summary| s.requests.get("GET messages").is_some_and(|n| *n > 0);
        sim.wait_for(LIMIT, polls).await.unwrap();
        // Counted a moment before it stands open; it does when a later question is answered.
        agents(&sim, "").await;
        sim.advance(Duration::from_secs(350));
        sim.queue("nightly", job(1)).unwrap();
    };
    let (message, ()) = tokio::join!(polled, outside);
    assert_eq!(message, "PipelineAgentJobRequest");
    assert_eq!(sim.summary().sessions_expired, 0);
}

#[tokio::test]
async fn assign_before_receive_with_a_lag() {
    let lag = (Duration::from_secs(2), Duration::from_secs(15));
    let sim = start_with(Settings {
        delivery_lag: lag,
        poll_limit: Duration::ZERO,
        ..Settings::default()
    })
    .await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    let request = sim.queue("nightly", job(1)).unwrap();
    let row = agents(&sim, "?includeAssignedRequest=true").await["value"][0].clone();
    assert_eq!(row["assignedRequest"]["requestId"], request, "busy for the service at once");
    assert!(row["assignedRequest"].get("receiveTime").is_none());
    sim.advance(Duration::from_millis(1500));
    assert_eq!(actor.poll(0).await.status, 202, "and not yet known to the listener");
    sim.advance(Duration::from_secs(15));
    assert_eq!(actor.take_job().await, request);
    let row = agents(&sim, "?includeAssignedRequest=true").await["value"][0].clone();
    assert!(row["assignedRequest"]["receiveTime"].is_string());
}

#[tokio::test]
async fn a_lost_lock_abandons_the_job_after_ten_minutes() {
    let sim =
        start_with(Settings { session_expiry: Duration::from_secs(7200), ..Settings::brisk() })
            .await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    sim.queue("nightly", job(1)).unwrap();
    let request = actor.take_job().await;
    sim.advance(Duration::from_secs(540));
    assert_eq!(actor.renew(request).await.status, 200);
    sim.advance(Duration::from_secs(599));
    assert_eq!(state(&sim, request).0, "running");
    sim.advance(Duration::from_secs(2));
    assert_eq!(state(&sim, request), ("finished".into(), Some("abandoned".into())));
    assert!(!sim.rows(Some("nightly"))[0].online, "the session is taken for dead");
    assert_eq!(
        actor.renew(request).await.type_key(),
        (400, "TaskAgentJobTokenExpiredException".into())
    );
    assert_eq!(actor.renew(4711).await.type_key(), (404, "TaskAgentJobNotFoundException".into()));
}

#[tokio::test]
async fn unmatched_demands_fail_at_queue_time() {
    let sim = start().await;
    let lonely = sim.queue("nightly", job(1)).unwrap();
    assert_eq!(state(&sim, lonely), ("finished".into(), Some("failed".into())), "no agent at all");
    Actor::register(&sim, "nightly", "offline one", json!({ "docker": "/usr/bin/docker" })).await;
    let waits = sim.queue("nightly", demanding("docker")).unwrap();
    assert_eq!(state(&sim, waits).0, "queued", "an offline agent is enough to wait for");
    let fails = sim.queue("nightly", demanding("gpu")).unwrap();
    assert_eq!(state(&sim, fails).1.as_deref(), Some("failed"));
    assert!(sim.job(fails).unwrap().status_message.unwrap().contains("gpu"));
}

#[tokio::test]
async fn parallel_job_cap() {
    let sim = start_with(Settings { parallel_jobs: 1, ..Settings::brisk() }).await;
    let (a, b) =
        (Actor::online(&sim, "nightly", "a").await, Actor::online(&sim, "nightly", "b").await);
    let (first, second) =
        (sim.queue("nightly", job(1)).unwrap(), sim.queue("nightly", job(1)).unwrap());
    assert_eq!(
        (state(&sim, first).0.as_str(), state(&sim, second).0.as_str()),
        ("assigned", "queued")
    );
    let usage = Http::manager(&sim).task("resourceusage?includeRunningRequests=true").await;
    assert_eq!(
        (&usage["usedCount"], &usage["resourceLimit"]["totalCount"]),
        (&json!(1), &json!(1))
    );
    let holder = if sim.job(first).unwrap().agent.as_deref() == Some("a") { &a } else { &b };
    holder.take_job().await;
    holder.finish(first, "succeeded").await;
    assert_eq!(state(&sim, second).0, "assigned");
}
