//! What a host knows. Only [`Known::apply`] and [`Known::begin`] change it.

use std::collections::{BTreeMap, BTreeSet};

use fleet_model::{
    AgentName, AgentStatus, Assignment, At, CredentialName, GroupAssignment, HostName, ImageRef,
    Order, Phase, PoolAssignment, PoolName, RowState, RuntimeKind,
};

use crate::{
    actions::{Action, Plan, SlotChange, Subject},
    disk::{DiskMarks, DiskState},
    event::Event,
    health::Offline,
    ledger::{Ledger, Removal, Role, Slot},
    runs::{Listener, Run, RunState},
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
    /// Agents that Azure shows offline. Never stored: after a restart the time counts anew.
    pub(crate) offline: BTreeMap<AgentName, Offline>,
    pub(crate) azure: BTreeMap<PoolName, Trouble>,
    /// From when on room is short.
    pub disk_marks: DiskMarks,
    /// Disks by where they are mounted; none: not measured since hostd started.
    pub(crate) disks: Option<BTreeMap<String, DiskState>>,
    /// Engine actions that failed are not repeated before.
    pub(crate) waits: BTreeMap<AgentName, At>,
    pub(crate) credentials: BTreeMap<CredentialName, String>,
    pub(crate) statuses: BTreeMap<AgentName, AgentStatus>,
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
    /// Since its role is what it is, Azure was asked for its pool, and the newest answer was none or a
    /// refusal. Never stored: after a restart Azure is asked first.
    pub(crate) silent: bool,
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
            offline: BTreeMap::new(),
            azure: BTreeMap::new(),
            disk_marks: DiskMarks::default(),
            disks: None,
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
        let unnamed = std::mem::take(&mut self.ledger.orphaned_groups);
        // A pool that is not named is unknown to the coordinator, not unwanted: while it has slots
        // here, what was last said of it goes on.
        let before = self.ledger.assignment.take().unwrap_or_default();
        for (pool, part) in before.pools.clone() {
            let has_slots = self.ledger.slots.values().any(|slot| slot.pool == pool);
            match merged.pools.get_mut(&pool) {
                Some(newer) => self.ledger.keep_unnamed_groups(&pool, part, newer),
                None if has_slots => {
                    self.ledger.orphaned.insert(pool.clone());
                    // What was not known of it before is not known now.
                    let of_it = unnamed.get_key_value(&pool).map(|(k, v)| (k.clone(), v.clone()));
                    self.ledger.orphaned_groups.extend(of_it);
                    merged.pools.insert(pool, part);
                }
                None => {}
            }
        }
        self.ledger.highest = merged.order;
        self.ledger.assignment = Some(merged);
        self.ledger.retry_changed(&before);
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
            Event::Rows(rows) => self.rows(rows, now),
            Event::Disks(disks) => self.measured(disks, now),
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
                SlotChange::Renew(agent, why) => {
                    self.set_role(agent, Role::Renew, now);
                    if let Some(slot) = self.ledger.slots.get_mut(agent) {
                        slot.renewal = Some(why.clone());
                    }
                }
                SlotChange::Quarantine(agent, quarantine) => {
                    if let Some(slot) = self.ledger.slots.get_mut(agent) {
                        slot.quarantine = Some((**quarantine).clone());
                    }
                    self.set_role(agent, Role::Quarantine, now);
                }
                SlotChange::Pause(agent, pause) => {
                    if let Some(slot) = self.ledger.slots.get_mut(agent) {
                        slot.set_pause(Some((**pause).clone()));
                    }
                }
                SlotChange::Resume(agent) => {
                    if let Some(slot) = self.ledger.slots.get_mut(agent) {
                        slot.set_pause(None);
                    }
                }
            }
        }
        for action in &plan.actions {
            let subject = action.subject();
            match &subject {
                Subject::Agent(agent) => self.write_down(agent, action, now),
                Subject::Disk(place) => self.cleaning(place, now),
                Subject::Image(..) => {}
            }
            self.flights.insert(subject, action.clone());
        }
    }

    /// What must be known of an action after a crash, whatever becomes of it.
    fn write_down(&mut self, agent: &AgentName, action: &Action, now: At) {
        let Some(slot) = self.ledger.slots.get_mut(agent) else { return };
        match action {
            Action::Start { attempt, registered, .. } => {
                slot.attempt = slot.attempt.max(*attempt);
                slot.start_unheard = true;
                // Its row was looked at; from here on the new run's end counts.
                slot.unclean_since = None;
                slot.row_unsure |= !registered && slot.row.is_none();
                self.restart_begins(agent, *attempt);
            }
            Action::Enable { .. } => slot.row_changed(now),
            Action::Disable { .. } => slot.disabled_by_us = true,
            Action::Interrupt { .. } | Action::EndRun { .. } => slot.stop_begun = true,
            Action::ReadRow { .. } => {
                self.looks.entry(agent.clone()).or_default().asked = now;
            }
            _ => {}
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
        let pause = slot.pause.take();
        slot.set_pause(pause);
        slot.removal = match (role, slot.removal) {
            (Role::Run, _) => None,
            // A held slot is enabled and offline: its removal begins at the beginning.
            (Role::Remove, Some(Removal::Released)) | (_, None) => Some(Removal::Disabling),
            // One that was aside is disabled, and as a placeholder it is not to be.
            (Role::Hold, Some(Removal::Released)) => Some(Removal::Releasing),
            (_, step) => step,
        };
        if role != Role::Renew {
            slot.renewal = None;
        }
        if !matches!(role, Role::Run | Role::Renew) {
            self.offline.remove(agent);
        }
        if role != Role::Quarantine && slot.quarantine.take().is_some() {
            slot.starts_afresh();
        }
        if role == Role::Run {
            slot.forced_why = None;
            slot.retry_at = None;
        }
        self.looks.insert(agent.clone(), Look { next: now, ..Look::default() });
    }

    fn rows(&mut self, rows: BTreeMap<AgentName, Option<RowState>>, now: At) {
        for (agent, row) in rows {
            self.row_shows(&agent, row.as_ref(), now);
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
    slot.removal = match slot.removal {
        Some(Removal::Settling { .. } | Removal::Checking) => Some(Removal::Watching),
        Some(Removal::Unheard { .. }) => Some(Removal::Disabling),
        // Its row may be enabled: until it is asked to end, each sign counts.
        Some(Removal::Stopping { asked: None }) if slot.forced_why.is_some() => {
            Some(Removal::Disabling)
        }
        other => other,
    };
}
