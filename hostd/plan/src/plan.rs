//! From what is known to what is done next.

use fleet_model::{
    AgentName, At, Entry, GroupAssignment, Mode, RuntimeKind, numbers::HANG_WATCHDOG,
};

use crate::{
    actions::{Action, Plan, SlotChange, Subject},
    announced,
    choose::choose,
    health,
    known::{EngineState, Known},
    ledger::{Role, Slot},
    pause,
    removal::{self, Next},
    runs::{Listener, Run, RunState},
    starts::{ImageState, StartCap},
};

/// What to do next on this host, and when to ask again if nothing happens before.
///
/// Equal knowledge, equal plan. At most one action per agent and image, none for one whose last
/// action has not come back. Nothing at all is done with runs of an engine before it has listed
/// them.
pub fn plan(known: &Known, now: At) -> Plan {
    let mut plan = Plan::default();
    // What is planned is written into a copy as it is planned: slots as they will be, and actions
    // as if they were under way, so that each decision sees the ones before it.
    let mut next = known.clone();
    if let Some(assignment) = &known.ledger.assignment {
        for (pool, part) in &assignment.pools {
            // What an orphaned pool keeps is not chosen anew: it stays as it is.
            if !known.ledger.orphaned.contains(pool) {
                plan.slots.extend(choose(known, pool, part, now));
            }
        }
    }
    next.begin(&Plan { slots: plan.slots.clone(), ..Plan::default() }, now);
    let pauses = pause::choose(&next, now);
    next.begin(&Plan { slots: pauses.clone(), ..Plan::default() }, now);
    plan.slots.extend(pauses);
    let mut wake = Wake { now, at: None };
    let (cleanings, later) = next.cleanings(now);
    plan.actions = cleanings;
    plan.actions.retain(|action| !next.flights.contains_key(&action.subject()));
    later.into_iter().for_each(|at| wake.at(at));
    let agents: Vec<AgentName> = next.ledger.slots.keys().cloned().collect();
    for agent in agents {
        let Some(slot) = next.ledger.slots.get(&agent) else { continue };
        if let Some(quarantine) = &slot.quarantine {
            wake.at(quarantine.until);
        }
        match step(&next, &agent, slot, now) {
            Next::Do(action) if admitted(&next, slot, &action, &mut wake) => {
                next.flights.insert(action.subject(), action.clone());
                plan.actions.push(action);
            }
            Next::At(at) => wake.at(at),
            Next::Do(_) | Next::Wait => {}
        }
    }
    plan.wake_after = wake.at.map(|at| at.since(now));
    plan
}

fn step(known: &Known, agent: &AgentName, slot: &Slot, now: At) -> Next {
    if known.in_flight(agent) || known.engines.get(&slot.runtime) != Some(&EngineState::Up) {
        return Next::Wait;
    }
    match known.waits.get(agent).filter(|at| **at > now) {
        Some(at) => Next::At(*at),
        None if slot.role == Role::Run => keep(known, agent, slot, now),
        None => removal::next(known, agent, slot, now),
    }
}

/// Whether an action may go, or what it needs is in trouble: then one agent asks for all.
fn admitted(known: &Known, slot: &Slot, action: &Action, wake: &mut Wake) -> bool {
    if known.flights.contains_key(&action.subject()) {
        return false;
    }
    let Some(trouble) = known.azure.get(&slot.pool).filter(|_| action.asks_azure()) else {
        return true;
    };
    wake.at(trouble.next);
    let of_pool = |agent: &AgentName| {
        known.ledger.slots.get(agent).is_some_and(|other| other.pool == slot.pool)
    };
    let probed = known.flights.iter().any(|(subject, flying)| {
        flying.asks_azure() && matches!(subject, Subject::Agent(agent) if of_pool(agent))
    });
    trouble.next <= wake.now && !probed
}

/// The next step for a slot in which an agent is to run.
fn keep(known: &Known, agent: &AgentName, slot: &Slot, now: At) -> Next {
    if let Some(pause) = &slot.pause {
        return pause::next(known, agent, slot, pause, now);
    }
    let enable = slot.row.filter(|_| slot.disabled_by_us);
    let enable = enable.map(|row| Next::Do(Action::Enable { agent: agent.clone(), row }));
    // While Azure cannot be asked, perhaps for days, all else goes on meanwhile: what was disabled gets
    // no job, and a disable that was refused is none.
    if let Some(enable) = enable.clone().filter(|_| !known.azure.contains_key(&slot.pool)) {
        return enable;
    }
    if let Some(run) = known.live(agent) {
        let next = removal::sweep_older(known, agent, run.attempt)
            .unwrap_or_else(|| hang_watchdog(known, agent, slot, run, now))
            .or_sooner(|| announced::next(agent, run, now))
            .or_sooner(|| health::next(known, agent, slot, run, now));
        return match next {
            Next::Do(action) => Next::Do(action),
            next => enable.unwrap_or(next),
        };
    }
    // A pool that is not in the assignment has no template: its agents are left as they are.
    let Some(group) = known.group_of(slot) else { return Next::Wait };
    if let Some(at) = slot.retry_at.filter(|at| *at > now) {
        // Of an agent that keeps failing only its newest run is left to look at.
        return removal::sweep_older(known, agent, slot.attempt).unwrap_or(Next::At(at));
    }
    if let Some(next) = unclean(known, agent, slot, now) {
        return next;
    }
    start(known, agent, slot, group, now)
}

