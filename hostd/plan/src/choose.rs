//! Which slots a pool keeps, renews, sets aside, holds and gives up, and which it needs anew.

use std::collections::{BTreeMap, BTreeSet};

use fleet_model::{
    AgentName, At, GroupAssignment, GroupName, PoolAssignment, PoolName, Wanted, numbers::SLOTS_MAX,
};

use crate::{
    actions::SlotChange,
    aside,
    known::{EngineState, Known},
    ledger::{Removal, Role, Slot},
    runs::Listener,
};

/// What becomes of each slot of a pool.
pub(crate) fn choose(
    known: &Known,
    pool: &PoolName,
    part: &PoolAssignment,
    now: At,
) -> Vec<SlotChange> {
    let mut changes = Vec::new();
    let mut taken: BTreeSet<u16> = known.slots_of(pool).map(|(_, slot)| slot.number).collect();
    let no_groups = BTreeMap::new();
    let groups = match &part.wanted {
        Wanted::Groups(groups) => groups,
        Wanted::Gone => &no_groups,
    };
    for (agent, slot) in known.slots_of(pool) {
        // A group of which nothing is said is left as it is.
        if part.wanted == Wanted::Gone || part.gone_groups.contains(&slot.group) {
            turn(&mut changes, agent, slot, Role::Remove);
        }
    }
    for (name, group) in groups {
        let aside = set_aside(known, pool, name, group, now, &mut changes);
        choose_group(known, pool, name, group, &aside, &mut changes);
        for number in new_numbers(known, pool, name, group, aside.len(), &mut taken) {
            let slot = Slot::new(pool.clone(), name.clone(), number, group.template.runtime);
            // A name that does not fit was refused with the pool's spec.
            if let Ok(agent) = AgentName::for_slot(&part.prefix, &known.host, number) {
                changes.push(SlotChange::Add(agent, Box::new(slot)));
            }
        }
    }
    changes
}

/// The slots of a group that are in quarantine, or go there now.
fn set_aside<'a>(
    known: &'a Known,
    pool: &PoolName,
    name: &GroupName,
    group: &GroupAssignment,
    now: At,
    changes: &mut Vec<SlotChange>,
) -> BTreeSet<&'a AgentName> {
    let mut aside = BTreeSet::new();
    let mut count = known.aside(pool, name, now);
    let azure_answers = !known.azure.contains_key(pool);
    for (agent, slot) in known.slots_of(pool).filter(|(_, slot)| slot.group == *name) {
        if slot.is_aside(now) {
            turn(changes, agent, slot, Role::Quarantine);
            aside.insert(agent);
        } else if let Some(quarantine) = aside::earned(slot, count, group.replicas, now)
            && azure_answers
            && !past_return(slot)
        {
            changes.push(SlotChange::Quarantine(agent.clone(), Box::new(quarantine)));
            aside.insert(agent);
            count += 1;
        }
    }
    aside
}

fn choose_group(
    known: &Known,
    pool: &PoolName,
    name: &GroupName,
    group: &GroupAssignment,
    aside: &BTreeSet<&AgentName>,
    changes: &mut Vec<SlotChange>,
) {
    let wanted = group.replicas as usize;
    let mut slots = usable(known, pool, name);
    slots.retain(|(agent, _)| !aside.contains(agent));
    let (fit, other): (Vec<_>, Vec<_>) =
        slots.into_iter().partition(|(_, slot)| slot.runtime == group.template.runtime);
    // None is wanted, and this host keeps the group's last registration: the slot that holds it
    // already, else the first that has one.
    let hold = fit
        .iter()
        .filter(|_| wanted == 0 && group.placeholder)
        .filter(|(_, slot)| slot.row.is_some())
        .min_by_key(|(_, slot)| slot.role != Role::Hold)
        .map(|(agent, _)| (*agent).clone());
    for (at, (agent, slot)) in fit.iter().enumerate() {
        let role = match &hold {
            _ if at < wanted => {
                stay(known, agent, slot, changes);
                continue;
            }
            Some(hold) if hold == *agent => Role::Hold,
            _ => Role::Remove,
        };
        turn(changes, agent, slot, role);
    }
    for (agent, slot) in other {
        turn(changes, agent, slot, Role::Remove);
    }
}

