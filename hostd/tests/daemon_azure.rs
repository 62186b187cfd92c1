//! What a host asks of Azure, asked of the simulator.

use std::time::{Duration, Instant};

use azdo::{
    Client, ClientConfig, Credential, NewAgent,
    sim::{Fault, JobForm, PatForm, Role, Sim, SimConfig, SimHandle},
};
use fleet_model::{AgentName, AzureTarget, CredentialRef};
use fleet_proto::seal::fingerprint;
use hostd::execute::{Azure, AzureClients, AzurePool};
use hostd_plan::{AzureFailure, RowId, RowRead};

const TOKEN: &str = "token-of-a-manager";
const POOL: &str = "nightly";

async fn simulator() -> SimHandle {
    let pats = vec![PatForm::manager(TOKEN)];
    Sim::start(SimConfig { pats, ..SimConfig::default() }).await.expect("it starts")
}

fn pool(sim: &SimHandle, token: &str) -> AzurePool {
    AzurePool {
        target: AzureTarget { url: sim.base_url(), pool: POOL.into() },
        credential: CredentialRef {
            name: "pat".parse().expect("a name"),
            fingerprint: fingerprint(token.as_bytes()),
        },
        secret: token.to_owned().into(),
    }
}

fn agent() -> AgentName {
    "nightly-h1-01".parse().expect("a name")
}

/// A row as a configuration run leaves it.
async fn row(sim: &SimHandle, owner: Option<&str>) -> RowId {
    let credential = Credential::Pat(TOKEN.to_owned().into());
    let client = Client::new(&ClientConfig::new(sim.base_url(), credential)).expect("a client");
    let pool_id = sim.pool_id(POOL).expect("there");
    let owner = owner.map(|owner| ("FLEET_OWNER".to_owned(), owner.to_owned()));
    let new = NewAgent {
        name: agent().to_string(),
        version: Some("4.260.0".into()),
        system_capabilities: owner.into_iter().collect(),
        ..NewAgent::default()
    };
    let added = client.add_agent(pool_id, &new).await.expect("added").value;
    RowId { pool_id, agent_id: added.id }
}

#[tokio::test]
async fn a_row_is_disabled_read_and_deleted_by_its_id() {
    let sim = simulator().await;
    let (azure, pool) = (AzureClients::default(), pool(&sim, TOKEN));
    let row = row(&sim, None).await;
    azure.set_enabled(&pool, row, &agent(), false).await.expect("disabled");
    let RowRead::There(id, state) = azure.read(&pool, row, &agent()).await.expect("read") else {
        panic!("it is there");
    };
    assert_eq!((id, state.enabled, state.online), (row, false, false));
    assert_eq!(state.assigned, None);
    azure.set_enabled(&pool, row, &agent(), true).await.expect("enabled");
    assert!(azure.list(&pool).await.expect("listed")[&row.agent_id].enabled);
    azure.delete(&pool, row).await.expect("deleted");
    assert_eq!(azure.read(&pool, row, &agent()).await, Err(AzureFailure::RowGone));
    assert_eq!(azure.delete(&pool, row).await, Err(AzureFailure::RowGone));
    let again = azure.set_enabled(&pool, row, &agent(), false).await;
    assert_eq!(again, Err(AzureFailure::RowGone));
    assert!(azure.list(&pool).await.expect("listed").is_empty());
}

#[tokio::test]
async fn a_row_is_found_by_its_name_with_its_owner() {
    let sim = simulator().await;
    let (azure, pool) = (AzureClients::default(), pool(&sim, TOKEN));
    assert_eq!(azure.find(&pool, &agent()).await, Ok(None));
    let row = row(&sim, Some("f/h1/1")).await;
    let found = azure.find(&pool, &agent()).await.expect("asked").expect("there");
    assert_eq!((found.row, found.owner.as_deref()), (row, Some("f/h1/1")));
    let mut elsewhere = pool.clone();
    elsewhere.target.pool = "no such pool".into();
    let Err(AzureFailure::NotAllowed(why)) = azure.find(&elsewhere, &agent()).await else {
        panic!("an unknown pool is no missing row");
    };
    assert!(why.contains("no such pool") && why.contains("pat"), "{why}");
}

