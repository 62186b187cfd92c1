//! A host's side: its planner, its turns, what it reports.

use std::collections::BTreeMap;

use fleet_model::{
    AgentName, AgentStatus, Assignment, At, CredentialRef, HostName, HostReport, RuntimeKind,
};
use hostd_plan::{Action, Event, Heard, Known, Outcome, RunState, plan};

use super::{Due, Up, World, clocks::Clocks, disk::Disk, engine::Engine, engine::SimRun};

/// One lab server.
pub(super) struct SimHost {
    pub(super) known: Known,
    pub(super) disk: Disk,
    pub(super) clocks: Clocks,
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
    /// Since when it has had no session.
    pub(super) alone_since: At,
    /// Until then nobody can expect that all of its agents are online.
    pub(super) trouble_until: At,
    reported: BTreeMap<AgentName, AgentStatus>,
}

impl SimHost {
    pub(super) fn new(known: Known) -> Self {
        Self {
            disk: Disk::default(),
            clocks: Clocks::default(),
            known,
            engine: Engine::default(),
            alive: false,
            life: 0,
            turn: 0,
            connected: false,
            session: 0,
            cut_until: At(0),
            alone_since: At(0),
            trouble_until: At(0),
            reported: BTreeMap::new(),
        }
    }

    /// Runs of its agents so far.
    pub(super) fn attempts(&self) -> u32 {
        self.disk.ledger.slots.values().map(|slot| slot.attempt).sum()
    }
}

/// What hostd holds of credentials.
pub(super) fn credentials(fingerprint: &str) -> Vec<CredentialRef> {
    let name = "nightly".parse().ok();
    let one = name.map(|name| CredentialRef { name, fingerprint: fingerprint.into() });
    one.into_iter().collect()
}

impl World {
    /// hostd starts from what is on disk, lists its engine, and adopts what runs.
    pub(super) fn host_back(&mut self, name: &HostName) {
        let Some(host) = self.hosts.get_mut(name).filter(|host| !host.alive) else { return };
        let served = [RuntimeKind::Docker].into();
        host.clocks.begin();
        let moment = host.clocks.moment(self.now);
        let ledger = host.disk.load(&moment, self.now);
        host.known = Known::new(name.clone(), served, ledger);
        host.alive = true;
        host.life += 1;
        host.alone_since = self.now;
        host.reported.clear();
        host.known.apply(Event::Credentials(credentials("0123456789ab")), moment.at);
        let life = host.life;
        if self.options.alone {
            self.after(300_000, Due::LookAlone(name.clone(), life));
        }
        self.note(format!("{name} hostd starts"));
        self.list_engine(name);
        let wait = self.between(10, 1_000);
        self.after(wait, Due::Dial(name.clone()));
    }

    /// hostd dies, and is back after some time, which comes back.
    pub(super) fn host_dies(&mut self, name: &HostName, away: (u64, u64)) -> u64 {
        let Some(host) = self.hosts.get_mut(name).filter(|host| host.alive) else { return 0 };
        host.alive = false;
        let session = host.session;
        self.note(format!("{name} hostd dies"));
        self.after(50, Due::Broken(name.clone(), session));
        let wait = self.between(away.0, away.1);
        self.after(wait, Due::HostBack(name.clone()));
        wait
    }

    fn list_engine(&mut self, name: &HostName) {
        let Some(host) = self.hosts.get_mut(name) else { return };
        let runs = host.engine.list();
        let kind = RuntimeKind::Docker;
        let now = host.clocks.time(self.now);
        host.known.apply(Event::Listed { kind, runs }, now);
        for (agent, slot) in &mut host.known.ledger.slots {
            // Adopted by its runs' labels alone.
            if let Some(row) = host.disk.files.get(agent)
                && !slot.registered
                && slot.row.is_none()
            {
                slot.holds(Some(*row));
            }
        }
        // What a follower of an adopted run sees first: files left behind, and what it does.
        let signs: Vec<_> = host
            .engine
            .runs
            .iter()
            .filter(|(_, run)| run.state == RunState::Running)
            .flat_map(|(key, run)| signs(run).into_iter().map(move |heard| (key.clone(), heard)))
            .collect();
        let kept: Vec<_> = host.engine.runs.keys().cloned().collect();
        for ((agent, attempt), heard) in signs {
            host.known.apply(Event::Heard { agent, attempt, heard }, now);
        }
        self.turn(name);
        for key in kept {
            self.hand_over(name, &key);
        }
    }

    pub(super) fn at_host(&mut self, name: &HostName, _session: u64, order: Assignment) {
        let Some(host) = self.hosts.get_mut(name).filter(|host| host.alive) else { return };
        let before = host.known.ledger.clone();
        let (wanted, have) = (order.order, before.highest);
        let result = host.known.assign(order);
        self.kept.refused += u64::from(result.is_err());
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
        let now = host.clocks.time(self.now);
        host.known.apply(event, now);
        self.turn(name);
    }

    /// One turn of hostd's loop: plan, write down, store, act, report.
    fn turn(&mut self, name: &HostName) {
        let Some(host) = self.hosts.get_mut(name).filter(|host| host.alive) else { return };
        let now = host.clocks.time(self.now);
        let plan = plan(&host.known, now);
        let mut next = host.known.clone();
        next.begin(&plan, now);
        host.turn += 1;
        let (turn, life) = (host.turn, host.life);
        let moment = host.clocks.moment(self.now);
        let stored =
            next.ledger == host.disk.ledger || host.disk.store(&next.ledger, moment, self.now);
        if stored {
            host.known = next;
        }
        for change in host.known.refresh(now) {
            let (from, to) = (change.from, change.to);
            self.note(format!("{} {from:?} → {to:?}: {}", change.agent, change.why));
        }
        if !stored {
            // Not stored, not done; tried again.
            self.after(5_000, Due::Wake(name.clone(), turn));
            return self.report(name, false);
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
        let conditions = host.known.conditions(host.clocks.time(self.now));
        let report =
            HostReport { full, applied, agents, removed, conditions, ..HostReport::default() };
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
}

/// What an adopted run shows.
fn signs(run: &SimRun) -> Vec<Heard> {
    let mut signs = Vec::new();
    if run.listening {
        signs.push(Heard::Listening);
    }
    if let Some(job) = run.job {
        signs.push(Heard::JobStarted(format!("job {job}")));
    }
    signs
}
