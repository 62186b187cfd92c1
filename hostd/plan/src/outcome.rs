//! Outcomes of actions: what follows from them for a slot.

use std::time::Duration;

use fleet_model::{AgentName, At, numbers::OFFLINE_GRACE};

use crate::{
    actions::{Action, Subject},
    ends::{Failure, fail},
    event::{AzureFailure, Outcome, RowRead, Worker},
    known::{EngineState, Known, Look},
    ledger::{Removal, Role, Slot},
    runs::{Listener, Run, RunState},
    starts::ImageState,
};

/// A row that holds a request is read again after this long, then after longer.
const BUSY_READ_FIRST: Duration = Duration::from_secs(5);
/// Longest wait between two reads of such a row: the end of its job is noticed without them.
const BUSY_READ_MAX: Duration = Duration::from_secs(60);
/// A live run whose row is never found counts as one without a row after this many reads (about
/// eight minutes): a configuration run ends long before.
const UNSEEN_READS: u32 = 12;
/// An engine that refused an action is not asked again before.
const ENGINE_RETRY: Duration = Duration::from_secs(5);

impl Known {
    pub(crate) fn done(&mut self, action: Action, outcome: Outcome, now: At) {
        self.flights.remove(&action.subject());
        if let Outcome::Azure(failure) = &outcome
            && let Subject::Agent(agent) = action.subject()
        {
            self.azure_failed(&agent, failure, now);
        } else if action.asks_azure()
            && let Subject::Agent(agent) = action.subject()
        {
            self.azure_answered(&agent);
        }
        match action {
            Action::EnsureImage { kind, image } => {
                let key = (kind, image);
                match outcome {
                    Outcome::Done => {
                        self.images.insert(key, ImageState::Present);
                    }
                    Outcome::EngineDown(why) => {
                        self.engines.insert(kind, EngineState::Down(why));
                    }
                    Outcome::ImageMissing { why, .. } | Outcome::Failed(why) => {
                        let before = self.images.get(&key);
                        let state = ImageState::missing(before, why, key.1.as_str(), now);
                        self.images.insert(key, state);
                    }
                    _ => {}
                }
            }
            Action::Start { agent, attempt, .. } => self.start_done(&agent, attempt, outcome, now),
            Action::RemoveRun { agent, attempt } => match outcome {
                Outcome::Done => self.removed(&agent, attempt, now),
                Outcome::StillRuns => self.still_runs(&agent, attempt, now),
                other => self.engine_failed(&agent, other, now),
            },
            Action::EndRun { agent, attempt } => match outcome {
                Outcome::Done => self.run_ended(&agent, attempt, None, now),
                other => self.engine_failed(&agent, other, now),
            },
            Action::Disable { agent, row: id } => {
                if matches!(outcome, Outcome::Done | Outcome::Azure(AzureFailure::RowGone)) {
                    if let Some(slot) = self.ledger.slots.get_mut(&agent) {
                        slot.row_disabled(id);
                    }
                    if let Some(row) = self.rows.get_mut(&agent) {
                        row.enabled = false;
                    }
                    self.disabled(&agent);
                    self.look_at(&agent, now);
                }
            }
            Action::Enable { agent, .. } => self.enable_done(&agent, &outcome, now),
            Action::ReadRow { agent, row } => match outcome {
                // The row came to be, or changed, while it was looked for: the answer is about
                // something else. A lookup that missed a fresh registration must not pass for
                // "there is no row".
                Outcome::Row(_) if self.ledger.slots.get(&agent).is_none_or(|s| s.row != row) => {}
                Outcome::Row(read) => self.row_read(&agent, read, now),
                Outcome::Azure(_) => {}
                other => self.engine_failed(&agent, other, now),
            },
            Action::CheckWorker { agent, attempt } => self.checked(&agent, attempt, outcome, now),
            Action::Interrupt { agent, attempt } => match outcome {
                Outcome::Done => {
                    if let Some(slot) = self.ledger.slots.get_mut(&agent)
                        && matches!(slot.removal, Some(Removal::Stopping { .. }))
                    {
                        slot.removal = Some(Removal::Stopping { asked: Some(now) });
                    }
                    if let Some(run) = self.runs.get_mut(&agent)
                        && run.attempt == attempt
                    {
                        run.interrupted = true;
                    }
                }
                other => self.engine_failed(&agent, other, now),
            },
            Action::DeleteRow { agent, .. } => self.delete_done(&agent, &outcome, now),
            Action::KeepEvidence { agent, .. } => {
                let evidence = match outcome {
                    Outcome::Evidence(place) => place,
                    Outcome::Failed(why) => format!("none could be kept: {why}"),
                    other => return self.engine_failed(&agent, other, now),
                };
                let slot = self.ledger.slots.get_mut(&agent);
                if let Some(quarantine) = slot.and_then(|slot| slot.quarantine.as_mut()) {
                    quarantine.evidence = Some(evidence);
                }
            }
            // What it came to is told by who did it.
            Action::Clean { .. } => {}
            Action::Forget { agent } => match outcome {
                Outcome::Done => {
                    if let Some(slot) = self.ledger.slots.remove(&agent) {
                        let used = &mut self.ledger.attempts_used;
                        *used = slot.attempt.max(*used);
                    }
                    self.runs.remove(&agent);
                    self.rows.remove(&agent);
                    self.offline.remove(&agent);
                    self.looks.remove(&agent);
                    self.waits.remove(&agent);
                }
                other => self.engine_failed(&agent, other, now),
            },
        }
    }

