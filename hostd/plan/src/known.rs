//! What a host knows. Only [`Known::apply`] and [`Known::begin`] change it.

use std::collections::{BTreeMap, BTreeSet};

use fleet_model::{
    AgentName, AgentStatus, Assignment, At, CredentialName, GroupAssignment, HostName, ImageRef,
    Job, Order, Phase, PoolAssignment, PoolName, RowState, RuntimeKind,
};

use crate::{
    actions::{Action, Plan, SlotChange, Subject},
    event::{Event, Heard, RunListed},
    ledger::{Ledger, Removal, Role, Slot},
    starts::{ImageState, StartCap, Trouble},
};

/// What is known of a host: its ledger, and what the engines, the listeners and Azure said since
/// hostd started.
#[derive(Debug, Clone)]
pub struct Known {
    /// This host.
    pub host: HostName,
    /// Runtimes that hostd serves.
    pub(crate) served: BTreeSet<RuntimeKind>,
    /// What is remembered across restarts.
    pub ledger: Ledger,
    /// Each agent's run: the newest that runs, else the newest.
    pub(crate) runs: BTreeMap<AgentName, Run>,
    /// Runs that ended, or never began, and are still there.
    pub(crate) remains: BTreeMap<(AgentName, u32), RunState>,
    /// Runs that run although the agent has a newer one, because an engine did late what it was
    /// asked for. One of the two gets no session at Azure and ends by itself; the other is then the
    /// agent's run. There is one only while the agent's own run runs.
    pub(crate) strays: BTreeSet<(AgentName, u32)>,
    pub(crate) engines: BTreeMap<RuntimeKind, EngineState>,
    pub(crate) images: BTreeMap<(RuntimeKind, ImageRef), ImageState>,
    pub(crate) caps: BTreeMap<PoolName, StartCap>,
    /// Actions that have not come back.
    pub(crate) flights: BTreeMap<Subject, Action>,
    /// Looks at the rows of agents that are on their way out or ended badly.
    pub(crate) looks: BTreeMap<AgentName, Look>,
    /// What the coordinator's watcher saw.
    pub(crate) rows: BTreeMap<AgentName, RowState>,
    pub(crate) azure: BTreeMap<PoolName, Trouble>,
    /// Engine actions that failed are not repeated before.
    pub(crate) waits: BTreeMap<AgentName, At>,
    pub(crate) credentials: BTreeMap<CredentialName, String>,
    pub(crate) statuses: BTreeMap<AgentName, AgentStatus>,
}

/// One run as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which run.
    pub attempt: u32,
    /// What it does.
    pub state: RunState,
    /// What its listener does.
    pub listener: Listener,
    /// Its job.
    pub job: Option<Job>,
    /// It had one.
    pub had_job: bool,
    /// When it was started, or first seen.
    pub started: At,
    /// Since when it has been waiting for jobs.
    pub listening: Option<At>,
    /// hostd asked it to end.
    pub interrupted: bool,
    /// What it last complained about.
    pub complaint: String,
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Made, not started.
    Created,
    /// Running.
    Running,
    /// Ended, with its exit code where known.
    Ended(Option<i32>),
}

/// What a listener does, as far as it said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Nothing heard yet of a run that was adopted.
    Unknown,
    /// The configuration run is at work.
    Registering,
    /// On its way.
    Starting,
    /// Waiting for a job.
    Listening,
    /// Working on one.
    Working,
    /// Its job ended, and in once mode it is about to end too.
    Finished,
}

/// How an engine stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineState {
    /// Its runs are known.
    Up,
    /// It does not answer, since when and why.
    Down(String),
}

/// Reads of one agent's row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// The next read is due.
    pub(crate) next: At,
    /// When the last one was asked for.
    pub(crate) asked: At,
    /// Reads that found a request, one after another.
    pub(crate) busy_reads: u32,
    /// The newest read of this process found the row without a request.
    pub(crate) clear: bool,
    /// Azure still sees a session of it.
    pub(crate) online: bool,
    /// When the process list last showed no worker. Never stored: after a restart it is read anew.
    pub(crate) no_worker_at: Option<At>,
}

/// An assignment that is not newer than what was taken before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OlderOrder {
    /// The one refused.
    pub got: Order,
    /// The newest taken.
    pub have: Order,
}

