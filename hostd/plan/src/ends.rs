//! Ends of runs: what they say, and what follows for the slot.

use std::time::Duration;

use fleet_model::{AgentName, At, PoolName, numbers::START_UP_GRACE};

use crate::{
    known::{Known, Look},
    ledger::{Removal, Renewal, Role, Slot},
    runs::{Run, RunState},
    starts::{StartCap, start_backoff},
};

/// After an exit for an update the agent's own script needs a moment to swap its files
/// (the agent's service wrapper waits as long).
pub(crate) const UPDATE_WAIT: Duration = Duration::from_secs(5);

/// What a run's end says about it.
enum End {
    /// It had its job, or was asked to end, and said goodbye.
    Clean,
    /// It ended by itself without a job, or without saying goodbye. `own`: perhaps by its own fault,
    /// and not by that of its template, its credential or Azure.
    Failed { why: String, unclean: bool, own: bool },
    /// It wants to come back updated.
    Update(i32),
}

impl Known {
    pub(crate) fn run_ended(
        &mut self,
        agent: &AgentName,
        attempt: u32,
        code: Option<i32>,
        now: At,
    ) {
        self.run_evident(agent, attempt, now);
        let key = (agent.clone(), attempt);
        let own = self.runs.get(agent).is_some_and(|run| run.attempt == attempt);
        // A stray, or one that was given up, began late and ended before it was seen to run.
        if self.strays.remove(&key) || (!own && self.remains.contains_key(&key)) {
            self.remains.insert(key, RunState::Ended(code));
            if let Some(slot) = self.ledger.slots.get_mut(agent) {
                slot.may_have_registered(now);
            }
            return;
        }
        let Some(run) = self.runs.get_mut(agent).filter(|_| own) else { return };
        if matches!(run.state, RunState::Ended(_)) {
            return;
        }
        run.state = RunState::Ended(code);
        run.job = None;
        let run = run.clone();
        self.remains.insert(key, run.state);
        self.follow_from(agent, &run, code, now);
        self.promote_stray(agent, now);
    }

    /// What follows for the slot from the end of its run.
    fn follow_from(&mut self, agent: &AgentName, run: &Run, code: Option<i32>, now: At) {
        if let Some(look) = self.looks.get_mut(agent) {
            look.next = now;
        }
        let Some(slot) = self.ledger.slots.get_mut(agent) else { return };
        let stopped = std::mem::take(&mut slot.stop_begun);
        // Codes of our entry: it came to no registration.
        slot.row_unsure &= !matches!(code, Some(70 | 78));
        slot.may_have_registered(now);
        if matches!(slot.removal, Some(Removal::Stopping { .. })) {
            slot.removal = Some(Removal::Releasing);
        }
        if let (true, Role::Renew, Some(Renewal::Ill(why))) = (stopped, slot.role, &slot.renewal) {
            // However it ended, it was replaced because it failed.
            let failure = Failure { why: why.clone(), proven: false, online: true, own: true };
            fail(slot, agent, failure, now);
            slot.unclean_since = (code != Some(0)).then_some(now);
            return;
        }
        match judge(run, code, slot) {
            End::Clean => {
                slot.failures = 0;
                slot.retry_at = None;
                slot.unclean_since = None;
            }
            End::Update(code) => {
                slot.updates += 1;
                slot.failed_why = format!("it updates itself (exit {code})");
                slot.retry_at = Some(now + UPDATE_WAIT);
            }
            End::Failed { why, unclean, own } => {
                if unclean {
                    slot.unclean_since = Some(now);
                    if slot.removal.is_none() {
                        let look = Look { next: now, ..Look::default() };
                        self.looks.insert(agent.clone(), look);
                    }
                }
                // On its way out anyway: no failure of a start.
                if slot.removal.is_some() {
                    return;
                }
                let had_job = run.had_job;
                let proven = run.listening.is_some_and(|at| now.since(at) >= START_UP_GRACE);
                // A run that was well until somebody killed it did not fail by itself.
                let own = own && (!proven || had_job);
                let failure = Failure { why, proven, online: run.listening.is_some(), own };
                fail(slot, agent, failure, now);
                let pool = slot.pool.clone();
                if !had_job {
                    self.charge(&pool, now);
                }
            }
        }
    }

    pub(crate) fn charge(&mut self, pool: &PoolName, now: At) {
        let desired = self.desired(pool);
        let cap = self.caps.entry(pool.clone()).or_insert_with(|| StartCap::new(desired, now));
        cap.charge(desired, now);
    }

    /// Agents of a pool wanted on this host.
    pub(crate) fn desired(&self, pool: &PoolName) -> u32 {
        let parts = self.ledger.assignment.as_ref().map(|assignment| &assignment.pools);
        parts.and_then(|parts| parts.get(pool)).map_or(0, |part| part.replicas())
    }
}

fn judge(run: &Run, code: Option<i32>, slot: &Slot) -> End {
    let failed = |why: &str, unclean| {
        let why = match run.complaint.as_str() {
            "" => why.to_owned(),
            complaint => format!("{why}: {complaint}"),
        };
        // Refused, without a package, too old, cut off: so are, or will be, all agents like it.
        let common = matches!(code, Some(3 | 4 | 70 | 78)) || run.cut_off;
        End::Failed { why, unclean, own: !common }
    };
    match code {
        Some(0) if run.had_job || run.interrupted => End::Clean,
        // Also how a revoked registration ends: the row tells.
        Some(0) => failed("the listener ended without a job", slot.registered),
        Some(code @ (3 | 4)) if slot.updates == 0 => End::Update(code),
        Some(3 | 4) => failed("the agent is too old for the server and cannot update itself", true),
        Some(70) => failed("Azure refused the registration", false),
        Some(71) => failed("the pool has an agent of this name already", true),
        Some(74) => failed("its listener could not be started", false),
        Some(78) => failed("there is no agent package", false),
        Some(code) => failed(&format!("it ended with exit code {code}"), true),
        None => failed("its run disappeared", true),
    }
}

/// A failure of an agent.
pub(crate) struct Failure {
    /// In words.
    pub(crate) why: String,
    /// It was online for long before.
    pub(crate) proven: bool,
    /// It was online before.
    pub(crate) online: bool,
    /// It may be its own fault.
    pub(crate) own: bool,
}

/// One more failure in a row. A run that was online before it ended is replaced at once the first
/// time: its start was no failed start.
pub(crate) fn fail(slot: &mut Slot, agent: &AgentName, failure: Failure, now: At) {
    let Failure { why, proven, online, own } = failure;
    slot.failures = if proven { 1 } else { slot.failures + 1 };
    slot.failed_why = why;
    if own {
        slot.failed_by_itself(now);
    }
    let at_once = online && slot.failures == 1;
    slot.retry_at = (!at_once).then(|| now + start_backoff(slot.failures, agent.as_str()));
}
