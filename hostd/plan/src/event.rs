//! Everything that may happen on a host.

use std::{collections::BTreeMap, time::Duration};

use fleet_model::{
    AgentName, Assignment, CredentialRef, Disk, GroupName, ImageRef, PoolName, RowState,
    RuntimeKind,
};

use crate::{actions::Action, ledger::RowId, runs::RunState};

/// What happened. An event changes only what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A newer assignment (checked by [`crate::Known::assign`]; here for the record of events).
    Assigned(Assignment),
    /// The credentials that hostd holds now, complete.
    Credentials(Vec<CredentialRef>),
    /// All runs of ours on an engine, complete.
    Listed {
        /// Which engine.
        kind: RuntimeKind,
        /// The runs.
        runs: Vec<RunListed>,
    },
    /// An engine does not answer.
    EngineDown {
        /// Which engine.
        kind: RuntimeKind,
        /// The cause.
        why: String,
    },
    /// An image came to an engine: a missing one may be there now.
    ImageCame {
        /// Which engine.
        kind: RuntimeKind,
    },
    /// A run began.
    RunStarted {
        /// The agent.
        agent: AgentName,
        /// Which run.
        attempt: u32,
    },
    /// A run ended.
    RunEnded {
        /// The agent.
        agent: AgentName,
        /// Which run.
        attempt: u32,
        /// Its exit code, where known.
        code: Option<i32>,
    },
    /// The remains of a run are gone.
    RunGone {
        /// The agent.
        agent: AgentName,
        /// Which run.
        attempt: u32,
    },
    /// A run's listener, or its entry, said something.
    Heard {
        /// The agent.
        agent: AgentName,
        /// Which run.
        attempt: u32,
        /// What it said.
        heard: Heard,
    },
    /// The coordinator saw rows of this host's agents; none: the row is gone.
    Rows(BTreeMap<AgentName, Option<RowState>>),
    /// The disks that agents live on, just measured, complete: one that is not named could not be
    /// measured.
    Disks(Vec<Disk>),
    /// An action came back.
    Done {
        /// The action.
        action: Action,
        /// How it ended.
        outcome: Outcome,
    },
}

/// A run as an engine lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunListed {
    /// The agent.
    pub agent: AgentName,
    /// Which run.
    pub attempt: u32,
    /// Its pool, group and slot number, from its labels: enough to adopt it without a ledger.
    pub pool: PoolName,
    /// See `pool`.
    pub group: GroupName,
    /// See `pool`.
    pub number: u16,
    /// What it does.
    pub state: RunState,
}

/// What a listener or its entry said. It may make an agent busy, never free for a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The configuration run began.
    Registering,
    /// The configuration run ended well, and hostd holds the files.
    Registered(RowId),
    /// It waits for jobs.
    Listening,
    /// It has a job.
    JobStarted(String),
    /// The job ended.
    JobFinished,
    /// Somebody said on its notification socket that it has a job. Any job of the host may have been
    /// that.
    JobAnnounced,
    /// Somebody said there that the job is over.
    JobAnnouncedOver,
    /// Azure still holds a session of it.
    SessionConflict,
    /// It cannot reach Azure.
    ConnectError(String),
    /// Why it failed.
    Complaint(String),
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is so.
    Done,
    /// The engine lacks the image and cannot get it.
    ImageMissing {
        /// The image.
        image: ImageRef,
        /// The engine's words.
        why: String,
    },
    /// The run to be removed runs: it was left alone.
    StillRuns,
    /// The engine does not answer.
    EngineDown(String),
    /// It failed otherwise.
    Failed(String),
    /// The row as it was read.
    Row(RowRead),
    /// The process list.
    Worker(Worker),
    /// The evidence is kept: where.
    Evidence(String),
    /// Azure would not, or could not be asked.
    Azure(AzureFailure),
}

/// A read of an agent's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowRead {
    /// It is there.
    There(RowId, RowState),
    /// Azure has no such row.
    Gone,
}

/// A look at a run's process list. Only [`Worker::None`] ever allows a stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Worker {
    /// The list was read whole and has no worker.
    None,
    /// A worker lives.
    Present,
    /// The list could not be read: counts as a worker.
    Unknown(String),
}

/// Why Azure did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AzureFailure {
    /// The row is not there (any more).
    RowGone,
    /// The row's agent has a job; only for deletes.
    JobStillRunning,
    /// The credential is refused, or there is none.
    NotAllowed(String),
    /// It does not answer, or not now.
    Unavailable {
        /// In words.
        why: String,
        /// How long it asks to be left alone.
        retry_after: Option<Duration>,
    },
}
