//! What is left over at Azure, against the simulator.

use std::{collections::BTreeMap, time::Duration};

use azdo::{
    Client, ClientConfig, Credential, NewAgent,
    sim::{Entry, Fault, Kind, PatForm, Role, Sim, SimConfig, SimHandle},
};
use fleet_model::{HostReport, Phase};
use fleet_proto::v1::{self, LeftoverKind, LeftoverVerdict, session_response};

use crate::{
    host::{Host, Session, keeps},
    support::{Bench, LIMIT},
};

const TOKEN: &str = "pat-of-nightly";
const POOL: &str = "nightly";

/// A simulator, and a coordinator that finds rows left over at once.
async fn bench() -> (Bench, SimHandle) {
    bench_with(Duration::ZERO, Duration::from_secs(3600)).await
}

async fn bench_with(age: Duration, every: Duration) -> (Bench, SimHandle) {
    let pat =
        PatForm { token: TOKEN.into(), role: Role::Manager, name: "fleet".into(), expires: None };
    let config = SimConfig { pats: vec![pat], ..SimConfig::default() };
    let sim = Sim::start(config).await.expect("a simulator");
    let mut bench = Bench::start_with(|config| {
        config.leftover_age = age;
        config.tidy_every = every;
    })
    .await;
    bench.create_pool(POOL, "lab=svc", &sim.base_url()).await;
    (bench, sim)
}

fn client(sim: &SimHandle) -> Client {
    let credential = Credential::Pat(TOKEN.to_owned().into());
    Client::new(&ClientConfig::new(sim.base_url(), credential)).expect("a client")
}

/// A row without a listener; `owner` as its agent would say it.
async fn row(sim: &SimHandle, name: &str, owner: Option<&str>) -> i64 {
    let mark = owner.map(|owner| ("FLEET_OWNER".to_owned(), owner.to_owned()));
    let agent = NewAgent {
        name: name.into(),
        enabled: Some(true),
        system_capabilities: mark.into_iter().collect(),
        ..NewAgent::default()
    };
    let pool = sim.pool_id(POOL).expect("the pool");
    client(sim).add_agent(pool, &agent).await.expect("registered").value.id
}

async fn tidy(bench: &mut Bench, dry_run: bool) -> v1::TidyPool {
    let request = v1::TidyRequest { pool: POOL.into(), dry_run };
    let found = bench.operator.tidy(request).await.expect("looked through").into_inner();
    assert_eq!(found.pools.len(), 1, "{found:?}");
    found.pools.into_iter().next().expect("one")
}

fn verdicts(found: &v1::TidyPool) -> BTreeMap<&str, LeftoverVerdict> {
    found.leftovers.iter().map(|row| (row.agent.as_str(), row.verdict())).collect()
}

/// A host in session that says it has no agent at all.
async fn empty_host(bench: &mut Bench, name: &str) -> (Host, Session) {
    let host = Host::join(bench, name, "svc").await;
    let session = host.open_empty(bench).await;
    bench.wait_host(name, |host| host.state == v1::HostState::Ready as i32).await;
    (host, session)
}

/// A host in session, and the report by which it has an agent with the row `id`; not sent yet.
async fn host_to_report(bench: &mut Bench, id: i64) -> (Host, Session, HostReport) {
    let (host, mut session) = empty_host(bench, "h1").await;
    bench.scale(POOL, 1).await.expect("scaled");
    let assignment = session.assigned(POOL, 1).await;
    let mut report = keeps(&host.name, &assignment, Phase::Idle);
    report.agents[0].agent_id = Some(id);
    (host, session, report)
}

async fn row_gone(sim: &SimHandle, name: &str) {
    sim.wait_for_row(LIMIT, POOL, name, |row| row.is_none()).await.expect("the row is deleted");
}

/// What was done to a row, in order.
fn story(sim: &SimHandle, id: i64) -> Vec<Kind> {
    let of_row = |entry: &Entry| entry.about.agent_id == Some(id);
    sim.journal(0).into_iter().filter(of_row).map(|entry| entry.kind).collect()
}

