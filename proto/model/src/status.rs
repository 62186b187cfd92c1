//! What is: agents, their phases, what a host reports.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AgentName, At, CacheSize, Disk, GroupName, Order, PoolName, RuntimeKind};

/// Where an agent is in its life. What is wanted of it is [`Intent`], its work is [`Job`]: three
/// fields, because an agent that is to be removed may well be busy.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing is known yet, as after a restart of hostd. Counts as busy for a removal.
    #[default]
    Unknown,
    /// Wanted, not started: it waits for its turn, an image or the end of a back-off.
    Pending,
    /// The configuration run registers it at Azure.
    Registering,
    /// The listener is starting.
    Starting,
    /// The listener waits for a job.
    Idle,
    /// It has, or may have, a job.
    Busy,
    /// The agent updates itself.
    Updating,
    /// Disabled by the fleet; a job may still run.
    Draining,
    /// Disabled, and twice seen without a job: it may be stopped.
    Drained,
    /// No run, on purpose: an offline placeholder.
    Stopped,
    /// Somebody else disabled it at Azure. Shown, never undone.
    DisabledElsewhere,
    /// Its last run or start failed; the next comes after a back-off.
    Failed,
    /// It failed too often and is kept with its evidence.
    Quarantined,
    /// Disabled by the fleet for a while, and kept: a run that is there goes on, none is started.
    Paused,
}

impl Phase {
    /// All of them, for tables and tests.
    pub const ALL: [Phase; 14] = [
        Self::Unknown,
        Self::Pending,
        Self::Registering,
        Self::Starting,
        Self::Idle,
        Self::Busy,
        Self::Updating,
        Self::Draining,
        Self::Drained,
        Self::Stopped,
        Self::DisabledElsewhere,
        Self::Failed,
        Self::Quarantined,
        Self::Paused,
    ];

    /// A registered listener is online: the agent counts towards what was asked for.
    pub const fn is_online(self) -> bool {
        matches!(self, Self::Idle | Self::Busy)
    }

    /// The word shown to people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "Unknown",
            Self::Pending => "Pending",
            Self::Registering => "Registering",
            Self::Starting => "Starting",
            Self::Idle => "Idle",
            Self::Busy => "Busy",
            Self::Updating => "Updating",
            Self::Draining => "Draining",
            Self::Drained => "Drained",
            Self::Stopped => "Stopped",
            Self::DisabledElsewhere => "DisabledElsewhere",
            Self::Failed => "Failed",
            Self::Quarantined => "Quarantined",
            Self::Paused => "Paused",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What is wanted of an agent.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    /// It stays.
    #[default]
    Keep,
    /// Disabled, stopped at its job's end, registration kept.
    Drain,
    /// Disabled, stopped at its job's end, row and slot removed.
    Remove,
}

impl fmt::Display for Intent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Keep => "keep",
            Self::Drain => "drain",
            Self::Remove => "remove",
        })
    }
}

/// The job an agent has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its name as the listener or Azure said it; may be empty when only a worker was seen.
    pub name: String,
    /// Azure's request, where known.
    pub request_id: Option<i64>,
    /// First seen.
    pub since: At,
}

/// One agent as its host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStatus {
    /// Its name.
    pub agent: AgentName,
    /// Its pool.
    pub pool: PoolName,
    /// Its group.
    pub group: GroupName,
    /// Its place on the host.
    pub slot: u16,
    /// What keeps it.
    pub runtime: RuntimeKind,
    /// Runs so far.
    pub attempt: u32,
    /// Where it is in its life.
    pub phase: Phase,
    /// Since when.
    pub since: At,
    /// What is wanted of it.
    pub intent: Intent,
    /// Its job.
    pub job: Option<Job>,
    /// Why it is in this phase, in words.
    pub why: String,
    /// Its row at Azure.
    pub agent_id: Option<i64>,
    /// It only holds the pool's last registration.
    pub placeholder: bool,
    /// It is kept aside, or on its way there.
    #[serde(default)]
    pub quarantine: Option<Quarantine>,
    /// Bytes that it takes on its host's disks, without what it shares; none: not measured (yet).
    #[serde(default)]
    pub disk_bytes: Option<u64>,
}

