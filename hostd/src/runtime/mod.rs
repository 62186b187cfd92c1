//! What keeps agents alive on a host: a few small verbs, each of which may be repeated.
//!
//! A runtime decides nothing. It starts, interrupts, removes and lists runs, says what it sees, and
//! answers the one question that a removal hangs on: does a worker live in there? One conformance
//! suite (`hostd/tests/conformance.rs`) runs against every runtime.
//!
//! ```text
//!   ensure_started ──► Started ──► Sign(Registered) ─► Sign(Listening) ─► Sign(JobStarted) ─► …
//!                                                            │
//!   interrupt (SIGINT to the listener) ──────────────────────┴──► Ended{exit_code}
//!   ensure_ended (SIGKILL) ───────────────────────────────────────┘
//!   ensure_removed ──► Gone
//! ```

mod again;
mod agent_env;
pub mod docker;
pub mod fake;
mod handover;
mod hub;
pub mod log;
mod notify;
mod package;
pub(crate) mod proc;
pub mod process;
pub mod signs;
pub mod systemd;
mod tape;

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use fleet_model::{
    AgentName, AzureTarget, GroupName, HostName, ImageRef, Labels, PoolName, RuntimeKind, Template,
};
use secrecy::SecretString;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::guardian::{Keep, Sizes, Thing};

/// One run of an agent: the attempt makes its name unique, so that a repeated start is seen as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId {
    /// The agent.
    pub agent: AgentName,
    /// Which of its runs, counted from 1; in the ledger before the run is made.
    pub attempt: u32,
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.agent, self.attempt)
    }
}

/// Everything a runtime needs to make a run.
#[derive(Debug, Clone)]
pub struct RunSpec {
    /// Which run.
    pub run: RunId,
    /// Its pool, group and place, for labels.
    pub pool: PoolName,
    /// See `pool`.
    pub group: GroupName,
    /// See `pool`.
    pub slot: u16,
    /// This host.
    pub host: HostName,
    /// Where it registers.
    pub azure: AzureTarget,
    /// How it is built.
    pub template: Arc<Template>,
    /// The slot's own directory on the host, root only: caches, and the agent's root when the
    /// engine's socket is handed in.
    pub slot_dir: PathBuf,
    /// What this host is called: its agents have it as capabilities.
    pub labels: Labels,
    /// Files of a valid registration (name → content), or how to get one.
    pub start: StartWith,
    /// `FLEET_OWNER=<fleet>/<host>/<slot>`: becomes a capability and says whose the row is.
    pub owner: String,
}

/// With what an agent starts.
#[derive(Clone)]
pub enum StartWith {
    /// The slot's registration: `.agent`, `.credentials`, `.credentials_rsaparams`.
    Registration(BTreeMap<String, Vec<u8>>),
    /// No registration yet: the configuration run gets this token.
    Token(SecretString),
}

impl fmt::Debug for StartWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Both hold secrets; which one it is, is none.
        f.write_str(match self {
            Self::Registration(_) => "Registration(..)",
            Self::Token(_) => "Token(..)",
        })
    }
}

/// A run as the engine lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSeen {
    /// Which run.
    pub run: RunId,
    /// Its pool, group and slot, from its labels.
    pub pool: PoolName,
    /// See `pool`.
    pub group: GroupName,
    /// See `pool`.
    pub slot: u16,
    /// What it does.
    pub state: RunState,
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Made, not started.
    Created,
    /// Running.
    Running,
    /// Ended, with the exit code where known.
    Ended(Option<i32>),
}

/// What a look at the process list gave. Only [`WorkerCheck::None`] ever allows a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerCheck {
    /// The list was read whole and has no worker.
    None,
    /// A worker lives.
    Present,
    /// The list could not be read: counts as a worker.
    Unknown(String),
}

/// What the listener said, or left behind. Signs may be forged by a job: they may make an agent
/// busy, never free.
#[derive(Clone, PartialEq, Eq)]
pub enum Sign {
    /// The configuration run is at work.
    Registering,
    /// The configuration run ended well; these are the registration's files.
    Registered(BTreeMap<String, Vec<u8>>),
    /// "Listening for Jobs".
    Listening,
    /// "Running job: …".
    JobStarted(String),
    /// "Job … completed with result: …".
    JobFinished {
        /// The job's name.
        name: String,
        /// The result's word.
        result: String,
    },
    /// A job was announced on its notification socket, where others may speak as well.
    JobAnnounced,
    /// And was said to be over.
    JobAnnouncedOver,
    /// "A session for this agent already exists."
    SessionConflict,
    /// "Agent connect error: …".
    ConnectError(String),
    /// "Agent reconnected.": what it did before the trouble, it does again.
    Reconnected,
    /// The configuration run or the listener said why it failed; last lines, without secrets.
    Complaint(String),
}

impl fmt::Debug for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registering => f.write_str("Registering"),
            // One of the files is the agent's private key.
            Self::Registered(_) => f.write_str("Registered(..)"),
            Self::Listening => f.write_str("Listening"),
            Self::JobStarted(name) => write!(f, "JobStarted({name:?})"),
            Self::JobFinished { name, result } => write!(f, "JobFinished({name:?}, {result:?})"),
            Self::JobAnnounced => f.write_str("JobAnnounced"),
            Self::JobAnnouncedOver => f.write_str("JobAnnouncedOver"),
            Self::SessionConflict => f.write_str("SessionConflict"),
            Self::ConnectError(why) => write!(f, "ConnectError({why:?})"),
            Self::Reconnected => f.write_str("Reconnected"),
            Self::Complaint(why) => write!(f, "Complaint({why:?})"),
        }
    }
}

