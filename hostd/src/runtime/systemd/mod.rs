//! One user and one systemd unit per agent, over D-Bus.
//!
//! ```text
//!   hostd ──D-Bus──► systemd ──► fleet-agent-<agent>.service
//!     ▲                            hostd agent-run (root) ──► entry ──► Agent.Listener (az-<n>)
//!     └──── log, registration ◄── <runs>/<agent>-<attempt>/ ◄──┘
//! ```
//!
//! The unit outlives hostd, and in once mode goes on without it (see [`crate::agent_run`]). An agent
//! has one unit, so no two runs of it live at the same time.

pub(crate) mod bus;
mod follow;
mod journal;
mod journal_entry;
mod packages;
mod unit;
mod unused;
mod users;
mod verbs;

use std::{io, path::PathBuf};

use fleet_model::{AgentName, Package, RuntimeKind};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::bus::SYSTEM_BUS;
use self::{bus::Bus, packages::Packages, unit::run_of, users::Users};
use super::{
    RunId, RunSeen, RunSpec, RunState, Runtime, RuntimeError, RuntimeEvent, WorkerCheck,
    handover::Handover, notify::Notices,
};
use crate::{
    agent_run::{
        attended::Attended,
        record::{RunDir, State, UnitRecord},
    },
    execute::ProxyForAzure,
    runtime::proc,
};

/// How this host runs agents under systemd.
#[derive(Clone)]
pub struct SystemdSettings {
    /// The package of templates that name none.
    pub package: Option<Package>,
    /// Where the users' homes are, and the packages beside them.
    pub homes: PathBuf,
    /// Numbers of users begin here.
    pub first_uid: u32,
    /// Which user belongs to which agent.
    pub users_file: PathBuf,
    /// Where runs are written down; every user must be able to pass through.
    pub runs_dir: PathBuf,
    /// Where it is remembered that there was a run: a reboot takes `runs_dir` away.
    pub remembered: PathBuf,
    /// This program, as units start it.
    pub program: PathBuf,
    /// The way to packages.
    pub proxy: ProxyForAzure,
    /// The system bus.
    pub bus: String,
    /// The engine's socket, for agents of the group `docker`: what their jobs started there ends with
    /// them.
    pub engine: PathBuf,
}

/// The runtime.
pub struct SystemdRuntime {
    settings: SystemdSettings,
    bus: Bus,
    users: Users,
    packages: Packages,
    handover: Handover,
    notices: Notices,
    attended: Attended,
}

impl SystemdRuntime {
    /// Nothing is asked yet.
    pub fn new(settings: SystemdSettings) -> Self {
        Self {
            bus: Bus::at(&settings.bus),
            users: Users::new(
                settings.users_file.clone(),
                settings.homes.clone(),
                settings.first_uid,
            ),
            packages: Packages::new(&settings.homes, settings.proxy.clone()),
            handover: Handover::new(settings.runs_dir.clone()),
            notices: Notices::default(),
            attended: Attended::within(&settings.runs_dir),
            settings,
        }
    }

    fn run_dir(&self, run: &RunId) -> RunDir {
        RunDir::at(self.settings.runs_dir.join(run.to_string()))
    }

