//! The verbs of [`Runtime`] under systemd.

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use fleet_model::{Entry, ImageRef, Package};
use fleet_proto::files;
use nix::sys::signal::Signal;

use super::{
    AgentName, CancellationToken, RunId, RunSeen, RunSpec, RunState, Runtime, RuntimeError,
    RuntimeEvent, RuntimeKind, SystemdRuntime, UnitRecord, WorkerCheck, bus::BusError, files_of,
    follow, journal, mpsc, proc, unit, users::AgentUser,
};
use crate::{
    agent_run::{clean, record::passage},
    disk::{DIAG_FILES, DIAG_MAX, absent_is_fine, blocking, newest_in},
    guardian::{Keep, Sizes, Thing},
    runtime::{
        Exhibit,
        agent_env::{entry_env, listener_env},
        handover::{Holder, NOTIFY_VARIABLE, announcing_at},
        log::{LogQuery, LogStream},
        package,
    },
};

/// Exit code of what SIGKILL ended, as shells tell it.
const KILLED: i32 = 128 + 9;
/// Rounds of killing what a user's processes fork meanwhile.
const KILL_ROUNDS: u32 = 200;
/// Between two of them.
const KILL_PAUSE: Duration = Duration::from_millis(5);

impl SystemdRuntime {
    /// The template's package, else the host's own.
    fn package_of<'a>(&'a self, spec: &'a RunSpec) -> Result<&'a Package, RuntimeError> {
        let own = self.settings.package.as_ref();
        spec.template.package.as_ref().or(own).ok_or_else(|| {
            RuntimeError::Unsupported(
                "neither the template nor this host names an agent package: give the pool one \
                 (--package, --package-sha256) or set systemd.package in hostd.toml"
                    .into(),
            )
        })
    }

    /// User, root, hand-over and record of a run that was never made.
    async fn prepare(&self, spec: &RunSpec) -> Result<(), RuntimeError> {
        refuse_the_impossible(spec)?;
        let wanted = self.package_of(spec)?;
        let package = self.packages.ensure(wanted).await;
        let package = package.map_err(|error| RuntimeError::Unsupported(error.to_string()))?;
        self.make_room(spec).await?;
        let user = self.users.ensure(&spec.run.agent, spec.template.docker_group).await;
        let user = user.map_err(|source| files_of("the agent's user", source))?;
        let mut env = listener_env(spec)?;
        for name in ["USER", "LOGNAME"] {
            env.entry(name.to_owned()).or_insert_with(|| user.name.clone());
        }
        let address = self.notices.open(&spec.run, Some(user.uid));
        let record = self.record(spec, &user, address)?;
        let start = announcing_at(&spec.start, address);
        let (handover, dir, owned) = (self.handover.clone(), self.run_dir(&spec.run), spec.clone());
        let memory = self.memory_of(&spec.run);
        let (runs, sha256) = (self.settings.runs_dir.clone(), wanted.sha256.to_ascii_lowercase());
        let prepared = blocking(move || {
            passage(&runs)?;
            renew_root(&record, &package, &owned.slot_dir, &sha256)?;
            // Half a hand-over of a hostd before this one.
            handover.remove(&owned.run)?;
            handover.prepare(&owned.run, &start, &env, Holder::Uid(user.uid))?;
            passage(dir.path())?;
            let remembered = serde_json::to_vec(&record)?;
            files::write_private(&memory, &remembered).map_err(io::Error::other)?;
            dir.put_unit(&record)
        });
        prepared.await.map_err(|source| files_of(&spec.run, source))
    }

    fn record(
        &self,
        spec: &RunSpec,
        user: &AgentUser,
        notify: Option<SocketAddr>,
    ) -> Result<UnitRecord, RuntimeError> {
        let root = user.home.join("agent");
        let mut env: BTreeMap<String, String> = entry_env(spec)?;
        let handover = self.handover.shared(&spec.run);
        env.insert("FLEET_HANDOVER".into(), handover.display().to_string());
        env.insert("FLEET_AGENT_ROOT".into(), root.display().to_string());
        env.extend(notify.map(|address| (NOTIFY_VARIABLE.to_owned(), address.to_string())));
        Ok(UnitRecord {
            agent: spec.run.agent.clone(),
            attempt: spec.run.attempt,
            pool: spec.pool.clone(),
            group: spec.group.clone(),
            slot: spec.slot,
            mode: spec.template.mode,
            unit: unit::name(&spec.run.agent),
            user: user.name.clone(),
            uid: user.uid,
            home: user.home.clone(),
            engine: spec.template.docker_group.then(|| self.settings.engine.clone()),
            root,
            env,
        })
    }

