//! Agents as child processes of hostd: for a tour on a machine without Docker, and for tests.
//! No isolation, no limits; they end with hostd. Needs no root.

mod child;

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use fleet_model::{AgentName, Entry, GroupName, ImageRef, Limits, PoolName, RuntimeKind};
use rustix::process::{Signal, pidfd_send_signal};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use self::child::Agent;
use super::{
    Exhibit, RunId, RunSeen, RunSpec, RunState, Runtime, RuntimeError, RuntimeEvent, Sign,
    WorkerCheck,
    agent_env::{entry_env, listener_env},
    handover::{Handover, Holder, NOTIFY_VARIABLE, announcing_at},
    hub::Hub,
    log::{LogQuery, LogStream},
    notify::Notices,
    package, proc,
    signs::{Heard, hear},
    tape::Tape,
};
use crate::disk::{DIAG_FILES, DIAG_MAX, absent_is_fine, newest_in};

/// Begins the names of the runs' directories in a slot's directory.
const ROOT: &str = "root-";
/// How long an end waits for the last lines.
const DRAIN: Duration = Duration::from_secs(2);
/// What a group is given to end by itself.
const NOTICE: Duration = Duration::from_secs(1);
/// How long a killed group may take to be gone.
const KILL: Duration = Duration::from_secs(10);

/// How this host runs agents as processes.
#[derive(Debug, Clone)]
pub struct ProcessSettings {
    /// An unpacked agent package, shared by all agents, only ever read.
    pub package: PathBuf,
    /// Where hand-over directories live.
    pub runs_dir: PathBuf,
}

/// The runtime; what it knows lives and ends with it, as its agents do.
pub struct ProcessRuntime {
    shared: Arc<Shared>,
}

struct Shared {
    settings: ProcessSettings,
    handover: Handover,
    hub: Hub,
    notices: Notices,
    runs: Mutex<BTreeMap<RunId, Run>>,
}

struct Run {
    pool: PoolName,
    group: GroupName,
    slot: u16,
    root: PathBuf,
    tape: Tape,
    process: Arc<Process>,
}

/// One start of a run.
struct Process {
    leader: i32,
    handle: OwnedFd,
    state: watch::Receiver<RunState>,
}

impl ProcessRuntime {
    /// Nothing is started yet.
    pub fn new(settings: ProcessSettings) -> Self {
        let handover = Handover::new(settings.runs_dir.clone());
        let (hub, notices, runs) = (Hub::default(), Notices::default(), Mutex::default());
        Self { shared: Arc::new(Shared { settings, handover, hub, notices, runs }) }
    }
}

impl Shared {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<RunId, Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn process(&self, run: &RunId) -> Option<Arc<Process>> {
        self.runs().get(run).map(|run| run.process.clone())
    }

    fn tape(&self, run: &RunId) -> Option<Tape> {
        self.runs().get(run).map(|run| run.tape.clone())
    }

    fn say(&self, run: &RunId, sign: Sign) {
        self.hub.say(RuntimeEvent::Sign(run.clone(), sign));
    }

    /// A fresh root and a hand-over; for a run that is started again all this is there.
    fn prepare(&self, spec: &RunSpec, root: &Path) -> io::Result<()> {
        let env = listener_env(spec).map_err(io::Error::other)?;
        self.remove_stale_roots(&spec.slot_dir)?;
        package::unfold(&self.settings.package, root)?;
        // Only an earlier life of hostd can have left one, and its agents ended with it.
        self.handover.remove(&spec.run)?;
        let start = announcing_at(&spec.start, self.notices.address(&spec.run));
        self.handover.prepare(&spec.run, &start, &env, Holder::Me).map(drop)
    }

