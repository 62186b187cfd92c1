//! Recorded answers of the real service against ours: the client reads every one of them, and the
//! simulator answers the same question with the same keys, types and headers.
#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

#[expect(dead_code, reason = "every test file uses another part")]
mod sim_support;

use std::collections::BTreeSet;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use azdo::sim::Fault;
use azdo::types::{ConnectionData, List};
use azdo::{
    AgentQuery, AgentRegistration, AgentStatus, Client, ClientConfig, Credential, Error,
    JobRequest, JobRequestQuery, JobResult, PackageMetadata, TaskAgent, TaskAgentPool,
};
use http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use sim_support::{Actor, EXPIRED, Http, MANAGER, READER, job, start};

fn example(name: &str) -> Value {
    let path = format!("{}/testdata/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    serde_json::from_str(&text).unwrap()
}

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|e| panic!("{e}: {value}"))
}

/// Paths of all keys with the kind of their value; the rows of a list count as one.
fn shape(value: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, at: &str, out: &mut BTreeSet<String>) {
        let kind = match value {
            Value::Object(map) => {
                return map.iter().for_each(|(k, v)| walk(v, &format!("{at}.{k}"), out));
            }
            Value::Array(rows) => {
                return rows.iter().for_each(|v| walk(v, &format!("{at}[]"), out));
            }
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "text",
        };
        out.insert(format!("{at}: {kind}"));
    }
    let mut out = BTreeSet::new();
    walk(value, "", &mut out);
    out
}

fn same_shape(ours: &Value, theirs: &Value) {
    let (ours, theirs) = (shape(ours), shape(theirs));
    let missing: Vec<_> = theirs.difference(&ours).collect();
    let extra: Vec<_> = ours.difference(&theirs).collect();
    assert!(missing.is_empty() && extra.is_empty(), "missing {missing:#?}\nextra {extra:#?}");
}

fn same_headers(ours: &HeaderMap, recorded: &Value) {
    for (name, value) in recorded["response"]["headers"].as_object().unwrap() {
        assert!(ours.contains_key(name.as_str()), "{name} is missing");
        // What does not change from answer to answer must be the very same.
        if ["cache-control", "content-type", "expires", "pragma", "vary", "x-content-type-options"]
            .contains(&name.as_str())
        {
            assert_eq!(ours[name.as_str()], value.as_str().unwrap(), "{name}");
        }
    }
}

/// The recorded question, asked of the simulator about its own hosted pool.
async fn ask(http: &Http, recorded: &Value, path: &str) -> (Value, HeaderMap) {
    let version = recorded["request"]["headers"]["Accept"].as_str().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .get(format!("{}{path}", http.base))
        .basic_auth("", Some(MANAGER))
        .header("Accept", version);
    let response = request.header("X-TFS-FedAuthRedirect", "Suppress").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    (response.json().await.unwrap(), headers)
}

#[tokio::test]
async fn a_pool_has_the_recorded_keys_and_headers() {
    let (sim, recorded) = (start().await, example("recorded/get-pool"));
    let theirs = &recorded["response"]["body"];
    let (mut ours, headers) =
        ask(&Http::manager(&sim), &recorded, "/_apis/distributedtask/pools/2").await;
    assert_eq!(
        (&ours["autoSize"], &theirs["autoSize"]),
        (&json!(true), &Value::Null),
        "recorded both ways"
    );
    ours["autoSize"] = Value::Null;
    same_shape(&ours, theirs);
    same_headers(&headers, &recorded);
    let pool: TaskAgentPool = read(theirs);
    assert_eq!((pool.id, pool.is_hosted, pool.auto_update), (2, true, Some(true)));
    assert_eq!(pool.created_on.unwrap().to_string(), "2023-07-01T07:05:40.847Z");
}

#[tokio::test]
async fn pools_by_name_have_the_recorded_keys_and_headers() {
    let (sim, recorded) = (start().await, example("recorded/get-pools-by-name"));
    let path = "/_apis/distributedtask/pools?poolName=Azure%20Pipelines&poolType=automation";
    let (ours, headers) = ask(&Http::manager(&sim), &recorded, path).await;
    same_shape(&ours, &recorded["response"]["body"]);
    same_headers(&headers, &recorded);
    assert_eq!(read::<List<TaskAgentPool>>(&recorded["response"]["body"]).value[0].name, "Hosted");
}