    /// The agent's unit is free for a new run. Another run that lives is left alone.
    async fn make_room(&self, spec: &RunSpec) -> Result<(), RuntimeError> {
        for (record, state) in self.seen().await? {
            if record.agent == spec.run.agent && state == RunState::Running {
                return Err(RuntimeError::Refused {
                    doing: "starting the unit",
                    why: format!("{} still {}", record.run(), follow::state_word(state)),
                });
            }
        }
        self.stop(&unit::name(&spec.run.agent)).await
    }

    async fn stop(&self, unit: &str) -> Result<(), RuntimeError> {
        self.bus.stop(unit).await.map_err(|error| error.while_doing("stopping the unit"))
    }

    async fn start(&self, spec: &RunSpec) -> Result<(), RuntimeError> {
        let dir = self.run_dir(&spec.run);
        let name = unit::name(&spec.run.agent);
        let make = || unit::properties(spec, &self.settings.program, dir.path());
        let started = match make() {
            Ok(properties) => match self.bus.start(&name, properties).await {
                // One that ended and is not forgotten yet.
                Err(BusError::Exists) => {
                    self.stop(&name).await?;
                    match make() {
                        Ok(properties) => self.bus.start(&name, properties).await,
                        Err(error) => Err(error),
                    }
                }
                other => other,
            },
            Err(error) => Err(error),
        };
        started.map_err(|error| error.while_doing("starting the unit"))
    }

    /// Ends every process of a user; more than once, because they may fork meanwhile.
    async fn kill_user(&self, uid: u32) -> io::Result<()> {
        for _ in 0..KILL_ROUNDS {
            if blocking(move || proc::kill_user(uid)).await? == 0 {
                return Ok(());
            }
            tokio::time::sleep(KILL_PAUSE).await;
        }
        Err(io::Error::other("its processes do not end"))
    }

    /// Until a unit whose processes were all killed has none left; not for longer than it takes until
    /// systemd starts a new one in it.
    async fn until_empty(&self, unit: &str) {
        for _ in 0..KILL_ROUNDS {
            match self.bus.processes(unit).await {
                Ok(left) if !left.is_empty() => tokio::time::sleep(KILL_PAUSE).await,
                _ => return,
            }
        }
    }

    async fn is_unit_of(&self, run: &RunId) -> Result<bool, RuntimeError> {
        let units = self.bus.units(&unit::name(&run.agent)).await;
        let units = units.map_err(|error| error.while_doing("looking at the unit"))?;
        let of = |unit: &super::bus::UnitSeen| unit::run_of(&unit.name, &unit.description);
        Ok(units.iter().any(|unit| of(unit).as_ref() == Some(run)))
    }
}

/// What units cannot have.
fn refuse_the_impossible(spec: &RunSpec) -> Result<(), RuntimeError> {
    let template = &spec.template;
    let asked = [
        (template.entry == Entry::Image, "an image's own start script"),
        (template.docker_socket, "the engine's socket inside (the group docker gives it)"),
        (!template.caches.is_empty(), "caches (a home outlives the runs)"),
    ];
    match asked.iter().find(|(asked, _)| *asked) {
        None => Ok(()),
        Some((_, what)) => Err(RuntimeError::Unsupported(format!(
            "agents under systemd have no {what}: take it out of the template"
        ))),
    }
}

