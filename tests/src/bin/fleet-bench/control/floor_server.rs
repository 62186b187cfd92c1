//! The floor of fan-out: a bare tonic server. The same contract, the same TLS, as many streams; it
//! knows nothing, decides nothing and stores nothing, it writes the same bytes to all of them.
//!
//! It runs in a process of its own, as the coordinator does. `Renew`, the only plain call of the
//! service, is the order to write: its text is the generation.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use fleet_model::Order;
use fleet_proto::{
    files,
    pki::{self, Ca, Life},
    tls::{self, Identity},
    v1::{
        self,
        host_service_server::{HostService, HostServiceServer},
        session_response,
    },
};
use prost::Message as _;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::enrol::{Member, host_name};

/// Messages on their way to one host, as in the coordinator.
const ON_THE_WAY: usize = 4;
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// The term of its orders.
pub(super) const TERM: u64 = 1;

/// Files by which the two processes agree.
struct Place(PathBuf);

impl Place {
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Where it says that it listens.
pub(super) fn address_file(dir: &Path) -> PathBuf {
    dir.join("address")
}

/// What it writes: an assignment as it came from the coordinator.
pub(super) fn write_assignment(dir: &Path, assignment: &v1::Assignment) -> anyhow::Result<()> {
    let file = Place(dir.to_owned()).file("assignment");
    Ok(files::write_private(&file, &assignment.encode_to_vec())?)
}

/// Makes its identity and those of `count` hosts, in a fleet of its own.
pub(super) fn prepare(dir: &Path, count: usize) -> anyhow::Result<Vec<Member>> {
    std::fs::create_dir(dir)?;
    let ca = Ca::create("bench-floor")?;
    let server = ca.server_certificate(&["127.0.0.1".to_owned()], Life::of(LIFE))?;
    let place = Place(dir.to_owned());
    files::write_private(&place.file("ca"), ca.certificate_pem().as_bytes())?;
    files::write_private(&place.file("chain"), server.chain_pem().as_bytes())?;
    let key = secrecy::ExposeSecret::expose_secret(server.key_pem());
    files::write_private(&place.file("key"), key.as_bytes())?;
    let member = |number| {
        let name = host_name(number)?;
        let (key, request) = pki::key_and_csr(&name)?;
        let identity = Identity::new(ca.sign_host(&request, &name, Life::of(LIFE))?, key);
        Ok(Member { name, identity, ca: ca.certificate_pem().to_owned() })
    };
    (0..count).map(member).collect()
}

/// Serves until it is ended.
pub(crate) async fn serve(dir: &Path) -> anyhow::Result<()> {
    let place = Place(dir.to_owned());
    let read = |name| {
        let bytes = files::read_private(&place.file(name))?;
        String::from_utf8(bytes.to_vec()).context("a file of the floor server is no text")
    };
    let identity = Identity::new(read("chain")?, read("key")?.into());
    let config = tls::server_config_mutual(&identity, &read("ca")?)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let config = Arc::new(ArcSwap::new(config));
    let incoming = tls::accept(listener, config, CancellationToken::new());
    files::write_public(&address_file(dir), address.as_bytes())?;
    let service = HostServiceServer::new(Bare { place, streams: Arc::default() });
    Ok(tls::server().add_service(service).serve_with_incoming(incoming).await?)
}

type Outgoing = mpsc::Sender<Result<v1::SessionResponse, Status>>;

struct Bare {
    place: Place,
    streams: Arc<Mutex<Vec<Outgoing>>>,
}

#[tonic::async_trait]
impl HostService for Bare {
    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (outgoing, stream) = mpsc::channel(ON_THE_WAY);
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).push(outgoing);
        let mut incoming = request.into_inner();
        // Heartbeats are read and mean nothing.
        tokio::spawn(async move { while let Ok(Some(_)) = incoming.message().await {} });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type UploadLogsStream = ReceiverStream<Result<v1::UploadLogsResponse, Status>>;

    async fn upload_logs(
        &self,
        _: Request<Streaming<v1::UploadLogsRequest>>,
    ) -> Result<Response<Self::UploadLogsStream>, Status> {
        Err(Status::unimplemented("no log is asked for"))
    }

    /// Writes to all streams; answers when each has been handed its message.
    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let generation = request.into_inner().csr_pem.parse();
        let generation = generation.map_err(|_| Status::invalid_argument("no generation"))?;
        let bytes = files::read_private(&self.place.file("assignment"))
            .map_err(|error| Status::internal(error.to_string()))?;
        let mut assignment = v1::Assignment::decode(bytes.as_slice())
            .map_err(|error| Status::internal(error.to_string()))?;
        assignment.order = Some(Order::new(TERM, generation).into());
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for stream in &streams {
            let message = Some(session_response::Message::Assignment(assignment.clone()));
            // A stream that is gone is missed by who counts the hosts.
            let _ = stream.send(Ok(v1::SessionResponse { message })).await;
        }
        Ok(Response::new(v1::RenewResponse::default()))
    }
}