#[tokio::test]
async fn a_dry_run_says_what_goes_and_why_and_does_nothing() {
    let (mut bench, sim) = bench().await;
    let (_host, _session) = empty_host(&mut bench, "h1").await;
    let foreign = row(&sim, "build-7", None).await;
    let left = row(&sim, "nightly-h1-03", Some("lab/h1/3")).await;
    row(&sim, "nightly-h9-01", Some("lab/h9/1")).await;
    row(&sim, "nightly-h1-04", Some("other/h1/4")).await;
    sim.mark("the look begins");
    let found = tidy(&mut bench, true).await;
    assert_eq!((found.in_use, found.foreign, found.leftovers.len()), (0, 2, 2), "{found:?}");
    let wanted =
        [("nightly-h1-03", LeftoverVerdict::Delete), ("nightly-h9-01", LeftoverVerdict::Keep)];
    assert_eq!(verdicts(&found), BTreeMap::from(wanted));
    let first = &found.leftovers[0];
    assert_eq!((first.agent_id, first.kind()), (left, LeftoverKind::Row));
    assert!(first.why.contains("host h1 has no such agent"), "{}", first.why);
    assert!(found.leftovers[1].why.contains("h9 is not known"), "{}", found.leftovers[1].why);
    // Several more looks at Azure pass, and nothing is done.
    bench.status().await;
    let again = tidy(&mut bench, true).await;
    assert_eq!(verdicts(&again), verdicts(&found));
    assert_eq!(sim.rows(Some(POOL)).len(), 4);
    let kinds: Vec<String> = bench.history().await.into_iter().map(|event| event.kind).collect();
    assert!(!kinds.iter().any(|kind| kind.starts_with("azure.row")), "{kinds:?}");

    // And in earnest exactly that goes, behind a disable.
    let found = tidy(&mut bench, false).await;
    assert_eq!(verdicts(&found)["nightly-h1-03"], LeftoverVerdict::Delete);
    row_gone(&sim, "nightly-h1-03").await;
    let given_up = bench.wait_event("azure.row-given-up").await;
    assert_eq!((given_up.actor.as_str(), given_up.agent.as_str()), ("ann", "nightly-h1-03"));
    bench.wait_event("azure.row-deleted").await;
    assert_eq!(story(&sim, left), [Kind::AgentRegistered, Kind::AgentDisabled, Kind::AgentDeleted]);
    let left: Vec<i64> = sim.rows(Some(POOL)).iter().map(|row| row.id).collect();
    assert!(left.len() == 3 && left.contains(&foreign), "{left:?}");
    let found = tidy(&mut bench, true).await;
    assert_eq!((found.foreign, found.leftovers.len()), (2, 1));
}

#[tokio::test]
async fn what_is_young_waits_until_it_is_not() {
    let (mut bench, sim) = bench_with(Duration::from_secs(600), Duration::from_secs(3600)).await;
    let (_host, _session) = empty_host(&mut bench, "h1").await;
    row(&sim, "build-7", None).await;
    row(&sim, "nightly-h1-03", Some("lab/h1/3")).await;
    let found = tidy(&mut bench, false).await;
    let waits = &found.leftovers[0];
    assert_eq!(waits.verdict(), LeftoverVerdict::Wait);
    let seconds = |at: &Option<prost_types::Timestamp>| at.as_ref().expect("a time").seconds;
    assert_eq!(seconds(&waits.until) - seconds(&waits.since), 600);
    assert_eq!(sim.rows(Some(POOL)).len(), 2);
}

#[tokio::test]
async fn now_and_then_it_is_done_without_being_asked() {
    let (mut bench, sim) = bench_with(Duration::ZERO, Duration::from_millis(200)).await;
    row(&sim, "build-7", None).await;
    row(&sim, "nightly-h1-03", Some("lab/h1/3")).await;
    let (_host, _session) = empty_host(&mut bench, "h1").await;
    row_gone(&sim, "nightly-h1-03").await;
    let given_up = bench.wait_event("azure.row-given-up").await;
    assert_eq!(given_up.actor, "coordinator");
    assert_eq!(sim.rows(Some(POOL)).len(), 1, "the foreign one stays");
}

