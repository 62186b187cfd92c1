//! What a plan can ask for.

use std::{fmt, time::Duration};

use fleet_model::{AgentName, ImageRef, Quarantine, RuntimeKind};

use crate::{
    ledger::{Renewal, Role, RowId, Slot},
    pause::Pause,
};

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Slots to add or to give another role, before anything is done.
    pub slots: Vec<SlotChange>,
    /// What to do, at most one action per subject.
    pub actions: Vec<Action>,
    /// When to plan again if nothing happens before.
    pub wake_after: Option<Duration>,
}

/// A change of the slots themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotChange {
    /// A new slot.
    Add(AgentName, Box<Slot>),
    /// Another role.
    Role(AgentName, Role),
    /// Its run is not well and is replaced.
    Renew(AgentName, Renewal),
    /// It failed too often and is kept aside.
    Quarantine(AgentName, Box<Quarantine>),
    /// It takes no jobs for a while.
    Pause(AgentName, Box<Pause>),
    /// It takes jobs again.
    Resume(AgentName),
}

/// One thing to do. Each may be repeated; each comes back as [`crate::Event::Done`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Look for the image, pull it if it is not there.
    EnsureImage {
        /// Which runtime's engine.
        kind: RuntimeKind,
        /// The image.
        image: ImageRef,
    },
    /// Make and start a run. Without a registration the run registers first.
    Start {
        /// The agent.
        agent: AgentName,
        /// The attempt, which names the run.
        attempt: u32,
        /// Use the registration that hostd holds.
        registered: bool,
    },
    /// Remove the remains of a run that ended or never began. One that runs is left alone.
    RemoveRun {
        /// The agent.
        agent: AgentName,
        /// Which run.
        attempt: u32,
    },
    /// End a drained run whose listener does not end when asked.
    EndRun {
        /// The agent.
        agent: AgentName,
        /// Which run.
        attempt: u32,
    },
    /// Tell Azure to give it no more jobs.
    Disable {
        /// The agent.
        agent: AgentName,
        /// Its row.
        row: RowId,
    },
    /// Tell Azure that it may have jobs again.
    Enable {
        /// The agent.
        agent: AgentName,
        /// Its row.
        row: RowId,
    },
    /// Read its row; without an id, look for it by name and owner mark.
    ReadRow {
        /// The agent.
        agent: AgentName,
        /// Its row, where known.
        row: Option<RowId>,
    },
    /// Look whether a worker lives in a run.
    CheckWorker {
        /// The agent.
        agent: AgentName,
        /// Which run.
        attempt: u32,
    },
    /// SIGINT to the listener of a drained agent.
    Interrupt {
        /// The agent.
        agent: AgentName,
        /// Which run.
        attempt: u32,
    },
    /// Delete its row at Azure.
    DeleteRow {
        /// The agent.
        agent: AgentName,
        /// Its row.
        row: RowId,
    },
    /// Keep what can be known of a run that ended, for whoever looks into it.
    KeepEvidence {
        /// The agent.
        agent: AgentName,
        /// Which run.
        attempt: u32,
    },
    /// Remove what nothing uses from a disk.
    Clean {
        /// Where it is mounted.
        place: String,
        /// Room is short: also what was in use until a moment ago.
        urgent: bool,
    },
    /// Drop what hostd holds for the slot: registration, caches, directory.
    Forget {
        /// The agent.
        agent: AgentName,
    },
}

/// What an action is about; one action per subject at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// An agent.
    Agent(AgentName),
    /// An image on one engine.
    Image(RuntimeKind, ImageRef),
    /// The disk that is mounted there.
    Disk(String),
}

impl Action {
    /// What it is about.
    pub fn subject(&self) -> Subject {
        match self {
            Self::EnsureImage { kind, image } => Subject::Image(*kind, image.clone()),
            Self::Clean { place, .. } => Subject::Disk(place.clone()),
            Self::Start { agent, .. }
            | Self::RemoveRun { agent, .. }
            | Self::EndRun { agent, .. }
            | Self::Disable { agent, .. }
            | Self::Enable { agent, .. }
            | Self::ReadRow { agent, .. }
            | Self::CheckWorker { agent, .. }
            | Self::Interrupt { agent, .. }
            | Self::DeleteRow { agent, .. }
            | Self::KeepEvidence { agent, .. }
            | Self::Forget { agent } => Subject::Agent(agent.clone()),
        }
    }

    /// It asks Azure something.
    pub fn asks_azure(&self) -> bool {
        matches!(
            self,
            Self::Disable { .. }
                | Self::Enable { .. }
                | Self::ReadRow { .. }
                | Self::DeleteRow { .. }
        )
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnsureImage { kind, image } => write!(f, "ensure image {image} ({kind})"),
            Self::Start { agent, attempt, registered } => {
                let how = if *registered { "with its registration" } else { "registering" };
                write!(f, "start {agent}, run {attempt}, {how}")
            }
            Self::RemoveRun { agent, attempt } => write!(f, "remove run {attempt} of {agent}"),
            Self::EndRun { agent, attempt } => write!(f, "end run {attempt} of {agent}"),
            Self::Disable { agent, .. } => write!(f, "disable {agent} at Azure"),
            Self::Enable { agent, .. } => write!(f, "enable {agent} at Azure"),
            Self::ReadRow { agent, .. } => write!(f, "read the row of {agent}"),
            Self::CheckWorker { agent, attempt } => {
                write!(f, "look for a worker in run {attempt} of {agent}")
            }
            Self::Interrupt { agent, attempt } => write!(f, "stop run {attempt} of {agent}"),
            Self::DeleteRow { agent, .. } => write!(f, "delete the row of {agent}"),
            Self::KeepEvidence { agent, attempt } => {
                write!(f, "keep the evidence of run {attempt} of {agent}")
            }
            Self::Clean { place, urgent: false } => write!(f, "clean {place}"),
            Self::Clean { place, urgent: true } => write!(f, "make room on {place}"),
            Self::Forget { agent } => write!(f, "forget {agent}"),
        }
    }
}
