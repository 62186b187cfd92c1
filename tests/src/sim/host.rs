//! A host's side: its planner, its ledger on disk, its actions.

use std::collections::BTreeMap;

use fleet_model::{
    AgentName, AgentStatus, Assignment, At, CredentialRef, HostName, HostReport, RuntimeKind,
};
use hostd_plan::{
    Action, AzureFailure, Event, Heard, Known, Ledger, Outcome, RowId, RowRead, RunState, Worker,
    plan,
};

use super::{Due, Step, Up, World, engine::Engine, engine::SimRun};

/// One lab server.
pub(super) struct SimHost {
    pub(super) known: Known,
    /// The ledger as it was last stored.
    pub(super) disk: Ledger,
    pub(super) engine: Engine,
    /// hostd runs.
    pub(super) alive: bool,
    /// Counts starts of hostd: outcomes for an earlier life are lost.
    pub(super) life: u64,
    /// Counts plans: an older wake-up is void.
    turn: u64,
    pub(super) connected: bool,
    pub(super) session: u64,
    /// Cut off from the coordinator until then.
    pub(super) cut_until: At,
    reported: BTreeMap<AgentName, AgentStatus>,
}

impl SimHost {
    pub(super) fn new(known: Known) -> Self {
        Self {
            disk: known.ledger.clone(),
            known,
            engine: Engine::default(),
            alive: false,
            life: 0,
            turn: 0,
            connected: false,
            session: 0,
            cut_until: At(0),
            reported: BTreeMap::new(),
        }
    }
}

impl World {
    /// hostd starts from what is on disk, lists its engine, and adopts what runs.
    pub(super) fn host_back(&mut self, name: &HostName) {
        let Some(host) = self.hosts.get_mut(name).filter(|host| !host.alive) else { return };
        let served = [RuntimeKind::Docker].into();
        host.known = Known::new(name.clone(), served, host.disk.clone());
        host.alive = true;
        host.life += 1;
        host.reported.clear();
        let credential = CredentialRef {
            name: match "nightly".parse() {
                Ok(name) => name,
                Err(_) => return,
            },
            fingerprint: "0123456789ab".into(),
        };
        host.known.apply(Event::Credentials(vec![credential]), self.now);
        self.note(format!("{name} hostd starts"));
        self.list_engine(name);
        let wait = self.between(10, 1_000);
        self.after(wait, Due::Dial(name.clone()));
    }

    pub(super) fn host_dies(&mut self, name: &HostName) {
        let Some(host) = self.hosts.get_mut(name).filter(|host| host.alive) else { return };
        host.alive = false;
        let session = host.session;
        self.note(format!("{name} hostd dies"));
        self.after(50, Due::Broken(name.clone(), session));
        let wait = self.between(300, 30_000);
        self.after(wait, Due::HostBack(name.clone()));
    }

