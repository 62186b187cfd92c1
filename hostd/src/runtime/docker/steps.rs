//! The steps that the verbs are made of: one question to the engine, or one piece of work on disk.

use std::{io, os::unix::fs::MetadataExt, path::Path};

use bollard::{
    models::{ContainerCreateBody, ContainerStateStatusEnum, ContainerTopResponse},
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptionsBuilder,
        ListContainersOptionsBuilder, StartContainerOptions, TopOptionsBuilder,
        WaitContainerOptions,
    },
};
use fleet_model::Entry;
use futures_util::StreamExt as _;

use super::{
    DockerRuntime, create,
    engine::{ASK, CHANGE, Engine, EngineError},
    labels, top,
};
use crate::{
    disk::{absent_is_fine, blocking},
    runtime::{
        RunId, RunSeen, RunSpec, RunState, RuntimeError,
        agent_env::listener_env,
        handover::{Holder, announcing_at},
    },
};

/// One container's state.
pub(super) async fn state_of(engine: &Engine, name: &str) -> Result<RunState, EngineError> {
    let name = name.to_owned();
    let inspected = engine
        .call(ASK, "looking at the container", |d| async move {
            d.inspect_container(&name, None::<InspectContainerOptions>).await
        })
        .await?;
    let state = inspected.state.unwrap_or_default();
    let code = state.exit_code.and_then(|code| i32::try_from(code).ok());
    Ok(match (state.status, state.running) {
        (Some(ContainerStateStatusEnum::CREATED), _) => RunState::Created,
        (_, Some(false)) => RunState::Ended(code),
        _ => RunState::Running,
    })
}

