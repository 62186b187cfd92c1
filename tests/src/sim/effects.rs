//! What an action of a host does: to its engine, and to Azure.

use fleet_model::{AgentName, HostName, Mode};
use hostd_plan::{Action, AzureFailure, Outcome, RowId, RowRead, RunState, Worker};

use super::{Due, Step, World, engine::SimRun};

impl World {
    pub(super) fn effect(&mut self, name: &HostName, action: &Action) -> Outcome {
        if action.asks_azure() {
            return self.azure_effect(name, action);
        }
        match action {
            Action::EnsureImage { .. } => Outcome::Done,
            Action::Start { agent, attempt, registered } => {
                self.start_run(name, (agent.clone(), *attempt), *registered)
            }
            Action::RemoveRun { agent, attempt } => {
                let key = (agent.clone(), *attempt);
                let Some(host) = self.hosts.get_mut(name) else { return Outcome::Done };
                if host.engine.live(&key).is_some() {
                    return Outcome::StillRuns;
                }
                host.engine.runs.remove(&key);
                Outcome::Done
            }
            Action::EndRun { agent, attempt } => {
                self.end_by_fleet(name, &(agent.clone(), *attempt), "ended");
                Outcome::Done
            }
            Action::CheckWorker { agent, attempt } => {
                let key = (agent.clone(), *attempt);
                // The list may fail, but it is never falsely empty while a worker lives.
                if self.unlucky(10) {
                    return Outcome::Worker(Worker::Unknown("the list could not be read".into()));
                }
                let host = self.hosts.get_mut(name);
                let works = host.and_then(|host| host.engine.live(&key)?.job).is_some();
                let seen = works && !self.options.broken_guard;
                Outcome::Worker(if seen { Worker::Present } else { Worker::None })
            }
            Action::Interrupt { agent, attempt } => {
                let key = (agent.clone(), *attempt);
                let stubborn = self.unlucky(5);
                if let Some(run) = self.hosts.get_mut(name).and_then(|h| h.engine.live(&key)) {
                    run.stubborn |= stubborn;
                }
                self.end_by_fleet(name, &key, "interrupted");
                Outcome::Done
            }
            Action::Forget { agent } => {
                if let Some(host) = self.hosts.get_mut(name) {
                    host.disk.files.remove(agent);
                }
                Outcome::Done
            }
            Action::KeepEvidence { .. } => Outcome::Evidence("on its disk".into()),
            _ => Outcome::Failed("not an engine's action".into()),
        }
    }

    fn start_run(&mut self, name: &HostName, key: (AgentName, u32), registered: bool) -> Outcome {
        if self.unlucky(3) {
            return Outcome::Failed("the engine refused".into());
        }
        let late = self.unlucky(4);
        let Some(host) = self.hosts.get_mut(name) else { return Outcome::Done };
        match host.engine.runs.get(&key).map(|run| run.state) {
            None => {}
            Some(RunState::Running) => return Outcome::Done,
            Some(RunState::Created) => {
                self.begin_run(name, key);
                return Outcome::Done;
            }
            Some(RunState::Ended(_)) => return Outcome::Failed("it has ended already".into()),
        }
        let Some(slot) = host.disk.ledger.slots.get(&key.0) else {
            return Outcome::Failed("a run was started before its slot was stored".into());
        };
        let row = slot.row.filter(|_| registered).map(|row| row.agent_id);
        let told = host.disk.ledger.assignment.as_ref();
        let group = told.and_then(|told| told.pools.get(&slot.pool)?.group(&slot.group));
        let once = group.is_none_or(|group| group.template.mode == Mode::Once);
        let run = SimRun {
            pool: slot.pool.clone(),
            group: slot.group.clone(),
            number: slot.number,
            state: RunState::Created,
            once,
            row,
            registered,
            files_ready: false,
            listening: false,
            job: None,
            conflicts: 0,
            stubborn: false,
        };
        host.engine.runs.insert(key.clone(), run);
        if late {
            // Made, and perhaps started when nobody waits for it any more.
            if self.between(0, 3) > 0 {
                let wait = self.between(200, 40_000);
                self.after(wait, Due::Agent(name.clone(), key, Step::Begin));
            }
            return Outcome::Failed("the engine did not answer in time".into());
        }
        self.begin_run(name, key);
        Outcome::Done
    }

    fn azure_effect(&mut self, name: &HostName, action: &Action) -> Outcome {
        let away = || {
            Outcome::Azure(AzureFailure::Unavailable {
                why: "503: the service is unavailable".into(),
                retry_after: None,
            })
        };
        if self.azure.down_until > self.now || self.unlucky(3) {
            return away();
        }
        if !self.azure.token_is_good {
            return Outcome::Azure(AzureFailure::NotAllowed("401: the token expired".into()));
        }
        let outcome = self.azure_answer(name, action);
        // Done, but the answer is lost.
        if self.unlucky(3) { away() } else { outcome }
    }

    fn azure_answer(&mut self, name: &HostName, action: &Action) -> Outcome {
        let gone = Outcome::Azure(AzureFailure::RowGone);
        match action {
            Action::Disable { row, .. } | Action::Enable { row, .. } => {
                let enabled = matches!(action, Action::Enable { .. });
                match self.azure.rows.get_mut(&row.agent_id) {
                    Some(row) => {
                        row.enabled = enabled;
                        Outcome::Done
                    }
                    None => gone,
                }
            }
            Action::ReadRow { agent, row } => {
                let old = if self.unlucky(10) { self.between(1, 30_000) } else { 0 };
                let id = row.map(|row| row.agent_id).or_else(|| self.azure.find(agent));
                match id.and_then(|id| Some((id, self.azure.read(id, old, self.now)?))) {
                    Some((id, mut state)) => {
                        state.assigned = state.assigned.filter(|_| !self.options.broken_guard);
                        Outcome::Row(RowRead::There(row_id(id), state))
                    }
                    None => Outcome::Row(RowRead::Gone),
                }
            }
            Action::DeleteRow { agent, row } => {
                let busy = self.azure.rows.get(&row.agent_id).is_some_and(|r| r.assigned.is_some());
                let live = self.hosts.get(name).is_some_and(|host| {
                    let mut runs = host.engine.runs.iter();
                    runs.any(|(key, run)| key.0 == *agent && run.job.is_some())
                });
                if live {
                    self.violation(format!("the row of {agent} was deleted under its job"));
                }
                if !self.azure.delete(row.agent_id) {
                    return Outcome::Azure(AzureFailure::JobStillRunning);
                }
                self.note(format!("{agent} row {} deleted, busy {busy}", row.agent_id));
                Outcome::Done
            }
            _ => Outcome::Failed("not Azure's action".into()),
        }
    }
}

fn row_id(agent_id: i64) -> RowId {
    RowId { pool_id: 1, agent_id }
}