    /// Roots of runs that an earlier life of hostd had: they ended with it.
    fn remove_stale_roots(&self, slot_dir: &Path) -> io::Result<()> {
        let entries = match std::fs::read_dir(slot_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            let is_root = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(ROOT));
            if is_root && !self.runs().values().any(|run| run.root == path) {
                absent_is_fine(std::fs::remove_dir_all(&path))?;
            }
        }
        Ok(())
    }

    async fn start(self: &Arc<Self>, spec: &RunSpec, root: PathBuf) -> Result<(), RuntimeError> {
        let shared_dir = self.handover.shared(&spec.run);
        let mut env = entry_env(spec)?;
        env.insert("FLEET_HANDOVER".into(), shared_dir.display().to_string());
        env.insert("FLEET_AGENT_ROOT".into(), root.display().to_string());
        env.insert("HOME".into(), root.display().to_string());
        if let Some(address) = self.notices.address(&spec.run) {
            env.insert(NOTIFY_VARIABLE.into(), address.to_string());
        }
        let agent = child::start(&shared_dir.join("entry.sh"), &env)
            .await
            .map_err(|source| files_of(&spec.run, "starting the processes", source))?;
        let handle = agent.handle.try_clone();
        let handle =
            handle.map_err(|source| files_of(&spec.run, "watching the processes", source))?;
        let (state, seen) = watch::channel(RunState::Running);
        let process = Arc::new(Process { leader: agent.leader, handle, state: seen });
        // A run that goes on after its update goes on with its log.
        let tape = self.tape(&spec.run).unwrap_or_default();
        tape.set_over(false);
        let run = Run {
            pool: spec.pool.clone(),
            group: spec.group.clone(),
            slot: spec.slot,
            root,
            tape: tape.clone(),
            process,
        };
        self.runs().insert(spec.run.clone(), run);
        self.hub.say(RuntimeEvent::Started(spec.run.clone()));
        tokio::spawn(Self::attend(self.clone(), spec.run.clone(), agent, state, tape));
        Ok(())
    }

    /// Until the listener ended, and its last line was heard.
    async fn attend(
        self: Arc<Self>,
        run: RunId,
        mut agent: Agent,
        state: watch::Sender<RunState>,
        tape: Tape,
    ) {
        let output = agent.child.stdout.take();
        let reading = {
            let (shared, run, tape) = (self.clone(), run.clone(), tape.clone());
            tokio::spawn(async move {
                if let Some(output) = output {
                    shared.listen(&run, output, &tape).await;
                }
            })
        };
        let code = agent.end().await.unwrap_or_else(|error| {
            tracing::error!(%run, %error, "an agent's processes cannot be waited for");
            None
        });
        let _ = timeout(DRAIN, reading).await;
        self.drop_token(&run);
        self.notices.ended(&run, code);
        tape.set_over(true);
        state.send_replace(RunState::Ended(code));
        self.hub.say(RuntimeEvent::Ended(run, code));
    }

    async fn listen(&self, run: &RunId, output: impl AsyncRead + Unpin, tape: &Tape) {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while matches!(output.read_until(b'\n', &mut line).await, Ok(1..)) {
            let text = String::from_utf8_lossy(&line);
            tape.write(text.trim_end());
            match hear(&text) {
                None => {}
                Some(Heard::Registered) => self.registered(run),
                Some(Heard::Sign(sign)) => self.say(run, sign),
            }
            line.clear();
        }
    }

    fn registered(&self, run: &RunId) {
        match self.handover.take_registration(run) {
            Ok(Some(files)) => self.say(run, Sign::Registered(files)),
            Ok(None) => {}
            Err(error) => {
                let why = format!("the registration cannot be fetched: {error}");
                self.say(run, Sign::Complaint(why));
            }
        }
    }

    fn drop_token(&self, run: &RunId) {
        if let Err(error) = self.handover.drop_token(run) {
            tracing::error!(%run, %error, "the token of a run cannot be unlinked");
        }
    }
}

/// What processes cannot have.
fn refuse_the_impossible(spec: &RunSpec) -> Result<(), RuntimeError> {
    let template = &spec.template;
    let asked = [
        (template.entry == Entry::Image, "an image's own start script"),
        (template.docker_socket, "the engine's socket"),
        (template.limits != Limits::default(), "limits"),
        (!template.caches.is_empty(), "caches"),
    ];
    match asked.iter().find(|(asked, _)| *asked) {
        None => Ok(()),
        Some((_, what)) => Err(RuntimeError::Unsupported(format!(
            "agents as processes have no {what}: take another runtime or leave it out"
        ))),
    }
}

#[async_trait]
impl Runtime for ProcessRuntime {
    fn kind(&self) -> RuntimeKind {
        RuntimeKind::Process
    }

    async fn describe(&self) -> Result<String, RuntimeError> {
        let package = &self.shared.settings.package;
        if package::is_package(package) {
            return Ok(format!("processes, agent package {}", package.display()));
        }
        Err(RuntimeError::Unsupported(format!(
            "{} is no agent package (bin/Agent.Listener and config.sh): unpack one there",
            package.display()
        )))
    }

    async fn ensure_image(&self, _: &ImageRef) -> Result<(), RuntimeError> {
        // The package is what an image is elsewhere.
        self.describe().await.map(drop)
    }

    async fn ensure_started(&self, spec: &RunSpec) -> Result<(), RuntimeError> {
        let known = self.shared.process(&spec.run).map(|process| *process.state.borrow());
        // Of its own for every run: what is left of the last one goes while the next one lives.
        let root = spec.slot_dir.join(format!("{ROOT}{}", spec.run.attempt));
        match known {
            Some(RunState::Running | RunState::Created) => Ok(()),
            Some(RunState::Ended(Some(3 | 4))) => self.shared.start(spec, root).await,
            Some(RunState::Ended(code)) => Err(RuntimeError::Refused {
                doing: "starting the processes",
                why: format!("{} has ended already (exit code {code:?})", spec.run),
            }),
            None => {
                refuse_the_impossible(spec)?;
                listener_env(spec)?;
                self.describe().await?;
                let own = rustix::process::getuid().as_raw();
                self.shared.notices.open(&spec.run, Some(own));
                let (shared, owned, to) = (self.shared.clone(), spec.clone(), root.clone());
                tokio::task::spawn_blocking(move || shared.prepare(&owned, &to))
                    .await
                    .unwrap_or_else(|error| Err(io::Error::other(error)))
                    .map_err(|source| files_of(&spec.run, "preparing the directories", source))?;
                self.shared.start(spec, root).await
            }
        }
    }