#[tokio::test]
async fn a_refused_credential_is_told_and_a_new_one_of_its_name_is_used() {
    let sim = simulator().await;
    let azure = AzureClients::default();
    let row = row(&sim, None).await;
    let old = pool(&sim, TOKEN);
    azure.read(&old, row, &agent()).await.expect("read");
    sim.revoke_pat(TOKEN);
    let Err(AzureFailure::NotAllowed(why)) = azure.read(&old, row, &agent()).await else {
        panic!("it is refused");
    };
    assert!(why.contains("credential pat") && !why.contains(TOKEN), "{why}");
    sim.add_pat(&PatForm { role: Role::Reader, ..PatForm::manager("token-of-a-reader") });
    let reader = azure.set_enabled(&pool(&sim, "token-of-a-reader"), row, &agent(), false).await;
    let Err(AzureFailure::NotAllowed(why)) = reader else { panic!("it may only read") };
    assert!(why.contains("Agent Pools (read, manage)"), "{why}");
    sim.add_pat(&PatForm::manager("token-2"));
    azure.read(&pool(&sim, "token-2"), row, &agent()).await.expect("read");
}

#[tokio::test]
async fn trouble_is_no_answer_about_the_row() {
    let sim = simulator().await;
    let pool = pool(&sim, TOKEN);
    let row = row(&sim, None).await;
    let faults = [
        Fault { status: Some(503), retry_after_s: Some(40), ..Fault::default() },
        Fault { status: Some(429), retry_after_s: Some(40), ..Fault::default() },
        Fault { status: Some(500), ..Fault::default() },
        Fault { drop: Some(azdo::sim::Break::Before), ..Fault::default() },
        Fault { html203: true, ..Fault::default() },
    ];
    for fault in faults {
        sim.clear_faults();
        sim.fault(fault.clone());
        // A client of its own: what one was told to wait for is no business of the next.
        let azure = AzureClients::default();
        for failed in
            [azure.read(&pool, row, &agent()).await.map(drop), azure.delete(&pool, row).await]
        {
            match (fault.html203, failed) {
                (true, Err(AzureFailure::NotAllowed(_))) => {}
                (false, Err(AzureFailure::Unavailable { retry_after, .. })) => {
                    assert_eq!(retry_after.is_some(), fault.retry_after_s.is_some(), "{fault:?}");
                }
                (_, other) => panic!("{fault:?}: {other:?}"),
            }
        }
    }
    sim.clear_faults();
    assert!(AzureClients::default().read(&pool, row, &agent()).await.is_ok(), "the row stands");
}

#[tokio::test]
async fn a_wish_on_a_good_answer_is_heard() {
    let sim = simulator().await;
    let (azure, pool) = (AzureClients::default(), pool(&sim, TOKEN));
    let row = row(&sim, None).await;
    let wish = |seconds| Fault { retry_after_s: Some(seconds), count: Some(1), ..Fault::default() };
    sim.fault(wish(1));
    azure.read(&pool, row, &agent()).await.expect("good all the same");
    let since = Instant::now();
    azure.read(&pool, row, &agent()).await.expect("after the wait");
    assert!(since.elapsed() >= Duration::from_millis(900), "{:?}", since.elapsed());
    sim.fault(wish(60));
    azure.read(&pool, row, &agent()).await.expect("good all the same");
    let asked = sim.summary().requests;
    let held = azure.read(&pool, row, &agent()).await;
    let Err(AzureFailure::Unavailable { retry_after: Some(left), .. }) = held else {
        panic!("{held:?}");
    };
    assert!(left > Duration::from_secs(50) && left <= Duration::from_secs(60), "{left:?}");
    assert_eq!(sim.summary().requests, asked, "Azure was left alone");
}

#[tokio::test]
async fn a_queued_job_shows_on_no_offline_row() {
    let sim = simulator().await;
    let (azure, pool) = (AzureClients::default(), pool(&sim, TOKEN));
    let row = row(&sim, None).await;
    sim.queue(POOL, JobForm::default()).expect("queued");
    let RowRead::There(_, state) = azure.read(&pool, row, &agent()).await.expect("read") else {
        panic!("it is there");
    };
    assert_eq!(state.assigned, None);
}
