//! Faults: delays, blocks, lost and doubled and stale answers.

use std::time::{Duration, Instant};

use azdo::sim::{Break, Fault, Kind};
use http::Method;
use serde_json::json;

use super::agents;
use super::sim_support::{Actor, Http, LIMIT, start};

#[tokio::test]
async fn a_delayed_200_carries_retry_after_and_rate_limits() {
    let sim = start().await;
    sim.fault(Fault { latency_ms: Some(30), retry_after_s: Some(7), ..Fault::default() });
    let got = Http::manager(&sim).get("/_apis/distributedtask/pools").await;
    assert_eq!((got.status, got.header("retry-after")), (200, Some("7")));
    assert_eq!(got.header("x-ratelimit-delay"), Some("0.030"));
    for name in
        ["x-ratelimit-resource", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"]
    {
        assert!(got.header(name).is_some(), "{name}");
    }
}

#[tokio::test]
async fn blocked_429_and_ill_503() {
    let sim = start().await;
    sim.fault(Fault {
        status: Some(429),
        retry_after_s: Some(30),
        count: Some(1),
        ..Fault::default()
    });
    let http = Http::manager(&sim);
    let blocked = http.get("/_apis/distributedtask/pools").await;
    assert_eq!((blocked.status, blocked.header("retry-after")), (429, Some("30")));
    assert!(blocked.json()["message"].as_str().unwrap().starts_with("TF400733"));
    sim.fault(Fault { status: Some(503), count: Some(1), ..Fault::default() });
    assert_eq!(http.get("/_apis/distributedtask/pools").await.status, 503);
    assert_eq!(http.get("/_apis/distributedtask/pools").await.status, 200, "both are used up");
}

#[tokio::test]
async fn a_slow_answer_comes_in_pieces() {
    let sim = start().await;
    sim.fault(Fault { slow_body_ms: Some(200), ..Fault::default() });
    let began = Instant::now();
    let got = Http::manager(&sim).get("/_apis/distributedtask/pools").await;
    assert_eq!((got.status, &got.json()["count"]), (200, &json!(3)));
    assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_dropped_connection_loses_the_request_or_only_the_answer() {
    let sim = start().await;
    let (http, pool) = (Http::manager(&sim), sim.pool_id("nightly").unwrap());
    let path = format!("/_apis/distributedtask/pools/{pool}/agents");
    let add = |name: &str| http.try_send(Method::POST, &path, Some(json!({ "name": name })));
    sim.fault(Fault {
        drop: Some(Break::Before),
        method: Some("POST".into()),
        count: Some(1),
        ..Fault::default()
    });
    assert!(add("lost").await.is_err());
    assert!(sim.rows(Some("nightly")).is_empty());
    sim.fault(Fault {
        drop: Some(Break::After),
        method: Some("POST".into()),
        count: Some(1),
        ..Fault::default()
    });
    assert!(add("there").await.is_err());
    assert_eq!(sim.rows(Some("nightly")).len(), 1, "the effect stays");
}

#[tokio::test]
async fn a_doubled_request_takes_effect_twice() {
    let sim = start().await;
    let path = format!("/_apis/distributedtask/pools/{}/agents", sim.pool_id("nightly").unwrap());
    sim.fault(Fault { double: true, count: Some(1), ..Fault::default() });
    let got = Http::manager(&sim).send(Method::POST, &path, Some(json!({ "name": "a" }))).await;
    assert_eq!(got.status, 409, "the second one meets the first");
    assert_eq!(sim.rows(Some("nightly")).len(), 1);
}

#[tokio::test]
async fn stale_reads_show_the_past_and_writes_do_not() {
    let sim = start().await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    sim.fault(Fault { stale_s: Some(20), method: Some("GET".into()), ..Fault::default() });
    agents(&sim, "").await;
    sim.advance(Duration::from_secs(60));
    let path = format!("/_apis/distributedtask/pools/{}/agents/{}", actor.pool, actor.id);
    let off = json!({ "id": actor.id, "enabled": false });
    let answer = Http::manager(&sim).send(Method::PATCH, &path, Some(off)).await;
    assert_eq!(answer.json()["enabled"], false);
    // Twenty reads within a second, each from a random moment of the last twenty: one of them is old.
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.push(agents(&sim, "").await["value"][0]["enabled"].as_bool().unwrap());
    }
    assert!(seen.contains(&true), "{seen:?}");
    sim.advance(Duration::from_secs(21));
    assert_eq!(agents(&sim, "").await["value"][0]["enabled"], false, "never older than asked");
    sim.clear_faults();
}

#[tokio::test]
async fn faults_hit_the_share_they_are_set_to() {
    let sim = start().await;
    sim.fault(Fault { status: Some(500), probability: 0.5, ..Fault::default() });
    let http = Http::manager(&sim);
    let mut hits = 0;
    for _ in 0..100 {
        hits += usize::from(http.get("/_apis/distributedtask/pools").await.status == 500);
    }
    assert!((25..75).contains(&hits), "{hits}");
    assert_eq!(sim.journal(0).iter().filter(|e| e.kind == Kind::FaultSet).count(), 1);
}

#[tokio::test]
async fn silence_is_a_fault_too() {
    let sim = start().await;
    sim.fault(Fault { latency_ms: Some(3_600_000), ..Fault::default() });
    let http = Http::manager(&sim);
    let waits =
        tokio::time::timeout(Duration::from_millis(200), http.get("/_apis/distributedtask/pools"));
    assert!(waits.await.is_err());
    sim.clear_faults();
    let answered =
        tokio::time::timeout(LIMIT, http.get("/_apis/distributedtask/pools")).await.unwrap();
    assert_eq!(answered.status, 200);
}