    async fn interrupt(&self, run: &RunId) -> Result<(), RuntimeError> {
        let Some(process) = self.shared.process(run) else { return Ok(()) };
        match pidfd_send_signal(&process.handle, Signal::INT) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(files_of(run, "interrupting the listener", error.into())),
        }
    }

    async fn ensure_ended(&self, run: &RunId) -> Result<(), RuntimeError> {
        let Some(process) = self.shared.process(run) else { return Ok(()) };
        let mut state = process.state.clone();
        let is_ended = |state: &RunState| matches!(state, RunState::Ended(_));
        if !is_ended(&state.borrow()) {
            // A configuration run lives in a group of its own; the entry takes it along.
            child::end_group(process.leader);
            if timeout(NOTICE, state.wait_for(is_ended)).await.is_err() {
                child::kill_group(process.leader);
            }
        }
        if timeout(KILL, state.wait_for(is_ended)).await.is_err() {
            return Err(RuntimeError::Refused {
                doing: "ending the processes",
                why: format!("those of {run} do not end"),
            });
        }
        Ok(())
    }

    async fn ensure_removed(&self, run: &RunId) -> Result<(), RuntimeError> {
        let process = self.shared.process(run);
        if process.is_some_and(|process| *process.state.borrow() == RunState::Running) {
            return Err(RuntimeError::StillRuns(run.clone()));
        }
        let gone = self.shared.runs().remove(run);
        self.shared.notices.close(run);
        let (handover, of) = (self.shared.handover.clone(), run.clone());
        let root = gone.as_ref().map(|run| run.root.clone());
        tokio::task::spawn_blocking(move || {
            handover.remove(&of)?;
            root.map_or(Ok(()), |root| absent_is_fine(std::fs::remove_dir_all(root)))
        })
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
        .map_err(|source| files_of(run, "removing the directories", source))?;
        if gone.is_some() {
            self.shared.hub.say(RuntimeEvent::Gone(run.clone()));
        }
        Ok(())
    }

    async fn evidence(&self, run: &RunId) -> Result<Vec<Exhibit>, RuntimeError> {
        let root = self.shared.runs().get(run).map(|run| run.root.clone());
        let text = root.map(|root| newest_in(&root.join("_diag"), DIAG_FILES, DIAG_MAX));
        Ok(vec![Exhibit { name: "diag.txt", text: text.unwrap_or_default() }])
    }

    async fn forget_slot(&self, agent: &AgentName, slot_dir: &Path) -> Result<(), RuntimeError> {
        let dir = slot_dir.to_owned();
        tokio::task::spawn_blocking(move || absent_is_fine(std::fs::remove_dir_all(dir)))
            .await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
            .map_err(|source| RuntimeError::Io {
                doing: format!("removing the directory of {agent}"),
                source,
            })
    }

    async fn list(&self) -> Result<Vec<RunSeen>, RuntimeError> {
        let seen = |(id, run): (&RunId, &Run)| RunSeen {
            run: id.clone(),
            pool: run.pool.clone(),
            group: run.group.clone(),
            slot: run.slot,
            state: *run.process.state.borrow(),
        };
        Ok(self.shared.runs().iter().map(seen).collect())
    }

    async fn worker(&self, run: &RunId) -> WorkerCheck {
        match self.shared.process(run) {
            Some(process) if *process.state.borrow() == RunState::Running => {
                proc::worker(process.leader)
            }
            // Its group was ended with it.
            _ => WorkerCheck::None,
        }
    }

    async fn logs(&self, run: &RunId, query: &LogQuery) -> Result<LogStream, RuntimeError> {
        let tape = self.shared.tape(run).ok_or_else(|| RuntimeError::NoRun(run.clone()))?;
        Ok(tape.read(query))
    }

    async fn watch(self: Arc<Self>, events: mpsc::Sender<RuntimeEvent>, stop: CancellationToken) {
        let Shared { hub, notices, .. } = self.shared.as_ref();
        notices.beside(hub.watch(events.clone(), stop), events).await;
    }
}

fn files_of(run: &RunId, doing: &str, source: io::Error) -> RuntimeError {
    RuntimeError::Io { doing: format!("{doing} of {run}"), source }
}
