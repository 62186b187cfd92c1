//! What can happen next.

use std::time::Duration;

use hostd_plan::{Action, Heard, Removal};

use crate::world::{Flight, Life, Run, World, agent};

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
    /// Its listener, or anybody else, says this on its notification socket.
    Announce(u32, Heard),
    /// A run goes on.
    Go(u32),
    /// A listener stays on after its job.
    Hang(u32),
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
    /// Azure answers hostd nothing any more.
    Outage,
    /// It answers again.
    Recover,
    /// An operator gives leave to remove without it.
    Force,
    /// An operator wants its run replaced.
    Renew,
    /// The agent's disk becomes full.
    Fill,
    /// There is room on it again.
    Free,
    /// hostd measures it.
    Measure,
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
    /// The same, because Azure is away.
    Away,
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
        all.extend((self.purse.fills > 0 && !self.full).then_some(Move::Fill));
        all.extend(self.full.then_some(Move::Free));
        all.extend((self.away > 0).then_some(Move::Recover));
        all.extend((self.purse.outages > 0 && self.away == 0).then_some(Move::Outage));
        let forces = self.purse.forces > 0 && !self.wanted && self.leave.is_none();
        all.extend(forces.then_some(Move::Force));
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
    pub(crate) fn is_quiet(&self) -> bool {
        let on_its_way = |(attempt, run): (&u32, &Run)| {
            let heard = self.known.is_none() || run.told >= run.life;
            let goes = run.life != Life::Working && self.goes_on(*attempt, run);
            run.life > Life::Created && (goes || !heard)
        };
        let untold = !self.ordered || !self.measured;
        let waits = self.flight.is_some() || untold || !self.gone.is_empty();
        !waits && !self.runs.iter().any(on_its_way)
    }

    fn goes_on(&self, attempt: u32, run: &Run) -> bool {
        match run.life {
            Life::Online => self.row.as_ref().is_some_and(|row| {
                row.is_of(attempt) && (row.request || (run.asked && !run.stubborn))
            }),
            Life::Finished => !run.hung,
            Life::Ended(_) => false,
            _ => true,
        }
    }

    fn moves_of_hostd(&self, all: &mut Vec<Move>) {
        let purse = &self.purse;
        all.extend((!self.ordered).then_some(Move::Order));
        all.extend((!self.measured).then_some(Move::Measure));
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
            if purse.announced > 0 {
                all.push(Move::Announce(*attempt, Heard::JobAnnounced));
                all.push(Move::Announce(*attempt, Heard::JobAnnouncedOver));
            }
        }
        all.extend((purse.crashes > 0).then_some(Move::Crash));
        all.extend((purse.restarts > 0).then_some(Move::Renew));
        if purse.stale > 0 {
            all.extend((0..self.readings().len()).map(Move::Rows));
        }
    }

    fn takes(&self, action: &Action) -> Vec<Take> {
        let purse = &self.purse;
        let mut all = Vec::new();
        if self.away > 0 && action.asks_azure() {
            return vec![Take::Away];
        }
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
        // One that began late and hangs as well is not found out by what it says.
        let hangs = self.purse.hangs > 0
            && run.life == Life::Finished
            && !run.hung
            && self.runs.keys().all(|other| *other <= attempt);
        all.extend(hangs.then_some(Move::Hang(attempt)));
        all.extend((self.purse.deaths > 0 && run.runs()).then_some(Move::Die(attempt)));
    }

    fn expires(&self) -> bool {
        let Some((row, since)) = self.row.as_ref().and_then(|row| Some((row, row.silent?))) else {
            return false;
        };
        let life = if row.request { SESSION_LIFE * 2 } else { SESSION_LIFE };
        self.now.since(since) >= life
    }

    /// What a kind world does next; none when all is done.
    pub(crate) fn kind_move(&self) -> Option<Move> {
        let costs = |next: &Move| {
            matches!(
                next,
                Move::Crash
                    | Move::Die(_)
                    | Move::Hang(_)
                    | Move::Assign
                    | Move::Flip
                    | Move::Outage
                    | Move::Force
                    | Move::Renew
                    | Move::Fill
                    | Move::Lapse
                    | Move::Meddle
                    | Move::Rows(_)
                    | Move::Forge(..)
                    | Move::Announce(..)
                    | Move::Hear(_, Skip::ToNewest)
                    | Move::Take(Take::Lost | Take::DoneUnheard | Take::Unknown | Take::Late)
            )
        };
        if self.away > 0 && !self.for_long {
            return Some(Move::Recover);
        }
        if self.full {
            return Some(Move::Free);
        }
        let dull = matches!(self.goal(), Ok(())) && self.flight.is_none() && self.decided.is_none();
        let waits = |next: &Move| self.for_long && *next == Move::Recover;
        let mut moves = self.moves().into_iter().filter(|next| !costs(next) && !waits(next));
        moves.find(|next| !dull || !matches!(next, Move::Wake | Move::Pause))
    }

    /// Plays on kindly until all is as it is wanted.
    pub(crate) fn play_out(mut self) -> Result<Self, String> {
        self.for_long = false;
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