    fn list_engine(&mut self, name: &HostName) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        let runs = host.engine.list();
        let kind = RuntimeKind::Docker;
        host.known.apply(Event::Listed { kind, runs }, self.now);
        // What a follower of an adopted run sees first: files left behind, and what it does.
        let signs: Vec<_> = host
            .engine
            .runs
            .iter()
            .filter(|(_, run)| run.state == RunState::Running)
            .flat_map(|(key, run)| signs(run).into_iter().map(move |heard| (key.clone(), heard)))
            .collect();
        for ((agent, attempt), heard) in signs {
            host.known.apply(Event::Heard { agent, attempt, heard }, self.now);
        }
        self.turn(name);
    }

    pub(super) fn at_host(&mut self, name: &HostName, _session: u64, order: Assignment) {
        let Some(host) = self.hosts.get_mut(name).filter(|host| host.alive) else { return };
        let before = host.known.ledger.clone();
        let (wanted, have) = (order.order, before.highest);
        let result = host.known.assign(order);
        if wanted < have && (result.is_ok() || host.known.ledger != before) {
            self.violation(format!("{name} took the older order {wanted} over {have}"));
        }
        self.turn(name);
        let applied = self.hosts.get(name).map(|host| host.known.ledger.highest);
        if let Some(applied) = applied {
            self.say(name, Up::Heard(applied));
        }
    }

    pub(super) fn wake(&mut self, name: &HostName, turn: u64) {
        if self.hosts.get(name).is_some_and(|host| host.alive && host.turn == turn) {
            self.turn(name);
        }
    }

    pub(super) fn tell(&mut self, name: &HostName, event: Event) {
        let Some(host) = self.hosts.get_mut(name).filter(|host| host.alive) else { return };
        host.known.apply(event, self.now);
        self.turn(name);
    }

    /// One turn of hostd's loop: plan, write down, store, act, report.
    fn turn(&mut self, name: &HostName) {
        let Some(host) = self.hosts.get_mut(name).filter(|host| host.alive) else { return };
        let plan = plan(&host.known, self.now);
        host.known.begin(&plan, self.now);
        host.disk = host.known.ledger.clone();
        host.turn += 1;
        let (turn, life) = (host.turn, host.life);
        for change in host.known.refresh(self.now) {
            let (from, to) = (change.from, change.to);
            self.log
                .push(format!("{} {} {from:?} → {to:?}: {}", self.now.0, change.agent, change.why));
        }
        for action in plan.actions {
            self.actions += 1;
            let wait = self.between(5, 1_500);
            self.after(wait, Due::Act(name.clone(), life, action));
        }
        if let Some(wait) = plan.wake_after {
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            self.after(ms, Due::Wake(name.clone(), turn));
        }
        self.report(name, false);
    }

    pub(super) fn report(&mut self, name: &HostName, full: bool) {
        let Some(host) = self.hosts.get_mut(name).filter(|host| host.connected && host.alive)
        else {
            return;
        };
        let statuses = host.known.statuses().clone();
        let changed =
            statuses.iter().filter(|(name, s)| full || host.reported.get(*name) != Some(s));
        let agents: Vec<AgentStatus> = changed.map(|(_, status)| status.clone()).collect();
        let gone = host.reported.keys().filter(|name| !statuses.contains_key(*name));
        let removed: Vec<AgentName> = gone.cloned().collect();
        if !full && agents.is_empty() && removed.is_empty() {
            return;
        }
        host.reported = statuses;
        let applied = host.known.ledger.highest;
        let conditions = host.known.conditions(self.now);
        let report = HostReport { full, applied, agents, removed, conditions, credentials: vec![] };
        self.say(name, Up::Report(Box::new(report)));
    }

    /// The stream keeps its order: everything takes the same time, and sometimes the stream breaks.
    fn say(&mut self, name: &HostName, up: Up) {
        let Some(host) = self.hosts.get(name).filter(|host| host.connected) else { return };
        let session = host.session;
        if self.unlucky(1) {
            self.after(2_000, Due::Broken(name.clone(), session));
            return;
        }
        self.after(40, Due::AtCoordinator(name.clone(), session, up.clone()));
        if self.unlucky(3) {
            self.after(40, Due::AtCoordinator(name.clone(), session, up));
        }
    }

    /// An action takes effect; its outcome may be lost on the way back.
    pub(super) fn act(&mut self, name: &HostName, life: u64, action: Action) {
        // What a dead hostd had sent already still happens; what it had not, half the time.
        let alive = self.hosts.get(name).is_some_and(|host| host.alive && host.life == life);
        if !alive && self.between(0, 2) == 0 {
            return;
        }
        let outcome = self.effect(name, &action);
        self.note(format!("{name} {action}: {outcome:?}"));
        let wait = self.between(5, 1_000);
        self.after(wait, Due::Back(name.clone(), life, action, outcome));
    }

    pub(super) fn back(&mut self, name: &HostName, life: u64, action: Action, outcome: Outcome) {
        if self.hosts.get(name).is_some_and(|host| host.alive && host.life == life) {
            self.tell(name, Event::Done { action, outcome });
        }
    }

    fn effect(&mut self, name: &HostName, action: &Action) -> Outcome {
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
            Action::Forget { .. } => Outcome::Done,
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
        let Some(slot) = host.disk.slots.get(&key.0) else {
            return Outcome::Failed("a run was started before its slot was stored".into());
        };
        let row = slot.row.filter(|_| registered).map(|row| row.agent_id);
        let run = SimRun {
            pool: slot.pool.clone(),
            group: slot.group.clone(),
            number: slot.number,
            state: RunState::Created,
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

/// What an adopted run shows.
fn signs(run: &SimRun) -> Vec<Heard> {
    let mut signs = Vec::new();
    if let Some(row) = run.row.filter(|_| run.files_ready) {
        signs.push(Heard::Registered(row_id(row)));
    }
    if run.listening {
        signs.push(Heard::Listening);
    }
    if let Some(job) = run.job {
        signs.push(Heard::JobStarted(format!("job {job}")));
    }
    signs
}
