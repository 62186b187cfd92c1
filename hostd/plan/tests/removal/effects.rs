//! What a move does to the world.

use std::time::Duration;

use hostd_plan::{Action, AzureFailure, Event, Heard, Outcome, RowId, Worker};

use crate::{
    moves::{Move, Skip, Take},
    world::{Flight, Life, Row, Run, World, agent, silence},
};

impl World {
    /// The world after `next`.
    pub(crate) fn after(&self, next: &Move) -> Self {
        let mut world = self.clone();
        world.make(next);
        world.tidy();
        world
    }

    fn make(&mut self, next: &Move) {
        match next {
            Move::Store => self.store(),
            Move::Crash => {
                self.purse.crashes -= 1;
                self.crash();
            }
            Move::Restart(away) => self.restart(*away),
            Move::Take(take) => self.take(take),
            Move::Back => {
                if let Some(Flight { action, answer: Some(outcome) }) = self.flight.take() {
                    self.tell(Event::Done { action, outcome });
                }
            }
            Move::Wake => {
                self.pay_for_time();
                self.now = self.wake.take().unwrap_or(self.now);
                self.think();
            }
            Move::Pause => {
                self.pay_for_time();
                self.now = self.now + Duration::from_secs(30);
            }
            Move::Hear(attempt, skip) => self.hear(*attempt, *skip),
            Move::HearGone(attempt) => {
                self.gone.remove(attempt);
                self.tell(Event::RunGone { agent: agent(), attempt: *attempt });
            }
            Move::Renew => {
                self.purse.restarts -= 1;
                self.order_restart();
            }
            Move::Forge(attempt, heard) => {
                self.purse.forged -= 1;
                self.tell(Event::Heard { agent: agent(), attempt: *attempt, heard: heard.clone() });
            }
            Move::Announce(attempt, heard) => {
                self.purse.announced -= 1;
                self.tell(Event::Heard { agent: agent(), attempt: *attempt, heard: heard.clone() });
            }
            Move::Go(attempt) => self.go(*attempt),
            Move::Hang(attempt) => {
                self.purse.hangs -= 1;
                if let Some(run) = self.runs.get_mut(attempt) {
                    run.hung = true;
                }
            }
            Move::Die(attempt) => {
                self.purse.deaths -= 1;
                self.end(*attempt, 137, false);
            }
            Move::Assign => {
                self.purse.jobs -= 1;
                let session = self.row.as_ref().and_then(|row| row.session);
                let leaves =
                    session.filter(|attempt| self.runs.get(attempt).is_some_and(|r| r.asked));
                self.change_row(|row| {
                    if let Some(row) = row {
                        row.request = true;
                    }
                });
                match leaves {
                    // Its row was not disabled when it was asked: nobody could tell Azure.
                    Some(attempt) if self.was_asked_unheard(attempt) => self.lose_job(attempt),
                    Some(_) => {
                        self.violate("a listener that was asked to end was given a job".into());
                    }
                    None => {}
                }
            }
            Move::Lapse => {
                self.purse.lapses -= 1;
                self.change_row(|row| {
                    if let Some(row) = row {
                        row.request = false;
                    }
                });
            }
            Move::Meddle => {
                self.purse.meddles -= 1;
                self.change_row(|row| {
                    if let Some(row) = row {
                        row.enabled = true;
                    }
                });
            }
            Move::Expire => self.change_row(|row| {
                if let Some(row) = row {
                    *row = Row { session: None, silent: None, request: false, ..row.clone() };
                }
            }),
            Move::Rows(age) => {
                self.purse.stale -= 1;
                let seen = self.readings().get(*age).cloned().flatten();
                self.tell(Event::Rows([(agent(), seen)].into()));
            }
            Move::Flip => {
                self.purse.flips -= 1;
                self.flip();
            }
            Move::Order => self.order(),
            Move::Fill => {
                self.purse.fills -= 1;
                (self.full, self.measured) = (true, false);
            }
            Move::Free => (self.full, self.measured) = (false, false),
            Move::Measure => self.measure(),
            Move::Outage => {
                self.purse.outages -= 1;
                self.away = self.purse.unanswered;
            }
            Move::Recover => self.away = 0,
            Move::Force => {
                self.purse.forces -= 1;
                self.force();
            }
        }
    }

