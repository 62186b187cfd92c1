//! Agents in containers of the host's own Docker engine: the verbs.
//!
//! The engine is asked from outside only, every call has a limit, and a start costs two of them.
//! Nothing is remembered but what cannot be asked for: labels say whose a container is, the
//! hand-over directory says how a run began.

mod create;
mod engine;
mod events;
mod evidence;
mod follow;
mod images;
mod keepers;
mod labels;
mod logs;
mod memory;
mod read_log;
mod steps;
mod top;
mod unused;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bollard::query_parameters::RemoveContainerOptionsBuilder;
use fleet_model::{AgentName, HostName, ImageRef, RuntimeKind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::{
    engine::{ASK, CHANGE, Engine, EngineError},
    images::Images,
    memory::Memory,
};
use super::{
    Exhibit, RunId, RunSeen, RunSpec, RunState, Runtime, RuntimeError, RuntimeEvent, WorkerCheck,
    handover::Handover,
    log::{LogQuery, LogStream},
    notify::Notices,
};
use crate::{
    disk::{absent_is_fine, blocking},
    guardian::{Keep, Sizes, Thing},
};

/// How this host uses its engine.
#[derive(Debug, Clone)]
pub struct DockerSettings {
    /// This host: part of the filter, so that two hosts on one engine stay apart.
    pub host: HostName,
    /// The engine's socket.
    pub socket: PathBuf,
    /// Network of the containers; none means the engine's default.
    pub network: Option<String>,
    /// Lines for the containers' `/etc/hosts`, `name:address`.
    pub extra_hosts: Vec<String>,
    /// Where hand-over directories live: in memory, root only.
    pub runs_dir: PathBuf,
    /// Where it is remembered which images were pulled; none: they are not, and none is removed.
    pub pulled: Option<PathBuf>,
}

impl DockerSettings {
    /// The usual places.
    pub fn new(host: HostName) -> Self {
        Self {
            host,
            socket: "/var/run/docker.sock".into(),
            network: None,
            extra_hosts: Vec::new(),
            runs_dir: "/run/hostd/runs".into(),
            pulled: None,
        }
    }
}

/// The Docker runtime.
pub struct DockerRuntime {
    settings: DockerSettings,
    labels: BTreeMap<String, String>,
    engine: Arc<Engine>,
    images: Images,
    handover: Handover,
    notices: Notices,
    memory: Memory,
}

impl DockerRuntime {
    /// Nothing is connected yet: an engine may come later than hostd.
    pub fn new(settings: DockerSettings) -> Self {
        Self {
            engine: Arc::new(Engine::new(settings.socket.clone())),
            images: Images::default(),
            handover: Handover::new(settings.runs_dir.clone()),
            notices: Notices::default(),
            memory: Memory::default(),
            labels: BTreeMap::new(),
            settings,
        }
    }

    /// Labels of the containers besides ours, for other tools of this host.
    #[must_use]
    pub fn with_labels(mut self, labels: BTreeMap<String, String>) -> Self {
        self.labels = labels;
        self
    }

    /// Calls to the engine so far, long-lived streams not counted.
    pub fn calls(&self) -> u64 {
        self.engine.calls()
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Docker
    }

    async fn describe(&self) -> Result<String, RuntimeError> {
        let version = self
            .engine
            .call(ASK, "asking for the version", |d| async move { d.version().await })
            .await
            .map_err(|error| error.while_doing("asking for the version"))?;
        let unknown = || "of an unknown version".to_owned();
        Ok(format!(
            "Docker Engine {}, API {}",
            version.version.unwrap_or_else(unknown),
            version.api_version.unwrap_or_else(unknown)
        ))
    }

    async fn ensure_image(&self, image: &ImageRef) -> Result<(), RuntimeError> {
        if self.images.ensure(&self.engine, image).await? {
            self.pulled(image).await;
        }
        Ok(())
    }

    async fn ensure_started(&self, spec: &RunSpec) -> Result<(), RuntimeError> {
        let run = &spec.run;
        if self.handover.exists(run) {
            // This hostd, or the one before it, was here; how far did it come?
            match self.state(&run.to_string()).await {
                Ok(state) => return self.start_made(run, state).await,
                Err(EngineError::Absent(_)) => self.drop_handover(run).await?,
                Err(error) => return Err(error.while_doing("looking at the container")),
            }
        }
        let body = self.prepare(spec).await?;
        self.memory.met(run, spec.template.entry);
        match self.create(run, body).await {
            Ok(()) => self.start(run).await,
            Err(EngineError::Conflict(_)) => {
                let state = self.state(&run.to_string()).await;
                let state = state.map_err(|e| e.while_doing("looking at the container"))?;
                self.start_made(run, state).await
            }
            Err(error) => {
                self.drop_handover(run).await?;
                Err(match (error, &spec.template.image) {
                    (EngineError::Absent(why), Some(image)) => {
                        RuntimeError::ImageMissing { image: image.clone(), why }
                    }
                    (error, _) => error.while_doing("making the container"),
                })
            }
        }
    }

    async fn interrupt(&self, run: &RunId) -> Result<(), RuntimeError> {
        let signalled = if self.memory.has_own_script(run) {
            self.interrupt_listener(run).await
        } else {
            self.signal_container(run, "SIGINT").await
        };
        match signalled {
            // Gone, or not running: ended already.
            Ok(()) | Err(EngineError::Absent(_) | EngineError::Conflict(_)) => Ok(()),
            Err(EngineError::Other(error)) => Err(error),
        }
    }

    async fn ensure_ended(&self, run: &RunId) -> Result<(), RuntimeError> {
        match self.signal_container(run, "SIGKILL").await {
            Ok(()) => self.end(run).await,
            // Gone, or not running: ended already.
            Err(EngineError::Absent(_) | EngineError::Conflict(_)) => Ok(()),
            Err(EngineError::Other(error)) => Err(error),
        }
    }

    async fn ensure_removed(&self, run: &RunId) -> Result<(), RuntimeError> {
        let name = run.to_string();
        // The engine itself refuses to remove what runs, between any look of ours and the removal.
        // Only a foreign script that goes on without its agent is ended with its container.
        let spent = self.memory.spent(run).is_some();
        let options = RemoveContainerOptionsBuilder::default().force(spent).v(true).build();
        let removed = self
            .engine
            .call(CHANGE, "removing the container", |d| async move {
                d.remove_container(&name, Some(options)).await
            })
            .await;
        match removed {
            Ok(()) | Err(EngineError::Absent(_)) => {}
            Err(EngineError::Conflict(why)) => self.conflicting(run, why).await?,
            Err(EngineError::Other(error)) => return Err(error),
        }
        self.memory.forget(run);
        self.drop_handover(run).await
    }

    async fn evidence(&self, run: &RunId) -> Result<Vec<Exhibit>, RuntimeError> {
        self.exhibits(run).await
    }

    async fn forget_slot(&self, agent: &AgentName, slot_dir: &Path) -> Result<(), RuntimeError> {
        let dir = slot_dir.to_owned();
        blocking(move || absent_is_fine(std::fs::remove_dir_all(dir))).await.map_err(|source| {
            RuntimeError::Io { doing: format!("removing the directory of {agent}"), source }
        })
    }

    async fn list(&self) -> Result<Vec<RunSeen>, RuntimeError> {
        let mut seen: Vec<_> = self.listed().await?.into_iter().map(|(seen, _)| seen).collect();
        // The engine says that a container ended before its own list does.
        for seen in seen.iter_mut().filter(|seen| seen.state == RunState::Running) {
            if let Some(code) = self.memory.ended(&seen.run) {
                seen.state = RunState::Ended(code);
            }
        }
        Ok(seen)
    }

    async fn worker(&self, run: &RunId) -> WorkerCheck {
        let name = run.to_string();
        let why = match self.top(&name).await {
            Ok(list) => return top::worker(&list),
            Err(error) => error.while_doing("listing processes").to_string(),
        };
        match self.state(&name).await {
            // No container, or one that the engine says is not running, holds no process.
            Ok(RunState::Created | RunState::Ended(_)) | Err(EngineError::Absent(_)) => {
                WorkerCheck::None
            }
            Ok(RunState::Running) | Err(_) => WorkerCheck::Unknown(why),
        }
    }

    async fn logs(&self, run: &RunId, query: &LogQuery) -> Result<LogStream, RuntimeError> {
        match self.state(&run.to_string()).await {
            Ok(_) => {}
            Err(EngineError::Absent(_)) => return Err(RuntimeError::NoRun(run.clone())),
            Err(error) => return Err(error.while_doing("looking at the container")),
        }
        let docker = self.engine.client().await?;
        Ok(read_log::read(Arc::clone(&self.engine), docker, run, query.clone()))
    }

    async fn places(&self) -> Vec<PathBuf> {
        self.data_root().await.into_iter().collect()
    }

    async fn sizes(&self, keep: &Keep) -> Result<Sizes, RuntimeError> {
        self.weighed(keep).await
    }

    async fn unused(&self, keep: &Keep) -> Result<Vec<(Thing, PathBuf)>, RuntimeError> {
        self.unused_images(keep).await
    }

    async fn remove_unused(&self, thing: &Thing, keep: &Keep) -> Result<Option<u64>, RuntimeError> {
        self.remove_image(thing, keep).await
    }

    async fn watch(self: Arc<Self>, events: mpsc::Sender<RuntimeEvent>, stop: CancellationToken) {
        let watch = events::Watch::new(self.clone(), events.clone());
        self.notices.beside(watch.run(stop), events).await;
    }
}