/// Why and how long an agent is kept aside with what is left of it. It gets no job meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantine {
    /// Since when.
    pub since: At,
    /// It ends by itself then.
    pub until: At,
    /// In words.
    pub why: String,
    /// The operator who asked for it; none: its host, after too many failures.
    pub by: Option<String>,
    /// Where on its host the evidence is; none while it is not collected.
    pub evidence: Option<String>,
}

/// What Azure says about a row, as far as the fleet needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowState {
    /// Its id in the Azure pool.
    pub agent_id: i64,
    /// Jobs may be given to it.
    pub enabled: bool,
    /// Azure sees its session.
    pub online: bool,
    /// The request it holds.
    pub assigned: Option<Assigned>,
}

/// A job request that a row holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// Azure's number of it.
    pub request_id: i64,
    /// The job's name; may be empty.
    pub job: String,
    /// The page of the run that it belongs to, where Azure names one.
    #[serde(default)]
    pub run_url: Option<String>,
}

impl Assigned {
    /// A request of which only number and job are known.
    pub fn new(request_id: i64, job: impl Into<String>) -> Self {
        Self { request_id, job: job.into(), run_url: None }
    }
}

impl RowState {
    /// Neither a session nor a job.
    pub fn is_quiet(&self) -> bool {
        !self.online && self.assigned.is_none()
    }
}

/// Something about a host or a pool on it that an operator should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Condition {
    /// Which kind.
    pub kind: ConditionKind,
    /// The pool it is about; none means the host.
    pub pool: Option<PoolName>,
    /// In words, with the cause.
    pub message: String,
}

/// Kinds of [`Condition`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConditionKind {
    /// The engine does not answer.
    EngineDown,
    /// The engine has no such image and cannot get it.
    ImageMissing,
    /// Azure does not answer, or refuses.
    AzureTrouble,
    /// No usable credential for the pool.
    NoCredential,
    /// The start cap holds starts back.
    StartsCapped,
    /// The pool is not part of the assignment; its agents are left as they are.
    PoolUnknown,
    /// The host would lose its agents when the engine restarts.
    NoLiveRestore,
    /// The host lacks what the template asks for.
    Unsupported,
    /// The host cannot store its ledger, and nothing is started or removed until it can; or the newest
    /// was damaged, and it goes on from the one before.
    LedgerTrouble,
    /// Room is short on a disk: what is not used is removed.
    DiskLow,
    /// A disk is nearly full: agents that live on it are paused.
    DiskFull,
}

impl fmt::Display for ConditionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::EngineDown => "EngineDown",
            Self::ImageMissing => "ImageMissing",
            Self::AzureTrouble => "AzureTrouble",
            Self::NoCredential => "NoCredential",
            Self::StartsCapped => "StartsCapped",
            Self::PoolUnknown => "PoolUnknown",
            Self::NoLiveRestore => "NoLiveRestore",
            Self::Unsupported => "Unsupported",
            Self::LedgerTrouble => "LedgerTrouble",
            Self::DiskLow => "DiskLow",
            Self::DiskFull => "DiskFull",
        })
    }
}

/// What a host says: everything once per session, then what changed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HostReport {
    /// This is everything; agents not named do not exist.
    pub full: bool,
    /// Highest order taken.
    pub applied: Order,
    /// New or changed agents.
    pub agents: Vec<AgentStatus>,
    /// Agents that are gone.
    pub removed: Vec<AgentName>,
    /// All conditions that hold now (always complete: they are few).
    pub conditions: Vec<Condition>,
    /// Fingerprints of the credentials the host holds, by name (complete).
    pub credentials: Vec<crate::CredentialRef>,
    /// File systems that its agents depend on (complete).
    pub disks: Vec<Disk>,
    /// What takes room beside the agents (complete).
    pub caches: Vec<CacheSize>,
}
