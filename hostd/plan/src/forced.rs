//! A removal on the host's own word: an operator gave leave ([`Forced`]) and Azure does not answer.
//!
//! ```text
//!   Disabling, Watching, Settling ──no worker──► Unheard ──no worker, a settle time later──► Stopping
//!         ▲                                         │                                           │
//!         └─── a worker, a sign of a job, or Azure answers ◄────────────────────────────────────┘
//!                                                                            (until it is asked to end)
//! ```
//!
//! It is a way around Azure's word, never around the host's: a worker in the process list, or a list
//! that cannot be read, holds it up as ever. What it cannot see is a job that Azure gave a moment ago
//! and whose worker does not live yet. Azure is still asked whenever that is due; its first answer
//! leads back to the ordinary way.

use std::time::Duration;

use fleet_model::{AgentName, At, Forced};

use crate::{
    actions::Action,
    known::Known,
    ledger::{Removal, Role, Slot},
    removal::{Next, settle_time},
    runs::{Listener, Run},
};

/// The row is not disabled: a process list allows the stop for this long only. Shorter than the wait
/// after an engine's refusal, so that nothing is asked again without another look.
const FRESH: Duration = Duration::from_secs(2);

/// What the leave of an operator allows `slot` next; none: nothing, the ordinary way is taken.
pub(crate) fn next(
    known: &Known,
    agent: &AgentName,
    slot: &Slot,
    run: &Run,
    now: At,
) -> Option<Next> {
    let look = known.looks.get(agent).cloned().unwrap_or_default();
    let due = match slot.removal? {
        Removal::Disabling | Removal::Watching | Removal::Settling { .. } => look.next,
        Removal::Unheard { free_since } => free_since + settle_time(known, slot),
        _ => return None,
    };
    leave(known, agent, slot, now)?;
    let ask_azure = known.azure.get(&slot.pool)?.next;
    match () {
        // Its answer would be better than ours.
        () if ask_azure <= now => None,
        () if due <= now => Some(check(agent, run)),
        () => Some(Next::At(due.min(ask_azure))),
    }
}

/// The look that a stop without Azure's word needs first; none: it was just made, or Azure allowed
/// the stop.
pub(crate) fn look_before_stop(
    known: &Known,
    agent: &AgentName,
    slot: &Slot,
    run: &Run,
    now: At,
) -> Option<Next> {
    let seen = known.looks.get(agent).and_then(|look| look.no_worker_at);
    let fresh = seen.is_some_and(|at| now.since(at) <= FRESH);
    (slot.forced_why.is_some() && !fresh).then(|| check(agent, run))
}

/// The leave under which `slot` may go on without Azure's word now: it has not lapsed, the newest
/// answer of Azure about any row of the pool was none or a refusal and came since the removal began,
/// and nothing says that the agent has a job. (One agent asks for its whole pool while Azure is in
/// trouble, so the answer to one row stands for all.)
pub(crate) fn leave<'a>(
    known: &'a Known,
    agent: &AgentName,
    slot: &Slot,
    now: At,
) -> Option<&'a Forced> {
    let forced = known.part_of(slot)?.forced.as_ref()?;
    // It is for agents that are too many, not for those that are to come back.
    let surplus = matches!(slot.role, Role::Hold | Role::Remove);
    let silent = known.looks.get(agent).is_some_and(|look| look.silent);
    (surplus && forced.stands(now) && silent && !shows_job(known, agent, now)).then_some(forced)
}

/// The listener, or Azure before it fell silent, said that the agent has a job. Either may be wrong;
/// here each counts.
fn shows_job(known: &Known, agent: &AgentName, now: At) -> bool {
    let assigned = known.rows.get(agent).is_some_and(|row| row.assigned.is_some());
    known.live(agent).is_some_and(|run| {
        run.job.is_some()
            || run.may_have_announced(now)
            || (assigned && run.listener != Listener::Finished)
    })
}

fn check(agent: &AgentName, run: &Run) -> Next {
    Next::Do(Action::CheckWorker { agent: agent.clone(), attempt: run.attempt })
}

impl Known {
    /// What a look at the process list says to a removal that may go without Azure's word.
    pub(crate) fn checked_unheard(&mut self, agent: &AgentName, free: bool, now: At) {
        let Some(slot) = self.ledger.slots.get(agent) else { return };
        let leave = leave(self, agent, slot, now).map(ToString::to_string);
        let Some(why) = leave.filter(|_| free) else {
            return self.unheard_is_over(agent, free, now);
        };
        let settled = |since: At| now >= since + settle_time(self, slot);
        let step = match slot.removal {
            Some(Removal::Unheard { free_since }) if settled(free_since) => {
                Removal::Stopping { asked: None }
            }
            Some(Removal::Unheard { free_since }) => Removal::Unheard { free_since },
            _ => Removal::Unheard { free_since: now },
        };
        if let Some(slot) = self.ledger.slots.get_mut(agent) {
            slot.removal = Some(step);
            slot.forced_why = Some(why);
        }
        self.looks.entry(agent.clone()).or_default().no_worker_at = Some(now);
    }

    /// A worker, or no leave any more: what was seen does not count.
    fn unheard_is_over(&mut self, agent: &AgentName, free: bool, now: At) {
        if let Some(slot) = self.ledger.slots.get_mut(agent)
            && let Some(Removal::Unheard { .. }) = slot.removal
        {
            slot.removal = Some(Removal::Disabling);
        }
        // The next look comes later than this one did.
        if !free {
            self.busy_read(agent, now);
        }
    }
}