    fn removed(&mut self, agent: &AgentName, attempt: u32, now: At) {
        match self.runs.get_mut(agent).filter(|run| run.attempt == attempt) {
            // It never began: nothing to learn from its end.
            Some(run) if run.state == RunState::Created => run.state = RunState::Ended(None),
            _ => self.run_ended(agent, attempt, None, now),
        }
        self.run_is_gone(agent, attempt);
        if let Some(slot) = self.ledger.slots.get_mut(agent) {
            slot.may_have_registered(now);
        }
    }

    /// Nothing is left of a run; its number is used up.
    pub(crate) fn run_is_gone(&mut self, agent: &AgentName, attempt: u32) {
        self.remains.remove(&(agent.clone(), attempt));
        if let Some(slot) = self.ledger.slots.get_mut(agent) {
            slot.start_unheard &= attempt < slot.attempt;
        }
    }

    fn still_runs(&mut self, agent: &AgentName, attempt: u32, now: At) {
        match self.remains.get(&(agent.clone(), attempt)) {
            // Its end was heard while the answer was on its way; what ended stays ended.
            Some(RunState::Ended(Some(_))) => {
                self.waits.insert(agent.clone(), now + ENGINE_RETRY);
            }
            _ => self.run_evidently(agent, attempt, now),
        }
    }

    fn start_done(&mut self, agent: &AgentName, attempt: u32, outcome: Outcome, now: At) {
        let Some(slot) = self.ledger.slots.get_mut(agent) else { return };
        // No answer, or a bad one: it may have been made all the same, and may yet begin. It counts
        // as there until the engine says that it is not.
        let key = (agent.clone(), attempt);
        let unseen = self.runs.get(agent).is_none_or(|run| {
            run.attempt < attempt || (run.attempt == attempt && run.state == RunState::Created)
        });
        // Its end may have been heard before this.
        let unseen = unseen && !matches!(self.remains.get(&key), Some(RunState::Ended(_)));
        if unseen && matches!(outcome, Outcome::EngineDown(_) | Outcome::Failed(_)) {
            self.remains.insert(key, RunState::Created);
        }
        match outcome {
            Outcome::Done => {
                slot.start_unheard = false;
                if unseen {
                    let run = Run::new(attempt, RunState::Running, Listener::Starting, now);
                    self.replace(agent, run);
                }
            }
            Outcome::ImageMissing { image, why } => {
                let key = (slot.runtime, image);
                let before = self.images.get(&key);
                let state = ImageState::missing(before, why, key.1.as_str(), now);
                self.images.insert(key, state);
            }
            Outcome::EngineDown(why) => {
                self.engines.insert(slot.runtime, EngineState::Down(why));
            }
            Outcome::Failed(why) => {
                slot.start_unheard = false;
                let failure = Failure { why, proven: false, online: false, own: true };
                fail(slot, agent, failure, now);
                let pool = slot.pool.clone();
                self.charge(&pool, now);
            }
            _ => {}
        }
    }

