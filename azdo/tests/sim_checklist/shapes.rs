//! Bytes and shapes of the answers.

use azdo::sim::{Sim, SimConfig};
use serde_json::{Value, json};

use super::sim_support::{Actor, Http, MANAGER, job, start};
use super::{agents, demanding, keys, requests};

#[tokio::test]
async fn list_envelope_and_count() {
    let sim = start().await;
    Actor::register(&sim, "nightly", "a", json!({})).await;
    Actor::register(&sim, "nightly", "b", json!({})).await;
    let list = agents(&sim, "").await;
    assert_eq!(keys(&list), ["count", "value"]);
    assert_eq!((list["count"].as_u64(), list["value"].as_array().unwrap().len()), (Some(2), 2));
    assert_eq!(agents(&sim, "?agentName=nobody").await, json!({ "count": 0, "value": [] }));
}

#[tokio::test]
async fn absent_keys_in_place_of_null() {
    let sim = start().await;
    Actor::register(&sim, "nightly", "a", json!({})).await;
    sim.queue("nightly", job(1)).unwrap();
    let all =
        "?includeCapabilities=true&includeAssignedRequest=true&includeLastCompletedRequest=true";
    let agent = &agents(&sim, all).await["value"][0];
    for absent in [
        "assignedRequest",
        "lastCompletedRequest",
        "pendingUpdate",
        "accessPoint",
        "statusChangedOn",
    ] {
        assert!(agent.get(absent).is_none(), "{absent}: {agent}");
    }
    let request = &requests(&sim, "").await["value"][0];
    for absent in
        ["assignTime", "receiveTime", "finishTime", "result", "reservedAgent", "lockedUntil"]
    {
        assert!(request.get(absent).is_none(), "{absent}: {request}");
    }
    let nulls = |v: &Value| v.as_object().unwrap().values().filter(|v| v.is_null()).count();
    assert_eq!((nulls(agent), nulls(request)), (0, 0));
}

#[tokio::test]
async fn seven_digit_fractions() {
    let sim = start().await;
    let mut longest = 0;
    for n in 0..8 {
        Actor::register(&sim, "nightly", &format!("a{n}"), json!({})).await;
    }
    for agent in agents(&sim, "").await["value"].as_array().unwrap() {
        let created = agent["createdOn"].as_str().unwrap();
        let (_, fraction) = created.trim_end_matches('Z').split_once('.').unwrap();
        assert!(fraction.len() <= 7 && !fraction.ends_with('0'), "{created}");
        longest = longest.max(fraction.len());
    }
    // Of eight moments one surely does not end in two zeros.
    assert!(longest >= 6, "{longest}");
}

#[tokio::test]
async fn string_demands() {
    let sim = start().await;
    Actor::register(&sim, "nightly", "a", json!({ "lab": "svc" })).await;
    sim.queue("nightly", demanding("lab -equals svc")).unwrap();
    let request = &requests(&sim, "?completedRequestCount=0").await["value"][0];
    assert_eq!(request["demands"], json!(["lab -equals svc", "Agent.Version -gtVersion 2.182.1"]));
}

#[tokio::test]
async fn jobrequests_in_three_forms() {
    let sim = start().await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    let first = sim.queue("nightly", job(1)).unwrap();
    assert_eq!(actor.take_job().await, first);
    actor.finish(first, "succeeded").await;
    actor.close().await;
    let (second, third) =
        (sim.queue("nightly", job(1)).unwrap(), sim.queue("nightly", job(1)).unwrap());
    let ids = |list: &Value| -> Vec<i64> {
        list["value"].as_array().unwrap().iter().map(|r| r["requestId"].as_i64().unwrap()).collect()
    };

    let scaling = requests(&sim, "?completedRequestCount=0").await;
    assert_eq!(ids(&scaling), [second, third], "only unfinished ones");
    assert_eq!(scaling["value"][0]["matchedAgents"][0]["name"], "a", "offline agents match too");
    assert_eq!(scaling["value"][0]["matchedAgents"][0]["status"], "offline");

    let page = requests(&sim, "?$top=2").await;
    assert_eq!(ids(&page), [third, second], "newest first");
    assert!(page["value"][0].get("matchedAgents").is_none(), "{page}");

    let all = requests(&sim, "").await;
    assert_eq!(ids(&all), [second, third, first], "unfinished ones, then history");
    assert_eq!(all["value"][2]["result"], "succeeded");
    let of_agent = requests(&sim, &format!("?agentIds={}&completedRequestCount=5", actor.id)).await;
    assert_eq!(ids(&of_agent), [first]);
}

#[tokio::test]
async fn x_ms_continuationtoken() {
    let sim = start().await;
    Actor::register(&sim, "nightly", "a", json!({})).await;
    let queued: Vec<i64> = (0..250).map(|_| sim.queue("nightly", job(1)).unwrap()).collect();
    let path = format!(
        "/_apis/distributedtask/pools/{}/jobrequests?$top=1000",
        sim.pool_id("nightly").unwrap()
    );
    let first = Http::manager(&sim).get(&path).await;
    assert_eq!(first.json()["count"], 200, "200 rows whatever $top says");
    let token = first.header("x-ms-continuationtoken").unwrap();
    let second = Http::manager(&sim).get(&format!("{path}&continuationToken={token}")).await;
    assert_eq!(second.json()["count"], 50);
    assert_eq!(second.header("x-ms-continuationtoken"), None);
    let ids = |got: &super::sim_support::Got| -> Vec<i64> {
        got.json()["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["requestId"].as_i64().unwrap())
            .collect()
    };
    let mut all = [ids(&first), ids(&second)].concat();
    all.reverse();
    assert_eq!(all, queued, "no row twice, none left out");
}

#[tokio::test]
async fn activity_id_header() {
    let sim = start().await;
    let http = Http::manager(&sim);
    let (one, two) =
        (http.get("/_apis/distributedtask/pools").await, http.get("/nothing/here").await);
    assert_eq!(two.status, 404);
    for name in ["activityid", "x-vss-e2eid", "x-msedge-ref", "x-tfs-session"] {
        assert!(one.header(name).is_some() && two.header(name).is_some(), "{name}");
    }
    assert_ne!(one.header("activityid"), two.header("activityid"));
    assert_eq!(
        one.header("content-type"),
        Some("application/json; charset=utf-8; api-version=7.1")
    );
}

#[tokio::test]
async fn packages_with_hash() {
    let folder = tempfile::tempdir().unwrap();
    let file = |version: &str| folder.path().join(format!("vsts-agent-linux-x64-{version}.tar.gz"));
    for version in ["4.260.0", "4.9.1"] {
        std::fs::write(file(version), format!("not really a tarball {version}")).unwrap();
    }
    let packages = vec![file("4.9.1"), file("4.260.0")];
    let pats = vec![azdo::sim::PatForm::manager(MANAGER)];
    let sim = Sim::start(SimConfig { packages, pats, ..SimConfig::default() }).await.unwrap();
    let http = Http::manager(&sim);
    let newest = http.task("packages/agent?platform=linux-x64&$top=1").await;
    let newest = &newest["value"][0];
    assert_eq!(newest["version"], json!({ "major": 4, "minor": 260, "patch": 0 }));
    let got =
        reqwest::get(newest["downloadUrl"].as_str().unwrap()).await.unwrap().bytes().await.unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &got);
    let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(newest["hashValue"], hex);
    assert_eq!(http.task("packages/agent?platform=win-x64").await["count"], 0);
    assert_eq!(
        http.task("packages/agent/linux-x64/4.9.1").await["filename"],
        "vsts-agent-linux-x64-4.9.1.tar.gz"
    );
}
