//! A coordinator that does what a test says, over real connections on loopback.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use fleet_model::HostName;
use fleet_proto::{
    pki::{self, Ca, Life},
    tls::{self, Peer},
    v1::{
        self,
        enroll_service_server::{EnrollService, EnrollServiceServer},
        host_service_server::{HostService, HostServiceServer},
    },
};
use rustls::ServerConfig;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

pub(crate) const FLEET: &str = "testfleet";
pub(crate) const INVITE: &str = "a-one-time-token";
const CHALLENGE: &[u8] = b"a challenge";
/// Nothing on loopback takes longer, unless it is broken.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// One session as the coordinator sees it.
pub(crate) struct Session {
    pub(crate) host: HostName,
    pub(crate) from: Streaming<v1::SessionRequest>,
    to: mpsc::Sender<Result<v1::SessionResponse, Status>>,
}

impl Session {
    /// The next message that is no heartbeat.
    pub(crate) async fn next(&mut self) -> v1::session_request::Message {
        loop {
            let next = timeout(LIMIT, self.from.message()).await.expect("in time");
            let message = next.expect("the stream lives").expect("the stream is open").message;
            match message.expect("a message") {
                v1::session_request::Message::Heartbeat(_) => {}
                other => return other,
            }
        }
    }

    /// The next report.
    pub(crate) async fn report(&mut self) -> v1::Report {
        loop {
            if let v1::session_request::Message::Report(report) = self.next().await {
                return report;
            }
        }
    }

    pub(crate) async fn say(&self, message: v1::session_response::Message) {
        let message = v1::SessionResponse { message: Some(message) };
        self.to.send(Ok(message)).await.expect("the session is open");
    }

    /// Ends it with a status.
    pub(crate) async fn refuse(&self, status: Status) {
        self.to.send(Err(status)).await.expect("the session is open");
    }

    pub(crate) async fn welcome(&self, heartbeat: Duration, lease: Duration) {
        self.say(v1::session_response::Message::Welcome(v1::Welcome {
            heartbeat: Some(fleet_proto::convert::wire_duration(heartbeat)),
            lease: Some(fleet_proto::convert::wire_duration(lease)),
            coordinator_version: "test".into(),
            fleet: FLEET.into(),
        }))
        .await;
    }

    /// Hello and the full report, answered by a welcome at the usual pace.
    pub(crate) async fn begin(&mut self) -> (v1::Hello, v1::Report) {
        let v1::session_request::Message::Hello(hello) = self.next().await else {
            panic!("the first message is Hello");
        };
        let v1::session_request::Message::Report(report) = self.next().await else {
            panic!("the second message is a report");
        };
        self.welcome(Duration::from_secs(5), Duration::from_secs(30)).await;
        (hello, report)
    }
}

/// A log that a host offers.
pub(crate) struct Log {
    pub(crate) from: Streaming<v1::UploadLogsRequest>,
    /// Dropped, the host is told that nobody reads any more.
    _answer: mpsc::Sender<Result<v1::UploadLogsResponse, Status>>,
}

#[derive(Clone)]
struct Script {
    ca: Arc<Ca>,
    sessions: mpsc::Sender<Session>,
    logs: mpsc::Sender<Log>,
    renewals: Arc<AtomicUsize>,
    readmissions: Arc<AtomicUsize>,
    /// Life of the certificates that a join gives.
    life: Arc<Mutex<Life>>,
    endpoint: Arc<Mutex<String>>,
}

/// The running coordinator.
pub(crate) struct Coordinator {
    script: Script,
    pub(crate) sessions: mpsc::Receiver<Session>,
    pub(crate) logs: mpsc::Receiver<Log>,
    pub(crate) address: SocketAddr,
    pub(crate) enroll: SocketAddr,
    stop: CancellationToken,
    serving: Vec<tokio::task::JoinHandle<()>>,
}

impl Coordinator {
    pub(crate) async fn start() -> Self {
        let ca = Arc::new(Ca::create(FLEET).expect("a CA"));
        Self::listen(ca, "127.0.0.1:0", "127.0.0.1:0").await
    }

    async fn listen(ca: Arc<Ca>, address: &str, enroll: &str) -> Self {
        let (to, sessions) = mpsc::channel(16);
        let (offered, logs) = mpsc::channel(32);
        let day = Life::of(Duration::from_secs(24 * 3600));
        let script = Script {
            ca: Arc::clone(&ca),
            sessions: to,
            logs: offered,
            renewals: Arc::default(),
            readmissions: Arc::default(),
            life: Arc::new(Mutex::new(day)),
            endpoint: Arc::default(),
        };
        let own = ca.server_certificate(&["127.0.0.1".to_owned()], day).expect("made");
        let mutual = tls::server_config_mutual(&own, ca.certificate_pem()).expect("good");
        let plain = tls::server_config_plain(&own).expect("good");
        let listener = TcpListener::bind(address).await.expect("bound");
        let enrolling = TcpListener::bind(enroll).await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let enroll = enrolling.local_addr().expect("bound");
        *script.endpoint.lock().expect("whole") = address.to_string();
        let stop = CancellationToken::new();
        let hosts = HostServiceServer::new(script.clone());
        let joins = EnrollServiceServer::new(script.clone());
        let serving = vec![
            tokio::spawn(serve(listener, mutual, tls::server().add_service(hosts), stop.clone())),
            tokio::spawn(serve(enrolling, plain, tls::server().add_service(joins), stop.clone())),
        ];
        Self { script, sessions, logs, address, enroll, stop, serving }
    }