impl DockerRuntime {
    /// All runs of this host, as the engine lists them, with what starts their listener.
    pub(super) async fn listed(&self) -> Result<Vec<(RunSeen, Entry)>, RuntimeError> {
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&labels::filter(&self.settings.host))
            .build();
        let containers =
            self.engine
                .call(ASK, "listing containers", |d| async move {
                    d.list_containers(Some(options)).await
                })
                .await
                .map_err(|error| error.while_doing("listing containers"))?;
        let mut listed: Vec<_> = containers.iter().filter_map(labels::seen).collect();
        for (seen, entry) in &mut listed {
            self.memory.met(&seen.run, *entry);
            if let Some(code) = self.memory.spent(&seen.run) {
                seen.state = RunState::Ended(code);
            }
        }
        Ok(listed)
    }

    /// One container's state.
    pub(super) async fn state(&self, name: &str) -> Result<RunState, EngineError> {
        state_of(&self.engine, name).await
    }

    pub(super) async fn top(&self, name: &str) -> Result<ContainerTopResponse, EngineError> {
        let name = name.to_owned();
        let options = TopOptionsBuilder::default().ps_args(top::PS_ARGS).build();
        self.engine
            .call(ASK, "listing processes", |d| async move {
                d.top_processes(&name, Some(options)).await
            })
            .await
    }

    pub(super) async fn drop_handover(&self, run: &RunId) -> Result<(), RuntimeError> {
        self.notices.close(run);
        let (handover, of) = (self.handover.clone(), run.clone());
        blocking(move || handover.remove(&of))
            .await
            .map_err(|source| files_of(run, "removing the hand-over", source))
    }

    /// Directories and files that the container needs, and the container in words.
    pub(super) async fn prepare(
        &self,
        spec: &RunSpec,
    ) -> Result<ContainerCreateBody, RuntimeError> {
        let user = spec.template.image.as_ref().and_then(|image| self.images.user(image));
        let holder = match self.engine.remaps_users().await? {
            true => Holder::Anyone,
            false => create::holder(user.as_deref()),
        };
        let socket = self.engine.socket();
        let socket_group = match (spec.template.docker_socket, holder) {
            (false, _) | (true, Holder::Me) => None,
            (true, _) => std::fs::metadata(socket).ok().map(|meta| meta.gid()),
        };
        let shared = self.handover.shared(&spec.run);
        let address = create::shares_loopback(spec, &self.settings)
            .then(|| self.notices.open(&spec.run, holder.uid()))
            .flatten();
        let around = create::Surroundings { handover: &shared, socket_group, notify: address };
        let mut body = create::body(spec, &self.settings, around)?;
        // Ours stay: nobody else says whose a container is.
        let labels = body.labels.take().unwrap_or_default();
        body.labels = Some(self.labels.clone().into_iter().chain(labels).collect());
        let env = listener_env(spec)?;
        let (handover, owned) = (self.handover.clone(), spec.clone());
        let start = announcing_at(&spec.start, address);
        blocking(move || {
            if let Some(root) = create::agent_root(&owned) {
                renew_dir(&root, owned.run.attempt, holder)?;
            }
            create::caches(&owned).try_for_each(|(path, _)| holder.make_dir(&path))?;
            handover.prepare(&owned.run, &start, &env, holder).map(drop)
        })
        .await
        .map_err(|source| files_of(&spec.run, "preparing the directories", source))?;
        Ok(body)
    }

    pub(super) async fn create(
        &self,
        run: &RunId,
        body: ContainerCreateBody,
    ) -> Result<(), EngineError> {
        let options = CreateContainerOptionsBuilder::default().name(&run.to_string()).build();
        self.engine
            .call(CHANGE, "making the container", |d| async move {
                d.create_container(Some(options), body).await
            })
            .await
            .map(drop)
    }

    pub(super) async fn start(&self, run: &RunId) -> Result<(), RuntimeError> {
        self.memory.begins(run);
        let name = run.to_string();
        self.engine
            .call(CHANGE, "starting the container", |d| async move {
                d.start_container(&name, None::<StartContainerOptions>).await
            })
            .await
            .map_err(|error| error.while_doing("starting the container"))
    }

    /// The run was made before: goes on from where it is.
    pub(super) async fn start_made(
        &self,
        run: &RunId,
        state: RunState,
    ) -> Result<(), RuntimeError> {
        match state {
            RunState::Running => Ok(()),
            // 3 and 4: the listener wants to be started again, updated, in the same place.
            RunState::Created | RunState::Ended(Some(3 | 4)) => self.start(run).await,
            RunState::Ended(code) => Err(RuntimeError::Refused {
                doing: "starting the container",
                why: format!(
                    "{run} has ended already (exit code {code:?}); a new run has a new number"
                ),
            }),
        }
    }

    /// A listener beneath a foreign start script: the script would take a signal to the container
    /// for an order to remove the registration, and would try so for ever.
    pub(super) async fn interrupt_listener(&self, run: &RunId) -> Result<(), EngineError> {
        const SCRIPT: &str = "for p in /proc/[0-9]*; do read -r n <$p/comm || continue; \
             [ \"$n\" = Agent.Listener ] && kill -INT \"${p#/proc/}\"; done; :";
        let name = run.to_string();
        let exec = bollard::models::ExecConfig {
            // Another user than root could not signal root's listener.
            user: Some("0".into()),
            cmd: Some(["/bin/sh", "-c", SCRIPT].map(str::to_owned).to_vec()),
            ..Default::default()
        };
        let made =
            self.engine
                .call(ASK, "signalling the listener", |d| async move {
                    d.create_exec(&name, exec).await
                })
                .await?;
        let detached = bollard::exec::StartExecOptions { detach: true, ..Default::default() };
        self.engine
            .call(ASK, "signalling the listener", |d| async move {
                d.start_exec(&made.id, Some(detached)).await
            })
            .await
            .map(drop)
    }

    /// Until the container has ended.
    pub(super) async fn end(&self, run: &RunId) -> Result<(), RuntimeError> {
        let name = run.to_string();
        let ended = self.engine.call(CHANGE, "waiting for the container's end", |d| async move {
            match d.wait_container(&name, None::<WaitContainerOptions>).next().await {
                // Its exit code, which is not asked for here.
                Some(Err(bollard::errors::Error::DockerContainerWaitError { .. })) | None => Ok(()),
                Some(answer) => answer.map(drop),
            }
        });
        match ended.await {
            Ok(()) | Err(EngineError::Absent(_)) => Ok(()),
            Err(error) => Err(error.while_doing("waiting for the container's end")),
        }
    }

    /// Why the engine would not remove the container: its removal is under way, or it runs.
    pub(super) async fn conflicting(&self, run: &RunId, why: String) -> Result<(), RuntimeError> {
        match self.state(&run.to_string()).await {
            // Said to have ended and running all the same: for a moment, or started by hand.
            Ok(RunState::Running) if self.memory.ended(run).is_some() => {
                Err(RuntimeError::Refused { doing: "removing the container", why })
            }
            Ok(RunState::Running) => Err(RuntimeError::StillRuns(run.clone())),
            Ok(RunState::Created | RunState::Ended(_)) | Err(EngineError::Absent(_)) => Ok(()),
            Err(error) => Err(error.while_doing("looking at the container")),
        }
    }

    pub(super) async fn signal_container(
        &self,
        run: &RunId,
        signal: &str,
    ) -> Result<(), EngineError> {
        let name = run.to_string();
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        self.engine
            .call(ASK, "signalling the container", |d| async move {
                d.kill_container(&name, Some(options)).await
            })
            .await
    }
}

/// A fresh directory in place of an old one. The old one is put aside and deleted at leisure: a
/// work folder may be large, and the next agent must not wait for it.
fn renew_dir(path: &Path, attempt: u32, holder: Holder) -> io::Result<()> {
    if path.exists() {
        std::fs::rename(path, path.with_extension(format!("old-{attempt}")))?;
        let place = path.parent().map(Path::to_owned).unwrap_or_default();
        std::thread::spawn(move || {
            if let Err(error) = remove_old(&place) {
                tracing::warn!(place = %place.display(), %error, "an old root cannot be removed");
            }
        });
    }
    holder.make_dir(path)
}

/// Also those that a hostd before this one left.
fn remove_old(place: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(place)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ext| ext.to_string_lossy().starts_with("old-")) {
            absent_is_fine(std::fs::remove_dir_all(path))?;
        }
    }
    Ok(())
}

pub(super) fn files_of(run: &RunId, doing: &str, source: io::Error) -> RuntimeError {
    RuntimeError::Io { doing: format!("{doing} of {run}"), source }
}
