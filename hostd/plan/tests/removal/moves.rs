//! What can happen next.

use std::time::Duration;

use hostd_plan::{Action, AzureFailure, Event, Heard, Outcome, Removal, RowId, Worker};

use crate::world::{Flight, Life, Row, Run, World, agent, silence};

/// A dead listener's session is let go by Azure after this long, and its job after twice that.
const SESSION_LIFE: Duration = Duration::from_secs(300);

/// A move of the adversary, or of the world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Move {
    /// What hostd decided is stored; then it is asked for.
    Store,
    /// hostd is killed.
    Crash,
    /// hostd is back after that long.
    Restart(Duration),
    /// What hostd asked for happens so.
    Take(Take),
    /// Its answer arrives.
    Back,
    /// hostd's wait is over.
    Wake,
    /// Half a minute passes.
    Pause,
    /// hostd hears the next of what a run did; what is skipped it never hears.
    Hear(u32, Skip),
    /// hostd hears that a run was removed.
    HearGone(u32),
    /// A job writes this into the listener's log.
    Forge(u32, Heard),
    /// A run goes on.
    Go(u32),
    /// Somebody kills a run.
    Die(u32),
    /// Azure gives a job to the row.
    Assign,
    /// Azure lets a dead session, or its job, go.
    Expire,
    /// Azure gives a job up whose worker works on.
    Lapse,
    /// Somebody enables the row.
    Meddle,
    /// The coordinator's watcher shows the row, as it was.
    Rows(usize),
    /// The coordinator changes its mind.
    Flip,
    /// Its order arrives.
    Order,
}

/// How an action goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Take {
    /// It is done, and answered.
    Done,
    /// It is done, and the answer does not come.
    DoneUnheard,
    /// It is not done, and there is no answer.
    Lost,
    /// The answer is so old; 0: it is not.
    Reads(usize),
    /// The process list cannot be read.
    Unknown,
    /// A delete of a busy row is refused.
    Refused,
    /// The run is made, begins whenever the engine likes, and there is no answer.
    Late,
}

/// How much of what a run did is never heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skip {
    /// Nothing.
    None,
    /// All but its newest sign.
    ToNewest,
}

impl World {
    /// Everything that can happen next, what a kind world would do first in front.
    pub(crate) fn moves(&self) -> Vec<Move> {
        // Between deciding and storing nothing is heard: hostd is at work.
        if self.decided.is_some() {
            let mut all = vec![Move::Store];
            all.extend((self.purse.crashes > 0).then_some(Move::Crash));
            return all;
        }
        let mut all = Vec::new();
        match &self.known {
            None => {
                all.push(Move::Restart(Duration::ZERO));
                all.push(Move::Restart(Duration::from_secs(3600)));
            }
            Some(_) => self.moves_of_hostd(&mut all),
        }
        if self.purse.flips > 0 {
            all.push(Move::Flip);
        }
        for (attempt, run) in &self.runs {
            self.moves_of_run(*attempt, run, &mut all);
        }
        if self.expires() {
            all.push(Move::Expire);
        }
        if self.known.is_some() && self.wake.is_some() && (self.is_quiet() || self.purse.pauses > 0)
        {
            all.push(Move::Wake);
        }
        let assignable = self.row.as_ref().is_some_and(|row| {
            row.enabled && row.session.is_some() && row.silent.is_none() && !row.request
        });
        all.extend((self.purse.jobs > 0 && assignable).then_some(Move::Assign));
        let works = self.runs.values().any(|run| run.life == Life::Working);
        let given = self.row.as_ref().is_some_and(|row| row.request);
        all.extend((self.purse.lapses > 0 && works && given).then_some(Move::Lapse));
        all.extend((self.purse.meddles > 0 && self.can_meddle()).then_some(Move::Meddle));
        let silent = self.row.as_ref().is_some_and(|row| row.silent.is_some());
        // A dead session is waited out.
        all.extend((self.purse.pauses > 0 || silent && self.is_quiet()).then_some(Move::Pause));
        all
    }

    /// Not between the last read and the stop, nor where answers are old: what nobody can see yet
    /// nobody can heed.
    fn can_meddle(&self) -> bool {
        let Some(row) = self.row.as_ref().filter(|row| !row.enabled) else { return false };
        let asked =
            row.session.and_then(|attempt| self.runs.get(&attempt)).is_some_and(|r| r.asked);
        let slot = self.known.as_ref().and_then(|known| known.ledger.slots.get(&agent()));
        let step = slot.and_then(|slot| slot.removal);
        let read = self.flight.as_ref().is_some_and(|flight| flight.answer.is_some());
        let seen = self.purse.stale == 0 && !read;
        seen && !asked && !matches!(step, Some(Removal::Checking | Removal::Stopping { .. }))
    }

    /// Nothing is on its way but jobs at work: time passes for nothing. Else it costs a pause.
    fn is_quiet(&self) -> bool {
        let on_its_way = |(attempt, run): (&u32, &Run)| {
            let heard = self.known.is_none() || run.told >= run.life;
            let goes = run.life != Life::Working && self.goes_on(*attempt, run);
            run.life > Life::Created && (goes || !heard)
        };
        let waits = self.flight.is_some() || !self.ordered || !self.gone.is_empty();
        !waits && !self.runs.iter().any(on_its_way)
    }

    fn goes_on(&self, attempt: u32, run: &Run) -> bool {
        match run.life {
            Life::Online => self.row.as_ref().is_some_and(|row| {
                row.is_of(attempt) && (row.request || (run.asked && !run.stubborn))
            }),
            Life::Ended(_) => false,
            _ => true,
        }
    }

