//! Is a running agent well? Only one that Azure shows offline for long is looked at, and only one of
//! which nothing at all speaks for a job is replaced. In doubt nothing is done, and the time counts
//! anew.
//!
//! ```text
//!   Azure shows it offline ──START_UP_GRACE since its start──OFFLINE_GRACE──► no worker? ──► its row,
//!      ▲                                                                        │        read now,
//!      └── online, a request, a worker, a word of its listener, or no answer ◄──┴─────── offline? ──► ill
//! ```
//!
//! What is ill is not killed: its run is removed like any other, behind a disabled row.

use fleet_model::{
    AgentName, At, Mode, PoolName, RowState,
    numbers::{HANG_WATCHDOG, OFFLINE_GRACE, START_UP_GRACE},
};

use crate::{
    actions::Action,
    clock::Moments,
    known::Known,
    ledger::{Renewal, Role, Slot},
    removal::{Next, read_row},
    runs::{Listener, Run},
};

/// Azure shows an agent's row offline and without a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offline {
    /// Since when nothing else was heard.
    since: At,
    /// The grace is over, and then no worker was found.
    no_worker: bool,
    /// And then its row, read by this host, still showed it offline.
    read: bool,
}

impl Offline {
    fn since(now: At) -> Self {
        Self { since: now, no_worker: false, read: false }
    }

    fn is_ill(self) -> bool {
        self.no_worker && self.read
    }
}

impl Moments for Offline {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        let Self { since, no_worker: _, read: _ } = self;
        see(since);
    }
}

/// The next look at an agent that is to run and runs, if it needs one.
pub(crate) fn next(known: &Known, agent: &AgentName, slot: &Slot, run: &Run, now: At) -> Next {
    let Some(offline) = known.offline.get(agent) else { return Next::Wait };
    let elsewhere = known.rows.get(agent).is_some_and(|row| !row.enabled);
    // The configuration run has its own limit, and an agent that somebody disabled is in his hands.
    if run.listener == Listener::Registering || elsewhere || known.azure.contains_key(&slot.pool) {
        return Next::Wait;
    }
    let due = offline.since.max(run.started + START_UP_GRACE) + OFFLINE_GRACE;
    match offline {
        _ if due > now => Next::At(due),
        Offline { no_worker: false, .. } => {
            Next::Do(Action::CheckWorker { agent: agent.clone(), attempt: run.attempt })
        }
        Offline { read: false, .. } => read_row(agent, slot, now, now),
        // It is ill, and that is seen where roles are chosen.
        Offline { .. } => Next::Wait,
    }
}

impl Known {
    /// What is wrong with it, if it is known to be ill.
    pub(crate) fn illness(&self, agent: &AgentName) -> Option<Renewal> {
        let minutes = OFFLINE_GRACE.as_secs() / 60;
        let why = || {
            let why = format!("Azure showed it offline for {minutes} min, and it had no job");
            match self.live(agent).map(|run| run.complaint.as_str()) {
                None | Some("") => why,
                Some(complaint) => format!("{why}; {complaint}"),
            }
        };
        self.offline.get(agent).filter(|offline| offline.is_ill()).map(|_| Renewal::Ill(why()))
    }

    /// Azure shows its row so; none: there is none.
    pub(crate) fn row_shows(&mut self, agent: &AgentName, row: Option<&RowState>, now: At) {
        let role = self.ledger.slots.get(agent).map(|slot| slot.role);
        // Only of those that are to run it matters.
        let runs = matches!(role, Some(Role::Run | Role::Renew));
        match runs && row.is_none_or(RowState::is_quiet) {
            false => drop(self.offline.remove(agent)),
            true => drop(self.offline.entry(agent.clone()).or_insert(Offline::since(now))),
        }
    }

    /// This host itself read its row, and that is as [`Known::row_shows`] was told.
    pub(crate) fn row_was_read(&mut self, agent: &AgentName) {
        if let Some(offline) = self.offline.get_mut(agent) {
            offline.read = offline.no_worker;
        }
    }

    /// The process list was looked at for an agent that is to run.
    pub(crate) fn looked_for_worker(&mut self, agent: &AgentName, free: bool, now: At) {
        match self.offline.get_mut(agent) {
            Some(offline) if free => offline.no_worker = true,
            _ => self.speaks_for_itself(agent, now),
        }
    }

    /// No worker lives: a listener that should have ended by now is about to be ended, and its end
    /// will need a reason. Others are looked at, too.
    pub(crate) fn hangs_without_worker(&mut self, agent: &AgentName, now: At) {
        let group = self.ledger.slots.get(agent).and_then(|slot| self.group_of(slot));
        let once = group.is_some_and(|group| group.template.mode == Mode::Once);
        let late = |run: &&mut Run| run.finished.is_some_and(|at| now >= at + HANG_WATCHDOG);
        if let Some(run) = self.runs.get_mut(agent).filter(|run| once && late(run)) {
            run.complaint = "it hung after its job and was ended".into();
        }
    }

    /// Something speaks for it, or it is new: whatever was thought of its health, the time counts
    /// anew.
    pub(crate) fn speaks_for_itself(&mut self, agent: &AgentName, now: At) {
        if let Some(offline) = self.offline.get_mut(agent) {
            *offline = Offline::since(now);
        }
    }

    /// Azure does not answer for a pool: who is offline there may only look so.
    pub(crate) fn nobody_is_ill(&mut self, pool: &PoolName, now: At) {
        let slots = &self.ledger.slots;
        let of_pool = |agent: &AgentName| slots.get(agent).is_some_and(|slot| slot.pool == *pool);
        for (_, offline) in self.offline.iter_mut().filter(|(agent, _)| of_pool(agent)) {
            *offline = Offline::since(now);
        }
    }
}
