//! What the loop is told, and how each of it changes what is known.

use std::collections::BTreeMap;

use fleet_model::{AgentName, AgentOrder, Assignment, At, Condition, RowState, RuntimeKind};
use fleet_proto::{
    convert::{Row, RowChange},
    logging::Report,
};
use hostd_plan::{Action, Event, Heard, Outcome, RowId, RunListed, RunState, Unfit};
use tokio::{sync::oneshot, time::Instant};

use super::HostLoop;
use crate::{
    execute::Ended,
    guardian::Sizes,
    runtime::{self, RunId, RunSeen, RuntimeError},
};

/// Everything that reaches the loop.
#[derive(Debug)]
pub enum Input {
    /// The coordinator's newest word.
    Assignment(Assignment),
    /// Credentials came, went or changed: see [`crate::secrets::Secrets`].
    CredentialsChanged,
    /// What the coordinator's look at Azure found of this host's rows.
    Rows(Vec<Row>),
    /// What this host's own look at Azure found, while it was alone; none: no answer.
    LookedAlone(Option<Vec<Row>>),
    /// Something a runtime saw, in the plan's words.
    Seen(Event),
    /// A run's registration is stored.
    Registered(RunId, RowId),
    /// An engine answers again.
    EngineUp(RuntimeKind),
    /// An engine does not answer.
    EngineDown(RuntimeKind, String),
    /// An operator asks something of one agent; the answer comes when it is stored.
    Order(AgentOrder, oneshot::Sender<Result<(), String>>),
    /// Conditions of the host that are found elsewhere, complete.
    Standing(Vec<Condition>),
    /// What agents and caches take on disk was measured.
    Sizes(Sizes),
    /// All runs of a runtime, with the mark of when they were asked for.
    Listed(RuntimeKind, u64, Result<Vec<RunSeen>, RuntimeError>),
    /// An action came back.
    Done {
        /// Which.
        action: Action,
        /// How.
        ended: Ended,
    },
}

impl HostLoop {
    pub(super) fn take_in(&mut self, input: Input, now: At) {
        match input {
            Input::Assignment(assignment) => self.assignment(assignment, now),
            Input::CredentialsChanged => {
                let held = self.parts.secrets.refs();
                self.parts.known.apply(Event::Credentials(held), now);
            }
            Input::Rows(rows) => self.rows(rows, now),
            Input::LookedAlone(rows) => {
                self.alone.looked(rows.is_some());
                self.rows(rows.unwrap_or_default(), now);
            }
            Input::Seen(event) => self.parts.known.apply(event, now),
            Input::Registered(run, row) => self.registered(run, row, now),
            Input::EngineUp(kind) => self.lists.need(kind, Instant::now()),
            Input::EngineDown(kind, why) => self.engine_down(kind, why, now),
            Input::Order(order, answer) => self.order(&order, answer, now),
            Input::Standing(conditions) => self.standing = conditions,
            Input::Sizes(sizes) => self.sizes = sizes,
            Input::Listed(kind, mark, listed) => self.listed(kind, mark, listed, now),
            Input::Done { action, ended } => self.done(action, ended, now),
        }
    }

    fn assignment(&mut self, assignment: Assignment, now: At) {
        let order = assignment.order;
        let before = self.parts.known.ledger.highest;
        match self.parts.known.assign(assignment) {
            Ok(()) if order != before => tracing::info!(%order, "assignment taken"),
            Ok(()) => {}
            Err(older) => {
                let message = format!("order {} is older than {}: refused", older.got, older.have);
                tracing::warn!("{message}");
                self.happened("order.refused", None, None, message, now);
            }
        }
    }

    fn order(&mut self, order: &AgentOrder, answer: oneshot::Sender<Result<(), String>>, now: At) {
        match self.parts.known.order_agent(order, now) {
            Ok(()) => {
                tracing::info!(agent = %order.agent, verb = ?order.verb, "asked for by {order}");
                self.answers.push(answer);
            }
            // Whoever asked may have gone.
            Err(Unfit(why)) => drop(answer.send(Err(why))),
        }
    }

    fn rows(&mut self, rows: Vec<Row>, now: At) {
        let rows = self.own_rows(rows);
        self.parts.known.apply(Event::Rows(rows), now);
    }