    /// As `kill -9` and a new start at the same addresses.
    pub(crate) async fn restart(self) -> Self {
        let (ca, address, enroll) = (Arc::clone(&self.script.ca), self.address, self.enroll);
        self.end().await;
        Self::listen(ca, &address.to_string(), &enroll.to_string()).await
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        for serving in self.serving {
            serving.abort();
            let _ = serving.await;
        }
    }

    pub(crate) async fn session(&mut self) -> Session {
        timeout(LIMIT, self.sessions.recv()).await.expect("a session in time").expect("serving")
    }

    pub(crate) fn pin(&self) -> String {
        format!("sha256:{}", self.script.ca.fingerprint().expect("its own"))
    }

    pub(crate) fn renewals(&self) -> usize {
        self.script.renewals.load(Ordering::SeqCst)
    }

    pub(crate) fn readmissions(&self) -> usize {
        self.script.readmissions.load(Ordering::SeqCst)
    }

    /// Certificates from now on are good from `start` for `length`.
    pub(crate) fn set_life(&self, start: SystemTime, length: Duration) {
        *self.script.life.lock().expect("whole") = Life::starting(start, length);
    }
}

async fn serve(
    listener: TcpListener,
    config: Arc<ServerConfig>,
    router: tonic::transport::server::Router,
    stop: CancellationToken,
) {
    let incoming = tls::accept(listener, Arc::new(ArcSwap::new(config)), stop.clone());
    router.serve_with_incoming(incoming).await.expect("serving");
}

type Said = Pin<Box<dyn Stream<Item = Result<v1::SessionResponse, Status>> + Send>>;

#[tonic::async_trait]
impl HostService for Script {
    type SessionStream = Said;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Said>, Status> {
        let Peer::Host(host) = Peer::of(&request)? else {
            return Err(Status::permission_denied("hosts only"));
        };
        let (to, said) = mpsc::channel(16);
        let session = Session { host, from: request.into_inner(), to };
        self.sessions.send(session).await.map_err(|_| Status::unavailable("ending"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(said))))
    }

    type UploadLogsStream = ReceiverStream<Result<v1::UploadLogsResponse, Status>>;

    async fn upload_logs(
        &self,
        request: Request<Streaming<v1::UploadLogsRequest>>,
    ) -> Result<Response<Self::UploadLogsStream>, Status> {
        let (answer, stream) = mpsc::channel(1);
        let log = Log { from: request.into_inner(), _answer: answer };
        self.logs.send(log).await.map_err(|_| Status::unavailable("ending"))?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn renew(
        &self,
        request: Request<v1::RenewRequest>,
    ) -> Result<Response<v1::RenewResponse>, Status> {
        let Peer::Host(host) = Peer::of(&request)? else {
            return Err(Status::permission_denied("hosts only"));
        };
        self.renewals.fetch_add(1, Ordering::SeqCst);
        let day = Life::of(Duration::from_secs(24 * 3600));
        let certificate_pem = self.sign(&request.into_inner().csr_pem, &host, day)?;
        let ca_pem = self.ca.certificate_pem().to_owned();
        Ok(Response::new(v1::RenewResponse { certificate_pem, ca_pem }))
    }
}

impl Script {
    fn sign(&self, csr_pem: &str, host: &HostName, life: Life) -> Result<String, Status> {
        let signed = self.ca.sign_host(csr_pem, host, life);
        signed.map_err(|error| Status::invalid_argument(error.to_string()))
    }
}

#[tonic::async_trait]
impl EnrollService for Script {
    async fn join(
        &self,
        request: Request<v1::JoinRequest>,
    ) -> Result<Response<v1::JoinResponse>, Status> {
        let request = request.into_inner();
        if request.token != INVITE.as_bytes() {
            return Err(Status::permission_denied("the token was used already"));
        }
        let host = request.host.parse().map_err(|_| Status::invalid_argument("host"))?;
        let life = *self.life.lock().expect("whole");
        Ok(Response::new(v1::JoinResponse {
            certificate_pem: self.sign(&request.csr_pem, &host, life)?,
            ca_pem: self.ca.certificate_pem().to_owned(),
            endpoint: self.endpoint.lock().expect("whole").clone(),
            server_name: "127.0.0.1".into(),
            fleet: FLEET.into(),
        }))
    }

    async fn readmit(
        &self,
        request: Request<v1::ReadmitRequest>,
    ) -> Result<Response<v1::ReadmitResponse>, Status> {
        let request = request.into_inner();
        if request.proof.is_empty() {
            let challenge = CHALLENGE.to_vec();
            return Ok(Response::new(v1::ReadmitResponse { challenge, ..Default::default() }));
        }
        let refused = |_| Status::permission_denied("the proof is wrong");
        self.ca.issued(&request.certificate_pem).map_err(refused)?;
        pki::verify(&request.certificate_pem, CHALLENGE, &request.proof).map_err(refused)?;
        self.readmissions.fetch_add(1, Ordering::SeqCst);
        let host = request.host.parse().map_err(|_| Status::invalid_argument("host"))?;
        let day = Life::of(Duration::from_secs(24 * 3600));
        Ok(Response::new(v1::ReadmitResponse {
            challenge: Vec::new(),
            certificate_pem: self.sign(&request.csr_pem, &host, day)?,
            ca_pem: self.ca.certificate_pem().to_owned(),
        }))
    }
}