#[tokio::test]
async fn agents_have_the_recorded_keys_and_headers() {
    let (sim, recorded) = (start().await, example("recorded/get-agents"));
    let (ours, headers) =
        ask(&Http::manager(&sim), &recorded, "/_apis/distributedtask/pools/2/agents").await;
    same_shape(&ours, &recorded["response"]["body"]);
    same_headers(&headers, &recorded);
    let agent = &read::<List<TaskAgent>>(&recorded["response"]["body"]).value[0];
    assert_eq!((agent.name.as_str(), agent.status), ("Hosted Agent", AgentStatus::Offline));
}

#[tokio::test]
async fn a_queue_has_the_recorded_keys_and_headers() {
    let (sim, recorded) = (start().await, example("recorded/get-queue"));
    let (ours, headers) =
        ask(&Http::manager(&sim), &recorded, "/some%20project/_apis/distributedtask/queues/1")
            .await;
    same_shape(&ours, &recorded["response"]["body"]);
    same_headers(&headers, &recorded);
}

#[tokio::test]
async fn job_requests_have_the_recorded_keys() {
    let (sim, theirs) = (start().await, example("keda-jobrequests/jobrequests-two-queued"));
    Actor::register(&sim, "nightly", "a", json!({ "lab": "svc" })).await;
    sim.queue("nightly", azdo::sim::JobForm { demands: vec!["lab".into()], ..job(1) }).unwrap();
    let path =
        format!("pools/{}/jobrequests?completedRequestCount=0", sim.pool_id("nightly").unwrap());
    let mut ours = Http::manager(&sim).task(&path).await;
    // Newer than the recording: the job's name, and what the row knows of its agent's system.
    let row = ours["value"][0].as_object_mut().unwrap();
    assert_eq!(row.remove("jobName"), Some(json!("Job")));
    row["matchedAgents"][0].as_object_mut().unwrap().remove("osDescription");
    same_shape(&ours, &theirs);

    let read: List<JobRequest> = read(&theirs);
    let (first, second) = (&read.value[0], &read.value[1]);
    assert!(
        first.is_queued() && first.matched_agents.is_empty() && second.matched_agents.len() == 4
    );
    assert_eq!(second.matched_agents[0].status, AgentStatus::Offline);
    assert_eq!(first.demands[1].to_string(), "Agent.Version -gtVersion 2.182.1");
}

#[tokio::test]
async fn a_busy_agent_has_the_composed_keys() {
    let (sim, example) = (start().await, example("composed/agent-busy"));
    let actor = Actor::online(&sim, "nightly", "host1-01").await;
    sim.queue("nightly", azdo::sim::JobForm { demands: vec!["Agent.Name".into()], ..job(1) })
        .unwrap();
    actor.take_job().await;
    let path = format!("pools/{}/agents/{}?includeAssignedRequest=true", actor.pool, actor.id);
    let ours = shape(&Http::manager(&sim).task(&path).await);
    let missing: Vec<String> = shape(&example["body"]).difference(&ours).cloned().collect();
    assert!(missing.is_empty(), "{missing:#?}");
    let agent: TaskAgent = read(&example["body"]);
    assert!(agent.is_busy() && agent.assigned_request.unwrap().is_held());
}

#[tokio::test]
async fn a_registration_has_the_composed_keys() {
    let (sim, example) = (start().await, example("composed/agent-add-request"));
    let path = format!("/_apis/distributedtask/pools/{}/agents", sim.pool_id("nightly").unwrap());
    let got = Http::manager(&sim)
        .send(Method::POST, &path, Some(example["request"]["body"].clone()))
        .await;
    let missing: Vec<String> =
        shape(&example["response"]["body"]).difference(&shape(&got.json())).cloned().collect();
    assert!(missing.is_empty(), "{missing:#?}");
    let added: TaskAgent = read(&example["response"]["body"]);
    assert!(added.authorization.unwrap().public_key.is_some());
    let disable = &example_of_disable();
    let id = got.json()["id"].as_i64().unwrap();
    let mut body = disable["request"]["body"].clone();
    body["id"] = json!(id);
    let off = Http::manager(&sim).send(Method::PATCH, &format!("{path}/{id}"), Some(body)).await;
    assert_eq!(off.json()["enabled"], false);
}

fn example_of_disable() -> Value {
    example("composed/agent-disable-patch")
}