/// An agent is wanted in it: its run goes on, or is replaced.
fn stay(known: &Known, agent: &AgentName, slot: &Slot, changes: &mut Vec<SlotChange>) {
    // Whether it runs is not known: nothing is changed for what it may have been.
    if slot.role == Role::Renew && known.engines.get(&slot.runtime) != Some(&EngineState::Up) {
        return;
    }
    let illness = known.illness(agent);
    let runs = known.live(agent).is_some();
    match (slot.role, illness) {
        (Role::Run, Some(illness)) if runs && slot.renewal.is_none() && !past_return(slot) => {
            changes.push(SlotChange::Renew(agent.clone(), illness));
        }
        (_, illness) => {
            turn(changes, agent, slot, slot.role_when_wanted(runs, illness.is_some()));
        }
    }
}

/// The group's slots that could run an agent, those to be kept first in front.
fn usable<'a>(
    known: &'a Known,
    pool: &PoolName,
    group: &GroupName,
) -> Vec<(&'a AgentName, &'a Slot)> {
    let mut slots: Vec<_> = known
        .slots_of(pool)
        .filter(|(_, slot)| slot.group == *group && !past_return(slot))
        .collect();
    slots.sort_by_key(|(agent, slot)| (rank(known, agent, slot), slot.number));
    slots
}

/// Which to keep first: those at work, then those online, on their way, about to start, failing;
/// behind all of these those on their way out (the live ones only need to be enabled again), and last
/// those that never came to a registration: perhaps none can be had.
fn rank(known: &Known, agent: &AgentName, slot: &Slot) -> u8 {
    let leaving = if matches!(slot.role, Role::Run | Role::Renew) { 0 } else { 5 };
    let assigned = known.rows.get(agent).is_some_and(|row| row.assigned.is_some());
    let announced = known.live(agent).is_some_and(|run| run.announced.is_some());
    leaving
        + match known.live(agent).map(|run| run.listener) {
            Some(Listener::Working) => 0,
            Some(_) if assigned || announced => 0,
            Some(_) if slot.role == Role::Renew => 4,
            Some(Listener::Listening | Listener::Finished) => 1,
            Some(Listener::Unknown | Listener::Starting | Listener::Registering) => 2,
            None if slot.failures == 0 => 3,
            None if slot.row.is_some() => 4,
            None => 10,
        }
}

/// Its stop has begun: it will be gone, whatever is wanted now.
fn past_return(slot: &Slot) -> bool {
    slot.stop_begun
        || match slot.role {
            Role::Hold => slot.removal == Some(Removal::Releasing),
            Role::Remove => {
                matches!(slot.removal, Some(Removal::Releasing | Removal::Released))
            }
            Role::Run | Role::Renew | Role::Quarantine => false,
        }
}

/// Numbers for new slots: the lowest free ones. Slots that are past return still count, so that
/// there are never more rows than wanted.
fn new_numbers(
    known: &Known,
    pool: &PoolName,
    name: &GroupName,
    group: &GroupAssignment,
    aside: usize,
    taken: &mut BTreeSet<u16>,
) -> Vec<u16> {
    let have = known.slots_of(pool).filter(|(_, slot)| slot.group == *name).count();
    // Few of those that are aside are replaced: see `aside`.
    let have = have - aside.min(aside::most(group.replicas));
    let missing = (group.replicas as usize).saturating_sub(have);
    let numbers: Vec<u16> =
        (1..=SLOTS_MAX).filter(|number| !taken.contains(number)).take(missing).collect();
    taken.extend(&numbers);
    numbers
}

fn turn(changes: &mut Vec<SlotChange>, agent: &AgentName, slot: &Slot, role: Role) {
    if slot.role != role && !past_return(slot) {
        changes.push(SlotChange::Role(agent.clone(), role));
    }
}

impl Known {
    pub(crate) fn slots_of(&self, pool: &PoolName) -> impl Iterator<Item = (&AgentName, &Slot)> {
        self.ledger.slots.iter().filter(move |(_, slot)| slot.pool == *pool)
    }
}