/// The agent's root, made of the package when that is another one than before; without the
/// registration of the run before, because the one that counts is handed over.
fn renew_root(
    record: &UnitRecord,
    package: &Path,
    slot_dir: &Path,
    sha256: &str,
) -> io::Result<()> {
    let mark = slot_dir.join("package");
    crate::runtime::handover::private_dirs(slot_dir)?;
    let same = fs::read_to_string(&mark).is_ok_and(|known| known == sha256);
    let own = clean::is_own_root(&record.root, record.uid);
    if !same || !own || !package::is_package(&record.root) {
        absent_is_fine(fs::remove_file(&mark))?;
        clean::remove(&record.root)?;
        package::unfold(package, &record.root)?;
        package::give(&record.root, record.uid)?;
        fs::write(&mark, sha256)?;
    }
    for file in [".agent", ".credentials", ".credentials_rsaparams"] {
        absent_is_fine(fs::remove_file(record.root.join(file)))?;
    }
    Ok(())
}

#[async_trait]
impl Runtime for SystemdRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Systemd
    }

    async fn describe(&self) -> Result<String, RuntimeError> {
        let version = self.bus.version().await.map_err(|e| e.while_doing("asking systemd"))?;
        Ok(format!("systemd {version}, homes in {}", self.settings.homes.display()))
    }

    async fn ensure_image(&self, image: &ImageRef) -> Result<(), RuntimeError> {
        Err(RuntimeError::Unsupported(format!("agents under systemd have no image ({image})")))
    }

    async fn ensure_started(&self, spec: &RunSpec) -> Result<(), RuntimeError> {
        match self.look(&spec.run).await? {
            Some((_, RunState::Running)) => return Ok(()),
            // 3 and 4: the listener wants to be started again, updated, in the same place.
            Some((record, RunState::Ended(Some(3 | 4)))) => {
                self.stop(&record.unit).await?;
                let state = self.run_dir(&spec.run).path().join("state.json");
                absent_is_fine(fs::remove_file(state)).map_err(|e| files_of(&spec.run, e))?;
            }
            Some((_, RunState::Ended(code))) => {
                return Err(RuntimeError::Refused {
                    doing: "starting the unit",
                    why: format!(
                        "{} has ended already (exit code {code:?}); a new run has a new number",
                        spec.run
                    ),
                });
            }
            Some((_, RunState::Created)) => {}
            None => self.prepare(spec).await.inspect_err(|_| self.notices.close(&spec.run))?,
        }
        self.start(spec).await
    }

    async fn interrupt(&self, run: &RunId) -> Result<(), RuntimeError> {
        let Some((record, RunState::Running)) = self.look(run).await? else { return Ok(()) };
        self.run_dir(run).allow_stop().map_err(|source| files_of(run, source))?;
        match self.bus.kill(&record.unit, "main", Signal::SIGINT as i32).await {
            Ok(()) | Err(BusError::NoUnit) => Ok(()),
            Err(error) => Err(error.while_doing("interrupting the listener")),
        }
    }

    async fn ensure_ended(&self, run: &RunId) -> Result<(), RuntimeError> {
        let Some((record, RunState::Running)) = self.look(run).await? else { return Ok(()) };
        let dir = self.run_dir(run);
        dir.allow_stop().map_err(|source| files_of(run, source))?;
        // The agent's processes before the unit's own: were all killed at once, systemd could find the
        // unit dead while something in it still dies, and leave its groups of processes behind. Who does
        // not end now is looked for again below.
        let _ = self.kill_user(record.uid).await;
        match self.bus.kill(&record.unit, "all", Signal::SIGKILL as i32).await {
            Ok(()) | Err(BusError::NoUnit) => {}
            Err(error) => return Err(error.while_doing("ending the unit's processes")),
        }
        // A unit that is stopped while something in it still dies leaves its group of processes.
        self.until_empty(&record.unit).await;
        // Also keeps systemd from starting agent-run again.
        self.stop(&record.unit).await?;
        self.kill_user(record.uid).await.map_err(|source| files_of(run, source))?;
        match dir.state() {
            Ok(Some(super::State::Ended { .. })) => Ok(()),
            _ => dir.end(Some(KILLED)).map_err(|source| files_of(run, source)),
        }
    }

    async fn ensure_removed(&self, run: &RunId) -> Result<(), RuntimeError> {
        match self.look(run).await? {
            Some((_, RunState::Running)) => return Err(RuntimeError::StillRuns(run.clone())),
            // Nothing begins in it any more: while hostd rules, agent-run only waits.
            Some((record, _)) if self.is_unit_of(run).await? => self.stop(&record.unit).await?,
            Some(_) | None => {}
        }
        self.notices.close(run);
        let dir = self.run_dir(run).path().to_owned();
        let aside = self.settings.runs_dir.join(format!(".gone-{run}"));
        let memory = self.memory_of(run);
        let removed = blocking(move || {
            // In one step: half a directory would be a run without a record.
            absent_is_fine(fs::rename(&dir, &aside))?;
            absent_is_fine(fs::remove_dir_all(&aside))?;
            absent_is_fine(fs::remove_file(&memory))
        });
        removed.await.map_err(|source| files_of(run, source))
    }

    async fn evidence(&self, run: &RunId) -> Result<Vec<Exhibit>, RuntimeError> {
        let Some((record, _)) = self.look(run).await? else { return Ok(Vec::new()) };
        // While hostd is away agent-run would go on with it.
        if self.is_unit_of(run).await? {
            self.stop(&record.unit).await?;
        }
        let json = serde_json::to_string_pretty(&record).unwrap_or_default();
        let diag = record.root.join("_diag");
        let diag = blocking(move || Ok(newest_in(&diag, DIAG_FILES, DIAG_MAX)))
            .await
            .map_err(|source| files_of(run, source))?;
        Ok(vec![
            Exhibit { name: "diag.txt", text: diag },
            Exhibit { name: "unit.json", text: json },
        ])
    }

    async fn forget_slot(&self, agent: &AgentName, slot_dir: &Path) -> Result<(), RuntimeError> {
        let failed = |source| files_of(format!("what is left of {agent}"), source);
        self.stop(&unit::name(agent)).await?;
        if let Some(user) = self.users.find(agent).map_err(failed)? {
            self.kill_user(user.uid).await.map_err(failed)?;
            blocking(move || {
                clean::remove(&user.home)?;
                clean::clean_common(user.uid)
            })
            .await
            .map_err(failed)?;
            self.users.remove(agent).await.map_err(failed)?;
        }
        let dir = slot_dir.to_owned();
        blocking(move || absent_is_fine(fs::remove_dir_all(dir))).await.map_err(failed)
    }

    async fn list(&self) -> Result<Vec<RunSeen>, RuntimeError> {
        let seen = |(record, state): (UnitRecord, RunState)| RunSeen {
            run: record.run(),
            pool: record.pool,
            group: record.group,
            slot: record.slot,
            state,
        };
        Ok(self.seen().await?.into_iter().map(seen).collect())
    }

    async fn worker(&self, run: &RunId) -> WorkerCheck {
        let record = match self.run_dir(run).unit() {
            Ok(Some(record)) => record,
            // A run that was never made has no process.
            Ok(None) => return self.bus.worker(&unit::name(&run.agent)).await,
            Err(error) => return WorkerCheck::Unknown(error.to_string()),
        };
        self.bus.worker_of(&record).await
    }

    async fn logs(&self, run: &RunId, query: &LogQuery) -> Result<LogStream, RuntimeError> {
        // Of all its runs: the journal keeps what earlier ones said, and goes on with later ones.
        journal::read(&run.agent, query)
    }

    async fn places(&self) -> Vec<PathBuf> {
        vec![self.settings.homes.clone()]
    }

    async fn sizes(&self, keep: &Keep) -> Result<Sizes, RuntimeError> {
        self.weighed(keep).await.map_err(|source| files_of("what agents take", source))
    }

    async fn unused(&self, keep: &Keep) -> Result<Vec<(Thing, PathBuf)>, RuntimeError> {
        self.unused_things(keep).await.map_err(|source| files_of("what is unused", source))
    }

    async fn remove_unused(&self, thing: &Thing, keep: &Keep) -> Result<Option<u64>, RuntimeError> {
        self.remove_thing(thing, keep).await.map_err(|source| files_of(thing, source))
    }

    async fn watch(self: Arc<Self>, events: mpsc::Sender<RuntimeEvent>, stop: CancellationToken) {
        let follow = follow::Follow::new(self.clone(), events.clone());
        self.notices.beside(Box::pin(follow.run(stop)), events).await;
    }
}
