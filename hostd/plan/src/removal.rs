//! The next step of a removal. The steps themselves stand at [`Removal`].

use std::time::Duration;

use fleet_model::{AgentName, At, numbers::SETTLE};

use crate::{
    actions::Action,
    forced,
    known::Known,
    ledger::{Removal, Role, Slot},
    runs::{Listener, Run},
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

impl Next {
    /// This, or what another rule wants if that is due before.
    pub(crate) fn or_sooner(self, other: impl FnOnce() -> Next) -> Next {
        match (self, other()) {
            (Self::Do(action), _) | (_, Self::Do(action)) => Self::Do(action),
            (Self::At(one), Self::At(other)) => Self::At(one.min(other)),
            (Self::At(at), Self::Wait) | (Self::Wait, Self::At(at)) => Self::At(at),
            (Self::Wait, Self::Wait) => Self::Wait,
        }
    }
}

/// The next step of taking `slot` away (or of emptying it, when it is held).
pub(crate) fn next(known: &Known, agent: &AgentName, slot: &Slot, now: At) -> Next {
    let run = known.live(agent);
    let look = known.looks.get(agent).cloned().unwrap_or_default();
    let Some(step) = slot.removal else { return Next::Wait };
    let read_when_due = || read_row(agent, slot, look.next, now);
    let look_before_stop = |run| forced::look_before_stop(known, agent, slot, run, now);
    if run.is_none() {
        if slot.role == Role::Quarantine {
            return aside(known, agent, slot, step, now);
        }
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
        _ if let Some(next) = run.and_then(|run| forced::next(known, agent, slot, run, now)) => {
            next
        }
        (Removal::Disabling | Removal::Unheard { .. }, Some(row)) => {
            Next::Do(Action::Disable { agent: agent.clone(), row })
        }
        (Removal::Disabling | Removal::Unheard { .. } | Removal::Watching, _) => read_when_due(),
        (Removal::Settling { clear_since }, _) => {
            let settled = clear_since + settle_time(known, slot);
            read_row(agent, slot, if run.is_none() { now } else { settled }, now)
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
            (Some(run), None) => look_before_stop(run).unwrap_or_else(|| {
                Next::Do(Action::Interrupt { agent: agent.clone(), attempt: run.attempt })
            }),
            // The listener was asked and still runs.
            (Some(run), Some(asked)) if now >= asked + STOP_PATIENCE => look_before_stop(run)
                .unwrap_or_else(|| end_run(known, agent, run, asked + STOP_PATIENCE, now)),
            (Some(_), Some(asked)) => Next::At(asked + STOP_PATIENCE),
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

/// No run lives in it any more: the newest is left to look at, and its row stays, disabled.
fn aside(known: &Known, agent: &AgentName, slot: &Slot, step: Removal, now: At) -> Next {
    if let Some(sweep) = sweep_older(known, agent, slot.attempt) {
        return sweep;
    }
    let evidence = slot.quarantine.as_ref().and_then(|quarantine| quarantine.evidence.as_ref());
    let left = known.remains.keys().rfind(|(of, _)| of == agent);
    if let (None, Some((_, attempt))) = (evidence, left) {
        return Next::Do(Action::KeepEvidence { agent: agent.clone(), attempt: *attempt });
    }
    let read_when_due = || {
        let due = known.looks.get(agent).map_or(now, |look| look.next);
        read_row(agent, slot, due, now)
    };
    match (step, slot.row) {
        // It may have made one without a word.
        (_, None) if slot.row_unsure => read_when_due(),
        (Removal::Disabling | Removal::Unheard { .. }, Some(row)) => {
            Next::Do(Action::Disable { agent: agent.clone(), row })
        }
        (Removal::Watching | Removal::Settling { .. } | Removal::Checking, Some(_)) => {
            read_when_due()
        }
        _ => Next::Wait,
    }
}

/// Reads the row when that is due, and not before the answer counts.
pub(crate) fn read_row(agent: &AgentName, slot: &Slot, due: At, now: At) -> Next {
    match due.max(slot.reads_count_from) {
        due if due <= now => Next::Do(Action::ReadRow { agent: agent.clone(), row: slot.row }),
        due => Next::At(due),
    }
}

/// A listener that should have ended by `due` is looked at then, and ended only when no worker lives.
pub(crate) fn end_run(known: &Known, agent: &AgentName, run: &Run, due: At, now: At) -> Next {
    if now < due {
        return Next::At(due);
    }
    let no_worker_at = known.looks.get(agent).and_then(|look| look.no_worker_at);
    let (agent, attempt) = (agent.clone(), run.attempt);
    Next::Do(match no_worker_at.is_some_and(|at| at >= due) {
        true => Action::EndRun { agent, attempt },
        false => Action::CheckWorker { agent, attempt },
    })
}

/// Removes one run's remains, the oldest first.
pub(crate) fn sweep(known: &Known, agent: &AgentName) -> Option<Next> {
    sweep_older(known, agent, u32::MAX)
}

/// Removes the remains of one run older than `newest`, the oldest first.
pub(crate) fn sweep_older(known: &Known, agent: &AgentName, newest: u32) -> Option<Next> {
    let older = (agent.clone(), 0)..(agent.clone(), newest);
    let ((_, attempt), _) = known.remains.range(older).next()?;
    Some(Next::Do(Action::RemoveRun { agent: agent.clone(), attempt: *attempt }))
}

/// Between two looks that together allow a stop.
pub(crate) fn settle_time(known: &Known, slot: &Slot) -> Duration {
    known.part_of(slot).map_or(SETTLE, |part| part.settle)
}
