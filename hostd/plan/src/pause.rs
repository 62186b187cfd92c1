//! A pause: an agent is disabled at Azure and kept. What it does it does to its end, nothing of it is
//! stopped, and no run is started until the pause is over. Whatever else is wanted of the agent goes
//! on: one that is to be removed, replaced or set aside is.
//!
//! ```text
//!   kept ──a reason──► paused, its row disabled ──no reason any more──► its row enabled, kept
//! ```

use fleet_model::{AgentName, At};
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
}

/// Whose pause begins or is over.
pub(crate) fn choose(known: &Known, now: At) -> Vec<SlotChange> {
    let mut changes = Vec::new();
    for (agent, slot) in &known.ledger.slots {
        if !slot.may_pause() {
            continue;
        }
        match (&slot.pause, known.space(slot.runtime, now)) {
            (None, Space::Full { place, why }) => {
                let cause = PauseCause::Disk(place);
                let pause = Pause { cause, why, since: now, disabled: None };
                changes.push(SlotChange::Pause(agent.clone(), Box::new(pause)));
            }
            (Some(before), Space::Full { place, why })
                if before.cause != PauseCause::Disk(place.clone()) =>
            {
                let pause = Pause { cause: PauseCause::Disk(place), why, ..before.clone() };
                changes.push(SlotChange::Pause(agent.clone(), Box::new(pause)));
            }
            (Some(_), Space::Enough) => changes.push(SlotChange::Resume(agent.clone())),
            (_, Space::Unmeasured | Space::Full { .. }) | (None, Space::Enough) => {}
        }
    }
    changes
}

/// The next step for a paused slot.
pub(crate) fn next(known: &Known, agent: &AgentName, slot: &Slot, pause: &Pause, now: At) -> Next {
    // What somebody else disabled stays his: it is disabled as it is, and would be enabled later.
    let elsewhere = known.rows.get(agent).is_some_and(|row| !row.enabled) && !slot.disabled_by_us;
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