    fn pay_for_time(&mut self) {
        if !self.is_quiet() {
            self.purse.pauses = self.purse.pauses.saturating_sub(1);
        }
    }

    fn take(&mut self, take: &Take) {
        let Some(flight) = self.flight.take() else { return };
        let action = flight.action;
        let answer = match take {
            Take::Done => self.act(&action),
            Take::DoneUnheard => {
                self.purse.lost -= 1;
                self.act(&action);
                silence(&action)
            }
            Take::Lost => {
                self.purse.lost -= 1;
                silence(&action)
            }
            Take::Away => {
                self.away -= u8::from(!self.for_long);
                silence(&action)
            }
            Take::Late => {
                self.purse.late -= 1;
                if let Action::Start { attempt, registered, .. } = &action {
                    self.create(*attempt, *registered);
                }
                silence(&action)
            }
            Take::Reads(age) => {
                self.purse.stale = self.purse.stale.saturating_sub(u8::from(*age > 0));
                let Action::ReadRow { row, .. } = &action else { return };
                let seen = self.readings().get(*age).cloned().flatten();
                self.reading(*row, seen)
            }
            Take::Unknown => {
                self.purse.unknown -= 1;
                Outcome::Worker(Worker::Unknown("no answer".into()))
            }
            Take::Refused => Outcome::Azure(AzureFailure::JobStillRunning),
        };
        self.flight = Some(Flight { action, answer: Some(answer) });
    }

    /// What an action does to the world, and what it answers.
    fn act(&mut self, action: &Action) -> Outcome {
        match action {
            Action::Start { attempt, registered, .. } => self.start(*attempt, *registered),
            Action::Disable { row, .. } => self.patch(*row, false),
            Action::Enable { row, .. } => self.patch(*row, true),
            Action::DeleteRow { row, .. } => self.delete(*row),
            Action::CheckWorker { attempt, .. } => self.process_list(*attempt),
            Action::Interrupt { attempt, .. } => {
                self.accuse(*attempt, "asked to end");
                self.look_at_stop(*attempt);
                let (stubborn, unheard) = (self.purse.stubborn > 0, self.is_forced());
                if let Some(run) = self.runs.get_mut(attempt).filter(|run| run.runs()) {
                    run.asked = true;
                    run.unheard |= unheard;
                    run.stubborn |= stubborn;
                    self.purse.stubborn -= u8::from(stubborn);
                }
                Outcome::Done
            }
            Action::EndRun { attempt, .. } => {
                self.accuse(*attempt, "ended");
                if self.runs.get(attempt).is_some_and(Run::runs) {
                    self.end(*attempt, 137, false);
                }
                Outcome::Done
            }
            Action::RemoveRun { attempt, .. } => {
                if self.runs.get(attempt).is_some_and(Run::runs) {
                    return Outcome::StillRuns;
                }
                if self.runs.remove(attempt).is_some() {
                    self.gone.insert(*attempt);
                }
                Outcome::Done
            }
            Action::Forget { .. } => {
                if !self.runs.is_empty() {
                    self.violate("a slot was forgotten while something of it was left".into());
                }
                Outcome::Done
            }
            Action::Clean { .. } => Outcome::Done,
            Action::KeepEvidence { .. } => Outcome::Evidence("there".into()),
            Action::EnsureImage { .. } | Action::ReadRow { .. } => Outcome::Done,
        }
    }

    fn create(&mut self, attempt: u32, registered: bool) {
        let row = self.disk.slots.get(&agent()).and_then(|slot| slot.row).filter(|_| registered);
        self.runs.entry(attempt).or_insert(Run {
            life: Life::Created,
            told: Life::Created,
            row: row.map(|row| row.agent_id),
            registers: row.is_none(),
            asked: false,
            unheard: false,
            hung: false,
            stubborn: false,
            free: None,
        });
    }

    fn start(&mut self, attempt: u32, registered: bool) -> Outcome {
        self.create(attempt, registered);
        match self.runs.get_mut(&attempt) {
            Some(run) if run.life == Life::Created => {
                run.life = Life::Booting;
                Outcome::Done
            }
            Some(run) if run.runs() => Outcome::Done,
            _ => Outcome::Failed("it ended before".into()),
        }
    }

