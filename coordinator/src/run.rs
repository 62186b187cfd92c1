//! A running coordinator: its parts put together, and taken apart again in order.
//!
//! ```text
//!   lock ─► store ─► loop ─► ports bound ─► serving ─► ready
//!   stop: no new connections ─► sessions and watches told ─► loop ends ─► store closed ─► unlock
//! ```

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use fleet_proto::{
    files,
    v1::{
        enroll_service_server::EnrollServiceServer, fleet_service_server::FleetServiceServer,
        host_service_server::HostServiceServer,
    },
};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    azure::{AzureSettings, ProxySettings, watch_azure},
    clock::Clock,
    config::{Config, ConfigError},
    credentials::Vault,
    data_dir::{DataDir, DataError},
    enroll::Enrolment,
    fleet_loop::{FleetHandle, FleetLoop, LoopParts, LoopSettings},
    fleet_service::{self, Operators},
    host_service::{self, Hosts, SessionSettings},
    housekeeping,
    http::{Page, router},
    logs::LogDesk,
    metrics::Metrics,
    places::{Places, endpoint, host_of},
    server_identity::{IdentityError, ServerIdentity},
    store::{Store, StoreError},
};

/// Largest message of a host: a full report of a full host is a tenth of it.
const HOST_MESSAGE_MAX: usize = 4 * 1024 * 1024;
/// Largest message of an operator, and of somebody who is nobody yet.
const MESSAGE_MAX: usize = 256 * 1024;
/// Limit of a call until its answer begins; streams then go on.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// How long connections have to end by themselves at a stop.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its directory.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Its store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// An address is taken or not ours.
    #[error("cannot listen on {address} ({key})")]
    Listen {
        /// Which setting.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The addresses cannot be written down.
    #[error("cannot write the addresses")]
    Addresses(#[source] files::FileError),
}

/// Addresses really listened on; ports may have been chosen by the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Addresses {
    /// The mutually authenticated port.
    pub listen: SocketAddr,
    /// The enrolment port.
    pub enroll_listen: SocketAddr,
    /// The page for machines.
    pub http_listen: SocketAddr,
}

/// A coordinator at work.
pub struct Running {
    /// Where it listens.
    pub addresses: Addresses,
    /// Where it says that it is.
    pub places: Places,
    handle: FleetHandle,
    stop: CancellationToken,
    tasks: TaskTracker,
    store: Arc<dyn Store>,
    // Given back last.
    _data: DataDir,
}

struct Listeners {
    sessions: TcpListener,
    enroll: TcpListener,
    http: TcpListener,
}

impl Running {
    /// Starts everything. When this returns, connections are served.
    ///
    /// # Errors
    /// What is wrong with directory, store, settings or addresses; nothing runs then.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        let data = DataDir::open(&config.data)?;
        let ca = Arc::new(data.ca()?);
        let vault = Arc::new(Vault::new(data.seal_key()?));
        let store: Arc<dyn Store> = Arc::new(data.store()?);
        let names = names(&config, &store).await?;
        let identity = ServerIdentity::make(&ca, &names)?;
        let (listeners, addresses) = bind(&config).await?;
        let places = places(&config, &names, &addresses);

        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let (clock, metrics) = (Clock::start(), Arc::new(Metrics::default()));
        let (fleet_loop, ends) = FleetLoop::load(LoopParts {
            store: Arc::clone(&store),
            vault: Arc::clone(&vault),
            clock,
            settings: LoopSettings {
                heartbeat: config.heartbeat,
                max_sessions: config.max_hosts,
                adopt_window: config.adopt_window,
                leftover_age: config.leftover_age,
                tidy_every: config.tidy_every,
                azure_stale: config.azure_stale,
            },
            metrics: Arc::clone(&metrics),
            stop: stop.clone(),
        })
        .await?;
        tasks.spawn(fleet_loop.run());
        let handle = ends.handle;
        let azure = azure_settings(&config);
        tasks.spawn(watch_azure(
            handle.clone(),
            ends.targets,
            Arc::clone(&vault),
            Arc::clone(&metrics),
            azure.clone(),
            clock,
            stop.clone(),
        ));
        tasks.spawn(identity.clone().keep_fresh(Arc::clone(&ca), names, stop.clone()));
        tasks.spawn(housekeeping::run(Arc::clone(&store), clock, stop.clone()));