/// One agent's change of phase, for the log and the fleet's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhaseChange {
    /// Which agent.
    pub agent: AgentName,
    /// Its pool.
    pub pool: PoolName,
    /// Before; none: it is new.
    pub from: Option<Phase>,
    /// Now; none: it is gone.
    pub to: Option<Phase>,
    /// Why.
    pub why: String,
}

impl Known {
    /// What a host knows when hostd starts: its ledger.
    pub fn new(host: HostName, served: BTreeSet<RuntimeKind>, ledger: Ledger) -> Self {
        let mut ledger = ledger;
        for slot in ledger.slots.values_mut() {
            slot.evidence_lapses();
        }
        Self {
            host,
            served,
            ledger,
            runs: BTreeMap::new(),
            remains: BTreeMap::new(),
            strays: BTreeSet::new(),
            engines: BTreeMap::new(),
            images: BTreeMap::new(),
            caps: BTreeMap::new(),
            flights: BTreeMap::new(),
            looks: BTreeMap::new(),
            rows: BTreeMap::new(),
            azure: BTreeMap::new(),
            waits: BTreeMap::new(),
            credentials: BTreeMap::new(),
            statuses: BTreeMap::new(),
        }
    }

    /// Takes an assignment, unless it is older than what was taken before. The same order again is
    /// taken as done.
    ///
    /// # Errors
    /// The order is older: nothing changed.
    pub fn assign(&mut self, assignment: Assignment) -> Result<(), OlderOrder> {
        if assignment.order < self.ledger.highest {
            return Err(OlderOrder { got: assignment.order, have: self.ledger.highest });
        }
        if assignment.order == self.ledger.highest && self.ledger.assignment.is_some() {
            return Ok(());
        }
        let mut merged = assignment;
        self.ledger.orphaned.clear();
        // A pool that is not named is unknown to the coordinator, not unwanted: while it has slots
        // here, what was last said of it goes on.
        let before = self.ledger.assignment.take().map(|old| old.pools).unwrap_or_default();
        for (pool, part) in before {
            let has_slots = self.ledger.slots.values().any(|slot| slot.pool == pool);
            if has_slots && !merged.pools.contains_key(&pool) {
                self.ledger.orphaned.insert(pool.clone());
                merged.pools.insert(pool, part);
            }
        }
        self.ledger.highest = merged.order;
        self.ledger.assignment = Some(merged);
        Ok(())
    }

    /// Takes in what happened.
    pub fn apply(&mut self, event: Event, now: At) {
        match event {
            Event::Assigned(assignment) => {
                // An older one changes nothing; the shell has said so already.
                let _older = self.assign(assignment);
            }
            Event::Credentials(held) => {
                let held = held.into_iter().map(|c| (c.name, c.fingerprint)).collect();
                if self.credentials != held {
                    self.credentials = held;
                    // A new secret may end the trouble that an old one made.
                    self.azure.values_mut().for_each(|trouble| trouble.next = now);
                }
            }
            Event::Listed { kind, runs } => self.listed(kind, runs, now),
            Event::EngineDown { kind, why } => {
                self.engines.insert(kind, EngineState::Down(why));
            }
            Event::ImageCame { kind } => {
                self.images.retain(|(of, _), state| *of != kind || *state == ImageState::Present);
            }
            Event::RunStarted { agent, attempt } => self.run_started(&agent, attempt, now),
            Event::RunEnded { agent, attempt, code } => self.run_ended(&agent, attempt, code, now),
            Event::RunGone { agent, attempt } => {
                self.run_ended(&agent, attempt, None, now);
                self.run_is_gone(&agent, attempt);
            }
            Event::Heard { agent, attempt, heard } => self.heard(&agent, attempt, heard, now),
            Event::Rows(rows) => self.rows(rows),
            Event::Done { action, outcome } => self.done(action, outcome, now),
        }
    }