    fn patch(&mut self, id: RowId, enabled: bool) -> Outcome {
        if self.named(id).is_none() {
            return Outcome::Azure(AzureFailure::RowGone);
        }
        self.change_row(|row| {
            if let Some(row) = row {
                row.enabled = enabled;
            }
        });
        Outcome::Done
    }

    fn delete(&mut self, id: RowId) -> Outcome {
        let Some(row) = self.named(id).cloned() else {
            return Outcome::Azure(AzureFailure::RowGone);
        };
        if let Some(attempt) = row.session.filter(|_| row.silent.is_none()) {
            self.accuse(attempt, "robbed of its row");
        }
        self.change_row(|row| *row = None);
        Outcome::Done
    }

    fn hear(&mut self, attempt: u32, skip: Skip) {
        let Some(run) = self.runs.get(&attempt) else { return };
        let next = match (skip, run.told, run.life) {
            (Skip::ToNewest, _, newest) => newest,
            (Skip::None, Life::Created, _) => Life::Booting,
            (Skip::None, Life::Booting, Life::Ended(code)) if run.row.is_none() => {
                Life::Ended(code)
            }
            (Skip::None, Life::Booting, _) => Life::Registered,
            // What ended did not go through everything.
            (Skip::None, _, Life::Ended(code)) => Life::Ended(code),
            (Skip::None, Life::Registered, _) => Life::Online,
            (Skip::None, Life::Online, _) => Life::Working,
            (Skip::None, Life::Working, _) => Life::Finished,
            (Skip::None, Life::Finished | Life::Ended(_), newest) => newest,
        };
        self.purse.lost -= u8::from(skip == Skip::ToNewest);
        let (row, registers) = (run.row, run.registers);
        if let Some(run) = self.runs.get_mut(&attempt) {
            run.told = next;
        }
        let agent = agent();
        let heard = match next {
            Life::Created => return,
            Life::Booting => {
                self.tell(Event::RunStarted { agent: agent.clone(), attempt });
                match registers {
                    true => Heard::Registering,
                    false => return,
                }
            }
            Life::Ended(code) => {
                return self.tell(Event::RunEnded { agent, attempt, code: Some(code) });
            }
            Life::Registered => match row {
                Some(agent_id) => Heard::Registered(RowId { pool_id: 1, agent_id }),
                None => return,
            },
            Life::Online => Heard::Listening,
            Life::Working => Heard::JobStarted("job".into()),
            Life::Finished => Heard::JobFinished,
        };
        self.tell(Event::Heard { agent, attempt, heard });
    }

    /// A run does what it does next by itself.
    fn go(&mut self, attempt: u32) {
        let Some(run) = self.runs.get(&attempt).cloned() else { return };
        let life = match run.life {
            Life::Created => Life::Booting,
            Life::Booting if run.asked => return self.end(attempt, 0, true),
            Life::Booting => match (run.row, &self.row) {
                (Some(_), _) => Life::Registered,
                // The name is taken.
                (None, Some(_)) => return self.end(attempt, 71, true),
                (None, None) => {
                    let id = self.make_row();
                    if let Some(run) = self.runs.get_mut(&attempt) {
                        run.row = Some(id);
                    }
                    Life::Registered
                }
            },
            Life::Registered => match self.row.as_ref().filter(|row| Some(row.id) == run.row) {
                _ if run.asked => return self.end(attempt, 0, true),
                Some(row) if row.session.is_none() => {
                    self.change_row(|row| {
                        if let Some(row) = row {
                            row.session = Some(attempt);
                        }
                    });
                    Life::Online
                }
                // Another session lives, or the registration is gone.
                _ => return self.end(attempt, 1, true),
            },
            Life::Online if self.has_job(attempt) => Life::Working,
            Life::Online => return self.end(attempt, 0, true),
            Life::Working => {
                self.change_row(|row| {
                    if let Some(row) = row.as_mut().filter(|row| row.is_of(attempt)) {
                        row.request = false;
                        row.session = None;
                    }
                });
                Life::Finished
            }
            Life::Finished => return self.end(attempt, 0, true),
            Life::Ended(_) => return,
        };
        if let Some(run) = self.runs.get_mut(&attempt) {
            run.life = life;
        }
    }
}