    /// Only rows of slots that are here, and a row's end only where it is the slot's row: by the
    /// same name there may be a new one already.
    fn own_rows(&self, rows: Vec<Row>) -> BTreeMap<AgentName, Option<RowState>> {
        let slots = &self.parts.known.ledger.slots;
        let own = rows.into_iter().filter_map(|row| {
            let slot = slots.get(&row.agent).filter(|slot| slot.pool == row.pool)?;
            match row.change {
                RowChange::Seen(state) => Some((row.agent, Some(state))),
                RowChange::Gone { agent_id } => {
                    slot.row.is_none_or(|own| own.agent_id == agent_id).then_some((row.agent, None))
                }
            }
        });
        own.collect()
    }

    fn registered(&mut self, run: RunId, row: RowId, now: At) {
        let heard = Heard::Registered(row);
        let event = Event::Heard { agent: run.agent, attempt: run.attempt, heard };
        self.parts.known.apply(event, now);
    }

    fn engine_down(&mut self, kind: RuntimeKind, why: String, now: At) {
        tracing::warn!(runtime = %kind, why, "the engine does not answer");
        self.lists.failed(kind, Instant::now());
        self.parts.known.apply(Event::EngineDown { kind, why }, now);
    }

    fn listed(
        &mut self,
        kind: RuntimeKind,
        mark: u64,
        listed: Result<Vec<RunSeen>, RuntimeError>,
        now: At,
    ) {
        match listed {
            // Something was done since it was asked for: what it misses may have come since.
            Ok(_) if !self.lists.is_current(kind, mark) => {
                self.lists.stale(kind, Instant::now());
            }
            Ok(runs)
                if runs.iter().any(|run| run.state == runtime::RunState::Created)
                    && self.lists.half_made(kind, Instant::now()) => {}
            Ok(runs) => {
                self.lists.good(kind, Instant::now());
                let runs = self.to_plan(runs);
                self.parts.known.apply(Event::Listed { kind, runs }, now);
                self.adopt_registrations();
            }
            Err(error) => {
                let why = match &error {
                    RuntimeError::EngineDown { why, .. } => why.clone(),
                    other => Report(other).to_string(),
                };
                self.engine_down(kind, why, now);
            }
        }
    }

    fn to_plan(&self, runs: Vec<RunSeen>) -> Vec<RunListed> {
        let known = &self.parts.known;
        // Made by a start that has not come back: it is about to run, not a remain.
        let half_made = |run: &RunSeen| {
            run.state == runtime::RunState::Created && known.in_flight(&run.run.agent)
        };
        let runs = runs.into_iter().filter(|run| !half_made(run));
        runs.map(|seen| RunListed {
            agent: seen.run.agent,
            attempt: seen.run.attempt,
            pool: seen.pool,
            group: seen.group,
            number: seen.slot,
            state: match seen.state {
                runtime::RunState::Created => RunState::Created,
                runtime::RunState::Running => RunState::Running,
                runtime::RunState::Ended(code) => RunState::Ended(code),
            },
        })
        .collect()
    }

    /// Slots that were adopted by their runs' labels alone (the ledger was lost) may still have
    /// their registration on disk.
    fn adopt_registrations(&mut self) {
        let slots = &self.parts.slots;
        for (agent, slot) in &mut self.parts.known.ledger.slots {
            if slot.registered || slot.row.is_some() {
                continue;
            }
            match slots.load(agent) {
                Ok(Some(kept)) => {
                    tracing::info!(%agent, row = kept.row.agent_id, "registration found on disk");
                    slot.holds(Some(kept.row));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%agent, error = %Report(&error), "its registration is of no use");
                }
            }
        }
    }

    fn done(&mut self, action: Action, ended: Ended, now: At) {
        let Ended { outcome, registration_lost, removed } = ended;
        tracing::debug!(%action, ?outcome, "done");
        for message in removed {
            self.happened("disk.cleaned", None, None, message, now);
        }
        let agent = match action.subject() {
            hostd_plan::Subject::Agent(agent) => Some(agent),
            hostd_plan::Subject::Image(..) | hostd_plan::Subject::Disk(..) => None,
        };
        let kind = match &action {
            Action::EnsureImage { kind, .. } => Some(*kind),
            _ => agent
                .as_ref()
                .and_then(|agent| self.parts.known.ledger.slots.get(agent))
                .map(|slot| slot.runtime),
        };
        if let Some(kind) = kind {
            self.lists.touched(kind);
            // The plan waits for a list that shows the engine up.
            if let Outcome::EngineDown(why) = &outcome {
                self.engine_down(kind, why.clone(), now);
            }
        }
        self.parts.known.apply(Event::Done { action, outcome }, now);
        if registration_lost
            && let Some(slot) = agent.and_then(|a| self.parts.known.ledger.slots.get_mut(&a))
        {
            slot.registered = false;
        }
    }
}