#[test]
fn the_client_reads_packages_and_agent_files() {
    let packages: List<PackageMetadata> =
        read(&example("composed/packages-agent")["response"]["body"]);
    assert_eq!(packages.value[0].version.to_string(), "4.260.0");
    let files = example("composed/agent-files");
    let file = AgentRegistration::parse(files["files"][".agent"].to_string().as_bytes()).unwrap();
    assert_eq!((file.agent_id, file.pool_name.as_deref()), (1755, Some("Lab")));
}

#[tokio::test]
async fn the_client_reads_who_it_is() {
    let sim = start().await;
    let data: ConnectionData = read(&Http::manager(&sim).get("/_apis/connectionData").await.json());
    assert_eq!(data.authenticated_user.provider_display_name.as_deref(), Some("fabrikam user"));
}

/// A server that gives one recorded answer to everything.
async fn replay(example: &Value) -> Client {
    async fn answer(State(example): State<Value>) -> Response {
        let text = example
            .get("body")
            .map_or_else(|| example["body_text"].as_str().unwrap().to_owned(), Value::to_string);
        let status =
            StatusCode::from_u16(example["http_status"].as_u64().unwrap().try_into().unwrap())
                .unwrap();
        let mut response = (status, text).into_response();
        let headers = response.headers_mut();
        headers.insert("content-type", "application/json; charset=utf-8".parse().unwrap());
        for (name, value) in example.get("headers").and_then(Value::as_object).into_iter().flatten()
        {
            headers.insert(
                http::HeaderName::try_from(name).unwrap(),
                value.as_str().unwrap().parse().unwrap(),
            );
        }
        response
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/fabrikam", listener.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(example.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    client(&url, "any")
}

fn client(url: &str, token: &str) -> Client {
    Client::new(&ClientConfig::new(url, Credential::Pat(token.to_owned().into()))).unwrap()
}

/// What the client makes of a recorded refusal, and of the simulator's own.
async fn both(recorded: &str, ours: Result<(), Error>, right: impl Fn(&Error) -> bool) {
    let theirs =
        replay(&example(&format!("errors/{recorded}"))).await.delete_agent(1, 1).await.unwrap_err();
    assert!(right(&theirs), "{recorded}: {theirs:?}");
    let ours = ours.unwrap_err();
    assert!(right(&ours), "ours for {recorded}: {ours:?}");
}

#[tokio::test]
async fn the_client_sorts_recorded_refusals_and_ours_alike() {
    let sim = start().await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    sim.queue("nightly", job(1)).unwrap();
    let (url, pool) = (sim.base_url(), actor.pool);
    let delete =
        async |token: &str| client(&url, token).delete_agent(pool, actor.id).await.map(|_| ());

    both("delete-busy-agent-400", delete(MANAGER).await, |e| {
        matches!(e, Error::JobStillRunning { .. })
    })
    .await;
    both(
        "auth-403-access-denied",
        delete(READER).await,
        |e| matches!(e, Error::Forbidden { message } if message.contains("Manage")),
    )
    .await;
    both(
        "auth-401-pat-expired",
        delete(EXPIRED).await,
        |e| matches!(e, Error::NotAuthenticated { why } if why.contains("expired")),
    )
    .await;
    both(
        "auth-401-tf400813",
        delete("wrong").await,
        |e| matches!(e, Error::NotAuthenticated { why } if why.contains("TF400813")),
    )
    .await;
    sim.fault(Fault { html203: true, count: Some(1), ..Fault::default() });
    both(
        "signin-203-html",
        delete(MANAGER).await,
        |e| matches!(e, Error::NotAuthenticated { why } if why.contains("sign-in")),
    )
    .await;
    sim.fault(Fault {
        status: Some(429),
        retry_after_s: Some(30),
        count: Some(1),
        ..Fault::default()
    });
    let throttled = |e: &Error| {
        matches!(e, Error::Throttled { .. }) && e.retry_after().is_some_and(|d| d.as_secs() == 30)
    };
    both("rate-limited-429", delete(MANAGER).await, throttled).await;
}

#[tokio::test]
async fn recorded_errors_have_the_keys_of_ours() {
    let sim = start().await;
    let http = Http::new(&sim, EXPIRED);
    let got = http.get("/_apis/distributedtask/pools").await;
    let mut theirs = example("errors/auth-401-pat-expired")["body"].clone();
    // Only this one has properties, and only about its own check.
    theirs.as_object_mut().unwrap().remove("customProperties");
    same_shape(&got.json(), &theirs);
    assert_eq!(got.json()["typeName"], theirs["typeName"]);
    for name in ["auth-401-tf400813", "auth-403-access-denied", "delete-busy-agent-400"] {
        same_shape(&got.json(), &example(&format!("errors/{name}"))["body"]);
    }
}

#[tokio::test]
async fn the_client_lives_through_a_jobs_life() {
    let sim = start().await;
    let actor = Actor::online(&sim, "nightly", "a").await;
    let client = client(&sim.base_url(), MANAGER);
    let pools = client.pools(Some("nightly")).await.unwrap().value;
    assert_eq!((pools.len(), pools[0].id), (1, actor.pool));
    let all =
        AgentQuery { capabilities: true, assigned_request: true, last_completed: true, name: None };
    let row = async || client.agent(actor.pool, actor.id, &all).await.unwrap().value;
    assert_eq!((row().await.status, row().await.is_busy()), (AgentStatus::Online, false));

    let request = sim.queue("nightly", job(1)).unwrap();
    assert_eq!(row().await.assigned_request.unwrap().request_id, request);
    let waiting =
        client.job_requests(actor.pool, &JobRequestQuery::Unfinished).await.unwrap().value;
    assert!(waiting[0].is_held() && waiting[0].reserved_agent.is_some());
    actor.take_job().await;
    let off = client.set_enabled(actor.pool, actor.id, "a", false).await.unwrap().value;
    assert!(!off.enabled);
    actor.finish(request, "failed").await;
    let last = row().await.last_completed_request.unwrap();
    assert_eq!((last.request_id, last.result), (request, Some(JobResult::Failed)));
    let page = JobRequestQuery::Page { top: 1, continuation: None };
    assert_eq!(
        client.job_requests(actor.pool, &page).await.unwrap().value[0].result,
        Some(JobResult::Failed)
    );
    client.delete_agent(actor.pool, actor.id).await.unwrap();
    assert!(client.delete_agent(actor.pool, actor.id).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn the_client_registers_replaces_and_pages() {
    let sim = start().await;
    let (client, pool) = (client(&sim.base_url(), MANAGER), sim.pool_id("nightly").unwrap());
    let mut new = azdo::NewAgent {
        name: "placeholder".into(),
        version: Some("4.260.0".into()),
        ..Default::default()
    };
    let added = client.add_agent(pool, &new).await.unwrap().value;
    assert!(matches!(client.add_agent(pool, &new).await, Err(Error::Conflict { .. })));
    client.set_enabled(pool, added.id, "placeholder", false).await.unwrap();
    new.system_capabilities.insert("gpu".into(), "h200".into());
    let replaced = client.replace_agent(pool, added.id, &new).await.unwrap().value;
    assert_eq!(
        (replaced.id, replaced.enabled, replaced.capability("GPU")),
        (added.id, false, Some("h200"))
    );
    let user = [("lab".to_owned(), "svc".to_owned())].into();
    let changed = client.set_user_capabilities(pool, added.id, &user).await.unwrap().value;
    assert_eq!(changed.user_capabilities, user);

    for _ in 0..3 {
        sim.queue("nightly", job(1)).unwrap();
    }
    let first = client
        .job_requests(pool, &JobRequestQuery::Page { top: 2, continuation: None })
        .await
        .unwrap();
    let rest = JobRequestQuery::Page { top: 2, continuation: first.continuation };
    assert_eq!(
        (first.value.len(), client.job_requests(pool, &rest).await.unwrap().value.len()),
        (2, 1)
    );
    assert!(client.managed_pools().await.unwrap().value.iter().any(|p| p.id == pool));
}

#[tokio::test]
async fn the_client_sees_retry_after_on_a_good_answer() {
    let sim = start().await;
    sim.fault(Fault { retry_after_s: Some(12), ..Fault::default() });
    let reply = client(&sim.base_url(), MANAGER).pools(None).await.unwrap();
    assert_eq!((reply.value.len(), reply.pace.retry_after.map(|d| d.as_secs())), (3, Some(12)));
    assert!(reply.pace.is_slowed() && reply.pace.limit_remaining == Some(0.0));
}
