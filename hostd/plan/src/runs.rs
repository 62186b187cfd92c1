//! Runs: what an engine lists, what it says of them, what their listeners say.

use std::collections::BTreeSet;

use fleet_model::{AgentName, At, Job, RuntimeKind};

use crate::{
    actions::Subject,
    announced::Announced,
    event::{Heard, RunListed},
    known::{EngineState, Known, raise_to_watching},
    ledger::{Removal, Slot},
};

/// One run as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Which run.
    pub attempt: u32,
    /// What it does.
    pub state: RunState,
    /// What its listener does.
    pub listener: Listener,
    /// Its job.
    pub job: Option<Job>,
    /// It had one.
    pub had_job: bool,
    /// When it was started, or first seen.
    pub started: At,
    /// Since when it has been waiting for jobs.
    pub listening: Option<At>,
    /// Since when its job has been over, or a worker was last seen after that.
    pub finished: Option<At>,
    /// hostd asked it to end.
    pub interrupted: bool,
    /// What it last complained about.
    pub complaint: String,
    /// That was that Azure cannot be reached.
    pub(crate) cut_off: bool,
    /// A job that was announced, and that nothing else speaks of.
    pub(crate) announced: Option<Announced>,
    /// Announcements since something else last spoke of a job.
    pub(crate) unproven: u8,
}

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Made, not started.
    Created,
    /// Running.
    Running,
    /// Ended, with its exit code where known.
    Ended(Option<i32>),
}

/// What a listener does, as far as it said so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// Nothing heard yet of a run that was adopted.
    Unknown,
    /// The configuration run is at work.
    Registering,
    /// On its way.
    Starting,
    /// Waiting for a job.
    Listening,
    /// Working on one.
    Working,
    /// Its job ended, and in once mode it is about to end too.
    Finished,
}

impl Known {
    pub(crate) fn listed(&mut self, kind: RuntimeKind, runs: Vec<RunListed>, now: At) {
        let was_away = self.engines.insert(kind, EngineState::Up) != Some(EngineState::Up);
        for slot in self.ledger.slots.values_mut().filter(|slot| slot.runtime == kind && was_away) {
            slot.may_have_registered(now);
        }
        let listed: BTreeSet<(AgentName, u32)> =
            runs.iter().map(|run| (run.agent.clone(), run.attempt)).collect();
        // In order of attempts: the newest one ends up as the agent's run, older ones as remains.
        let mut runs = runs;
        runs.sort_by(|a, b| (&a.agent, a.attempt).cmp(&(&b.agent, b.attempt)));
        for run in &runs {
            let slot = self.ledger.slots.entry(run.agent.clone()).or_insert_with(|| {
                // Ours by its labels, and not in the ledger: it was lost or is older. Adopted. What it
                // registered, if anything, is not known.
                let (pool, group) = (run.pool.clone(), run.group.clone());
                let mut slot = Slot::new(pool, group, run.number, kind);
                slot.row_unsure = true;
                slot.may_have_registered(now);
                slot
            });
            slot.attempt = slot.attempt.max(run.attempt);
        }
        for run in runs {
            self.listed_run(run, now);
        }
        let missing: Vec<(AgentName, u32)> = self
            .runs
            .iter()
            .filter(|(agent, run)| {
                let ours = self.ledger.slots.get(*agent).is_some_and(|slot| slot.runtime == kind);
                ours && !listed.contains(&((*agent).clone(), run.attempt))
                    && !self.flights.contains_key(&Subject::Agent((*agent).clone()))
            })
            .map(|(agent, run)| (agent.clone(), run.attempt))
            .collect();
        for (agent, attempt) in missing {
            self.run_ended(&agent, attempt, None, now);
        }
        // Of a run that was asked to end nothing may be left, and with the newest ledger the word of its
        // end was lost.
        for (agent, slot) in &mut self.ledger.slots {
            let runs = self.runs.get(agent).is_some_and(Run::runs);
            slot.stop_begun &= runs || slot.runtime != kind;
        }
        let slots = &self.ledger.slots;
        let still_there = |key: &(AgentName, u32)| {
            listed.contains(key) || slots.get(&key.0).is_some_and(|slot| slot.runtime != kind)
        };
        self.remains.retain(|key, _| still_there(key));
        self.strays.retain(still_there);
    }