    /// Writes down what is about to be done. The ledger is stored between this and the actions.
    pub fn begin(&mut self, plan: &Plan, now: At) {
        for change in &plan.slots {
            match change {
                SlotChange::Add(agent, slot) => {
                    let mut slot = (**slot).clone();
                    slot.attempt = self.ledger.attempts_used;
                    self.ledger.slots.insert(agent.clone(), slot);
                }
                SlotChange::Role(agent, role) => self.set_role(agent, *role, now),
            }
        }
        for action in &plan.actions {
            match action {
                Action::Start { agent, attempt, registered } => {
                    if let Some(slot) = self.ledger.slots.get_mut(agent) {
                        slot.attempt = slot.attempt.max(*attempt);
                        slot.start_unheard = true;
                        // Its row was looked at; from here on the new run's end counts.
                        slot.unclean_since = None;
                        slot.row_unsure |= !registered && slot.row.is_none();
                    }
                    self.restart_begins(agent, *attempt);
                }
                Action::Enable { agent, .. } => {
                    if let Some(slot) = self.ledger.slots.get_mut(agent) {
                        slot.row_changed(now);
                    }
                }
                Action::Disable { agent, .. } => {
                    if let Some(slot) = self.ledger.slots.get_mut(agent) {
                        slot.disabled_by_us = true;
                    }
                }
                Action::Interrupt { agent, .. } | Action::EndRun { agent, .. } => {
                    if let Some(slot) = self.ledger.slots.get_mut(agent) {
                        slot.stop_begun = true;
                    }
                }
                Action::ReadRow { agent, .. } => {
                    self.looks.entry(agent.clone()).or_default().asked = now;
                }
                _ => {}
            }
            self.flights.insert(action.subject(), action.clone());
        }
    }

    /// A run that ended for its update is about to run again: its next end may be heard before the
    /// start's outcome.
    fn restart_begins(&mut self, agent: &AgentName, attempt: u32) {
        if let Some(run) = self.runs.get_mut(agent).filter(|run| run.attempt == attempt)
            && let RunState::Ended(Some(3 | 4)) = run.state
        {
            *run = Run::new(attempt, RunState::Created, Listener::Starting, run.started);
            self.remains.remove(&(agent.clone(), attempt));
        }
    }

    fn set_role(&mut self, agent: &AgentName, role: Role, now: At) {
        let Some(slot) = self.ledger.slots.get_mut(agent) else { return };
        slot.role = role;
        slot.removal = match (role, slot.removal) {
            (Role::Run, _) => None,
            // A held slot is enabled and offline: its removal begins at the beginning.
            (Role::Remove, Some(Removal::Released)) | (_, None) => Some(Removal::Disabling),
            (_, step) => step,
        };
        if role == Role::Run {
            slot.retry_at = None;
        }
        self.looks.insert(agent.clone(), Look { next: now, ..Look::default() });
    }

    fn listed(&mut self, kind: RuntimeKind, runs: Vec<RunListed>, now: At) {
        let was_away = self.engines.insert(kind, EngineState::Up) != Some(EngineState::Up);
        for slot in self.ledger.slots.values_mut().filter(|slot| slot.runtime == kind && was_away) {
            slot.clock_is(now);
            // A run may have registered and gone meanwhile.
            if slot.row_unsure {
                slot.row_changed(now);
            }
        }
        let listed: BTreeSet<(AgentName, u32)> =
            runs.iter().map(|run| (run.agent.clone(), run.attempt)).collect();
        // In order of attempts: the newest one ends up as the agent's run, older ones as remains.
        let mut runs = runs;
        runs.sort_by(|a, b| (&a.agent, a.attempt).cmp(&(&b.agent, b.attempt)));
        for run in &runs {
            let slot = self.ledger.slots.entry(run.agent.clone()).or_insert_with(|| {
                // Ours by its labels, and not in the ledger: it was lost or is older. Adopted.
                Slot::new(run.pool.clone(), run.group.clone(), run.number, kind)
            });
            slot.attempt = slot.attempt.max(run.attempt);
        }
        for run in runs {
            self.listed_run(run, now);
        }
        let missing: Vec<(AgentName, u32)> = self
            .runs
            .iter()
            .filter(|(agent, run)| {
                let ours = self.ledger.slots.get(*agent).is_some_and(|slot| slot.runtime == kind);
                ours && !listed.contains(&((*agent).clone(), run.attempt))
                    && !self.flights.contains_key(&Subject::Agent((*agent).clone()))
            })
            .map(|(agent, run)| (agent.clone(), run.attempt))
            .collect();
        for (agent, attempt) in missing {
            self.run_ended(&agent, attempt, None, now);
        }
        let slots = &self.ledger.slots;
        let still_there = |key: &(AgentName, u32)| {
            listed.contains(key) || slots.get(&key.0).is_some_and(|slot| slot.runtime != kind)
        };
        self.remains.retain(|key, _| still_there(key));
        self.strays.retain(still_there);
    }

