//! The watcher of Azure, against the simulator.

use std::time::Duration;

use azdo::{
    Client, ClientConfig, Credential, NewAgent,
    sim::{Fault, PatForm, Role, Sim, SimConfig, SimHandle},
};
use fleet_model::Phase;
use fleet_proto::v1::{self, session_response};
use tonic::Code;

use crate::{
    host::{Host, Session, keeps},
    support::{Bench, LIMIT, pool_request},
};

const TOKEN: &str = "pat-of-nightly";

pub(crate) async fn sim() -> SimHandle {
    let pat = |token: &str, role| PatForm {
        token: token.into(),
        role,
        name: "fleet".into(),
        expires: None,
    };
    let pats = vec![pat(TOKEN, Role::Manager), pat("nobody", Role::None)];
    Sim::start(SimConfig { pats, ..SimConfig::default() }).await.expect("a simulator")
}

fn client(sim: &SimHandle) -> Client {
    let credential = Credential::Pat(TOKEN.to_owned().into());
    Client::new(&ClientConfig::new(sim.base_url(), credential)).expect("a client")
}

/// A row without a listener.
async fn row(sim: &SimHandle, name: &str) -> i64 {
    let pool = sim.pool_id("nightly").expect("the pool");
    let agent = NewAgent { name: name.into(), enabled: Some(true), ..NewAgent::default() };
    client(sim).add_agent(pool, &agent).await.expect("registered").value.id
}

/// A host that says it keeps one agent with this row.
pub(crate) async fn host_with_agent(bench: &mut Bench, sim: &SimHandle) -> (Session, i64) {
    let host = Host::join(bench, "h1", "svc").await;
    bench.create_pool("nightly", "lab=svc", &sim.base_url()).await;
    let id = row(sim, "nightly-h1-01").await;
    let mut session = host.open_empty(bench).await;
    bench.wait_host("h1", |host| host.state == v1::HostState::Ready as i32).await;
    bench.scale("nightly", 1).await.expect("scaled");
    let assignment = session.assigned("nightly", 1).await;
    let mut report = keeps(&host.name, &assignment, Phase::Starting);
    report.agents[0].agent_id = Some(id);
    session.report(&report).await;
    (session, id)
}

pub(crate) async fn set_enabled(sim: &SimHandle, id: i64, name: &str, enabled: bool) {
    let pool = sim.pool_id("nightly").expect("the pool");
    client(sim).set_enabled(pool, id, name, enabled).await.expect("changed");
}

async fn next_row(session: &mut Session, wanted: impl Fn(&v1::Row) -> bool) -> v1::Row {
    loop {
        if let session_response::Message::Rows(rows) = session.next().await.expect("goes on")
            && let Some(row) = rows.rows.into_iter().find(&wanted)
        {
            return row;
        }
    }
}

#[tokio::test]
async fn what_azure_says_reaches_operators_and_the_host_of_the_agent() {
    let sim = sim().await;
    let mut bench = Bench::start().await;
    let (mut session, id) = host_with_agent(&mut bench, &sim).await;
    let seen = next_row(&mut session, |row| row.agent_id == id).await;
    assert_eq!((seen.agent.as_str(), seen.enabled, seen.online), ("nightly-h1-01", true, false));
    set_enabled(&sim, id, "nightly-h1-01", false).await;
    next_row(&mut session, |row| !row.enabled).await;
    let agents = bench.operator.list_agents(v1::ListAgentsRequest::default()).await;
    let agents = agents.expect("a list").into_inner().agents;
    assert_eq!((agents[0].online, agents[0].enabled), (Some(false), Some(false)));
    let pool = sim.pool_id("nightly").expect("the pool");
    client(&sim).delete_agent(pool, id).await.expect("deleted");
    next_row(&mut session, |row| row.gone).await;
}

#[tokio::test]
async fn one_list_call_serves_the_pool_however_many_agents_it_has() {
    let sim = sim().await;
    let mut bench = Bench::start_with(|config| {
        // Never due in this test: each look is counted.
        config.azure_interval = Duration::from_secs(3600);
    })
    .await;
    for n in 0..20 {
        row(&sim, &format!("nightly-h1-{n:02}")).await;
    }
    sim.mark("here");
    bench.create_pool("nightly", "lab=svc", &sim.base_url()).await;
    bench.wait_pool("nightly", |pool| pool.azure_seen.is_some()).await;
    let requests = sim.summary().requests;
    let agents: u64 =
        requests.iter().filter(|(name, _)| name.contains("agents")).map(|(_, n)| n).sum();
    assert_eq!(agents, 1, "{requests:?}");
    // One for the check before the creation, one for the pool's id.
    assert!(requests.values().sum::<u64>() <= 3, "{requests:?}");
}

