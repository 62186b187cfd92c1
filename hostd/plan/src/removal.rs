//! The next step of a removal. The steps themselves stand at [`Removal`].

use std::time::Duration;

use fleet_model::{AgentName, At, numbers::SETTLE};

use crate::{
    actions::Action,
    known::Known,
    ledger::{Removal, Role, Slot},
    runs::Listener,
};

/// A listener that was asked to end gets this long before its process list is read again.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// What a slot waits for, or what to do with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    /// This.
    Do(Action),
    /// Nothing before that time.
    At(At),
    /// Nothing until something happens.
    Wait,
}

/// The next step of taking `slot` away (or of emptying it, when it is held).
pub(crate) fn next(known: &Known, agent: &AgentName, slot: &Slot, now: At) -> Next {
    let run = known.live(agent);
    let look = known.looks.get(agent).cloned().unwrap_or_default();
    let Some(step) = slot.removal else { return Next::Wait };
    let read_from = |due: At| match due.max(slot.reads_count_from) {
        due if due <= now => Next::Do(Action::ReadRow { agent: agent.clone(), row: slot.row }),
        due => Next::At(due),
    };
    let read_when_due = || read_from(look.next);
    if run.is_none() {
        // What may yet begin goes before the row: it could register once more.
        if let Some(sweep) = sweep(known, agent) {
            return sweep;
        }
        if slot.row.is_none() {
            return match slot.row_unsure {
                true => read_when_due(),
                false => Next::Do(Action::Forget { agent: agent.clone() }),
            };
        }
    }
    match (step, slot.row) {
        // It registers right now: its row comes with the end of that.
        (_, None) if run.is_some_and(|run| run.listener == Listener::Registering) => Next::Wait,
        (Removal::Disabling, Some(row)) => Next::Do(Action::Disable { agent: agent.clone(), row }),
        (Removal::Disabling | Removal::Watching, _) => read_when_due(),
        (Removal::Settling { clear_since }, _) => {
            let settled = clear_since + settle_time(known, slot);
            read_from(if run.is_none() { now } else { settled })
        }
        (Removal::Checking, _) => match run {
            Some(run) => {
                Next::Do(Action::CheckWorker { agent: agent.clone(), attempt: run.attempt })
            }
            None => read_when_due(),
        },
        (Removal::Stopping { asked }, _) => match (run, asked) {
            // Cannot be: the end of a run takes its removal on.
            (None, _) => read_when_due(),
            (Some(run), None) => {
                Next::Do(Action::Interrupt { agent: agent.clone(), attempt: run.attempt })
            }
            (Some(run), Some(asked)) => stubborn(agent, run.attempt, asked, look.no_worker_at, now),
        },
        (Removal::Releasing, Some(row)) => match look.clear {
            true if slot.role == Role::Hold => {
                Next::Do(Action::Enable { agent: agent.clone(), row })
            }
            true => Next::Do(Action::DeleteRow { agent: agent.clone(), row }),
            // The last clear read may be days old after a restart: read again before the delete.
            false => read_when_due(),
        },
        (Removal::Releasing | Removal::Released, _) => Next::Wait,
    }
}

/// The listener was asked and still runs: after its patience it is looked at once more, and ended
/// only when no worker lives.
fn stubborn(agent: &AgentName, attempt: u32, asked: At, no_worker_at: Option<At>, now: At) -> Next {
    let due = asked + STOP_PATIENCE;
    if now < due {
        return Next::At(due);
    }
    let agent = agent.clone();
    if no_worker_at.is_some_and(|at| at >= due) {
        Next::Do(Action::EndRun { agent, attempt })
    } else {
        Next::Do(Action::CheckWorker { agent, attempt })
    }
}

/// Removes remains of runs older than `newest`.
pub(crate) fn sweep_older(known: &Known, agent: &AgentName, newest: u32) -> Option<Next> {
    sweep(known, agent).filter(
        |next| matches!(next, Next::Do(Action::RemoveRun { attempt, .. }) if *attempt < newest),
    )
}

/// Removes one run's remains, the oldest first.
pub(crate) fn sweep(known: &Known, agent: &AgentName) -> Option<Next> {
    let of_agent = (agent.clone(), 0)..=(agent.clone(), u32::MAX);
    let ((_, attempt), _) = known.remains.range(of_agent).next()?;
    Some(Next::Do(Action::RemoveRun { agent: agent.clone(), attempt: *attempt }))
}

fn settle_time(known: &Known, slot: &Slot) -> Duration {
    known.part_of(slot).map_or(SETTLE, |part| part.settle)
}