    fn listed_run(&mut self, run: RunListed, now: At) {
        let Some(slot) = self.ledger.slots.get_mut(&run.agent) else { return };
        let runs = run.state == RunState::Running;
        slot.start_unheard &= run.state == RunState::Created || run.attempt < slot.attempt;
        let own = self.runs.get(&run.agent);
        // It ended before a newer one was decided: what followed from its end is in the ledger.
        let old_news = !runs && run.attempt < slot.attempt;
        let takes_over = own.is_none_or(|own| own.attempt < run.attempt && (runs || !own.runs()));
        if takes_over && !old_news {
            let state = match run.state {
                // Its end is taken in below, with everything that follows from it.
                RunState::Ended(_) => RunState::Running,
                other => other,
            };
            begin_again(slot, run.state);
            self.replace(&run.agent, Run::new(run.attempt, state, Listener::Unknown, now));
        }
        let key = (run.agent.clone(), run.attempt);
        match run.state {
            RunState::Ended(code) => {
                let own = self.runs.get(&run.agent).is_some_and(|own| own.attempt == run.attempt);
                if own || self.strays.contains(&key) {
                    self.run_ended(&run.agent, run.attempt, code, now);
                }
                self.remains.insert(key, run.state);
            }
            RunState::Running => self.run_evidently(&run.agent, run.attempt, now),
            // Made but never started: it is started or removed like one that ended.
            RunState::Created => {
                self.remains.insert(key, run.state);
            }
        }
    }

    /// Another run is the agent's run: the one before stays known as what it is.
    pub(crate) fn replace(&mut self, agent: &AgentName, run: Run) {
        let attempt = run.attempt;
        if run.runs() {
            self.remains.remove(&(agent.clone(), attempt));
        }
        let before = self.runs.insert(agent.clone(), run);
        let Some(before) = before.filter(|before| before.attempt != attempt) else { return };
        let key = (agent.clone(), before.attempt);
        match before.runs() {
            true => drop(self.strays.insert(key)),
            false => drop(self.remains.insert(key, before.state)),
        }
    }

    /// The engine says beyond doubt that this run runs, whatever was thought of it.
    pub(crate) fn run_evidently(&mut self, agent: &AgentName, attempt: u32, now: At) {
        self.remains.remove(&(agent.clone(), attempt));
        match self.runs.get_mut(agent) {
            Some(own) if own.attempt == attempt && own.runs() => {}
            Some(own) if own.attempt > attempt => {
                self.strays.insert((agent.clone(), attempt));
                self.promote_stray(agent, now);
            }
            _ => self.new_run(agent, attempt, Listener::Unknown, now),
        }
    }

    /// An agent whose own run does not run has no stray: that one is its run.
    pub(crate) fn promote_stray(&mut self, agent: &AgentName, now: At) {
        if self.live(agent).is_some() {
            return;
        }
        let of_agent = (agent.clone(), 0)..=(agent.clone(), u32::MAX);
        if let Some(key) = self.strays.range(of_agent).next_back().cloned() {
            self.strays.remove(&key);
            self.new_run(agent, key.1, Listener::Unknown, now);
        }
    }

    fn new_run(&mut self, agent: &AgentName, attempt: u32, listener: Listener, now: At) {
        self.replace(agent, Run::new(attempt, RunState::Running, listener, now));
        if let Some(slot) = self.ledger.slots.get_mut(agent) {
            slot.start_unheard &= attempt < slot.attempt;
            begin_again(slot, RunState::Running);
        }
    }

    fn run_started(&mut self, agent: &AgentName, attempt: u32, now: At) {
        let key = (agent.clone(), attempt);
        match self.runs.get_mut(agent) {
            Some(run) if run.attempt == attempt => {
                if run.state == RunState::Created {
                    run.state = RunState::Running;
                    self.remains.remove(&key);
                }
            }
            // No slot of ours, no run of ours; if it is one all the same, a list says whose.
            None if !self.ledger.slots.contains_key(agent) => {}
            // Of an older one only what never began can begin; all else is old news.
            Some(run) if run.attempt > attempt => {
                if self.remains.get(&key) == Some(&RunState::Created) {
                    self.run_evidently(agent, attempt, now);
                }
            }
            _ => self.new_run(agent, attempt, Listener::Starting, now),
        }
    }

    /// News of the newest run may overtake the outcome of its start: it evidently runs.
    pub(crate) fn run_evident(&mut self, agent: &AgentName, attempt: u32, now: At) {
        let newest = self.ledger.slots.get(agent).is_some_and(|slot| slot.attempt == attempt);
        if newest && self.runs.get(agent).is_none_or(|run| run.attempt < attempt) {
            self.run_started(agent, attempt, now);
        }
    }