#[tokio::test]
async fn a_secret_that_azure_refuses_makes_no_pool() {
    let sim = sim().await;
    let mut bench = Bench::start().await;
    let mut create = async |secret: &str, pool: &str| {
        let mut request = pool_request("nightly", "lab=svc", &sim.base_url());
        request.secret = secret.as_bytes().to_vec();
        request.spec.as_mut().expect("a spec").azure.as_mut().expect("a target").pool = pool.into();
        bench.operator.create_pool(request).await
    };
    let refused = create("wrong", "nightly").await.expect_err("unknown token");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("Azure refuses the credential"), "{refused}");
    assert!(!refused.message().contains("wrong"), "the secret itself is never said");
    let refused = create(TOKEN, "nightyl").await.expect_err("no such pool");
    assert!(refused.message().contains("--azure-pool"), "{refused}");
    let refused = create(" \n", "nightly").await.expect_err("no secret");
    assert_eq!(refused.code(), Code::InvalidArgument);
    create(TOKEN, "nightly").await.expect("and a good one does");
}

#[tokio::test]
async fn trouble_is_shown_with_its_reason_and_nothing_is_ordered_because_of_it() {
    let sim = sim().await;
    let mut bench = Bench::start().await;
    let (mut session, id) = host_with_agent(&mut bench, &sim).await;
    next_row(&mut session, |row| row.agent_id == id).await;
    let order = bench.status().await.order;
    for (status, word) in [(401, "not signed in"), (403, "not allowed"), (503, "HTTP 503")] {
        sim.fault(Fault { status: Some(status), ..Fault::default() });
        let troubled = |pool: &v1::Pool| {
            pool.troubles.iter().any(|trouble| {
                trouble.host.is_empty()
                    && trouble.condition.as_ref().is_some_and(|c| c.message.contains(word))
            })
        };
        bench.wait_pool("nightly", troubled).await;
        sim.clear_faults();
        // A changed secret is tried at once, whatever the back-off; the same one waits its turn.
        bench.wait_pool("nightly", |pool| pool.troubles.is_empty()).await;
    }
    assert_eq!(bench.status().await.order, order, "rows and troubles are no reason for orders");
    let kinds: Vec<String> = bench.history().await.into_iter().map(|event| event.kind).collect();
    assert!(kinds.iter().any(|kind| kind == "azure.trouble"));
    assert!(kinds.iter().any(|kind| kind == "azure.ok"));
}

#[tokio::test]
async fn a_wish_to_be_left_alone_is_obeyed_also_on_a_good_answer() {
    let sim = sim().await;
    sim.fault(Fault {
        path: "/_apis/distributedtask/pools/".into(),
        retry_after_s: Some(3600),
        ..Fault::default()
    });
    let mut bench = Bench::start().await;
    bench.create_pool("nightly", "lab=svc", &sim.base_url()).await;
    let first = bench.wait_pool("nightly", |pool| pool.azure_seen.is_some()).await.azure_seen;
    let looks = || {
        let requests = sim.summary().requests;
        requests.iter().filter(|(n, _)| n.contains("agents")).map(|(_, n)| n).sum::<u64>()
    };
    let before = looks();
    // Many intervals of 100 ms pass while another host joins and is in session.
    let host = Host::join(&mut bench, "h1", "svc").await;
    let mut session = host.open_empty(&bench).await;
    for _ in 0..5 {
        session.heartbeat().await;
    }
    assert_eq!(looks(), before);
    let now = bench.wait_pool("nightly", |_| true).await.azure_seen;
    assert_eq!(now, first);
}

#[tokio::test]
async fn azure_that_is_not_there_is_no_reason_to_refuse_a_pool() {
    let mut bench = Bench::start().await;
    let pool = bench.create_pool("nightly", "lab=svc", crate::support::NO_AZURE).await;
    let trouble = pool.troubles.first().and_then(|t| t.condition.clone()).expect("it is shown");
    assert!(trouble.message.contains("cannot reach"), "{trouble:?}");
}

#[tokio::test]
async fn rows_of_a_removed_host_are_deleted_but_never_the_last_of_the_pool() {
    let sim = sim().await;
    let mut bench = Bench::start().await;
    let other = row(&sim, "somebody-elses").await;
    let (session, id) = host_with_agent(&mut bench, &sim).await;
    bench.wait_host("h1", |host| host.agents == 1).await;
    let remove = v1::RemoveHostRequest { host: "h1".into(), force: true };
    bench.operator.remove_host(remove).await.expect("removed");
    drop(session);
    sim.wait_for_row(LIMIT, "nightly", "nightly-h1-01", |row| row.is_none())
        .await
        .expect("deleted");
    let event = bench.wait_event("azure.row-deleted").await;
    assert_eq!(event.agent, "nightly-h1-01");
    let left: Vec<i64> = sim.rows(Some("nightly")).iter().map(|row| row.id).collect();
    assert_eq!(left, [other], "a foreign row is nobody's business, {id} was ours");
}