    fn enable_done(&mut self, agent: &AgentName, outcome: &Outcome, now: At) {
        let Some(slot) = self.ledger.slots.get_mut(agent) else { return };
        // Also without an answer: it may have been done until now.
        slot.row_changed(now);
        match outcome {
            Outcome::Done => {
                slot.disabled_by_us = false;
                if let Some(row) = self.rows.get_mut(agent) {
                    row.enabled = true;
                }
                if slot.removal == Some(Removal::Releasing) {
                    slot.removal = Some(Removal::Released);
                }
            }
            Outcome::Azure(AzureFailure::RowGone) => lose_row(slot),
            _ => {}
        }
    }

    fn delete_done(&mut self, agent: &AgentName, outcome: &Outcome, now: At) {
        let Some(slot) = self.ledger.slots.get_mut(agent) else { return };
        match outcome {
            Outcome::Done | Outcome::Azure(AzureFailure::RowGone) => {
                lose_row(slot);
                slot.unclean_since = None;
                if slot.removal == Some(Removal::Releasing) {
                    slot.removal = Some(Removal::Released);
                }
                self.rows.remove(agent);
            }
            Outcome::Azure(AzureFailure::JobStillRunning) => {
                if slot.removal.is_some() {
                    slot.removal = Some(Removal::Watching);
                }
                self.busy_read(agent, now);
            }
            _ => {}
        }
    }

    fn row_read(&mut self, agent: &AgentName, read: RowRead, now: At) {
        let live = self.live(agent).is_some();
        if let RowRead::There(_, state) = &read {
            self.row_shows(agent, Some(state), now);
        }
        let Some(slot) = self.ledger.slots.get_mut(agent) else { return };
        let look = self.looks.entry(agent.clone()).or_default();
        // Something happened to the row since it was asked for: asked again when answers count.
        let counts = look.asked >= slot.reads_count_from;
        let (row, state) = match read {
            RowRead::There(row, state) => (row, state),
            RowRead::Gone if !counts => {
                look.next = now;
                return;
            }
            RowRead::Gone => {
                self.rows.remove(agent);
                // Never seen under this name: a run that registers at this moment has no row yet.
                if slot.row.is_none() && live && look.busy_reads < UNSEEN_READS {
                    self.busy_read(agent, now);
                    return;
                }
                look.clear = true;
                row_is_gone(slot, live);
                self.row_shows(agent, None, now);
                self.row_was_read(agent);
                return;
            }
        };
        slot.row_is(row, now);
        let busy = state.assigned.is_some();
        let online = state.online;
        let enabled = state.enabled;
        self.rows.insert(agent.clone(), state);
        if busy {
            raise_removal(slot);
            self.busy_read(agent, now);
            return;
        }
        if !counts {
            look.next = now;
            return;
        }
        *look = Look { next: now + BUSY_READ_FIRST, clear: true, online, ..Look::default() };
        clear_read(slot, enabled, live, now);
        self.row_was_read(agent);
    }

    fn checked(&mut self, agent: &AgentName, attempt: u32, outcome: Outcome, now: At) {
        // Of a run that ended meanwhile nothing follows: its row decides.
        let current = self.live(agent).is_some_and(|run| run.attempt == attempt);
        let Some(slot) = self.ledger.slots.get_mut(agent).filter(|_| current) else { return };
        let free = matches!(outcome, Outcome::Worker(Worker::None));
        let removal = slot.removal;
        let worker = match outcome {
            Outcome::Worker(Worker::None) => Some(false),
            Outcome::Worker(Worker::Present) => Some(true),
            _ => None,
        };
        self.announced_was_checked(agent, worker, now);
        if removal.is_none() || !free {
            self.looked_for_worker(agent, free, now);
        }
        let Some(slot) = self.ledger.slots.get_mut(agent) else { return };
        match (slot.removal, free) {
            (Some(Removal::Checking), true) => {
                slot.removal = Some(Removal::Stopping { asked: None });
            }
            (Some(Removal::Checking | Removal::Stopping { .. }), false) => {
                slot.removal = Some(Removal::Watching);
                self.busy_read(agent, now);
            }
            (
                Some(
                    Removal::Disabling
                    | Removal::Watching
                    | Removal::Settling { .. }
                    | Removal::Unheard { .. },
                ),
                free,
            ) => self.checked_unheard(agent, free, now),
            // Looked once more before it is asked to end without Azure's word.
            (Some(Removal::Stopping { asked: None }), true) => {
                self.looks.entry(agent.clone()).or_default().no_worker_at = Some(now);
            }
            // The listener did not end within its minute, and no worker lives: the run is ended.
            (Some(Removal::Stopping { asked: Some(_) }), true) => {
                self.looks.entry(agent.clone()).or_default().no_worker_at = Some(now);
                slot.failed_why = "the listener does not end when asked".into();
            }
            // The hang watchdog looked: what works on is watched on.
            (None, true) => {
                self.looks.entry(agent.clone()).or_default().no_worker_at = Some(now);
                self.hangs_without_worker(agent, now);
            }
            (None, false) => {
                if let Some(run) = self.runs.get_mut(agent) {
                    run.finished = run.finished.map(|_| now);
                }
            }
            _ => {}
        }
    }

