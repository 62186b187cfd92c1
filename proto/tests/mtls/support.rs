//! A real server on 127.0.0.1 that says who called.

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use fleet_model::HostName;
use fleet_proto::{
    pki::{self, Ca, Life},
    tls::{self, Identity, Peer, Proxy},
    v1::{self, host_service_client::HostServiceClient, host_service_server as host_service},
};
use rustls::{ClientConfig, ServerConfig};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status, Streaming, transport::Channel};

pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
pub(crate) const NAME: &str = "coordinator.fleet.test";

pub(crate) fn ca() -> Ca {
    Ca::create("fleet-test").expect("a CA")
}

pub(crate) fn host(name: &str) -> HostName {
    name.parse().expect("a host")
}

/// A host's key with a certificate of `ca` that is good for `life`.
pub(crate) fn host_identity(ca: &Ca, name: &str, life: Life) -> Identity {
    let (key, csr) = pki::key_and_csr(&host(name)).expect("a request");
    Identity::new(ca.sign_host(&csr, &host(name), life).expect("signed"), key)
}

pub(crate) fn server_identity(ca: &Ca) -> Identity {
    let names = [NAME.to_owned(), "127.0.0.1".to_owned()];
    ca.server_certificate(&names, Life::of(DAY)).expect("a certificate")
}

/// A life that ended a day ago.
pub(crate) fn past() -> Life {
    Life::starting(SystemTime::now() - 2 * DAY, DAY)
}

pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) config: Arc<ArcSwap<ServerConfig>>,
    pub(crate) shutdown: CancellationToken,
    _end: DropGuard,
}

impl Server {
    pub(crate) async fn start(config: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let config = Arc::new(ArcSwap::from(config));
        let shutdown = CancellationToken::new();
        let incoming = tls::accept(listener, Arc::clone(&config), shutdown.clone());
        let service = host_service::HostServiceServer::new(WhoAmI);
        tokio::spawn(tls::server().add_service(service).serve_with_incoming(incoming));
        Self { address, config, shutdown: shutdown.clone(), _end: shutdown.drop_guard() }
    }

    pub(crate) async fn mutual(ca: &Ca) -> Self {
        let config = tls::server_config_mutual(&server_identity(ca), ca.certificate_pem());
        Self::start(config.expect("a configuration")).await
    }

    pub(crate) fn channel(&self, config: Arc<ClientConfig>) -> Channel {
        self.channel_through(Arc::new(ArcSwap::from(config)), None)
    }

    pub(crate) fn channel_through(
        &self,
        config: Arc<ArcSwap<ClientConfig>>,
        proxy: Option<Proxy>,
    ) -> Channel {
        tls::channel(&self.address, NAME, config, proxy).expect("a good endpoint")
    }
}

/// Whom the server takes the caller for.
pub(crate) async fn who(channel: Channel) -> Result<String, Status> {
    let call = HostServiceClient::new(channel).renew(v1::RenewRequest::default()).await?;
    Ok(call.into_inner().certificate_pem)
}

pub(crate) fn client(identity: &Identity, ca: &Ca) -> Arc<ClientConfig> {
    tls::client_config(identity, ca.certificate_pem()).expect("a configuration")
}

struct WhoAmI;

type Answers = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl host_service::HostService for WhoAmI {
    type SessionStream = Answers;

    /// Answers each message with one.
    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let (answers, stream) = mpsc::channel(1);
        let mut messages = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(_)) = messages.message().await {
                if answers.send(Ok(v1::SessionResponse::default())).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let certificate_pem = match Peer::of(&request) {
            Ok(peer) => peer.to_string(),
            Err(status) => status.message().to_owned(),
        };
        Ok(Response::new(v1::RenewResponse { certificate_pem, ca_pem: String::new() }))
    }

    type UploadLogsStream = tokio_stream::Empty<Result<v1::UploadLogsResponse, Status>>;

    async fn upload_logs(
        &self,
        _: Request<Streaming<v1::UploadLogsRequest>>,
    ) -> Result<Response<Self::UploadLogsStream>, Status> {
        Err(Status::unimplemented("no log is asked for"))
    }
}