    /// All runs that have a directory.
    fn run_dirs(&self) -> io::Result<Vec<RunId>> {
        let entries = match std::fs::read_dir(&self.settings.runs_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut runs: Vec<RunId> = entries
            .flatten()
            .filter_map(|entry| run_of_dir(&entry.file_name().to_string_lossy()))
            .collect();
        runs.sort();
        Ok(runs)
    }

    /// Runs whose unit lives.
    async fn living(&self) -> Result<Vec<RunId>, RuntimeError> {
        let units = self.bus.units(unit::PATTERN).await;
        let units = units.map_err(|error| error.while_doing("listing units"))?;
        let living = units.iter().filter(|unit| unit.lives());
        Ok(living.filter_map(|unit| run_of(&unit.name, &unit.description)).collect())
    }

    /// Every run that is written down, with what it does.
    async fn seen(&self) -> Result<Vec<(UnitRecord, RunState)>, RuntimeError> {
        let living = self.living().await?;
        let mut all = Vec::new();
        for run in self.run_dirs().map_err(|source| files_of("the runs", source))? {
            let (record, state) = self.written(&run).map_err(|source| files_of(&run, source))?;
            if let Some(record) = record {
                let state = state_of(state, living.contains(&run), record.uid);
                all.push((record, state));
            }
        }
        let forgotten = self.remembered().map_err(|source| files_of("the runs", source))?;
        let lost = forgotten
            .into_iter()
            .filter(|record| !all.iter().any(|(known, _)| known.run() == record.run()));
        let lost: Vec<_> = lost.map(|record| (record, RunState::Ended(None))).collect();
        Ok([all, lost].concat())
    }

    /// What is written of a run. What cannot be understood of one must not hide all others: then its
    /// record is what is remembered, and its unit and processes tell what it does.
    fn written(&self, run: &RunId) -> io::Result<(Option<UnitRecord>, Option<State>)> {
        let dir = self.run_dir(run);
        let garbled = |error: &io::Error| {
            let is =
                matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
            if is {
                tracing::warn!(%run, %error, "what is written of a run makes no sense");
            }
            is
        };
        let record = match dir.unit() {
            Err(error) if garbled(&error) => {
                self.remembered()?.into_iter().find(|record| record.run() == *run)
            }
            other => other?,
        };
        let state = match dir.state() {
            Err(error) if garbled(&error) => Some(State::Running { listener: None, had_job: true }),
            other => other?,
        };
        Ok((record, state))
    }

    fn memory_of(&self, run: &RunId) -> PathBuf {
        self.settings.remembered.join(format!("{run}.json"))
    }

    /// Runs that were made and not removed, on disk: after a reboot their end is all that is left.
    fn remembered(&self) -> io::Result<Vec<UnitRecord>> {
        let entries = match std::fs::read_dir(&self.settings.remembered) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut all = Vec::new();
        for entry in entries.flatten() {
            // A half-written one has another name, and an unreadable one names no run.
            let record = std::fs::read(entry.path()).ok();
            all.extend(record.and_then(|bytes| serde_json::from_slice::<UnitRecord>(&bytes).ok()));
        }
        all.sort_by_key(UnitRecord::run);
        Ok(all)
    }

    /// What one run does; none: it is not written down.
    async fn look(&self, run: &RunId) -> Result<Option<(UnitRecord, RunState)>, RuntimeError> {
        let lives = self.living().await?.contains(run);
        let written = || -> io::Result<_> {
            let (record, state) = self.written(run)?;
            if let Some(record) = record {
                let state = state_of(state, lives, record.uid);
                return Ok(Some((record, state)));
            }
            let forgotten = self.remembered()?.into_iter().find(|record| record.run() == *run);
            Ok(forgotten.map(|record| (record, RunState::Ended(None))))
        };
        written().map_err(|source| files_of(run, source))
    }

    /// Writes an end down for every run whose unit is gone with everything in it: nobody else will.
    async fn settle_dead(&self) {
        let seen = match self.seen().await {
            Ok(seen) => seen,
            Err(error) => return tracing::warn!(%error, "the runs cannot be listed"),
        };
        for (record, state) in seen {
            let dir = self.run_dir(&record.run());
            let unwritten = !matches!(dir.state(), Ok(Some(State::Ended { .. }) | None) | Err(_));
            if let (RunState::Ended(_), true) = (state, unwritten)
                && let Err(error) = dir.end(None)
            {
                tracing::warn!(run = %record.run(), %error, "its end cannot be written down");
            }
        }
    }
}

/// What a run does, by its own word and by whether its unit lives. A listener, or a worker with a
/// job, goes on without its unit when somebody stopped that by force.
fn state_of(written: Option<State>, unit_lives: bool, uid: u32) -> RunState {
    match written {
        Some(State::Ended { code }) => RunState::Ended(code),
        _ if unit_lives => RunState::Running,
        None => RunState::Created,
        Some(State::Running { listener, .. }) => {
            let lives = listener.is_some_and(|listener| listener.lives().is_ok_and(|lives| lives));
            match lives || proc::worker_of_user(uid) != WorkerCheck::None {
                true => RunState::Running,
                false => RunState::Ended(None),
            }
        }
    }
}

/// `<agent>-<attempt>`; other entries are none of ours.
fn run_of_dir(name: &str) -> Option<RunId> {
    let (agent, attempt) = name.rsplit_once('-')?;
    Some(RunId { agent: agent.parse().ok()?, attempt: attempt.parse().ok()? })
}

fn files_of(what: impl std::fmt::Display, source: io::Error) -> RuntimeError {
    RuntimeError::Io { doing: format!("reading or writing {what}"), source }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;
    use crate::agent_run::record::Process;

    #[test]
    fn a_directorys_name_is_a_run_or_none_of_ours() {
        let run = RunId { agent: "nightly-h-1-07".parse().unwrap(), attempt: 3 };
        assert_eq!(run_of_dir(&run.to_string()), Some(run));
        for other in [".attended", ".gone-nightly-h-1-07-3", "nightly", "nightly-x", "-1"] {
            assert_eq!(run_of_dir(other), None, "{other}");
        }
    }

    #[test]
    fn a_runs_own_word_counts_then_its_unit_then_its_listener() {
        let own = i32::try_from(std::process::id()).unwrap();
        let started = proc::alive(own).unwrap().unwrap().started;
        let running = |pid, started| {
            Some(State::Running { listener: Some(Process { pid, started }), had_job: false })
        };
        let ended = Some(State::Ended { code: Some(4) });
        for (written, unit, expected) in [
            (None, false, RunState::Created),
            (None, true, RunState::Running),
            (ended, true, RunState::Ended(Some(4))),
            (ended, false, RunState::Ended(Some(4))),
            (running(own, started), false, RunState::Running),
            (running(own, started + 1), false, RunState::Ended(None)),
            (running(own, started + 1), true, RunState::Running),
        ] {
            assert_eq!(state_of(written, unit, u32::MAX), expected, "{written:?} {unit}");
        }
    }
}
