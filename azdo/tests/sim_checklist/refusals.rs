//! Who and what is refused, and how.

use azdo::sim::{BusyDelete, Settings};
use http::Method;
use serde_json::json;

use super::sim_support::{Actor, EXPIRED, Http, MANAGER, NOBODY, READER, job, start, start_with};
use super::state;

#[tokio::test]
async fn deleting_a_busy_agent_is_400() {
    let sim = start().await;
    let actor = Actor::online(&sim, "nightly", "host1-01").await;
    sim.queue("nightly", job(1)).unwrap();
    let path = format!("/_apis/distributedtask/pools/{}/agents/{}", actor.pool, actor.id);
    // Assigned is enough: the listener has not even received it.
    let refused = Http::manager(&sim).send(Method::DELETE, &path, None).await;
    assert_eq!(refused.type_key(), (400, "TaskAgentJobStillRunningException".into()));
    assert_eq!(
        refused.json()["message"],
        "Agent \"host1-01\" is running a job for pool \"nightly\""
    );
    assert_eq!(sim.summary().deletes_of_busy, 1);

    let request = actor.take_job().await;
    actor.finish(request, "succeeded").await;
    assert_eq!(Http::manager(&sim).send(Method::DELETE, &path, None).await.status, 204);
}

#[tokio::test]
async fn deleting_a_busy_agent_may_be_obeyed() {
    let sim = start_with(Settings { busy_delete: BusyDelete::Obey, ..Settings::brisk() }).await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    sim.queue("nightly", job(1)).unwrap();
    let request = actor.take_job().await;
    let path = format!("/_apis/distributedtask/pools/{}/agents/{}", actor.pool, actor.id);
    assert_eq!(Http::manager(&sim).send(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(state(&sim, request), ("finished".into(), Some("abandoned".into())));
    assert_eq!(
        actor.renew(request).await.type_key(),
        (400, "TaskAgentJobTokenExpiredException".into())
    );
}

#[tokio::test]
async fn duplicates_are_409() {
    let sim = start().await;
    let mut actor = Actor::online(&sim, "nightly", "host1-01").await;
    let path = format!("/_apis/distributedtask/pools/{}/agents", actor.pool);
    let twice =
        Http::manager(&sim).send(Method::POST, &path, Some(json!({ "name": "HOST1-01" }))).await;
    assert_eq!(twice.type_key(), (409, "TaskAgentExistsException".into()));
    let second = actor.open().await;
    assert_eq!(second.type_key(), (409, "TaskAgentSessionConflictException".into()));
    let words = "The task agent host1-01 already has an active session for owner host1.";
    assert_eq!(second.json()["message"], words);
    assert_eq!(sim.summary().session_conflicts, 1);
}

#[tokio::test]
async fn json_401_for_expired_and_wrong_tokens() {
    let sim = start().await;
    let pools = "/_apis/distributedtask/pools";
    let expired = Http::new(&sim, EXPIRED).get(pools).await;
    assert_eq!(expired.type_key(), (401, "AccessCheckException".into()));
    let words = "Access%20Denied%3A%20The%20Personal%20Access%20Token%20used%20has%20expired.";
    assert_eq!(expired.header("x-tfs-serviceerror"), Some(words));
    for wrong in ["no such token", "manager-token\n", ""] {
        let refused = Http::new(&sim, wrong).get(pools).await;
        assert_eq!(refused.type_key(), (401, "UnauthorizedRequestException".into()), "{wrong:?}");
    }
    let nobody = Http::manager(&sim).with("").get(pools).await;
    assert_eq!(nobody.status, 401);
    assert!(
        nobody
            .headers
            .get_all("www-authenticate")
            .iter()
            .any(|v| v.as_bytes().starts_with(b"Basic "))
    );
    let bearer = Http::manager(&sim).with("Bearer nonsense");
    assert_eq!(bearer.get(pools).await.status, 401);
}

#[tokio::test]
async fn html_203_unless_suppressed() {
    let sim = start().await;
    let pools = "/_apis/distributedtask/pools";
    let page = Http::new(&sim, "no such token").like_a_browser().get(pools).await;
    assert_eq!((page.status, page.header("content-type")), (203, Some("text/html; charset=utf-8")));
    assert!(page.text.contains("Sign In"));
    let bearer = Http::manager(&sim).with("Bearer nonsense").like_a_browser();
    assert_eq!(bearer.get(pools).await.status, 203);
    assert_eq!(bearer.send(Method::POST, pools, Some(json!({}))).await.status, 203);
    assert_eq!(
        bearer.send(Method::PATCH, "/_apis/distributedtask/pools/1", Some(json!({}))).await.status,
        401
    );
}

#[tokio::test]
async fn role_403() {
    let sim = start().await;
    let path = format!("/_apis/distributedtask/pools/{}/agents", sim.pool_id("nightly").unwrap());
    let add = || Some(json!({ "name": "x" }));
    for (token, looks, changes) in [(MANAGER, 200, 200), (READER, 200, 403), (NOBODY, 403, 403)] {
        let http = Http::new(&sim, token);
        assert_eq!(http.get(&path).await.status, looks, "{token} looks");
        assert_eq!(http.send(Method::POST, &path, add()).await.status, changes, "{token} changes");
        assert_eq!(http.get("/_apis/connectionData").await.status, 200, "{token} is known");
    }
    let refused = Http::new(&sim, READER).send(Method::POST, &path, add()).await;
    assert_eq!(refused.type_key(), (403, "AccessDeniedException".into()));
    assert!(refused.json()["message"].as_str().unwrap().contains("needs Manage permissions"));
    assert_eq!(Http::new(&sim, READER).task("pools?actionFilter=manage").await["count"], 0);
}
