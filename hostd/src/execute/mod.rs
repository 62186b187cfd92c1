//! From an action to its outcome. Nothing is decided here: what the plan asks for is done with the
//! runtime, with Azure, or with the slot's directory, and how it went is said back.

mod azure;
mod pace;
mod rows;
mod runs;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fleet_model::{HostName, Labels, OwnerMark, PoolAssignment, RuntimeKind};
use fleet_proto::logging::Report;
use hostd_plan::{Action, Outcome, Slot};
use tokio::sync::Semaphore;

pub use azure::{Azure, AzureClients, AzurePool, FoundRow, ProxyForAzure};

use crate::{
    evidence::EvidenceStore,
    guardian::Cleaner,
    runtime::{Runtime, RuntimeError},
    secrets::Secrets,
    slots::SlotStore,
};

/// No action may hang for ever, whatever its parts promise. A pull may take long.
const PULL_LIMIT: Duration = Duration::from_secs(30 * 60);
/// See [`PULL_LIMIT`]. Longer than the engine's and Azure's own limits together.
const ACTION_LIMIT: Duration = Duration::from_secs(5 * 60);

/// An action with everything that is needed to do it, as it was when it was planned.
#[derive(Debug, Clone)]
pub struct Task {
    /// What to do.
    pub action: Action,
    /// The agent's slot; none for an image.
    pub slot: Option<Slot>,
    /// What the assignment says of its pool.
    pub part: Option<PoolAssignment>,
    /// What the operator calls this host.
    pub labels: Labels,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// For the plan.
    pub outcome: Outcome,
    /// The slot's registration was to be used and is not there.
    pub registration_lost: bool,
    /// What was removed to make room, for the history.
    pub removed: Vec<String>,
}

impl From<Outcome> for Ended {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, registration_lost: false, removed: Vec::new() }
    }
}

/// Does what the plan asks for.
pub struct Executor {
    host: HostName,
    fleet: String,
    runtimes: BTreeMap<RuntimeKind, Arc<dyn Runtime>>,
    slots: SlotStore,
    evidence: EvidenceStore,
    secrets: Arc<Secrets>,
    azure: Arc<dyn Azure>,
    labels: Labels,
    starts: Semaphore,
    cleaner: Cleaner,
}

/// What an [`Executor`] works with.
pub struct Means {
    /// This host.
    pub host: HostName,
    /// The fleet's name, first part of the owner mark.
    pub fleet: String,
    /// What it serves.
    pub runtimes: BTreeMap<RuntimeKind, Arc<dyn Runtime>>,
    /// The slots' directories.
    pub slots: SlotStore,
    /// Where evidence is kept.
    pub evidence: EvidenceStore,
    /// Credentials.
    pub secrets: Arc<Secrets>,
    /// Azure.
    pub azure: Arc<dyn Azure>,
    /// What this host calls itself.
    pub labels: Labels,
    /// Starts at the same time, so that the engine is not flooded.
    pub starts_at_once: usize,
    /// What removes what nothing uses.
    pub cleaner: Cleaner,
}

impl Executor {
    /// An executor with these means.
    pub fn new(means: Means) -> Self {
        let Means {
            host,
            fleet,
            runtimes,
            slots,
            evidence,
            secrets,
            azure,
            labels,
            starts_at_once,
            cleaner,
        } = means;
        let starts = Semaphore::new(starts_at_once.max(1));
        Self { host, fleet, runtimes, slots, evidence, secrets, azure, labels, starts, cleaner }
    }

    /// Does it, within a limit.
    pub async fn run(&self, task: Task) -> Ended {
        let limit = match task.action {
            // A pull, or the removal of much.
            Action::EnsureImage { .. } | Action::Clean { .. } => PULL_LIMIT,
            _ => ACTION_LIMIT,
        };
        // A start waits for its turn as long as it takes; the limit is for the doing.
        let _turn = match task.action {
            Action::Start { .. } => self.starts.acquire().await.ok(),
            _ => None,
        };
        // While something begins, nothing of an agent is taken away.
        let _open = match task.action {
            Action::Start { .. } => Some(self.cleaner.gate.read().await),
            _ => None,
        };
        match tokio::time::timeout(limit, self.act(&task)).await {
            Ok(ended) => ended,
            Err(_) => Outcome::Failed(format!("no end within {} s", limit.as_secs())).into(),
        }
    }

    async fn act(&self, task: &Task) -> Ended {
        match &task.action {
            Action::EnsureImage { kind, image } => match self.runtime(*kind) {
                Ok(runtime) => outcome(runtime.ensure_image(image).await).into(),
                Err(outcome) => outcome.into(),
            },
            Action::Start { agent, attempt, registered } => {
                self.start(task, agent, *attempt, *registered).await
            }
            Action::RemoveRun { agent, attempt } => {
                self.remove_run(task, agent, *attempt).await.into()
            }
            Action::EndRun { agent, attempt } => self.end_run(task, agent, *attempt).await.into(),
            Action::CheckWorker { agent, attempt } => {
                self.check_worker(task, agent, *attempt).await.into()
            }
            Action::Interrupt { agent, attempt } => {
                self.interrupt(task, agent, *attempt).await.into()
            }
            Action::KeepEvidence { agent, attempt } => {
                self.keep_evidence(task, agent, *attempt).await.into()
            }
            Action::Clean { place, urgent } => {
                match self.cleaner.clean(&self.runtimes, place, *urgent).await {
                    Ok(removed) => Ended { removed, ..Outcome::Done.into() },
                    Err(why) => {
                        tracing::warn!(place, why, "nothing is cleaned");
                        Outcome::Failed(why).into()
                    }
                }
            }
            Action::Forget { agent } => self.forget(task, agent).await.into(),
            Action::Disable { agent, row } => {
                self.set_enabled(task, agent, *row, false).await.into()
            }
            Action::Enable { agent, row } => self.set_enabled(task, agent, *row, true).await.into(),
            Action::ReadRow { agent, row } => self.read_row(task, agent, *row).await.into(),
            Action::DeleteRow { agent, row } => self.delete_row(task, agent, *row).await.into(),
        }
    }

    /// What an agent of this slot says of its owner (a capability of its row).
    pub fn owner_mark(&self, slot: &Slot) -> String {
        let (fleet, host) = (self.fleet.clone(), self.host.clone());
        OwnerMark { fleet, host, slot: slot.number }.to_string()
    }

    fn runtime(&self, kind: RuntimeKind) -> Result<&Arc<dyn Runtime>, Outcome> {
        let missing = || Outcome::Failed(format!("this host serves no {kind} runtime"));
        self.runtimes.get(&kind).ok_or_else(missing)
    }

    fn runtime_of<'a>(&self, task: &'a Task) -> Result<(&Arc<dyn Runtime>, &'a Slot), Outcome> {
        // The plan knows no action on an agent without a slot.
        let slot = task.slot.as_ref().ok_or_else(|| Outcome::Failed("it has no slot".into()))?;
        Ok((self.runtime(slot.runtime)?, slot))
    }
}

/// The runtime's answer in the plan's words.
fn outcome(done: Result<(), RuntimeError>) -> Outcome {
    match done {
        Ok(()) => Outcome::Done,
        Err(RuntimeError::ImageMissing { image, why }) => Outcome::ImageMissing { image, why },
        Err(RuntimeError::EngineDown { why, .. }) => Outcome::EngineDown(why),
        Err(RuntimeError::StillRuns(_)) => Outcome::StillRuns,
        Err(other) => Outcome::Failed(Report(&other).to_string()),
    }
}