        let logs = Arc::new(LogDesk::default());
        let hosts = Hosts(Arc::new(host_service::Shared {
            handle: handle.clone(),
            vault: Arc::clone(&vault),
            ca: Arc::clone(&ca),
            clock,
            settings: SessionSettings { heartbeat: config.heartbeat, lease: config.lease },
            logs: Arc::clone(&logs),
        }));
        let operators = Operators(Arc::new(fleet_service::Shared {
            handle: handle.clone(),
            store: Arc::clone(&store),
            vault,
            ca: Arc::clone(&ca),
            clock,
            places: places.clone(),
            azure,
            logs,
            stop: stop.clone(),
        }));
        let enrolment = Enrolment::new(handle.clone(), ca, places.clone(), Arc::clone(&metrics));
        serve_sessions(&tasks, listeners.sessions, &identity, hosts, operators, &stop).await;
        serve_enrolment(&tasks, listeners.enroll, &identity, enrolment, &stop);
        serve_page(&tasks, listeners.http, Page { handle: handle.clone(), metrics }, &stop);
        tasks.close();
        Ok(Self { addresses, places, handle, stop, tasks, store, _data: data })
    }

    /// Asks the loop; also a sign that it is alive.
    pub fn handle(&self) -> &FleetHandle {
        &self.handle
    }

    /// Writes the addresses as one line of JSON, for whoever let the system choose the ports.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn print_addresses(&self, path: &Path) -> Result<(), StartError> {
        let line = serde_json::json!(self.addresses).to_string() + "\n";
        files::write_public(path, line.as_bytes()).map_err(StartError::Addresses)
    }

    /// Returns when a part that must not fail has failed.
    pub async fn failed(&self) {
        self.stop.cancelled().await;
    }

    /// Stops in order. Hosts and operators are told; nothing that was acknowledged is lost.
    pub async fn stop(self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_LIMIT, self.tasks.wait()).await.is_err() {
            tracing::warn!("some connections did not end in time and are cut");
        }
        if let Err(error) = self.store.close().await {
            tracing::error!(error = %fleet_proto::logging::Report(&error), "the store did not come to rest");
        }
    }
}

async fn names(config: &Config, store: &Arc<dyn Store>) -> Result<Vec<String>, StartError> {
    let (book, _) = crate::book::Book::load(store.load_all().await?)?;
    let mut names = if config.sans.is_empty() { book.meta.names } else { config.sans.clone() };
    if let Some(name) = &config.server_name {
        // Clients check this one, so the certificate must have it, and it comes first.
        names.retain(|other| other != name);
        names.insert(0, name.clone());
    }
    Ok(names)
}

async fn bind(config: &Config) -> Result<(Listeners, Addresses), StartError> {
    let sessions = listen("listen", config.listen).await?;
    let enroll = listen("enroll_listen", config.enroll_listen).await?;
    let http = listen("http_listen", config.http_listen).await?;
    let bound = |listener: &TcpListener, asked| listener.local_addr().unwrap_or(asked);
    let addresses = Addresses {
        listen: bound(&sessions, config.listen),
        enroll_listen: bound(&enroll, config.enroll_listen),
        http_listen: bound(&http, config.http_listen),
    };
    Ok((Listeners { sessions, enroll, http }, addresses))
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| StartError::Listen { key, address, source })
}

fn places(config: &Config, names: &[String], addresses: &Addresses) -> Places {
    let server_name = names.first().cloned().unwrap_or_default();
    let sessions =
        config.advertise.clone().unwrap_or_else(|| endpoint(&server_name, addresses.listen.port()));
    let enroll = config
        .enroll_advertise
        .clone()
        .unwrap_or_else(|| endpoint(host_of(&sessions), addresses.enroll_listen.port()));
    Places { sessions, enroll, server_name }
}

fn azure_settings(config: &Config) -> AzureSettings {
    let proxy = config.azure_proxy.as_ref().map(|url| ProxySettings {
        url: url.clone().into(),
        no_proxy: config.azure_no_proxy.clone(),
    });
    AzureSettings {
        interval: config.azure_interval,
        timeout: config.azure_timeout,
        stale: config.azure_stale,
        proxy,
    }
}

async fn serve_sessions(
    tasks: &TaskTracker,
    listener: TcpListener,
    identity: &ServerIdentity,
    hosts: Hosts,
    operators: Operators,
    stop: &CancellationToken,
) {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<HostServiceServer<Hosts>>().await;
    health.set_serving::<FleetServiceServer<Operators>>().await;
    let incoming = fleet_proto::tls::accept(listener, Arc::clone(&identity.mutual), stop.clone());
    let server = fleet_proto::tls::server()
        .timeout(CALL_LIMIT)
        .add_service(HostServiceServer::new(hosts).max_decoding_message_size(HOST_MESSAGE_MAX))
        .add_service(FleetServiceServer::new(operators).max_decoding_message_size(MESSAGE_MAX))
        .add_service(health_service)
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    let stop = stop.clone();
    tasks.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(error = %fleet_proto::logging::Report(&error), "the main port failed");
            stop.cancel();
        }
    });
}

fn serve_enrolment(
    tasks: &TaskTracker,
    listener: TcpListener,
    identity: &ServerIdentity,
    enrolment: Enrolment,
    stop: &CancellationToken,
) {
    let incoming = fleet_proto::tls::accept(listener, Arc::clone(&identity.plain), stop.clone());
    let server = fleet_proto::tls::server()
        .timeout(CALL_LIMIT)
        .add_service(EnrollServiceServer::new(enrolment).max_decoding_message_size(MESSAGE_MAX))
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tasks.spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(error = %fleet_proto::logging::Report(&error), "the enrolment port failed");
        }
    });
}

fn serve_page(tasks: &TaskTracker, listener: TcpListener, page: Page, stop: &CancellationToken) {
    let stop = stop.clone().cancelled_owned();
    tasks.spawn(async move {
        let served = axum::serve(listener, router(page)).with_graceful_shutdown(stop);
        if let Err(error) = served.await {
            tracing::error!(error = %fleet_proto::logging::Report(&error), "the page failed");
        }
    });
}
