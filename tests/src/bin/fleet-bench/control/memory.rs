//! The coordinator's memory: a thousand hosts, fifty agents each, and their rows at Azure.

use std::time::Duration;

use azdo::{Client, ClientConfig, Credential, NewAgent};
use fleet_model::{Order, Phase};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::sleep;

use super::{LAB, crowd::Crowd, enrol, operator};
use crate::{
    fleet::{Fleet, Programs},
    proc::{Usage, usage},
    results::{Goal, Row},
};

/// The agents are spread over so many pools.
const POOLS: usize = 10;
/// Registrations at once at the simulator.
const REGISTRATIONS: usize = 32;
/// Long enough for several looks at Azure (one every 10 s for each pool).
const REST: Duration = Duration::from_secs(45);
const EVERY: Duration = Duration::from_secs(1);

/// Rows of the section.
pub(crate) async fn measure(
    programs: Programs,
    hosts: usize,
    agents: usize,
) -> anyhow::Result<Vec<Row>> {
    let pools: Vec<String> = (0..POOLS).map(|number| format!("bench-{number}")).collect();
    let names: Vec<&str> = pools.iter().map(String::as_str).collect();
    let fleet = Fleet::start(programs, &names).await?;
    let each = agents / POOLS;
    eprintln!("  {} rows at the simulator", hosts * each * POOLS);
    register(&fleet, &names, hosts, each).await?;

    let (mut client, server_name) = operator::client(&fleet)?;
    eprintln!("  {hosts} hosts join");
    let members = enrol::join_all(&client, &fleet.addresses.enroll_listen, LAB, hosts).await?;
    let mut crowd = Crowd::open(members, &fleet.addresses.listen, &server_name);
    operator::wait_hosts(&mut client, hosts, Order::default()).await?;
    let bare = usage(fleet.coordinator.pid()?)?;

    let selector = format!("lab={LAB}");
    let mut order = Order::default();
    for name in &names {
        fleet.create_pool(name, &["--selector", &selector, "--image", "fleet-agent:bench"]).await?;
        order = operator::scale(&mut client, name, hosts * each).await?;
    }
    crowd.all_reached(order).await?;
    eprintln!("  every host reports {} agents", each * POOLS);
    let all = hosts * each * POOLS;
    crowd.report(Some(Phase::Starting));
    operator::wait_agents(&mut client, all, |counts| counts.starting).await?;
    crowd.report(Some(Phase::Idle));
    operator::wait_agents(&mut client, all, |counts| counts.ready).await?;
    eprintln!("  at rest for {REST:?}");
    let (most, last) = watch(fleet.coordinator.pid()?).await?;
    crowd.still_there()?;
    drop(crowd);
    fleet.stop().await?;
    Ok(rows(hosts, agents, bare, most, last))
}

fn rows(hosts: usize, agents: usize, bare: Usage, most: f64, last: Usage) -> Vec<Row> {
    let what = format!("coordinator, {hosts} hosts × {agents} agents");
    vec![
        Row::new(
            format!("{what}: resident at rest, largest of {} looks", looks()),
            "MiB",
            vec![most],
        )
        .goal(Goal::AtMost(150.0)),
        Row::new(format!("{what}: of it, not pages of files (last look)"), "MiB", vec![last.own]),
        Row::new(format!("{what}: largest ever"), "MiB", vec![last.peak]),
        Row::new(
            format!("coordinator, {hosts} hosts in session, no agent"),
            "MiB",
            vec![bare.resident],
        ),
    ]
}

const fn looks() -> u64 {
    REST.as_secs() / EVERY.as_secs()
}

/// The largest of many looks, since memory breathes with every look at Azure; and the last look.
async fn watch(pid: u32) -> anyhow::Result<(f64, Usage)> {
    let mut last = usage(pid)?;
    let mut most: f64 = 0.0;
    for _ in 0..looks() {
        sleep(EVERY).await;
        last = usage(pid)?;
        most = most.max(last.resident);
    }
    Ok((most, last))
}

/// A row for every agent that will be reported, so that the coordinator has both sides to hold.
async fn register(fleet: &Fleet, pools: &[&str], hosts: usize, each: usize) -> anyhow::Result<()> {
    let sim = fleet.sim()?;
    let token = std::fs::read_to_string(&sim.token_file)?;
    let config = ClientConfig::new(sim.organization(), Credential::Pat(token.into()));
    let azure = Client::new(&config)?;
    for pool in pools {
        let found = azure.pools(Some(pool)).await?.value;
        let id = found.first().map_or(0, |pool| pool.id);
        let prefix: fleet_model::AgentPrefix = pool.parse()?;
        let mut names = Vec::with_capacity(hosts * each);
        for host in 0..hosts {
            let host = enrol::host_name(host)?;
            for slot in 1..=u16::try_from(each)? {
                names.push(fleet_model::AgentName::for_slot(&prefix, &host, slot)?.to_string());
            }
        }
        let add = |name: String| {
            let azure = azure.clone();
            async move { azure.add_agent(id, &row(name)).await.map(drop) }
        };
        stream::iter(names).map(add).buffer_unordered(REGISTRATIONS).try_collect::<()>().await?;
    }
    Ok(())
}

/// As an agent registers, without a key: nobody listens.
fn row(name: String) -> NewAgent {
    NewAgent {
        name,
        version: Some("4.260.0".into()),
        os_description: Some("Linux 6.1.0-18-amd64 #1 SMP Debian 6.1.76-1".into()),
        enabled: Some(true),
        max_parallelism: Some(1),
        ..NewAgent::default()
    }
}