#[tokio::test]
async fn a_row_that_gets_an_agent_after_all_is_as_it_was() {
    let (mut bench, sim) = bench().await;
    row(&sim, "build-7", None).await;
    let id = row(&sim, "nightly-h1-01", Some("lab/h1/1")).await;
    let (host, _first, report) = host_to_report(&mut bench, id).await;
    // Deleting is refused from here on.
    sim.fault(Fault { method: Some("DELETE".into()), status: Some(503), ..Fault::default() });
    tidy(&mut bench, false).await;
    let off = sim.wait_for_row(LIMIT, POOL, "nightly-h1-01", |row| row.is_some_and(|r| !r.enabled));
    off.await.expect("disabled");
    // The coordinator is killed in the middle of it, and knows what it did.
    bench.restart().await;
    let mut session = host.open(&bench).await;
    session.report(&report).await;
    let on = sim.wait_for_row(LIMIT, POOL, "nightly-h1-01", |row| row.is_some_and(|r| r.enabled));
    on.await.expect("enabled again");
    sim.clear_faults();
    bench.wait_event("azure.row-kept").await;
    let found = tidy(&mut bench, false).await;
    assert_eq!((found.in_use, found.leftovers.len()), (1, 0), "{found:?}");
    session.heartbeat().await;
}

#[tokio::test]
async fn a_row_that_vanished_while_its_host_was_away_is_told_and_shown() {
    let (mut bench, sim) = bench().await;
    row(&sim, "build-7", None).await;
    let id = row(&sim, "nightly-h1-01", Some("lab/h1/1")).await;
    let (host, session, report) = host_to_report(&mut bench, id).await;
    session.report(&report).await;
    drop(session);
    let pool = sim.pool_id(POOL).expect("the pool");
    client(&sim).delete_agent(pool, id).await.expect("deleted by somebody");
    // Also by a coordinator that never saw the row.
    bench.restart().await;
    bench.wait_pool(POOL, |pool| pool.azure_seen.is_some()).await;
    let mut session = host.open(&bench).await;
    session.report(&report).await;
    let told = async {
        loop {
            if let session_response::Message::Rows(rows) = session.next().await.expect("goes on")
                && rows.rows.iter().any(|row| row.gone && row.agent_id == id)
            {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, told).await.expect("the host is told");
    let found = tidy(&mut bench, true).await;
    let leftover = found.leftovers.first().expect("it is shown");
    assert_eq!((leftover.kind(), leftover.agent_id), (LeftoverKind::Agent, id));
    assert_eq!(leftover.verdict(), LeftoverVerdict::Replace);
}

#[tokio::test]
async fn an_azure_that_does_not_answer_is_said_and_an_unknown_pool_refused() {
    let (mut bench, sim) = bench().await;
    sim.fault(Fault { status: Some(503), ..Fault::default() });
    bench.wait_pool(POOL, |pool| !pool.troubles.is_empty()).await;
    let found = tidy(&mut bench, true).await;
    assert!(found.trouble.contains("503"), "{found:?}");
    let request = v1::TidyRequest { pool: "nightyl".into(), dry_run: true };
    let refused = bench.operator.tidy(request).await.expect_err("no such pool");
    assert_eq!(refused.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn a_row_that_somebody_enables_meanwhile_is_disabled_anew_first() {
    let (mut bench, sim) = bench().await;
    let (_host, _session) = empty_host(&mut bench, "h1").await;
    row(&sim, "build-7", None).await;
    let id = row(&sim, "nightly-h1-03", Some("lab/h1/3")).await;
    sim.fault(Fault { method: Some("DELETE".into()), status: Some(503), ..Fault::default() });
    tidy(&mut bench, false).await;
    let off = sim.wait_for_row(LIMIT, POOL, "nightly-h1-03", |row| row.is_some_and(|r| !r.enabled));
    off.await.expect("disabled");
    let pool = sim.pool_id(POOL).expect("the pool");
    client(&sim).set_enabled(pool, id, "nightly-h1-03", true).await.expect("enabled by somebody");
    sim.wait_for_row(LIMIT, POOL, "nightly-h1-03", |row| row.is_some_and(|r| !r.enabled))
        .await
        .expect("disabled anew, before anything else");
    sim.clear_faults();
    row_gone(&sim, "nightly-h1-03").await;
    let deletes = story(&sim, id).into_iter().filter(|kind| *kind == Kind::AgentDeleted);
    assert_eq!(deletes.count(), 1);
}