    fn heard(&mut self, agent: &AgentName, attempt: u32, heard: Heard, now: At) {
        self.run_evident(agent, attempt, now);
        let Some(slot) = self.ledger.slots.get_mut(agent) else { return };
        let Some(run) = self.runs.get_mut(agent).filter(|run| run.attempt == attempt) else {
            return;
        };
        match heard {
            Heard::Registering => run.listener = Listener::Registering,
            Heard::Registered(row) => {
                // Heard again of an adopted run: a disable of that row still is ours to undo.
                slot.disabled_by_us &= slot.row == Some(row);
                slot.row_is(row, now);
                slot.registered = true;
                if run.listener == Listener::Registering || run.listener == Listener::Unknown {
                    run.listener = Listener::Starting;
                }
            }
            Heard::Listening => {
                run.listener = Listener::Listening;
                run.job = None;
                run.listening = run.listening.or(Some(now));
                run.complaint.clear();
                slot.updates = 0;
            }
            Heard::JobStarted(name) => {
                run.listener = Listener::Working;
                run.had_job = true;
                run.job = Some(Job { name, request_id: None, since: now });
                raise_to_watching(slot);
            }
            Heard::JobFinished => {
                run.listener = Listener::Finished;
                run.job = None;
                slot.failures = 0;
                if let Some(row) = self.rows.get_mut(agent) {
                    row.assigned = None;
                }
                // The row is worth a look now, not at the next slow turn.
                if let Some(look) = self.looks.get_mut(agent) {
                    look.next = now;
                }
            }
            Heard::SessionConflict => {
                run.complaint = "Azure still holds a session of its last run".into();
            }
            Heard::ConnectError(why) => run.complaint = format!("cannot reach Azure: {why}"),
            Heard::Complaint(why) => run.complaint = why,
        }
    }

    fn rows(&mut self, rows: BTreeMap<AgentName, Option<RowState>>) {
        for (agent, row) in rows {
            let Some(row) = row else {
                self.rows.remove(&agent);
                continue;
            };
            if row.assigned.is_some()
                && let Some(slot) = self.ledger.slots.get_mut(&agent)
            {
                raise_to_watching(slot);
            }
            self.rows.insert(agent, row);
        }
    }

    /// What the assignment says of a slot's group, if it still wants it.
    pub(crate) fn group_of(&self, slot: &Slot) -> Option<&GroupAssignment> {
        self.part_of(slot)?.group(&slot.group)
    }

    /// What the assignment says of a slot's pool.
    pub(crate) fn part_of(&self, slot: &Slot) -> Option<&PoolAssignment> {
        self.ledger.assignment.as_ref()?.pools.get(&slot.pool)
    }

    /// The agent's run, unless it ended.
    pub(crate) fn live(&self, agent: &AgentName) -> Option<&Run> {
        self.runs.get(agent).filter(|run| run.runs())
    }

    /// An agent's run, also one that ended.
    pub fn run(&self, agent: &AgentName) -> Option<&Run> {
        self.runs.get(agent)
    }

    /// An action on this agent has not come back.
    pub fn in_flight(&self, agent: &AgentName) -> bool {
        self.flights.contains_key(&Subject::Agent(agent.clone()))
    }

    /// All agents as they are shown.
    pub fn statuses(&self) -> &BTreeMap<AgentName, AgentStatus> {
        &self.statuses
    }
}

/// A job was seen on an agent that was about to be stopped: its removal goes back to watching.
pub(crate) fn raise_to_watching(slot: &mut Slot) {
    if matches!(slot.removal, Some(Removal::Settling { .. } | Removal::Checking)) {
        slot.removal = Some(Removal::Watching);
    }
}

/// A run appeared on a slot whose removal thought that none was left: it is drained like any other.
fn begin_again(slot: &mut Slot, state: RunState) {
    let late = matches!(slot.removal, Some(Removal::Releasing | Removal::Released));
    if late && state == RunState::Running {
        slot.removal = Some(Removal::Disabling);
    }
}

impl Run {
    fn runs(&self) -> bool {
        self.state == RunState::Running
    }

    pub(crate) fn new(attempt: u32, state: RunState, listener: Listener, now: At) -> Self {
        Self {
            attempt,
            state,
            listener,
            job: None,
            had_job: false,
            started: now,
            listening: None,
            interrupted: false,
            complaint: String::new(),
        }
    }
}