/// In once mode a listener ends with its job. Some do not: one that has no worker either is ended,
/// and its slot goes on. What it said may be a job's forgery, so the process list decides.
pub(crate) fn hang_watchdog(
    known: &Known,
    agent: &AgentName,
    slot: &Slot,
    run: &Run,
    now: At,
) -> Next {
    let once = known.group_of(slot).is_some_and(|group| group.template.mode == Mode::Once);
    let finished = run.finished.filter(|_| once && run.listener == Listener::Finished);
    finished.map_or(Next::Wait, |at| removal::end_run(known, agent, run, at + HANG_WATCHDOG, now))
}

/// After a run that did not say goodbye: Azure may hold its session longer than the agent waits for
/// it, so the row decides before the next start.
fn unclean(known: &Known, agent: &AgentName, slot: &Slot, now: At) -> Option<Next> {
    let died_out = Known::session_died_out(slot)?;
    let look = known.looks.get(agent).cloned().unwrap_or_default();
    let holds_credential = known.holds_credential(slot);
    if died_out <= now && (!holds_credential || known.azure.contains_key(&slot.pool)) {
        // Azure cannot be asked, and the session is dead of old age: go on with what there is.
        return None;
    }
    if !holds_credential {
        return Some(Next::At(died_out));
    }
    Some(match (look.clear, slot.row) {
        // Offline and free: the registration is good, the next run may use it. A row whose
        // registration hostd does not hold is of no use to it.
        (true, Some(_)) if !look.online && slot.registered => return None,
        // What the engine began late may run and own the row: removing what is left tells.
        (true, Some(row)) => removal::sweep(known, agent)
            .unwrap_or_else(|| Next::Do(Action::DeleteRow { agent: agent.clone(), row })),
        _ => removal::read_row(agent, slot, look.next, now),
    })
}

fn start(known: &Known, agent: &AgentName, slot: &Slot, group: &GroupAssignment, now: At) -> Next {
    let template = &group.template;
    if slot.runtime != template.runtime {
        return Next::Wait;
    }
    let own = template.entry == Entry::Own;
    let registered = slot.registered && own;
    if !registered && !known.holds_credential(slot) {
        return Next::Wait;
    }
    if let (RuntimeKind::Docker, Some(image)) = (slot.runtime, &template.image) {
        match known.images.get(&(slot.runtime, image.clone())) {
            Some(ImageState::Present) => {}
            Some(ImageState::Missing { next, .. }) if *next > now => return Next::At(*next),
            _ if known.flights.contains_key(&Subject::Image(slot.runtime, image.clone())) => {
                return Next::Wait;
            }
            _ => {
                let image = image.clone();
                return Next::Do(Action::EnsureImage { kind: slot.runtime, image });
            }
        }
    }
    // With the engine's socket the root outlives the run: what is left of the last one goes first.
    if template.docker_socket
        && let Some(sweep) = removal::sweep(known, agent)
    {
        return sweep;
    }
    if let Some(wait) = known.capped(slot, now) {
        return Next::At(now + wait);
    }
    let updated =
        matches!(known.run(agent).map(|run| run.state), Some(RunState::Ended(Some(3 | 4))))
            && slot.updates == 1;
    let attempt = if updated || slot.start_unheard { slot.attempt } else { slot.attempt + 1 };
    Next::Do(Action::Start { agent: agent.clone(), attempt, registered })
}

impl Known {
    /// hostd holds the secret that the slot's pool uses (or an older one of the same name, which is
    /// as good until the new one arrives).
    pub(crate) fn holds_credential(&self, slot: &Slot) -> bool {
        self.part_of(slot).is_some_and(|part| self.credentials.contains_key(&part.credential.name))
    }

    /// How long the pool's start cap holds a start back, if it does.
    pub(crate) fn capped(&self, slot: &Slot, now: At) -> Option<std::time::Duration> {
        let desired = self.desired(&slot.pool);
        let full = StartCap::new(desired, now);
        let cap = self.caps.get(&slot.pool).unwrap_or(&full);
        // Starts under way may come to nothing: they have a claim on the bucket.
        let unproven = self
            .slots_of(&slot.pool)
            .filter(|(agent, _)| {
                let starting = self.live(agent).is_some_and(|run| {
                    matches!(run.listener, Listener::Starting | Listener::Registering)
                });
                let flying = self.flights.get(&Subject::Agent((*agent).clone()));
                starting || matches!(flying, Some(Action::Start { .. }))
            })
            .count();
        let claimed = u32::try_from(unproven).unwrap_or(u32::MAX);
        (cap.left(desired, now) <= claimed).then(|| cap.wait(desired, now, claimed + 1))
    }
}

struct Wake {
    now: At,
    at: Option<At>,
}

impl Wake {
    fn at(&mut self, at: At) {
        // Due already and still waiting means that it waits for something else to happen.
        if at > self.now {
            self.at = Some(self.at.map_or(at, |earlier| earlier.min(at)));
        }
    }
}

impl Plan {
    /// Nothing to change and nothing to do.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.actions.is_empty()
    }

    /// Slots that it adds.
    pub fn added(&self) -> usize {
        self.slots.iter().filter(|change| matches!(change, SlotChange::Add(..))).count()
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
