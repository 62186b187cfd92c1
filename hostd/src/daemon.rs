//! `hostd run`: reads what was kept, puts the parts together, and turns until it is told to end.
//!
//! ```text
//!   identity, ledger, credentials ──► loop ◄── watch, one per runtime
//!                                      │ ▲
//!                                 view ▼ │ assignments, credentials, rows
//!                                     session ──channel──► renewal of the certificate
//! ```
//! Nothing here needs the network: without a coordinator agents go on by the ledger.

pub mod kept;

use std::{collections::BTreeMap, sync::Arc};

use fleet_model::{HostName, RuntimeKind};
use fleet_proto::seal::{SealError, SealKey};
use hostd_plan::{Known, Ledger};
use sd_notify::NotifyState;
use tokio::{
    sync::{broadcast, mpsc, watch as watched},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, Machine},
    engine_facts,
    evidence::EvidenceStore,
    execute::{Azure, AzureClients, Executor, Means},
    guardian::{Cleaner, Guardian},
    host_loop::{HostLoop, Input, Parts},
    identity::{IdentityError, IdentityStore, renew},
    ledger_file::{LedgerError, LedgerFile},
    logs::Logs,
    only_one::{OnlyOne, OnlyOneError},
    runtime::{
        self, Runtime,
        docker::{DockerRuntime, DockerSettings},
        process::{ProcessRuntime, ProcessSettings},
        systemd::{SystemdRuntime, SystemdSettings},
    },
    secrets::Secrets,
    session,
    settings::Settings,
    slots::SlotStore,
    watch,
};

/// Inputs that wait for the loop while it writes its ledger.
const ROOM: usize = 4096;
/// History that waits for a session; older lines are in the log.
const HISTORY: usize = 1024;

