//! A job that a listener announces on its notification socket: the fastest word of it, and the one
//! that is worth least, for whoever reaches the socket can say it. So it makes an agent busy and sends
//! a removal back to watching, and a look at the processes decides what was behind it.
//!
//! ```text
//!   announced ──FIRST_LOOK──► worker? ─no──► forgotten; the third time in a row: no more of it is heard
//!       │ ▲                      │yes                                        (until the agent's next run)
//!       │ └──────LOOK_AGAIN──────┘
//!       └── its console names the job: that counts from then on
//! ```
//!
//! "Finished" only brings the next look forward. Nothing here lets a removal go on sooner.

use std::time::Duration;

use fleet_model::{AgentName, At};

use crate::{
    actions::Action,
    clock::Moments,
    known::{Known, raise_to_watching},
    removal::Next,
    runs::Run,
};

/// A listener starts its worker right after it announced the job.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// A worker that lives is looked at again, in case that nobody says when it ends.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// After so many announcements of a run with nothing behind them no more are heard.
const UNPROVEN_MAX: u8 = 3;

/// A job that was announced, and that nothing else speaks of yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announced {
    /// When its worker is looked for. Until then it counts.
    look: At,
    /// No sooner than this, whoever says that it is over.
    not_before: At,
    /// A worker was seen.
    pub(crate) proven: bool,
}

impl Moments for Announced {
    fn each_moment(&mut self, see: &mut dyn FnMut(&mut At)) {
        let Self { look, not_before, proven: _ } = self;
        see(look);
        see(not_before);
    }
}

/// The next look for the worker of a job that was announced.
pub(crate) fn next(agent: &AgentName, run: &Run, now: At) -> Next {
    match &run.announced {
        None => Next::Wait,
        Some(announced) if announced.look > now => Next::At(announced.look),
        Some(_) => Next::Do(Action::CheckWorker { agent: agent.clone(), attempt: run.attempt }),
    }
}

impl Run {
    /// A job was announced, and it is not time yet to doubt it.
    pub(crate) fn may_have_announced(&self, now: At) -> bool {
        self.announced.as_ref().is_some_and(|announced| announced.look > now)
    }

    /// Its job is known in a better way.
    pub(crate) fn announced_rightly(&mut self) {
        self.announced = None;
        self.unproven = 0;
    }

    /// It is said to be over: what it announced is looked at now.
    pub(crate) fn announced_is_over(&mut self, now: At) {
        if let Some(announced) = &mut self.announced {
            announced.look = announced.look.min(announced.not_before.max(now));
        }
    }
}

impl Known {
    /// A run announces a job. That proves nothing of the run: before it began, somebody else may have
    /// found its socket.
    pub(crate) fn job_announced(&mut self, agent: &AgentName, attempt: u32, now: At) {
        let runs = |run: &&mut Run| run.attempt == attempt && run.runs();
        let Some(run) = self.runs.get_mut(agent).filter(runs) else { return };
        if run.unproven >= UNPROVEN_MAX {
            return;
        }
        run.unproven += 1;
        run.announced = Some(Announced { look: now + FIRST_LOOK, not_before: now, proven: false });
        // What works again does not hang.
        run.finished = run.finished.map(|_| now);
        if let Some(slot) = self.ledger.slots.get_mut(agent) {
            raise_to_watching(slot);
        }
        self.speaks_for_itself(agent, now);
    }

    /// It says that the job is over.
    pub(crate) fn job_announced_over(&mut self, agent: &AgentName, attempt: u32, now: At) {
        if let Some(run) = self.runs.get_mut(agent).filter(|run| run.attempt == attempt) {
            run.announced_is_over(now);
        }
    }

    /// The process list of the agent's run was read; none: it could not be.
    pub(crate) fn announced_was_checked(
        &mut self,
        agent: &AgentName,
        worker: Option<bool>,
        now: At,
    ) {
        let Some(run) = self.runs.get_mut(agent) else { return };
        let Some(announced) = &mut run.announced else { return };
        match worker {
            // Of a list that is older than the worker could be nothing follows.
            Some(false) if announced.look > now => {}
            Some(false) => run.announced = None,
            Some(true) => {
                *announced = Announced {
                    look: now + LOOK_AGAIN,
                    not_before: now + FIRST_LOOK,
                    proven: true,
                };
                run.unproven = 0;
            }
            None => {
                announced.look = now + LOOK_AGAIN;
                announced.not_before = announced.look;
            }
        }
    }
}
