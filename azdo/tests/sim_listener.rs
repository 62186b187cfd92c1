//! The listener's side of the wire: tokens, sessions, messages, updates, records.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[expect(dead_code, reason = "every test file uses another part")]
mod sim_support;

use std::time::Duration;

use azdo::sim::{JobForm, Kind, Settings};
use http::Method;
use serde_json::json;
use sim_support::{Actor, Http, LIMIT, job, start, start_with};

#[tokio::test]
async fn a_token_needs_the_registered_key_and_fitting_claims() {
    let sim = start().await;
    let actor = Actor::register(&sim, "nightly", "a", json!({})).await;
    let good = format!("{}/_apis/oauth2/token", sim.base_url());
    let granted = actor.ask_token(&actor.assertion(&good, 300)).await;
    assert_eq!((granted.status, &granted.json()["expires_in"]), (200, &json!(3000)));
    let mut tampered = actor.assertion(&good, 300);
    tampered.replace_range(tampered.len() - 8..tampered.len() - 4, "AAAA");
    let bad = [
        tampered,
        actor.assertion("https://elsewhere/token", 300),
        actor.assertion(&good, -4000),
        "no.jwt".to_owned(),
        String::new(),
    ];
    for assertion in bad {
        let refused = actor.ask_token(&assertion).await;
        assert_eq!(
            (refused.status, &refused.json()["error"]),
            (400, &json!("invalid_client")),
            "{assertion}"
        );
    }
}

