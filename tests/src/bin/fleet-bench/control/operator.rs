//! An operator of the fleet, over the contract.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use fleet_model::Order;
use fleet_proto::{
    tls::{self, Identity},
    v1::{self, fleet_service_client::FleetServiceClient},
};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use crate::fleet::Fleet;

/// A thousand hosts and more in one answer.
const ANSWER_MAX: usize = 64 << 20;
/// For a thousand hosts to come, or to say what they run.
const LIMIT: Duration = Duration::from_secs(180);
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) type Client = FleetServiceClient<Channel>;

/// What is needed of the file that `coordinator init` wrote.
#[derive(Deserialize)]
struct Credential {
    server_name: String,
    ca: String,
    certificate: String,
    key: String,
}

/// A client with the operator's credential, and the name of the coordinator's certificate.
pub(super) fn client(fleet: &Fleet) -> anyhow::Result<(Client, String)> {
    let credential = read(&fleet.operator_file())?;
    let identity = Identity::new(credential.certificate, credential.key.into());
    let config = tls::client_config(&identity, &credential.ca)?;
    let config = Arc::new(ArcSwap::new(config));
    let name = credential.server_name;
    let channel = tls::channel(&fleet.addresses.listen, &name, config, None)?;
    Ok((FleetServiceClient::new(channel).max_decoding_message_size(ANSWER_MAX), name))
}

fn read(path: &Path) -> anyhow::Result<Credential> {
    let text = std::fs::read_to_string(path)?;
    toml::from_str(&text).context("the operator's credential")
}

/// Gives the order; the order's number.
pub(super) async fn scale(client: &mut Client, pool: &str, count: usize) -> anyhow::Result<Order> {
    let request = v1::ScaleRequest {
        pool: pool.to_owned(),
        replicas: i64::try_from(count)?,
        ..Default::default()
    };
    let answer = client.scale(request).await?.into_inner();
    answer.order.map(Order::from).context("the answer names no order")
}

/// Waits until so many hosts are Ready and have taken `order`.
pub(super) async fn wait_hosts(
    client: &mut Client,
    count: usize,
    order: Order,
) -> anyhow::Result<()> {
    let end = Instant::now() + LIMIT;
    loop {
        let hosts = client.list_hosts(v1::ListHostsRequest::default()).await?.into_inner().hosts;
        let good = |host: &&v1::Host| {
            host.state() == v1::HostState::Ready
                && host.applied.map(Order::from).unwrap_or_default() >= order
        };
        let ready = hosts.iter().filter(good).count();
        if ready >= count {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{ready} of {count} hosts are ready with order {order} after {LIMIT:?}");
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until so many agents of all pools are ready, or on their way.
pub(super) async fn wait_agents(
    client: &mut Client,
    count: usize,
    number: fn(&v1::PoolCounts) -> u32,
) -> anyhow::Result<()> {
    let end = Instant::now() + LIMIT;
    loop {
        let pools = client.list_pools(v1::ListPoolsRequest::default()).await?.into_inner().pools;
        let counts = pools.iter().filter_map(|pool| pool.counts.as_ref());
        let found = counts.map(|counts| number(counts) as usize).sum::<usize>();
        if found >= count {
            return Ok(());
        }
        if Instant::now() > end {
            bail!("{found} of {count} agents are known after {LIMIT:?}");
        }
        sleep(LOOK_EVERY).await;
    }
}
