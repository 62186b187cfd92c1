//! A pause, for an operator asked for it or because its disk is full: an agent is disabled at Azure and kept. What it does it does to its end, nothing of it is
//! stopped, and no run is started until the pause is over. Whatever else is wanted of the agent goes
//! on: one that is to be removed, replaced or set aside is.
//!
//! ```text
//!   kept ──a reason──► paused, its row disabled ──no reason any more──► its row enabled, kept
//! ```

use fleet_model::{AgentName, At, RowState};
use serde::{Deserialize, Serialize};

use crate::{
    actions::{Action, SlotChange},
    disk::Space,
    known::Known,
    ledger::{Role, RowId, Slot},
    plan::hang_watchdog,
    removal::{self, Next},
    runs::RunState,
};

/// Why an agent that is wanted takes no jobs for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// What it hangs on.
    pub cause: PauseCause,
    /// In words, as it was when it began.
    pub why: String,
    /// Since when.
    pub since: At,
    /// The row that was disabled for it, once Azure has said so.
    pub disabled: Option<RowId>,
}

/// See [`Pause`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PauseCause {
    /// The disk that is mounted there is full.
    Disk(String),
    /// An operator holds its host or its pool back.
    Order,
}

/// Whose pause begins or is over.
pub(crate) fn choose(known: &Known, now: At) -> Vec<SlotChange> {
    let mut changes = Vec::new();
    for (agent, slot) in &known.ledger.slots {
        if !slot.may_pause() {
            continue;
        }
        match (&slot.pause, reason(known, slot, now)) {
            (before, Reason::For(cause, why)) if !for_that(before.as_ref(), &cause, &why) => {
                let fresh = || Pause {
                    cause: cause.clone(),
                    why: String::new(),
                    since: now,
                    disabled: None,
                };
                let pause =
                    Pause { cause: cause.clone(), why, ..before.clone().unwrap_or_else(fresh) };
                changes.push(SlotChange::Pause(agent.clone(), Box::new(pause)));
            }
            (Some(_), Reason::None) => changes.push(SlotChange::Resume(agent.clone())),
            (_, Reason::For(..) | Reason::Unknown) | (None, Reason::None) => {}
        }
    }
    changes
}

/// What speaks for a pause of a slot.
enum Reason {
    /// This does, in words.
    For(PauseCause, String),
    /// Nothing does.
    None,
    /// What its pause hangs on is not known now: all stays as it is.
    Unknown,
}

fn reason(known: &Known, slot: &Slot, now: At) -> Reason {
    let assignment = known.ledger.assignment.as_ref();
    let ordered = assignment.and_then(|a| a.pools.get(&slot.pool)?.paused.clone());
    if let Some(who) = ordered {
        return Reason::For(PauseCause::Order, who);
    }
    let for_disk =
        slot.pause.as_ref().is_some_and(|pause| matches!(pause.cause, PauseCause::Disk(_)));
    match known.space(slot.runtime, now) {
        Space::Full { place, why } => Reason::For(PauseCause::Disk(place), why),
        Space::Unmeasured if for_disk => Reason::Unknown,
        Space::Unmeasured | Space::Enough => Reason::None,
    }
}

/// It is paused for that already. Who ordered it may change; how full a disk is changes all the time.
fn for_that(pause: Option<&Pause>, cause: &PauseCause, why: &str) -> bool {
    pause.is_some_and(|p| p.cause == *cause && (p.why == why || p.cause != PauseCause::Order))
}

impl Pause {
    /// For people: `paused by ann: disk swap`.
    pub fn words(&self) -> String {
        match self.cause {
            PauseCause::Order => format!("paused by {}", self.why),
            PauseCause::Disk(_) => format!("paused: {}", self.why),
        }
    }
}

/// The next step for a paused slot.
pub(crate) fn next(known: &Known, agent: &AgentName, slot: &Slot, pause: &Pause, now: At) -> Next {
    // What somebody else disabled stays his: it is disabled as it is, and would be enabled later.
    let elsewhere = slot.row_disabled_elsewhere(known.rows.get(agent));
    let row = slot.row.filter(|row| pause.disabled != Some(*row) && !elsewhere);
    let disable = match (row, known.azure.get(&slot.pool)) {
        // It cannot be told: what does not need Azure goes on.
        (Some(_), Some(trouble)) if trouble.next > now => Next::At(trouble.next),
        (Some(row), _) => return Next::Do(Action::Disable { agent: agent.clone(), row }),
        (None, _) => Next::Wait,
    };
    disable.or_sooner(|| match known.live(agent) {
        Some(run) => removal::sweep_older(known, agent, run.attempt)
            .unwrap_or_else(|| hang_watchdog(known, agent, slot, run, now)),
        None => left_over(known, agent, slot),
    })
}

/// What is left of ended runs takes room. Of one that comes back updated, or that failed, the newest
/// is still needed.
fn left_over(known: &Known, agent: &AgentName, slot: &Slot) -> Next {
    let updates =
        matches!(known.run(agent).map(|run| run.state), Some(RunState::Ended(Some(3 | 4))));
    let sweep = match updates || slot.failures > 0 {
        true => removal::sweep_older(known, agent, slot.attempt),
        false => removal::sweep(known, agent),
    };
    sweep.unwrap_or(Next::Wait)
}

impl Slot {
    /// An agent is wanted in it.
    fn may_pause(&self) -> bool {
        matches!(self.role, Role::Run | Role::Renew)
    }

    /// A pause begins or ends, or what is wanted of the slot makes it meaningless.
    pub(crate) fn set_pause(&mut self, pause: Option<Pause>) {
        self.pause = pause.filter(|_| self.may_pause());
    }

    /// Somebody else disabled its row.
    pub(crate) fn row_disabled_elsewhere(&self, row: Option<&RowState>) -> bool {
        row.is_some_and(|row| !row.enabled) && !self.disabled_by_us
    }

    /// Azure has disabled the row.
    pub(crate) fn row_disabled(&mut self, row: RowId) {
        if let Some(pause) = &mut self.pause {
            pause.disabled = Some(row);
        }
    }
}

#[cfg(test)]
#[path = "plan_disk_tests.rs"]
mod tests;
