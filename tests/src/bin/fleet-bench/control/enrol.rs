//! A thousand hosts join as hosts do: invited, with a one-time token, on the enrolment port.
//!
//! The coordinator lets one address ask only now and then. A thousand servers have a thousand
//! addresses; here each few hosts dial from a loopback address of their own.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::Context as _;
use fleet_model::HostName;
use fleet_proto::{
    pki,
    tls::{self, Identity},
    v1::{
        self, enroll_service_client::EnrollServiceClient, fleet_service_client::FleetServiceClient,
    },
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

/// Joins from one address: below what the coordinator lets pass at once.
const PER_ADDRESS: usize = 30;
/// Addresses that join at the same time.
const ADDRESSES_AT_ONCE: usize = 8;

/// A host that may open sessions.
#[derive(Clone)]
pub(super) struct Member {
    pub(super) name: HostName,
    pub(super) identity: Identity,
    pub(super) ca: String,
}

/// The n-th host's name.
pub(super) fn host_name(number: usize) -> anyhow::Result<HostName> {
    Ok(format!("host-{number:04}").parse()?)
}

/// Invites and joins `count` hosts of lab `lab`.
pub(super) async fn join_all(
    operator: &FleetServiceClient<Channel>,
    endpoint: &str,
    lab: &str,
    count: usize,
) -> anyhow::Result<Vec<Member>> {
    let numbers: Vec<usize> = (0..count).collect();
    let groups = numbers.chunks(PER_ADDRESS).map(<[usize]>::to_vec).enumerate();
    let joined = stream::iter(groups)
        .map(|(group, numbers)| join_from(operator.clone(), endpoint, lab, group, numbers))
        .buffered(ADDRESSES_AT_ONCE)
        .try_collect::<Vec<_>>();
    Ok(joined.await?.into_iter().flatten().collect())
}

async fn join_from(
    mut operator: FleetServiceClient<Channel>,
    endpoint: &str,
    lab: &str,
    group: usize,
    numbers: Vec<usize>,
) -> anyhow::Result<Vec<Member>> {
    let mut channel = None;
    let mut members = Vec::new();
    for number in numbers {
        let name = host_name(number)?;
        let host = name.to_string();
        let invite = v1::InviteHostRequest { host, lab: lab.to_owned(), ..Default::default() };
        let invitation = operator.invite_host(invite).await?.into_inner();
        let channel = match &channel {
            Some(channel) => channel,
            None => channel.insert(dial(endpoint, group, &invitation.ca_pin)?),
        };
        members.push(join(channel.clone(), name, invitation.token).await?);
    }
    Ok(members)
}

async fn join(channel: Channel, name: HostName, token: String) -> anyhow::Result<Member> {
    let (key, csr_pem) = pki::key_and_csr(&name)?;
    let request = v1::JoinRequest { host: name.to_string(), token: token.into_bytes(), csr_pem };
    let joined = EnrollServiceClient::new(channel).join(request).await?.into_inner();
    let identity = Identity::new(joined.certificate_pem, key);
    Ok(Member { name, identity, ca: joined.ca_pem })
}

/// A channel to the enrolment port from the loopback address of this group of hosts.
fn dial(endpoint: &str, group: usize, ca_pin: &str) -> anyhow::Result<Channel> {
    let config = tls::client_config_pinned(ca_pin)?;
    let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + u32::try_from(group)?);
    let to = endpoint.parse().context("the enrolment port's address")?;
    let connector = tower::service_fn(move |_| connect(from, to, Arc::clone(&config)));
    let channel = Endpoint::from_shared(format!("http://{endpoint}"))?;
    Ok(channel.connect_with_connector_lazy(connector))
}

async fn connect(
    from: Ipv4Addr,
    to: std::net::SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<TokioIo<TlsStream<TcpStream>>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let tcp = socket.connect(to).await?;
    tcp.set_nodelay(true)?;
    let name = ServerName::IpAddress(to.ip().into());
    Ok(TokioIo::new(TlsConnector::from(config).connect(name, tcp).await?))
}
