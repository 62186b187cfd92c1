//! What the loop owns, and how a turn becomes safe and visible.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use coordinator_plan::{Decision, Fleet, FleetEvent};
use fleet_model::{AgentName, At, HostName, HostState};
use tokio::sync::watch;

use super::{
    adopt::Adoption,
    agent_orders::AgentOrders,
    denied::Denied,
    event::Event,
    janitor::Janitor,
    refusals::Refusals,
    sessions::Sessions,
    turn::Turn,
    views::Views,
    watchers::{Watched, Watchers},
};
use crate::{
    azure::Targets,
    book::Book,
    credentials::Vault,
    records::{Ahead, PLACEMENT, POOL},
    store::{NewEvent, Object, StoreError},
};

/// Who did something that nobody asked for.
pub(crate) const SELF: &str = "coordinator";

/// Numbers the loop needs.
#[derive(Debug, Clone)]
pub(crate) struct LoopSettings {
    /// How often hosts are heard.
    pub heartbeat: Duration,
    /// Most sessions at a time.
    pub max_sessions: usize,
    /// After `recover`: how long hosts have to report before the first order.
    pub adopt_window: Duration,
    /// A row without an agent goes when it was offline for so long.
    pub leftover_age: Duration,
    /// How often such rows are looked for.
    pub tidy_every: Duration,
    /// How old Azure's answers may be.
    pub azure_stale: Duration,
}

/// See the module.
pub(crate) struct State {
    pub(crate) fleet: Fleet,
    pub(crate) book: Book,
    pub(crate) sessions: Sessions,
    pub(crate) watchers: Watchers,
    pub(crate) adoption: Option<Adoption>,
    pub(crate) settings: LoopSettings,
    pub(crate) vault: Arc<Vault>,
    pub(crate) targets: watch::Sender<Targets>,
    /// The last commit failed, and why.
    pub(crate) store_trouble: Option<String>,
    pub(crate) refusals: Refusals,
    pub(crate) agent_orders: AgentOrders,
    pub(crate) janitor: Janitor,
    /// Agents whose hosts were told that their row is gone: which row.
    pub(crate) told_gone: BTreeMap<AgentName, i64>,
    /// States as last written into the history.
    states: BTreeMap<HostName, HostState>,
}

impl State {
    /// The state that a store's content stands for.
    pub(crate) fn load(
        objects: Vec<Object>,
        settings: LoopSettings,
        vault: Arc<Vault>,
        targets: watch::Sender<Targets>,
        now: At,
    ) -> Result<Self, StoreError> {
        let (book, saved) = Book::load(objects)?;
        vault.replace(book.credentials.values());
        let adoption = book.meta.adopt.then(|| Adoption::begin(&saved, now, &settings));
        let state = Self {
            fleet: Fleet::restore(saved, now),
            book,
            sessions: Sessions::default(),
            watchers: Watchers::default(),
            adoption,
            settings,
            vault,
            targets,
            store_trouble: None,
            refusals: Refusals::default(),
            agent_orders: AgentOrders::default(),
            janitor: Janitor::default(),
            told_gone: BTreeMap::new(),
            states: BTreeMap::new(),
        };
        state.publish_targets();
        Ok(state)
    }

    /// Goes back to what is stored. Watches go on; sessions have to come again.
    pub(crate) fn reload(&mut self, objects: Vec<Object>, now: At) -> Result<(), StoreError> {
        let (settings, vault) = (self.settings.clone(), Arc::clone(&self.vault));
        let fresh = Self::load(objects, settings, vault, self.targets.clone(), now)?;
        let watchers = std::mem::take(&mut self.watchers);
        *self = Self { watchers, ..fresh };
        let views = Views { fleet: &self.fleet, book: &self.book };
        for object in views.all() {
            self.watchers.touch(object, now);
        }
        Ok(())
    }

    /// Takes in what happened.
    pub(crate) fn take(&mut self, event: Event, turn: &mut Turn) {
        match event {
            Event::Session(event) => self.take_session(event, turn),
            Event::Request(request) => self.take_request(request, turn),
            Event::Enrol(enrol) => self.take_enrol(enrol, turn),
            Event::Azure(event) => self.take_azure(event, turn),
        }
    }

    /// Changes what is known of the fleet; a decision may follow.
    pub(crate) fn apply(&mut self, event: FleetEvent, turn: &mut Turn) {
        self.fleet.apply(event, turn.now);
        turn.decide = true;
    }

    /// Refuses changes while no orders may be given.
    pub(crate) fn writable(&self) -> Result<(), Denied> {
        if let Some(ahead) = self.ahead() {
            return Err(Denied::ReadOnly {
                host: ahead.host.clone(),
                seen: ahead.order,
                own: self.fleet.order(),
            });
        }
        match &self.adoption {
            Some(adoption) => Err(Denied::Adopting { waiting: adoption.waiting() }),
            None => Ok(()),
        }
    }

    /// The host that knows more than this store; none while all is well.
    pub(crate) fn ahead(&self) -> Option<&Ahead> {
        self.book.meta.ahead.as_ref().filter(|ahead| ahead.order > self.fleet.order())
    }