    fn listed_run(&mut self, run: RunListed, now: At) {
        let Some(slot) = self.ledger.slots.get_mut(&run.agent) else { return };
        let runs = run.state == RunState::Running;
        slot.start_unheard &= run.state == RunState::Created || run.attempt < slot.attempt;
        let own = self.runs.get(&run.agent);
        // It ended before a newer one was decided: what followed from its end is in the ledger.
        let old_news = !runs && run.attempt < slot.attempt;
        let takes_over = own.is_none_or(|own| own.attempt < run.attempt && (runs || !own.runs()));
        if takes_over && !old_news {
            let state = match run.state {
                // Its end is taken in below, with everything that follows from it.
                RunState::Ended(_) => RunState::Running,
                other => other,
            };
            begin_again(slot, run.state);
            self.replace(&run.agent, Run::new(run.attempt, state, Listener::Unknown, now));
        }
        let key = (run.agent.clone(), run.attempt);
        match run.state {
            RunState::Ended(code) => {
                let own = self.runs.get(&run.agent).is_some_and(|own| own.attempt == run.attempt);
                if own || self.strays.contains(&key) {
                    self.run_ended(&run.agent, run.attempt, code, now);
                }
                self.remains.insert(key, run.state);
            }
            RunState::Running => self.run_evidently(&run.agent, run.attempt, now),
            // Made but never started: it is started or removed like one that ended.
            RunState::Created => {
                self.remains.insert(key, run.state);
            }
        }
    }

    /// Another run is the agent's run: the one before stays known as what it is.
    pub(crate) fn replace(&mut self, agent: &AgentName, run: Run) {
        let attempt = run.attempt;
        if run.runs() {
            self.remains.remove(&(agent.clone(), attempt));
        }
        self.speaks_for_itself(agent, run.started);
        let before = self.runs.insert(agent.clone(), run);
        let Some(before) = before.filter(|before| before.attempt != attempt) else { return };
        let key = (agent.clone(), before.attempt);
        match before.runs() {
            true => drop(self.strays.insert(key)),
            false => drop(self.remains.insert(key, before.state)),
        }
    }

    /// The engine says beyond doubt that this run runs, whatever was thought of it.
    pub(crate) fn run_evidently(&mut self, agent: &AgentName, attempt: u32, now: At) {
        self.remains.remove(&(agent.clone(), attempt));
        match self.runs.get_mut(agent) {
            Some(own) if own.attempt == attempt && own.runs() => {}
            Some(own) if own.attempt > attempt => {
                self.strays.insert((agent.clone(), attempt));
                self.promote_stray(agent, now);
            }
            _ => self.new_run(agent, attempt, Listener::Unknown, now),
        }
    }

    /// An agent whose own run does not run has no stray: that one is its run.
    pub(crate) fn promote_stray(&mut self, agent: &AgentName, now: At) {
        if self.live(agent).is_some() {
            return;
        }
        let of_agent = (agent.clone(), 0)..=(agent.clone(), u32::MAX);
        if let Some(key) = self.strays.range(of_agent).next_back().cloned() {
            self.strays.remove(&key);
            self.new_run(agent, key.1, Listener::Unknown, now);
        }
    }

    fn new_run(&mut self, agent: &AgentName, attempt: u32, listener: Listener, now: At) {
        self.replace(agent, Run::new(attempt, RunState::Running, listener, now));
        if let Some(slot) = self.ledger.slots.get_mut(agent) {
            slot.start_unheard &= attempt < slot.attempt;
            begin_again(slot, RunState::Running);
        }
    }

    pub(crate) fn run_started(&mut self, agent: &AgentName, attempt: u32, now: At) {
        let key = (agent.clone(), attempt);
        match self.runs.get_mut(agent) {
            Some(run) if run.attempt == attempt => {
                if run.state == RunState::Created {
                    run.state = RunState::Running;
                    self.remains.remove(&key);
                }
            }
            // No slot of ours, no run of ours; if it is one all the same, a list says whose.
            None if !self.ledger.slots.contains_key(agent) => {}
            // Of an older one only what never began can begin; all else is old news.
            Some(run) if run.attempt > attempt => {
                if self.remains.get(&key) == Some(&RunState::Created) {
                    self.run_evidently(agent, attempt, now);
                }
            }
            _ => self.new_run(agent, attempt, Listener::Starting, now),
        }
    }