    fn engine_failed(&mut self, agent: &AgentName, outcome: Outcome, now: At) {
        let Some(slot) = self.ledger.slots.get_mut(agent) else { return };
        match outcome {
            Outcome::EngineDown(why) => {
                self.engines.insert(slot.runtime, EngineState::Down(why));
            }
            Outcome::Failed(why) => slot.failed_why = why,
            _ => {}
        }
        self.waits.insert(agent.clone(), now + ENGINE_RETRY);
    }

    /// Azure has heard of the removal.
    fn disabled(&mut self, agent: &AgentName) {
        if let Some(slot) = self.ledger.slots.get_mut(agent)
            && let Some(Removal::Disabling | Removal::Unheard { .. }) = slot.removal
        {
            slot.removal = Some(Removal::Watching);
        }
    }

    fn look_at(&mut self, agent: &AgentName, next: At) {
        self.looks.entry(agent.clone()).or_default().next = next;
    }

    /// The row holds a request: the next read comes later than the last one did.
    pub(crate) fn busy_read(&mut self, agent: &AgentName, now: At) {
        let look = self.looks.entry(agent.clone()).or_default();
        look.busy_reads = (look.busy_reads + 1).min(UNSEEN_READS);
        look.clear = false;
        let wait = BUSY_READ_FIRST.saturating_mul(1 << (look.busy_reads - 1).min(8));
        look.next = now + wait.min(BUSY_READ_MAX);
    }

    /// The session of a run that ended badly has died out at Azure by itself by then.
    pub(crate) fn session_died_out(slot: &Slot) -> Option<At> {
        slot.unclean_since.map(|since| since + OFFLINE_GRACE)
    }
}

fn lose_row(slot: &mut Slot) {
    slot.row = None;
    slot.registered = false;
    slot.disabled_by_us = false;
}

/// Azure has no such row: no job can come for it any more.
fn row_is_gone(slot: &mut Slot, live: bool) {
    lose_row(slot);
    slot.row_unsure &= live;
    slot.unclean_since = None;
    slot.removal = match slot.removal {
        Some(
            Removal::Disabling
            | Removal::Watching
            | Removal::Settling { .. }
            | Removal::Unheard { .. },
        ) if live => Some(Removal::Checking),
        Some(Removal::Released) => Some(Removal::Released),
        Some(_) if !live => Some(Removal::Releasing),
        other => other,
    };
}

fn raise_removal(slot: &mut Slot) {
    if let Some(step) = slot.removal
        && step != Removal::Disabling
    {
        slot.removal = Some(Removal::Watching);
    }
}

/// The row was read without a request.
fn clear_read(slot: &mut Slot, enabled: bool, live: bool, now: At) {
    let Some(step) = slot.removal else { return };
    slot.removal = Some(match step {
        // Our disable was lost, or somebody undid it: it does not count until it stands.
        _ if enabled && step != Removal::Released => Removal::Disabling,
        // Without a listener nothing can be given to it: one clear read of a disabled row is enough.
        Removal::Watching
        | Removal::Settling { .. }
        | Removal::Checking
        | Removal::Unheard { .. }
            if !live && slot.role == Role::Quarantine =>
        {
            Removal::Released
        }
        Removal::Watching
        | Removal::Settling { .. }
        | Removal::Checking
        | Removal::Unheard { .. }
            if !live =>
        {
            Removal::Releasing
        }
        Removal::Watching | Removal::Unheard { .. } => Removal::Settling { clear_since: now },
        // Early reads do not shorten the settle time; `removal` asks only once it has passed.
        Removal::Settling { .. } => Removal::Checking,
        other => other,
    });
}
