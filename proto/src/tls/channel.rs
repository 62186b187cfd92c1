//! Channels to a tonic server.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use socket2::{SockRef, TcpKeepalive};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};

use super::{Proxy, TlsError, trouble::DialError};

/// HTTP/2 pings, also on an idle connection: without them a cut cable is noticed never.
pub(super) const PING_EVERY: Duration = Duration::from_secs(10);
/// A ping without an answer ends the connection.
pub(super) const PING_LIMIT: Duration = Duration::from_secs(20);
/// From the first packet to the end of the handshake, proxy included.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5));

/// A channel to `endpoint` (HOST:PORT), whose certificate must carry `server_name`. It connects at
/// the first call and again after each loss, each time with the newest configuration; calls fail
/// at once while it cannot. With a proxy the connection is made by HTTP CONNECT.
///
/// # Errors
/// When endpoint or name are malformed; nothing is dialled here.
pub fn channel(
    endpoint: &str,
    server_name: &str,
    config: Arc<ArcSwap<ClientConfig>>,
    proxy: Option<Proxy>,
) -> Result<Channel, TlsError> {
    let name = ServerName::try_from(server_name.to_owned())
        .map_err(|_| TlsError::ServerName(server_name.to_owned()))?;
    let target = Arc::new(Target { endpoint: host_and_port(endpoint)?, name, config, proxy });
    let connector = tower::service_fn(move |_| connect(Arc::clone(&target)));
    // http:// on purpose: tonic would add a TLS of its own to https://. The origin is what the
    // server sees as scheme and authority.
    let malformed = |_| TlsError::Endpoint(endpoint.to_owned());
    Ok(Endpoint::from_shared(format!("http://{endpoint}"))
        .map_err(malformed)?
        .origin(origin(server_name)?)
        .http2_keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_LIMIT)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector))
}

/// Small writes at once, and a dead peer is noticed by the kernel too. Neither is worth a refusal.
pub(super) fn tune(tcp: &TcpStream) {
    let _ = tcp.set_nodelay(true);
    let _ = SockRef::from(tcp).set_tcp_keepalive(&KEEPALIVE);
}

struct Target {
    endpoint: String,
    name: ServerName<'static>,
    config: Arc<ArcSwap<ClientConfig>>,
    proxy: Option<Proxy>,
}

type Connecting = Pin<Box<dyn Future<Output = Result<Connection, DialError>> + Send>>;
type Connection = TokioIo<TlsStream<TcpStream>>;

fn connect(target: Arc<Target>) -> Connecting {
    Box::pin(async move {
        match timeout(CONNECT_LIMIT, dial(&target)).await {
            Ok(done) => done.map(TokioIo::new),
            Err(_) => Err(DialError::Slow { endpoint: target.endpoint.clone() }),
        }
    })
}

async fn dial(target: &Target) -> Result<TlsStream<TcpStream>, DialError> {
    let endpoint = || target.endpoint.clone();
    let tcp = match &target.proxy {
        Some(proxy) => proxy
            .connect(&target.endpoint)
            .await
            .map_err(|source| DialError::Proxy { endpoint: endpoint(), source })?,
        None => TcpStream::connect(&target.endpoint)
            .await
            .map_err(|source| DialError::Tcp { endpoint: endpoint(), source })?,
    };
    tune(&tcp);
    TlsConnector::from(target.config.load_full())
        .connect(target.name.clone(), tcp)
        .await
        .map_err(|error| DialError::handshake(endpoint(), error))
}

/// HOST:PORT with both there; an IPv6 address stands in brackets.
pub(super) fn host_and_port(text: &str) -> Result<String, TlsError> {
    let malformed = || TlsError::Endpoint(text.to_owned());
    let authority: http::uri::Authority = text.parse().map_err(|_| malformed())?;
    let plain = !authority.host().is_empty() && !text.contains('@');
    if plain && authority.port_u16().is_some_and(|port| port > 0) {
        Ok(text.to_owned())
    } else {
        Err(malformed())
    }
}

fn origin(server_name: &str) -> Result<http::Uri, TlsError> {
    let bracketed = if server_name.contains(':') {
        format!("https://[{server_name}]")
    } else {
        format!("https://{server_name}")
    };
    bracketed.parse().map_err(|_| TlsError::ServerName(server_name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_has_a_host_and_a_port() {
        for good in ["coordinator:7443", "127.0.0.1:7443", "[::1]:7443", "a.b-c.example:1"] {
            assert!(host_and_port(good).is_ok(), "{good}");
        }
        for bad in
            ["", "coordinator", ":7443", "a:0", "a:70000", "a b:1", "http://a:1", "u@a:1", "::1:7"]
        {
            assert!(host_and_port(bad).is_err(), "{bad:?}");
        }
        assert!(origin("::1").is_ok() && origin("127.0.0.1").is_ok());
    }
}