    fn moves_of_hostd(&self, all: &mut Vec<Move>) {
        let purse = &self.purse;
        all.extend((!self.ordered).then_some(Move::Order));
        match &self.flight {
            Some(Flight { answer: Some(_), .. }) => all.push(Move::Back),
            Some(Flight { action, answer: None }) => {
                all.extend(self.takes(action).into_iter().map(Move::Take));
            }
            None => {}
        }
        all.extend(self.gone.iter().map(|attempt| Move::HearGone(*attempt)));
        for (attempt, run) in &self.runs {
            if run.told < run.life && run.life > Life::Created {
                all.push(Move::Hear(*attempt, Skip::None));
                if purse.lost > 0 {
                    all.push(Move::Hear(*attempt, Skip::ToNewest));
                }
            }
            if purse.forged > 0 && run.life == Life::Working && run.told == Life::Working {
                all.push(Move::Forge(*attempt, Heard::Listening));
                all.push(Move::Forge(*attempt, Heard::JobFinished));
            }
        }
        all.extend((purse.crashes > 0).then_some(Move::Crash));
        if purse.stale > 0 {
            all.extend((0..self.readings().len()).map(Move::Rows));
        }
    }

    fn takes(&self, action: &Action) -> Vec<Take> {
        let purse = &self.purse;
        let mut all = Vec::new();
        match action {
            Action::ReadRow { .. } => {
                let old = if purse.stale > 0 { self.readings().len() } else { 1 };
                all.extend((0..old).map(Take::Reads));
            }
            Action::CheckWorker { .. } => {
                all.push(Take::Done);
                all.extend((purse.unknown > 0).then_some(Take::Unknown));
            }
            Action::DeleteRow { .. } if self.row.as_ref().is_some_and(|row| row.request) => {
                all.extend([Take::Refused, Take::Done]);
            }
            Action::Start { .. } => {
                all.push(Take::Done);
                all.extend((purse.late > 0).then_some(Take::Late));
            }
            _ => all.push(Take::Done),
        }
        if purse.lost > 0 {
            all.push(Take::Lost);
            if !matches!(action, Action::ReadRow { .. } | Action::CheckWorker { .. }) {
                all.push(Take::DoneUnheard);
            }
        }
        all
    }

    fn moves_of_run(&self, attempt: u32, run: &Run, all: &mut Vec<Move>) {
        all.extend(self.goes_on(attempt, run).then_some(Move::Go(attempt)));
        all.extend((self.purse.deaths > 0 && run.runs()).then_some(Move::Die(attempt)));
    }

    fn expires(&self) -> bool {
        let Some((row, since)) = self.row.as_ref().and_then(|row| Some((row, row.silent?))) else {
            return false;
        };
        let life = if row.request { SESSION_LIFE * 2 } else { SESSION_LIFE };
        self.now.since(since) >= life
    }

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
            Move::Forge(attempt, heard) => {
                self.purse.forged -= 1;
                self.tell(Event::Heard { agent: agent(), attempt: *attempt, heard: heard.clone() });
            }
            Move::Go(attempt) => self.go(*attempt),
            Move::Die(attempt) => {
                self.purse.deaths -= 1;
                self.end(*attempt, 137, false);
            }
            Move::Assign => {
                self.purse.jobs -= 1;
                let session = self.row.as_ref().and_then(|row| row.session);
                let leaves = session.and_then(|attempt| self.runs.get(&attempt));
                if leaves.is_some_and(|run| run.asked) {
                    self.violate("a listener that was asked to end was given a job".into());
                }
                self.change_row(|row| {
                    if let Some(row) = row {
                        row.request = true;
                    }
                });
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
            Action::CheckWorker { attempt, .. } => match self.runs.get(attempt) {
                Some(run) if run.life == Life::Working && !self.blind => {
                    Outcome::Worker(Worker::Present)
                }
                Some(_) => Outcome::Worker(Worker::None),
                None => Outcome::Worker(Worker::Unknown("no such run".into())),
            },
            Action::Interrupt { attempt, .. } => {
                self.accuse(*attempt, "asked to end");
                let stubborn = self.purse.stubborn > 0;
                if let Some(run) = self.runs.get_mut(attempt).filter(|run| run.runs()) {
                    run.asked = true;
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
            Action::EnsureImage { .. } | Action::ReadRow { .. } => Outcome::Done,
        }
    }

    fn accuse(&mut self, attempt: u32, how: &str) {
        if self.has_job(attempt) {
            self.violate(format!("run {attempt} was {how} with a job"));
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
            stubborn: false,
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

    /// What a kind world does next; none when all is done.
    pub(crate) fn kind_move(&self) -> Option<Move> {
        let costs = |next: &Move| {
            matches!(
                next,
                Move::Crash
                    | Move::Die(_)
                    | Move::Assign
                    | Move::Flip
                    | Move::Lapse
                    | Move::Meddle
                    | Move::Rows(_)
                    | Move::Forge(..)
                    | Move::Hear(_, Skip::ToNewest)
                    | Move::Take(Take::Lost | Take::DoneUnheard | Take::Unknown | Take::Late)
            )
        };
        let dull = matches!(self.goal(), Ok(())) && self.flight.is_none() && self.decided.is_none();
        let mut moves = self.moves().into_iter().filter(|next| !costs(next));
        moves.find(|next| !dull || !matches!(next, Move::Wake | Move::Pause))
    }

    /// Plays on kindly until all is as it is wanted.
    pub(crate) fn play_out(mut self) -> Result<Self, String> {
        for _ in 0..2_000 {
            match self.kind_move() {
                Some(next) => self = self.after(&next),
                None => return self.goal().map(|()| self),
            }
            if let Some(what) = &self.violation {
                return Err(what.clone());
            }
        }
        Err(format!("it does not come to rest; {:?}", self.goal()))
    }
}