#[tokio::test]
async fn a_deleted_agent_gets_no_token_and_its_poll_says_so() {
    let sim = start().await;
    let mut actor = Actor::online(&sim, "nightly", "a").await;
    let path = format!("/_apis/distributedtask/pools/{}/agents/{}", actor.pool, actor.id);
    assert_eq!(Http::manager(&sim).send(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(actor.poll(0).await.type_key(), (404, "TaskAgentNotFoundException".into()));
    assert_eq!(actor.open().await.json()["error"], "invalid_client");
}

#[tokio::test]
async fn an_open_poll_ends_at_once_when_its_agent_is_deleted() {
    let sim =
        start_with(Settings { poll_limit: Duration::from_secs(600), ..Settings::brisk() }).await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    let path = format!("/_apis/distributedtask/pools/{}/agents/{}", actor.pool, actor.id);
    let delete = async { Http::manager(&sim).send(Method::DELETE, &path, None).await.status };
    let (polled, deleted) = tokio::join!(actor.poll(0), delete);
    assert_eq!((polled.status, deleted), (404, 204));
}

#[tokio::test]
async fn a_listener_that_dies_within_its_poll_goes_offline() {
    let sim =
        start_with(Settings { poll_limit: Duration::from_secs(100_000), ..Settings::brisk() })
            .await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    let polls = |s: &azdo::sim::Summary| s.requests.get("GET messages").is_some_and(|n| *n > 0);
    tokio::select! {
        polled = actor.poll(0) => panic!("the poll ended: {polled:?}"),
        counted = sim.wait_for(LIMIT, |s| polls(s) && s.pools["nightly"].online == 1) => drop(counted),
    }
    // The broken connection is noticed soon, not at once: time goes on until it is.
    let offline = async {
        while sim.rows(Some("nightly"))[0].online {
            sim.advance(Duration::from_secs(301));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, offline).await.unwrap();
    assert_eq!(sim.summary().sessions_expired, 1);
}

#[tokio::test]
async fn an_expired_listener_token_is_refused() {
    let sim =
        start_with(Settings { session_expiry: Duration::from_secs(9000), ..Settings::brisk() })
            .await;
    let mut actor = Actor::online(&sim, "nightly", "a").await;
    sim.advance(Duration::from_secs(2999));
    assert_eq!(actor.poll(0).await.status, 202);
    sim.advance(Duration::from_secs(3));
    assert_eq!(actor.poll(0).await.status, 401);
    assert_eq!(actor.sign_in().await.status, 200);
    assert_eq!(actor.poll(0).await.status, 202, "the session outlives the token");
}

#[tokio::test]
async fn a_listener_acts_for_itself_only() {
    let sim = start().await;
    let (a, b) =
        (Actor::online(&sim, "nightly", "a").await, Actor::online(&sim, "nightly", "b").await);
    let others = format!("messages?sessionId={}&lastMessageId=0", b.session.as_deref().unwrap());
    assert_eq!(a.send(Method::GET, &others, None).await.status, 403);
    assert_eq!(a.send(Method::DELETE, &format!("agents/{}", b.id), None).await.status, 403);
    let body = json!({ "ownerName": "x", "agent": { "id": b.id, "name": "b" } });
    assert_eq!(a.send(Method::POST, "sessions", Some(body)).await.status, 403);
    sim.queue("nightly", job(1)).unwrap();
    let holder_is_a = sim.jobs()[0].agent.as_deref() == Some("a");
    let (holder, other) = if holder_is_a { (&a, &b) } else { (&b, &a) };
    let request = holder.take_job().await;
    assert_eq!(
        other.renew(request).await.type_key(),
        (404, "TaskAgentJobNotFoundException".into())
    );
    let manager = Http::manager(&sim)
        .send(
            Method::PATCH,
            &format!("/_apis/distributedtask/pools/{}/jobrequests/{request}", a.pool),
            Some(json!({})),
        )
        .await;
    assert_eq!(manager.status, 403, "people do not renew");
}

#[tokio::test]
async fn a_message_comes_again_until_it_is_acknowledged() {
    let sim = start().await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    sim.queue("nightly", job(1)).unwrap();
    let (first, body) = actor.message(0).await;
    let (again, _) = actor.message(0).await;
    assert_eq!(first, again);
    assert!(body["jobId"].is_string() && body["lockToken"].is_string());
    let id = first["messageId"].as_i64().unwrap();
    assert_eq!(actor.poll(id).await.status, 202, "not after its number");
    assert_eq!(actor.acknowledge(id).await.status, 204);
    assert_eq!(actor.poll(0).await.status, 202);
}

#[tokio::test]
async fn a_job_left_unread_goes_back_to_the_queue_at_a_clean_end() {
    let sim = start().await;
    let once = Actor::online(&sim, "nightly", "a").await;
    let request = sim.queue("nightly", job(1)).unwrap();
    assert_eq!(sim.job(request).unwrap().state, "assigned");
    once.close().await;
    assert_eq!(sim.job(request).unwrap().state, "queued");
    assert_eq!(sim.summary().jobs.requeued, 1);
    let other = Actor::online(&sim, "nightly", "b").await;
    assert_eq!(other.take_job().await, request);
}

#[tokio::test]
async fn a_job_left_unread_by_a_killed_session_waits_for_the_next_one() {
    let sim = start().await;
    let mut actor = Actor::online(&sim, "nightly", "a").await;
    let request = sim.queue("nightly", job(1)).unwrap();
    sim.kill_session("nightly", "a").unwrap();
    assert_eq!(actor.poll(0).await.type_key(), (404, "TaskAgentSessionExpiredException".into()));
    assert_eq!(sim.job(request).unwrap().state, "assigned");
    assert_eq!(actor.open().await.status, 200);
    assert_eq!(actor.take_job().await, request);
}

#[tokio::test]
async fn an_agent_that_shuts_down_after_its_job_gets_no_other() {
    let sim = start().await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    sim.queue("nightly", job(1)).unwrap();
    let request = actor.take_job().await;
    let waiting = sim.queue("nightly", job(1)).unwrap();
    let body = json!({ "requestId": request, "result": "Succeeded", "agentShuttingDown": true });
    let path = format!("jobrequests/{request}?lockToken={}", uuid::Uuid::nil());
    assert_eq!(actor.send(Method::PATCH, &path, Some(body)).await.status, 200);
    assert_eq!(sim.job(request).unwrap().result.as_deref(), Some("succeeded"));
    assert_eq!(sim.job(waiting).unwrap().state, "queued");
    assert!(sim.rows(Some("nightly"))[0].online);
}

#[tokio::test]
async fn cancelling_reaches_the_listener_of_a_running_job() {
    let sim = start().await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    let request = sim.queue("nightly", job(1)).unwrap();
    actor.take_job().await;
    sim.cancel(request).unwrap();
    let (message, body) = actor.message(1).await;
    assert_eq!(message["messageType"], "JobCancellation");
    assert_eq!(body["timeout"], "00:01:00");
    actor.finish(request, "canceled").await;
    assert_eq!(sim.summary().jobs.cancelled, 1);
    let waiting = sim.queue("nightly", job(1)).unwrap();
    sim.cancel(waiting).unwrap();
    assert_eq!(
        sim.job(waiting).unwrap().result.as_deref(),
        Some("canceled"),
        "nobody had it: at once"
    );
}

#[tokio::test]
async fn an_agent_with_a_pending_update_gets_no_job_until_it_comes_back_newer() {
    let sim = start().await;
    let mut actor = Actor::online(&sim, "nightly", "a").await;
    sim.force_update("nightly", "a", "4.261.0").unwrap();
    let (message, body) = actor.message(0).await;
    assert_eq!(
        (&message["messageType"], &body["targetVersion"]),
        (&json!("AgentRefresh"), &json!("4.261.0"))
    );
    let request = sim.queue("nightly", job(1)).unwrap();
    assert_eq!(sim.job(request).unwrap().state, "queued");
    let told = actor
        .send(
            Method::PUT,
            &format!("agents/{}/updates?currentState=Downloading%204.261.0%20agent", actor.id),
            None,
        )
        .await;
    assert_eq!(told.json()["pendingUpdate"]["currentState"], "Downloading 4.261.0 agent");
    actor.close().await;

    // The same old version comes back: the wish stands, and is told again.
    assert_eq!(actor.open().await.status, 200);
    assert_eq!(actor.message(0).await.0["messageType"], "AgentRefresh");
    actor.close().await;
    let body =
        json!({ "ownerName": "h", "agent": { "id": actor.id, "name": "a", "version": "4.261.0" } });
    assert_eq!(actor.send(Method::POST, "sessions", Some(body)).await.status, 200);
    let row = &sim.rows(Some("nightly"))[0];
    assert_eq!((row.pending_update.as_deref(), row.version.as_deref()), (None, Some("4.261.0")));
    assert_eq!(row.assigned, Some(request));
}

#[tokio::test]
async fn capabilities_come_with_every_session() {
    let sim = start().await;
    let mut actor = Actor::register(&sim, "nightly", "a", json!({ "before": "1" })).await;
    actor.open().await;
    let row = &sim.rows(Some("nightly"))[0];
    assert!(
        row.capabilities.contains(&"Agent.Name".to_owned())
            && !row.capabilities.contains(&"before".to_owned())
    );
}

#[tokio::test]
async fn user_capabilities_replace_the_whole_set_and_survive_a_replace() {
    let sim = start().await;
    let actor = Actor::register(&sim, "nightly", "a", json!({})).await;
    let path = format!("/_apis/distributedtask/pools/{}/agents/{}", actor.pool, actor.id);
    let http = Http::manager(&sim);
    for set in [json!({ "x": "1", "y": "2" }), json!({ "gpu": "h200" })] {
        let got =
            http.send(Method::PUT, &format!("{path}/usercapabilities"), Some(set.clone())).await;
        assert_eq!(got.json()["userCapabilities"], set);
    }
    actor.replace().await;
    let row = http
        .task(&format!("pools/{}/agents/{}?includeCapabilities=true", actor.pool, actor.id))
        .await;
    assert_eq!(row["userCapabilities"], json!({ "gpu": "h200" }));
    let wanted = JobForm { demands: vec!["GPU -equals H200".into()], ..job(1) };
    let request = sim.queue("nightly", wanted).unwrap();
    assert_eq!(sim.job(request).unwrap().state, "queued", "it matches, without case");
}

#[tokio::test]
async fn the_holder_leaves_a_record_with_its_job() {
    let sim = start().await;
    let (a, b) =
        (Actor::online(&sim, "nightly", "a").await, Actor::online(&sim, "nightly", "b").await);
    let request = sim.queue("nightly", job(1)).unwrap();
    let holder_is_a = sim.job(request).unwrap().agent.as_deref() == Some("a");
    let (holder, other) = if holder_is_a { (&a, &b) } else { (&b, &a) };
    let record = json!({ "workFolder": ["1/s/left-over"], "env": ["PATH"], "pid": 7 });
    assert_eq!(other.post_record(&sim, request, record.clone()).await.status, 403);
    assert_eq!(holder.post_record(&sim, request, record).await.status, 204);
    let kept = sim.job(request).unwrap().record.unwrap();
    assert_eq!(
        (kept.work_folder.as_slice(), &kept.other["pid"]),
        (["1/s/left-over".to_owned()].as_slice(), &json!(7))
    );
}

#[tokio::test]
async fn changing_without_a_version_or_with_a_too_new_one_is_refused() {
    let sim = start().await;
    let url = format!("{}/_apis/distributedtask/pools", sim.base_url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let basic = |r: reqwest::RequestBuilder| r.basic_auth("", Some(sim_support::MANAGER));
    assert_eq!(basic(client.get(&url)).send().await.unwrap().status(), 200);
    let post = |url: &str| basic(client.post(url)).json(&json!({ "name": "x" }));
    let refused = post(&url).send().await.unwrap();
    assert_eq!(refused.status(), 400);
    assert!(refused.text().await.unwrap().contains("VssVersionNotSpecifiedException"));
    for (version, key) in
        [("7.2", "VssInvalidPreviewVersionException"), ("9.0", "VssVersionOutOfRangeException")]
    {
        let refused = post(&format!("{url}?api-version={version}")).send().await.unwrap();
        assert!(refused.text().await.unwrap().contains(key), "{version}");
    }
    assert_eq!(
        post(&format!("{url}?api-version=7.2-preview.1")).send().await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn the_journal_tells_a_job_from_end_to_end() {
    let sim = start().await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    sim.mark("only the job");
    let from = sim.journal(0).last().unwrap().seq;
    sim.queue("nightly", job(1)).unwrap();
    let request = actor.take_job().await;
    actor.finish(request, "succeeded").await;
    let summary = sim.wait_for(LIMIT, |s| s.jobs.succeeded == 1).await.unwrap();
    let kinds: Vec<Kind> = sim.journal(from).into_iter().map(|e| e.kind).collect();
    assert_eq!(kinds, [Kind::JobQueued, Kind::JobAssigned, Kind::JobReceived, Kind::JobFinished]);
    assert_eq!((summary.pools["nightly"].rows_max, summary.requests["PATCH jobrequest"]), (1, 2));
}
