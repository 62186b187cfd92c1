//! Actions on runs and slots: what is asked of the runtime.

use std::sync::Arc;

use fleet_model::AgentName;
use fleet_proto::logging::Report;
use hostd_plan::{Outcome, Slot, Worker};

use super::{Ended, Executor, Task, outcome};
use crate::{
    evidence::log_of,
    logs::private,
    runtime::{RunId, RunSpec, StartWith, WorkerCheck},
    scrub::Scrubber,
};

impl Executor {
    pub(super) async fn start(
        &self,
        task: &Task,
        agent: &AgentName,
        attempt: u32,
        registered: bool,
    ) -> Ended {
        let (runtime, slot) = match self.runtime_of(task) {
            Ok(found) => found,
            Err(outcome) => return outcome.into(),
        };
        let start = match self.start_with(task, agent, registered) {
            Ok(start) => start,
            Err(ended) => return ended,
        };
        let run = RunId { agent: agent.clone(), attempt };
        match self.spec(task, slot, run, start) {
            Ok(spec) => outcome(runtime.ensure_started(&spec).await).into(),
            Err(outcome) => outcome.into(),
        }
    }

    fn start_with(
        &self,
        task: &Task,
        agent: &AgentName,
        registered: bool,
    ) -> Result<StartWith, Ended> {
        if registered {
            let lost =
                |why: String| Ended { registration_lost: true, ..Outcome::Failed(why).into() };
            return match self.slots.load(agent) {
                Ok(Some(kept)) => Ok(StartWith::Registration(kept.files)),
                Ok(None) => Err(lost("its registration is not on disk any more".into())),
                Err(error) => Err(lost(Report(&error).to_string())),
            };
        }
        let name = task.part.as_ref().map(|part| &part.credential.name);
        match name.and_then(|name| self.secrets.get(name)) {
            Some((token, _)) => Ok(StartWith::Token(token)),
            None => Err(Outcome::Failed("no credential to register with".into()).into()),
        }
    }

    fn spec(
        &self,
        task: &Task,
        slot: &Slot,
        run: RunId,
        start: StartWith,
    ) -> Result<RunSpec, Outcome> {
        let unknown = || Outcome::Failed("the assignment does not say how it is built".into());
        let part = task.part.as_ref().ok_or_else(unknown)?;
        let group = part.group(&slot.group).ok_or_else(unknown)?;
        Ok(RunSpec {
            pool: slot.pool.clone(),
            group: slot.group.clone(),
            slot: slot.number,
            host: self.host.clone(),
            azure: part.azure.clone(),
            template: Arc::clone(&group.template),
            slot_dir: self.slots.dir(&run.agent),
            labels: self.labels.clone().into_iter().chain(task.labels.clone()).collect(),
            owner: self.owner_mark(slot),
            start,
            run,
        })
    }

    pub(super) async fn remove_run(&self, task: &Task, agent: &AgentName, attempt: u32) -> Outcome {
        match self.runtime_of(task) {
            Ok((runtime, _)) => {
                outcome(runtime.ensure_removed(&RunId { agent: agent.clone(), attempt }).await)
            }
            Err(outcome) => outcome,
        }
    }

    pub(super) async fn end_run(&self, task: &Task, agent: &AgentName, attempt: u32) -> Outcome {
        match self.runtime_of(task) {
            Ok((runtime, _)) => {
                outcome(runtime.ensure_ended(&RunId { agent: agent.clone(), attempt }).await)
            }
            Err(outcome) => outcome,
        }
    }

    pub(super) async fn interrupt(&self, task: &Task, agent: &AgentName, attempt: u32) -> Outcome {
        match self.runtime_of(task) {
            Ok((runtime, _)) => {
                outcome(runtime.interrupt(&RunId { agent: agent.clone(), attempt }).await)
            }
            Err(outcome) => outcome,
        }
    }

    pub(super) async fn check_worker(
        &self,
        task: &Task,
        agent: &AgentName,
        attempt: u32,
    ) -> Outcome {
        let (runtime, _) = match self.runtime_of(task) {
            Ok(found) => found,
            Err(outcome) => return outcome,
        };
        Outcome::Worker(match runtime.worker(&RunId { agent: agent.clone(), attempt }).await {
            WorkerCheck::None => Worker::None,
            WorkerCheck::Present => Worker::Present,
            WorkerCheck::Unknown(why) => Worker::Unknown(why),
        })
    }

    pub(super) async fn keep_evidence(
        &self,
        task: &Task,
        agent: &AgentName,
        attempt: u32,
    ) -> Outcome {
        let (runtime, _) = match self.runtime_of(task) {
            Ok(found) => found,
            Err(outcome) => return outcome,
        };
        let run = RunId { agent: agent.clone(), attempt };
        let mut exhibits = match runtime.evidence(&run).await {
            Ok(exhibits) => exhibits,
            Err(error) => return outcome(Err(error)),
        };
        let (store, scrubber) = (self.evidence.clone(), self.scrubber(agent));
        exhibits.push(log_of(runtime.as_ref(), &run, &scrubber).await);
        match tokio::task::spawn_blocking(move || store.keep(&run, &exhibits, &scrubber)).await {
            Ok(Ok(place)) => Outcome::Evidence(place.display().to_string()),
            Ok(Err(error)) => Outcome::Failed(Report(&error).to_string()),
            Err(error) => Outcome::Failed(Report(&error).to_string()),
        }
    }

    /// Takes out every secret that this host holds and that an agent may have met.
    fn scrubber(&self, agent: &AgentName) -> Scrubber {
        let files =
            self.slots.load(agent).ok().flatten().map(|kept| kept.files).unwrap_or_default();
        Scrubber::new(self.secrets.all().into_iter().chain(private(&files)))
    }

    pub(super) async fn forget(&self, task: &Task, agent: &AgentName) -> Outcome {
        let dir = self.slots.dir(agent);
        let removed = match self.runtime_of(task) {
            Ok((runtime, _)) => outcome(runtime.forget_slot(agent, &dir).await),
            // Nothing of it can run on a runtime that this host does not serve (any more).
            Err(_) => Outcome::Done,
        };
        if removed != Outcome::Done {
            return removed;
        }
        match self.slots.forget(agent) {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Failed(Report(&error).to_string()),
        }
    }
}