    /// News of the newest run may overtake the outcome of its start: it evidently runs.
    pub(crate) fn run_evident(&mut self, agent: &AgentName, attempt: u32, now: At) {
        let newest = self.ledger.slots.get(agent).is_some_and(|slot| slot.attempt == attempt);
        if newest && self.runs.get(agent).is_none_or(|run| run.attempt < attempt) {
            self.run_started(agent, attempt, now);
        }
    }

    pub(crate) fn heard(&mut self, agent: &AgentName, attempt: u32, heard: Heard, now: At) {
        match heard {
            Heard::JobAnnounced => return self.job_announced(agent, attempt, now),
            Heard::JobAnnouncedOver => return self.job_announced_over(agent, attempt, now),
            _ => {}
        }
        self.run_evident(agent, attempt, now);
        if let Heard::Listening | Heard::JobStarted(_) | Heard::JobFinished = heard {
            self.speaks_for_itself(agent, now);
        }
        let Some(slot) = self.ledger.slots.get_mut(agent) else { return };
        let Some(run) = self.runs.get_mut(agent).filter(|run| run.attempt == attempt) else {
            return;
        };
        match heard {
            Heard::Registering => run.listener = Listener::Registering,
            Heard::Registered(row) => {
                // Heard again of an adopted run: a disable of that row still is ours to undo.
                slot.disabled_by_us &= slot.row == Some(row);
                slot.row_is(row, now);
                slot.registered = true;
                if run.listener == Listener::Registering || run.listener == Listener::Unknown {
                    run.listener = Listener::Starting;
                }
            }
            Heard::Listening => {
                run.listener = Listener::Listening;
                run.job = None;
                run.listening = run.listening.or(Some(now));
                run.complaint.clear();
                run.cut_off = false;
                slot.updates = 0;
            }
            Heard::JobStarted(name) => {
                run.listener = Listener::Working;
                run.had_job = true;
                run.job = Some(Job { name, request_id: None, since: now });
                run.announced_rightly();
                raise_to_watching(slot);
            }
            Heard::JobFinished => {
                run.listener = Listener::Finished;
                // Also when the line of its start was missed.
                run.had_job = true;
                run.finished = Some(now);
                run.job = None;
                run.announced_is_over(now);
                slot.failures = 0;
                if let Some(row) = self.rows.get_mut(agent) {
                    row.assigned = None;
                }
                // The row is worth a look now, not at the next slow turn.
                if let Some(look) = self.looks.get_mut(agent) {
                    look.next = now;
                }
            }
            Heard::SessionConflict => {
                run.complaint = "Azure still holds a session of its last run".into();
            }
            Heard::ConnectError(why) => {
                run.complaint = format!("cannot reach Azure: {why}");
                run.cut_off = true;
            }
            Heard::Complaint(why) => run.complaint = why,
            // Taken in above.
            Heard::JobAnnounced | Heard::JobAnnouncedOver => {}
        }
    }
}

/// A run appeared on a slot whose removal thought that none was left: it is drained like any other.
fn begin_again(slot: &mut Slot, state: RunState) {
    let late = matches!(slot.removal, Some(Removal::Releasing | Removal::Released));
    if late && state == RunState::Running {
        slot.removal = Some(Removal::Disabling);
    }
}

impl Run {
    pub(crate) fn runs(&self) -> bool {
        self.state == RunState::Running
    }

    pub(crate) fn new(attempt: u32, state: RunState, listener: Listener, now: At) -> Self {
        Self {
            attempt,
            state,
            listener,
            job: None,
            had_job: false,
            started: now,
            listening: None,
            finished: None,
            interrupted: false,
            complaint: String::new(),
            cut_off: false,
            announced: None,
            unproven: 0,
        }
    }
}