/// What a runtime sees. Events are hints; [`Runtime::list`] is the truth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// A run began.
    Started(RunId),
    /// A run ended.
    Ended(RunId, Option<i32>),
    /// A run's remains are gone.
    Gone(RunId),
    /// A run's listener said something.
    Sign(RunId, Sign),
    /// An image came (pull, load, tag): a missing one may be there now.
    ImageCame,
    /// The engine answers (again): list anew.
    EngineUp,
    /// The engine does not answer, with the cause.
    EngineDown(String),
}

/// Why a verb failed.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine has no such image and could not get it.
    #[error("image {image} is not on this host and cannot be pulled: {why}")]
    ImageMissing {
        /// The image.
        image: ImageRef,
        /// The engine's words.
        why: String,
    },
    /// The engine does not answer within the limit.
    #[error("the {engine} engine does not answer: {why}")]
    EngineDown {
        /// Which engine.
        engine: &'static str,
        /// The cause.
        why: String,
    },
    /// The run to be removed runs: nothing was done to it.
    #[error("{0} still runs: it is not removed")]
    StillRuns(RunId),
    /// There is nothing of this run on this host (any more).
    #[error("there is nothing of {0} on this host")]
    NoRun(RunId),
    /// The engine answered with a refusal.
    #[error("{doing}: {why}")]
    Refused {
        /// What was tried.
        doing: &'static str,
        /// The engine's words.
        why: String,
    },
    /// This host cannot do what the template asks for.
    #[error("{0}")]
    Unsupported(String),
    /// Files of the slot could not be written or read.
    #[error("{doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// A text that says something about a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhibit {
    /// A file name: `log.txt`, `inspect.json`, …
    pub name: &'static str,
    /// May hold secrets.
    pub text: String,
}

/// The verbs. Each may be repeated, each has a limit, none decides.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Which kind it is.
    fn kind(&self) -> RuntimeKind;

    /// Engine and version, as shown to people; also proves that it answers.
    async fn describe(&self) -> Result<String, RuntimeError>;

    /// Makes sure that the image is on this host, pulling it when it is not.
    async fn ensure_image(&self, image: &ImageRef) -> Result<(), RuntimeError>;

    /// Makes and starts the run. Running already is done already. A run that ended with an update
    /// (exit 3 or 4) is started again as it is.
    async fn ensure_started(&self, spec: &RunSpec) -> Result<(), RuntimeError>;

    /// SIGINT to the listener. It cancels a running job: only ever called for a run that may be
    /// stopped. Ended already is done already.
    async fn interrupt(&self, run: &RunId) -> Result<(), RuntimeError>;

    /// SIGKILL to all of the run: only ever called for one that may be stopped. Ended already is done
    /// already.
    async fn ensure_ended(&self, run: &RunId) -> Result<(), RuntimeError>;

    /// Removes the remains of a run that ended or never began (not the slot's directory). One that
    /// runs is refused ([`RuntimeError::StillRuns`]), however it came to run.
    async fn ensure_removed(&self, run: &RunId) -> Result<(), RuntimeError>;

    /// Everything beside its log that says what a run that ended did. Nothing begins in it any more.
    async fn evidence(&self, run: &RunId) -> Result<Vec<Exhibit>, RuntimeError>;

    /// Removes what belongs to the slot: caches, root, directory.
    async fn forget_slot(
        &self,
        agent: &AgentName,
        slot_dir: &std::path::Path,
    ) -> Result<(), RuntimeError>;

    /// All runs of ours on this host, ended ones too.
    async fn list(&self) -> Result<Vec<RunSeen>, RuntimeError>;

    /// Does a worker live in this run? From outside: no process in the run is asked.
    async fn worker(&self, run: &RunId) -> WorkerCheck;

    /// What the run wrote, raw: see [`log::LogStream`]. [`RuntimeError::NoRun`] when its log is gone, or
    /// not there yet.
    async fn logs(
        &self,
        run: &RunId,
        query: &log::LogQuery,
    ) -> Result<log::LogStream, RuntimeError>;

    /// Directories on whose file systems its agents live, beside hostd's own state.
    async fn places(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// What its agents take beside their slots' directories, and what its caches take. May take
    /// minutes.
    async fn sizes(&self, _keep: &Keep) -> Result<Sizes, RuntimeError> {
        Ok(Sizes::default())
    }

    /// What of its own nothing uses, and where it lies. In doubt a thing is used.
    async fn unused(&self, _keep: &Keep) -> Result<Vec<(Thing, PathBuf)>, RuntimeError> {
        Ok(Vec::new())
    }

    /// Removes one of them, unless it is in use now: nothing is ended for it. Bytes that it took.
    async fn remove_unused(
        &self,
        _thing: &Thing,
        _keep: &Keep,
    ) -> Result<Option<u64>, RuntimeError> {
        Ok(None)
    }

    /// Says what it sees until `stop`. For each run that runs already (after a restart of hostd) it
    /// also says the newest signs, so that a run is adopted with what it is doing.
    async fn watch(self: Arc<Self>, events: mpsc::Sender<RuntimeEvent>, stop: CancellationToken);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown_by_debug() {
        let files = BTreeMap::from([(".credentials_rsaparams".to_owned(), b"secret".to_vec())]);
        for shown in [
            format!("{:?}", Sign::Registered(files.clone())),
            format!("{:?}", StartWith::Registration(files)),
            format!("{:?}", StartWith::Token(String::from("secret").into())),
        ] {
            assert!(shown.ends_with("(..)"), "{shown}");
        }
    }
}