/// Why hostd does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Who it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What it did.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Its key.
    #[error("the key of stored secrets is not usable")]
    Seal(#[from] SealError),
    /// Another one.
    #[error(transparent)]
    Twice(#[from] OnlyOneError),
    /// A part of it ended.
    #[error("{0} ended by itself, which is a fault of hostd; it is started again")]
    Ended(&'static str),
}

/// Everything that one hostd works with; a test brings its own runtimes and Azure.
pub struct Daemon {
    /// Settings.
    pub settings: Settings,
    /// Who it is.
    pub identity: Arc<IdentityStore>,
    /// What it serves.
    pub runtimes: BTreeMap<RuntimeKind, Arc<dyn Runtime>>,
    /// Azure.
    pub azure: Arc<dyn Azure>,
}

impl Daemon {
    /// With the runtimes that the settings name, and Azure itself.
    ///
    /// # Errors
    /// When this host has no usable identity.
    pub fn new(settings: Settings) -> Result<Self, DaemonError> {
        let identity = Arc::new(IdentityStore::load(&settings.data)?);
        let runtimes = runtimes(&settings, &identity.current().place.host);
        let azure = Arc::new(AzureClients::new(settings.azure_proxy()));
        Ok(Self { settings, identity, runtimes, azure })
    }

    /// Runs until `stop`. Containers go on afterwards; processes end with it.
    ///
    /// # Errors
    /// When what was kept cannot be used, or a part of it ends by itself.
    pub async fn run(self, stop: CancellationToken) -> Result<(), DaemonError> {
        let data = self.settings.data.clone();
        let _only_one = OnlyOne::within(&data)?;
        let key = Arc::new(SealKey::load_or_create(&data.join("seal.key"))?);
        let slots = SlotStore::within(&data, Arc::clone(&key));
        let clock = Clock::of(Arc::new(Machine));
        let boot_id = clock.boot().to_owned();
        let ledger = LedgerFile::within(&data);
        let found = kept::ledger(&ledger, &slots, &clock.moment())?;
        let kept = Kept {
            ledger: found.ledger,
            file: ledger,
            slots,
            secrets: Arc::new(Secrets::load(&data, key)),
            clock,
        };
        let lines = Lines::new();
        let mut beside = JoinSet::new();
        self.watch(&kept, &lines, &stop, &mut beside);
        let (in_session, session) = watched::channel(false);
        let (view, seen) = watched::channel(Arc::default());
        let logs = Logs {
            runtimes: self.runtimes.clone(),
            slots: kept.slots.clone(),
            secrets: Arc::clone(&kept.secrets),
            view: seen.clone(),
        };
        let (history, told) = broadcast::channel(HISTORY);
        // The loop first: it shows the view that the session begins with.
        let turning = HostLoop::new(Parts {
            executor: Arc::new(self.executor(&kept)),
            known: self.known(kept.ledger),
            clock: kept.clock,
            ledger: kept.file,
            ledger_was: found.warning,
            runtimes: self.runtimes.clone(),
            slots: kept.slots,
            secrets: Arc::clone(&kept.secrets),
            inbox: (lines.to_loop.clone(), lines.inbox),
            in_session: session,
            view,
            history,
            alive: Box::new(|| tell(&[NotifyState::Watchdog])),
        });
        let (channel, open) = watched::channel(None);
        beside.spawn(renew::keep_fresh(Arc::clone(&self.identity), open, stop.clone()));
        let session = session::Parts {
            way: self.settings.way(),
            labels: self.settings.labels,
            capacity: self.settings.capacity,
            identity: self.identity,
            runtimes: self.runtimes.into_values().collect(),
            boot_id,
            instance_id: uuid::Uuid::new_v4().to_string(),
            view: seen,
            history: told,
            inbox: lines.to_loop,
            secrets: kept.secrets,
            logs: Arc::new(logs),
            in_session,
            channel,
        };
        beside.spawn(session::run(session, stop.clone()));
        let turning = tokio::spawn(turning.run(stop.clone()));
        tell(&[NotifyState::Ready]);
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "hostd runs");
        let ended = until_the_end(turning, &mut beside, &stop).await;
        tracing::info!("hostd ends; containers go on without it");
        ended
    }

    fn known(&self, ledger: Ledger) -> Known {
        let host = self.identity.current().place.host.clone();
        let mut known = Known::new(host, self.runtimes.keys().copied().collect(), ledger);
        known.disk_marks = self.settings.disk.marks();
        known
    }

    fn executor(&self, kept: &Kept) -> Executor {
        let place = &self.identity.current().place;
        Executor::new(Means {
            host: place.host.clone(),
            fleet: place.fleet.clone(),
            runtimes: self.runtimes.clone(),
            slots: kept.slots.clone(),
            evidence: EvidenceStore::within(&self.settings.data),
            secrets: Arc::clone(&kept.secrets),
            azure: Arc::clone(&self.azure),
            labels: self.settings.labels.clone(),
            starts_at_once: self.settings.starts_at_once,
            cleaner: Cleaner::within(&self.settings.data, kept.file.clone()),
        })
    }

    /// Everything that only watches and tells the loop.
    fn watch(
        &self,
        kept: &Kept,
        lines: &Lines,
        stop: &CancellationToken,
        beside: &mut JoinSet<()>,
    ) {
        for runtime in self.runtimes.values() {
            let (runtime, slots) = (Arc::clone(runtime), kept.slots.clone());
            beside.spawn(watch::watch(runtime, slots, lines.to_loop.clone(), stop.clone()));
        }
        let guardian = Guardian {
            data: self.settings.data.clone(),
            runtimes: self.runtimes.clone(),
            ledger: kept.file.clone(),
            slots: kept.slots.clone(),
        };
        beside.spawn(guardian.watch(lines.to_loop.clone(), stop.clone()));
        if self.runtimes.contains_key(&RuntimeKind::Docker) {
            let socket = self.settings.docker.socket.clone();
            beside.spawn(engine_facts::watch(socket, lines.to_loop.clone(), stop.clone()));
        }
    }
}

/// What was read from the state directory.
struct Kept {
    ledger: Ledger,
    file: LedgerFile,
    slots: SlotStore,
    secrets: Arc<Secrets>,
    clock: Clock,
}

/// The way to the loop.
struct Lines {
    to_loop: mpsc::Sender<Input>,
    inbox: mpsc::Receiver<Input>,
}

impl Lines {
    fn new() -> Self {
        let (to_loop, inbox) = mpsc::channel(ROOM);
        Self { to_loop, inbox }
    }
}

/// A part that ends before it is told to is a fault: better a restart than half a daemon.
async fn until_the_end(
    mut turning: JoinHandle<()>,
    beside: &mut JoinSet<()>,
    stop: &CancellationToken,
) -> Result<(), DaemonError> {
    let fault = tokio::select! {
        biased;
        () = stop.cancelled() => None,
        _ = &mut turning => Some(DaemonError::Ended("the host loop")),
        _ = beside.join_next() => Some(DaemonError::Ended("a watch or the session")),
    };
    tell(&[NotifyState::Stopping]);
    stop.cancel();
    if !turning.is_finished() {
        // It has limits of its own for what is under way.
        let _ = turning.await;
    }
    while beside.join_next().await.is_some() {}
    match fault {
        Some(fault) => Err(fault),
        None => Ok(()),
    }
}

fn runtimes(settings: &Settings, host: &HostName) -> BTreeMap<RuntimeKind, Arc<dyn Runtime>> {
    let runs_dir = settings.run.join("runs");
    let mut all: BTreeMap<RuntimeKind, Arc<dyn Runtime>> = BTreeMap::new();
    for kind in &settings.runtimes {
        match (kind, &settings.process.package) {
            (RuntimeKind::Docker, _) => {
                let docker = &settings.docker;
                let runtime = DockerRuntime::new(DockerSettings {
                    socket: docker.socket.clone(),
                    network: docker.network.clone(),
                    extra_hosts: docker.extra_hosts.clone(),
                    runs_dir: runs_dir.clone(),
                    pulled: Some(settings.data.join("images.json")),
                    ..DockerSettings::new(host.clone())
                });
                all.insert(*kind, Arc::new(runtime));
            }
            (RuntimeKind::Process, Some(package)) => {
                let (package, runs_dir) = (package.clone(), runs_dir.clone());
                let runtime = ProcessRuntime::new(ProcessSettings { package, runs_dir });
                all.insert(*kind, Arc::new(runtime));
            }
            (RuntimeKind::Systemd, _) => {
                all.insert(*kind, Arc::new(SystemdRuntime::new(systemd(settings))));
            }
            // The settings' own check leaves no other.
            _ => {}
        }
    }
    all
}

fn systemd(settings: &Settings) -> SystemdSettings {
    let systemd = &settings.systemd;
    SystemdSettings {
        package: systemd.package.clone().map(Into::into),
        homes: systemd.homes.clone(),
        first_uid: systemd.first_uid,
        users_file: settings.data.join("users.json"),
        runs_dir: systemd.runs.clone(),
        remembered: settings.data.join("units"),
        // Units of later runs shall start the hostd that is installed then.
        program: std::env::current_exe().unwrap_or_else(|_| "/usr/bin/hostd".into()),
        proxy: settings.azure_proxy(),
        bus: runtime::systemd::SYSTEM_BUS.to_owned(),
        engine: settings.docker.socket.clone(),
    }
}

fn tell(states: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
