//! What the game holds against hostd, and the one exception that it counts beside that.

use fleet_model::numbers::SETTLE;
use hostd_plan::{Action, Outcome, Role, Worker};

use crate::world::{Life, World, agent};

impl World {
    pub(crate) fn process_list(&mut self, attempt: u32) -> Outcome {
        let (now, leave, blind) = (self.now, self.leave.is_some(), self.blind);
        let Some(run) = self.runs.get_mut(&attempt) else {
            return Outcome::Worker(Worker::Unknown("no such run".into()));
        };
        if run.life == Life::Working && !blind {
            run.free = None;
            return Outcome::Worker(Worker::Present);
        }
        // A leave that is taken back does not undo the looks that were made under it: a stop that was
        // begun then, and perhaps never arrived, is gone on with.
        run.free =
            (leave || run.free.is_some()).then(|| (run.free.map_or(now, |(first, _)| first), now));
        Outcome::Worker(Worker::None)
    }

    /// A run is stopped that has a job, or was given one.
    pub(crate) fn accuse(&mut self, attempt: u32, how: &str) {
        if !self.has_job(attempt) {
            return;
        }
        // The newest list showed no worker, and hostd had nothing else to go by.
        let unseen = self.runs.get(&attempt).is_some_and(|run| run.free.is_some());
        match self.is_forced() && unseen && !self.blind {
            true => self.lose_job(attempt),
            false => self.violate(format!("run {attempt} was {how} with a job")),
        }
    }

    /// A run is asked to end: either Azure gives it no more jobs, or hostd has an operator's leave
    /// and looked twice, a settle time apart.
    pub(crate) fn look_at_stop(&mut self, attempt: u32) {
        let enabled = self.row.as_ref().is_some_and(|row| row.is_of(attempt) && row.enabled);
        if !self.is_forced() {
            if enabled {
                self.violate(format!("run {attempt} was asked to end and Azure was not told"));
            }
            return;
        }
        // Asked once more, whoever took the leave back meanwhile: the first time counted.
        if self.runs.get(&attempt).is_some_and(|run| run.asked) {
            return;
        }
        let looked = self.runs.get(&attempt).and_then(|run| run.free);
        if looked.is_none_or(|(first, newest)| newest.since(first) < SETTLE) {
            self.violate(format!("run {attempt} was asked to end after too few looks: {looked:?}"));
        }
    }

    /// While an agent is paused nothing of it is begun; and a pause is never why something is ended.
    pub(crate) fn look_at_pause(&mut self, action: Option<&Action>) {
        let slot = self.disk.slots.get(&agent());
        let paused = slot.is_some_and(|slot| slot.pause.is_some());
        let kept = slot.is_some_and(|slot| slot.role == Role::Run);
        match action {
            Some(Action::Start { .. }) if paused => {
                self.violate("a run was begun of a paused agent".into());
            }
            Some(Action::Interrupt { .. } | Action::DeleteRow { .. }) if paused && kept => {
                self.violate("a pause ended something".into());
            }
            _ => {}
        }
    }

    pub(crate) fn was_asked_unheard(&self, attempt: u32) -> bool {
        self.is_forced() || self.runs.get(&attempt).is_some_and(|run| run.unheard)
    }

    /// The one exception that a leave makes: the job goes down with its listener.
    pub(crate) fn lose_job(&mut self, attempt: u32) {
        self.exceptions += 1;
        self.end(attempt, 1, false);
    }
}