    /// Decides what follows from the turn, and adds it to what the turn stores.
    pub(crate) fn decide(&mut self, turn: &mut Turn) -> Option<Decision> {
        if self.writable().is_err() {
            return None;
        }
        let mut decision = self.fleet.decide(turn.now);
        if !decision.forgotten.is_empty() {
            for pool in std::mem::take(&mut decision.forgotten) {
                self.forget_pool(pool, turn);
            }
            // What hosts are told no longer names the pool.
            decision = self.fleet.decide(turn.now);
        }
        for (pool, placed) in &decision.placements {
            turn.changes.put(PLACEMENT, pool, placed);
        }
        if let Some(order) = decision.order {
            self.book.meta.order = order;
            self.book.put_meta(&mut turn.changes);
        }
        Some(decision)
    }

    fn forget_pool(&mut self, pool: fleet_model::PoolName, turn: &mut Turn) {
        turn.changes.delete(POOL, &pool);
        turn.changes.delete(PLACEMENT, &pool);
        turn.event(
            NewEvent::new(turn.now, "pool.gone", SELF).pool(&pool).says("its last agent is gone"),
        );
        let credential = self.fleet.pool_view(&pool).map(|view| view.spec.credential.clone());
        self.fleet.apply(FleetEvent::PoolForgotten(pool.clone()), turn.now);
        if let Some(credential) = credential {
            self.forget_unused(&credential, turn);
        }
        self.watchers.touch(Watched::Pool(pool), turn.now);
        turn.targets = true;
    }

    /// The turn is safe: what was decided holds from now on, and goes out.
    pub(crate) fn begin(&mut self, decision: Option<&Decision>, turn: &Turn) {
        if let Some(decision) = decision {
            self.fleet.begin(decision);
            for pool in self.fleet.pool_names() {
                if decision.placements.contains_key(pool) {
                    self.watchers.touch(Watched::Pool(pool.clone()), turn.now);
                }
            }
            for (host, assignment) in &decision.assignments {
                self.watchers.touch(Watched::Host(host.clone()), turn.now);
                self.sessions.assign(host, assignment, &self.fleet);
            }
        }
        if self.writable().is_ok() {
            self.tell_begun(turn, decision);
        }
        if turn.targets {
            self.publish_targets();
        }
    }

    /// A host whose session began is told what it keeps, also when nothing new was decided.
    fn tell_begun(&mut self, turn: &Turn, decision: Option<&Decision>) {
        let told = |host: &&HostName| decision.is_none_or(|d| !d.assignments.contains_key(*host));
        for host in turn.begun.iter().filter(told) {
            if let Some(assignment) = self.fleet.host(host).and_then(|e| e.assignment.as_ref()) {
                self.sessions.assign(host, assignment, &self.fleet);
            }
        }
    }

    /// Writes changes of hosts' states into the history.
    pub(crate) fn note_states(&mut self, turn: &mut Turn) {
        let names: BTreeSet<HostName> = std::mem::take(&mut turn.hosts);
        for name in names {
            self.watchers.touch(Watched::Host(name.clone()), turn.now);
            let Some(entry) = self.fleet.host(&name) else {
                self.states.remove(&name);
                continue;
            };
            let state = entry.state();
            let before = self.states.insert(name.clone(), state);
            // Right after the start every host is disconnected; that is not news.
            if before == Some(state) || (before.is_none() && state == HostState::Disconnected) {
                continue;
            }
            // Its agents' reports are stale now, or good again; pools count them differently.
            for agent in entry.agents.values() {
                let touched = Watched::Agent(name.clone(), agent.agent.clone());
                self.watchers.touch(touched, turn.now);
                self.watchers.touch(Watched::Pool(agent.pool.clone()), turn.now);
            }
            let kind = match state {
                HostState::Invited => continue,
                HostState::Ready => "host.ready",
                HostState::Disconnected => "host.disconnected",
                HostState::Down => "host.down",
            };
            let from = before.map_or_else(|| "none".to_owned(), |state| state.to_string());
            tracing::info!(host = %name, from, to = %state, "host changed its state");
            turn.event(
                NewEvent::new(turn.now, kind, SELF).host(&name).says(format!("{from} → {state}")),
            );
        }
    }

    /// Hosts that became Down by time alone.
    pub(crate) fn note_leases(&self, turn: &mut Turn) {
        let changed = self
            .fleet
            .hosts()
            .filter(|(name, entry)| entry.down && self.states.get(*name) != Some(&HostState::Down))
            .map(|(name, _)| name.clone());
        turn.hosts.extend(changed);
    }

    /// A look at the fleet.
    pub(crate) fn views(&self) -> Views<'_> {
        Views { fleet: &self.fleet, book: &self.book }
    }

    /// Tells watchers what was collected, if it is time.
    pub(crate) fn flush_watchers(&mut self, now: At) {
        let views = Views { fleet: &self.fleet, book: &self.book };
        self.watchers.flush(&views, now);
    }

    fn publish_targets(&self) {
        let targets = Targets::of(&self.fleet, &self.book, self.janitor.numbers());
        self.targets.send_if_modified(|old| {
            let changed = *old != targets;
            *old = targets;
            changed
        });
    }
}
