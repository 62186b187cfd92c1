//! `HostService`: the sessions of hosts, the logs that they were asked for, and the renewal of their
//! certificates.

mod logs;
mod session;

use std::{sync::Arc, time::Duration};

use fleet_model::HostName;
use fleet_proto::{
    pki::Ca,
    tls::PeerCertificate,
    v1::{self, host_service_server::HostService},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::{
    clock::Clock,
    credentials::Vault,
    fleet_loop::{Enrol, FleetHandle},
    logs::LogDesk,
    signer, status,
};

/// Messages on their way to one host. Everything that could be more lies in the session's mailbox,
/// where the newest replaces what is older.
const ON_THE_WAY: usize = 4;

/// Numbers of sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionSettings {
    /// Both sides say something at least this often.
    pub heartbeat: Duration,
    /// Who is silent for longer has no session any more.
    pub lease: Duration,
}

/// What every session needs.
pub(crate) struct Shared {
    pub(crate) handle: FleetHandle,
    pub(crate) vault: Arc<Vault>,
    pub(crate) ca: Arc<Ca>,
    pub(crate) clock: Clock,
    pub(crate) settings: SessionSettings,
    pub(crate) logs: Arc<LogDesk>,
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Hosts(pub(crate) Arc<Shared>);

#[tonic::async_trait]
impl HostService for Hosts {
    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (host, certificate) = status::host(&request)?;
        let (outgoing, stream) = mpsc::channel(ON_THE_WAY);
        // Answered at once: a client may wait for the headers before it says Hello. Refusals come
        // as the end of the stream.
        let shared = Arc::clone(&self.0);
        tokio::spawn(session::run(
            shared,
            host,
            certificate.public_key_sha256,
            request.into_inner(),
            outgoing,
        ));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let (host, certificate) = status::host(&request)?;
        let renewed = self.renewed(&host, certificate, &request.into_inner().csr_pem).await?;
        Ok(Response::new(renewed))
    }

    type UploadLogsStream = ReceiverStream<Result<v1::UploadLogsResponse, Status>>;

    async fn upload_logs(
        &self,
        request: Request<Streaming<v1::UploadLogsRequest>>,
    ) -> Result<Response<Self::UploadLogsStream>, Status> {
        let (host, _) = status::host(&request)?;
        let (answer, stream) = mpsc::channel(1);
        // Answered at once: what limits calls until their answer must not limit a log that is
        // followed for hours.
        let desk = Arc::clone(&self.0.logs);
        tokio::spawn(logs::offered(desk, host, request.into_inner(), answer));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Hosts {
    async fn renewed(
        &self,
        host: &HostName,
        old: PeerCertificate,
        csr_pem: &str,
    ) -> Result<v1::RenewResponse, Status> {
        let signed = signer::sign(&self.0.ca, csr_pem, host)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let (host, old_key, key) = (host.clone(), old.public_key_sha256, signed.key);
        // Known before it is handed out: a host never holds a certificate that is refused.
        self.0.handle.enrol(|reply| Enrol::Renew { host, old_key, key, reply }).await?;
        let ca_pem = self.0.ca.certificate_pem().to_owned();
        Ok(v1::RenewResponse { certificate_pem: signed.certificate_pem, ca_pem })
    }
}
