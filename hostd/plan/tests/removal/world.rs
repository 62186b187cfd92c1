//! What there is: hostd's knowledge and its disk, the engine's runs, Azure's row.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use fleet_model::{
    AgentName, AgentOrder, AgentVerb, Assigned, Assignment, At, AzureTarget, CredentialRef, Disk,
    Forced, GroupAssignment, Mode, Order, PoolAssignment, PoolName, Room, RowState, RuntimeKind,
    Template, Wanted,
    numbers::{QUARANTINE_FAILURES, SETTLE},
};
use hostd_plan::{
    Action, AzureFailure, Event, Known, Ledger, Outcome, RowId, RowRead, RunListed, RunState, plan,
};

use crate::purse::Purse;

/// Answers of Azure are not as old as this.
pub(crate) const STALE: Duration = Duration::from_secs(30);
const START: At = At(1_000_000_000);

/// How far a run is. A run in once mode goes through these in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    Created,
    Booting,
    Registered,
    Online,
    Working,
    Finished,
    Ended(i32),
}

#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) life: Life,
    /// How much of its life this hostd has heard of.
    pub(crate) told: Life,
    /// The row that its registration names.
    pub(crate) row: Option<i64>,
    /// It has no registration to begin with.
    pub(crate) registers: bool,
    pub(crate) asked: bool,
    /// That was without Azure's word. A listener that does not heed it may be given a job when Azure
    /// is back.
    pub(crate) unheard: bool,
    pub(crate) hung: bool,
    pub(crate) stubborn: bool,
    /// Since a leave was given: the first and the newest of the process lists that showed no worker,
    /// one after another.
    pub(crate) free: Option<(At, At)>,
}

impl Run {
    pub(crate) fn runs(&self) -> bool {
        !matches!(self.life, Life::Created | Life::Ended(_))
    }

    fn state(&self) -> RunState {
        match self.life {
            Life::Created => RunState::Created,
            Life::Ended(code) => RunState::Ended(Some(code)),
            _ => RunState::Running,
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) enabled: bool,
    /// The run that has its session.
    pub(crate) session: Option<u32>,
    /// Its session's listener is dead since.
    pub(crate) silent: Option<At>,
    /// It was given a job.
    pub(crate) request: bool,
}

impl Row {
    /// The run has its session. A dead session is nobody's, also when a run of that number is made
    /// once more.
    pub(crate) fn is_of(&self, attempt: u32) -> bool {
        self.session == Some(attempt) && self.silent.is_none()
    }
}

/// An action under way.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) action: Action,
    /// It took effect, or did not, and this comes back.
    pub(crate) answer: Option<Outcome>,
}

/// The board on which the game is played.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) now: At,
    /// None while hostd is down.
    pub(crate) known: Option<Known>,
    pub(crate) disk: Ledger,
    /// Decided, and neither stored nor done.
    pub(crate) decided: Option<Option<Action>>,
    pub(crate) flight: Option<Flight>,
    /// What hostd was told to wait for.
    pub(crate) wake: Option<At>,
    pub(crate) runs: BTreeMap<u32, Run>,
    /// Runs that were removed, and hostd has not heard it.
    pub(crate) gone: BTreeSet<u32>,
    pub(crate) row: Option<Row>,
    rows_made: i64,
    /// What the row looked like until when: for answers that are old.
    past: Vec<(At, Option<RowState>)>,
    pub(crate) wanted: bool,
    /// Its disk is.
    pub(crate) full: bool,
    /// hostd knows how full it is.
    pub(crate) measured: bool,
    has_disk: bool,
    /// hostd has the newest order.
    pub(crate) ordered: bool,
    placeholder: bool,
    generation: u64,
    /// So many calls of hostd Azure does not answer yet.
    pub(crate) away: u8,
    /// Nor those after them, and a kind world does not end that.
    pub(crate) for_long: bool,
    /// The leave that the coordinator gives.
    pub(crate) leave: Option<At>,
    /// Jobs lost to the one exception that a leave makes: given by Azure so late that the newest of
    /// two process lists could not show them.
    pub(crate) exceptions: u8,
    /// Reads and process lists hide jobs: the adversary cheats.
    pub(crate) blind: bool,
    pub(crate) purse: Purse,
    pub(crate) violation: Option<String>,
}

/// What is wanted when the agent is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unwanted {
    /// Its row goes too.
    Gone,
    /// Its registration stays as the group's last one.
    Held,
}

pub(crate) fn agent() -> AgentName {
    "nightly-h-01".parse().expect("agent")
}

fn pool() -> PoolName {
    "nightly".parse().expect("pool")
}

fn credential() -> CredentialRef {
    CredentialRef { name: "pat".parse().expect("credential"), fingerprint: "0123456789ab".into() }
}

fn restart() -> AgentOrder {
    AgentOrder { agent: agent(), verb: AgentVerb::Restart, by: "ann".into(), reason: None }
}

fn template() -> Arc<Template> {
    Template::docker("img:1".parse().expect("image"), Mode::Once).into()
}

impl World {
    /// A host with no agent yet, and one wanted.
    pub(crate) fn new(unwanted: Unwanted, purse: Purse) -> Self {
        let mut world = Self {
            now: START,
            known: None,
            disk: Ledger::default(),
            decided: None,
            flight: None,
            wake: None,
            runs: BTreeMap::new(),
            gone: BTreeSet::new(),
            row: None,
            rows_made: 0,
            past: Vec::new(),
            wanted: true,
            full: false,
            measured: true,
            has_disk: purse.fills > 0,
            ordered: false,
            placeholder: unwanted == Unwanted::Held,
            generation: 1,
            away: 0,
            for_long: false,
            leave: None,
            exceptions: 0,
            blind: false,
            purse,
            violation: None,
        };
        world.restart(Duration::ZERO);
        world.order();
        world
    }

    /// hostd comes (back) and reads what it stored.
    pub(crate) fn restart(&mut self, away: Duration) {
        self.now = self.now + away;
        let host = "h".parse().expect("host");
        let served = BTreeSet::from([RuntimeKind::Docker]);
        let mut known = Known::new(host, served, self.disk.clone());
        // What is cleaned is no part of the game.
        known.disk_marks.clean_percent = 0;
        self.known = Some(known);
        self.measured = !self.has_disk;
        for run in self.runs.values_mut() {
            run.told = run.told.min(Life::Booting);
        }
        self.ordered = false;
        self.tell(Event::Credentials(vec![credential()]));
        self.list();
    }

    /// The engine lists its runs.
    pub(crate) fn list(&mut self) {
        let listed = |(attempt, run): (&u32, &Run)| RunListed {
            agent: agent(),
            attempt: *attempt,
            pool: pool(),
            group: "default".parse().expect("group"),
            number: 1,
            state: run.state(),
        };
        let runs = self.runs.iter().map(listed).collect();
        for run in self.runs.values_mut().filter(|run| matches!(run.life, Life::Ended(_))) {
            run.told = run.life;
        }
        self.tell(Event::Listed { kind: RuntimeKind::Docker, runs });
    }

    /// hostd measures the disk.
    pub(crate) fn measure(&mut self) {
        self.measured = true;
        let free = if self.full { 1 } else { 90 };
        self.tell(Event::Disks(vec![Disk {
            place: "/".into(),
            bytes: Room { total: 100, free },
            inodes: Room::default(),
            runtimes: BTreeSet::from([RuntimeKind::Docker]),
        }]));
    }

    /// The coordinator changes its mind.
    pub(crate) fn flip(&mut self) {
        self.wanted = !self.wanted;
        self.leave = None;
        self.generation += 1;
        self.ordered = false;
    }

    /// The coordinator passes on an operator's leave.
    pub(crate) fn force(&mut self) {
        self.leave = Some(self.now);
        self.generation += 1;
        self.ordered = false;
    }

    /// What hostd stored last says that it goes without Azure's word.
    pub(crate) fn is_forced(&self) -> bool {
        self.disk.slots.get(&agent()).is_some_and(|slot| slot.forced_why.is_some())
    }

    /// hostd gets the newest order.
    pub(crate) fn order(&mut self) {
        self.ordered = true;
        let wanted = self.wanted;
        let (replicas, placeholder) = (u32::from(wanted), self.placeholder && !wanted);
        let group = GroupAssignment { template: template(), replicas, placeholder };
        let part = PoolAssignment {
            azure: AzureTarget { url: "https://dev.example/f".into(), pool: "nightly".into() },
            prefix: "nightly".parse().expect("prefix"),
            settle: SETTLE,
            credential: credential(),
            wanted: Wanted::Groups([("default".parse().expect("group"), group)].into()),
            gone_groups: Default::default(),
            paused: None,
            forced: self.leave.map(|at| Forced {
                by: "ann".into(),
                reason: "the rack moves".parse().expect("a reason"),
                at,
            }),
        };
        let order = Order::new(1, self.generation);
        self.tell(Event::Assigned(Assignment {
            order,
            pools: [(pool(), part)].into(),
            ..Default::default()
        }));
    }

    /// hostd takes in what happened, and decides. What it decides is stored and done by moves.
    pub(crate) fn tell(&mut self, event: Event) {
        let Some(known) = &mut self.known else { return };
        known.apply(event, self.now);
        self.think();
    }

    /// Somebody looks after an agent that is about to fail too often: one in quarantine is replaced by
    /// another, and this is a game of one.
    fn attend(&mut self) {
        let Some(known) = &mut self.known else { return };
        let slot = known.ledger.slots.get(&agent());
        let often =
            slot.is_some_and(|slot| slot.failed_at.len() + 1 >= QUARANTINE_FAILURES as usize);
        // Also where that order would be refused, or another run took over at once.
        if let Some(slot) = known.ledger.slots.get_mut(&agent()).filter(|_| often) {
            slot.failed_at.clear();
        }
        let runs = known.run(&agent()).is_some_and(|run| run.state == RunState::Running);
        if often && !runs {
            let _unfit = known.order_agent(&restart(), self.now);
        }
    }

    /// An operator wants its run replaced; where that does not fit, nothing happens.
    pub(crate) fn order_restart(&mut self) {
        if let Some(known) = &mut self.known {
            let _unfit = known.order_agent(&restart(), self.now);
        }
        self.think();
    }

    pub(crate) fn think(&mut self) {
        self.attend();
        let Some(known) = &mut self.known else { return };
        let plan = plan(known, self.now);
        known.begin(&plan, self.now);
        self.wake = plan.wake_after.map(|wait| self.now + wait);
        let mut actions = plan.actions.into_iter();
        match actions.next() {
            // Of no interest here, and there at once.
            Some(action @ Action::EnsureImage { .. }) => {
                self.tell(Event::Done { action, outcome: Outcome::Done });
            }
            first => {
                assert_eq!(actions.next(), None, "one agent, one action");
                // Two things heard at once: what the first led to is still to be done.
                let first = first.or_else(|| self.decided.take().flatten());
                if first.is_some() || known.ledger != self.disk {
                    self.decided = Some(first);
                }
            }
        }
    }

    pub(crate) fn store(&mut self) {
        let (Some(known), Some(action)) = (&self.known, self.decided.take()) else { return };
        self.disk = known.ledger.clone();
        self.look_at_pause(action.as_ref());
        self.flight =
            action.map(|action| Flight { action, answer: None }).or_else(|| self.flight.take());
    }

    /// hostd is killed. What it asked for and was not done is never done.
    pub(crate) fn crash(&mut self) {
        self.known = None;
        self.gone.clear();
        self.decided = None;
        self.flight = None;
        self.wake = None;
    }

    /// The row changes: what it was until now is what old answers may show.
    pub(crate) fn change_row(&mut self, change: impl FnOnce(&mut Option<Row>)) {
        let before = self.row_state();
        change(&mut self.row);
        if self.row_state() != before {
            self.past.push((self.now, before));
        }
    }

    pub(crate) fn make_row(&mut self) -> i64 {
        self.rows_made += 1;
        let id = self.rows_made;
        self.change_row(|row| {
            *row = Some(Row { id, enabled: true, session: None, silent: None, request: false });
        });
        id
    }

    fn row_state(&self) -> Option<RowState> {
        self.row.as_ref().map(|row| RowState {
            agent_id: row.id,
            enabled: row.enabled,
            online: row.session.is_some(),
            assigned: (row.request && !self.blind).then(|| Assigned::new(1, "job")),
        })
    }

    /// What a read may show: the row as it is, then as it was within [`STALE`].
    pub(crate) fn readings(&self) -> Vec<Option<RowState>> {
        let mut all = vec![self.row_state()];
        for (until, state) in &self.past {
            if self.now.since(*until) < STALE && !all.contains(state) {
                all.push(state.clone());
            }
        }
        all
    }

    /// Forgets what cannot matter any more, so that equal positions are equal.
    pub(crate) fn tidy(&mut self) {
        let now = self.now;
        self.past.retain(|(until, _)| now.since(*until) < STALE);
    }

    /// The answer to a read.
    pub(crate) fn reading(&self, asked: Option<RowId>, reading: Option<RowState>) -> Outcome {
        let fits = |state: &RowState| asked.is_none_or(|row| row.agent_id == state.agent_id);
        match reading.filter(fits) {
            Some(state) => {
                let id = RowId { pool_id: 1, agent_id: state.agent_id };
                Outcome::Row(RowRead::There(id, state))
            }
            None => Outcome::Row(RowRead::Gone),
        }
    }

    /// The row that an action names, if it is still that one.
    pub(crate) fn named(&mut self, id: RowId) -> Option<&mut Row> {
        self.row.as_mut().filter(|row| row.id == id.agent_id)
    }

    /// A run that has a job, or was given one.
    pub(crate) fn has_job(&self, attempt: u32) -> bool {
        let works = self.runs.get(&attempt).is_some_and(|run| run.life == Life::Working);
        let given = self.row.as_ref().is_some_and(|row| row.request && row.is_of(attempt));
        works || given
    }

    /// It ends by itself or is ended; with a goodbye its session is closed.
    pub(crate) fn end(&mut self, attempt: u32, code: i32, goodbye: bool) {
        if let Some(run) = self.runs.get_mut(&attempt) {
            run.life = Life::Ended(code);
        }
        let now = self.now;
        self.change_row(|row| {
            if let Some(row) = row.as_mut().filter(|row| row.is_of(attempt)) {
                match goodbye {
                    true => row.session = None,
                    false => row.silent = Some(now),
                }
            }
        });
    }

    pub(crate) fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// All is as the coordinator wants it.
    pub(crate) fn goal(&self) -> Result<(), String> {
        let Some(known) = self.known.as_ref().filter(|_| self.ordered) else {
            return Err("hostd does not know what is wanted".into());
        };
        let running = self.runs.values().filter(|run| run.runs()).count();
        let online = self.runs.values().filter(|run| run.life == Life::Online).count();
        let row = self.row.as_ref().map(|row| (row.enabled, row.session.is_some(), row.request));
        let slots = known.ledger.slots.len();
        let held = self.placeholder && slots == 1 && row == Some((true, false, false));
        let right = match self.wanted {
            true => online == 1 && running == 1 && slots == 1 && row == Some((true, true, false)),
            false => self.runs.is_empty() && ((slots == 0 && row.is_none()) || held),
        };
        match right {
            true => Ok(()),
            false => Err(format!(
                "wanted: {}, {running} runs, {online} online, {slots} slots, row {row:?}",
                self.wanted
            )),
        }
    }

    /// What is equal in two positions from which the same can follow: times count from now.
    pub(crate) fn position(&self) -> String {
        let text = format!("{self:?}");
        let mut position = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(at) = rest.find("At(") {
            let digits = &rest[at + 3..];
            let end = digits.find(')').unwrap_or(digits.len());
            position.push_str(&rest[..at]);
            match digits[..end].parse::<u64>() {
                // Nothing reaches back further than the lock of a dead job.
                Ok(moment) if moment <= self.now.0 => {
                    let ago = (self.now.0 - moment).min(600_000);
                    position.push_str(&format!("-{ago}"));
                }
                Ok(moment) => position.push_str(&format!("+{}", moment - self.now.0)),
                Err(_) => position.push_str(&digits[..end]),
            }
            rest = &digits[end..];
        }
        position.push_str(rest);
        position
    }
}

/// In one line, for whoever replays a game.
impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ledger = self.known.as_ref().map_or(&self.disk, |known| &known.ledger);
        let slot = ledger.slots.get(&agent());
        let step = slot.map(|slot| (slot.role, slot.removal, slot.attempt, slot.disabled_by_us));
        let runs: Vec<_> = self.runs.iter().map(|(attempt, run)| (attempt, run.life)).collect();
        write!(
            f,
            "{} s, {step:?}, runs {runs:?}, {:?}",
            self.now.since(START).as_secs(),
            self.row
        )?;
        write!(f, ", {:?}", self.flight)
    }
}

/// No answer.
pub(crate) fn silence(action: &Action) -> Outcome {
    match action.asks_azure() {
        true => Outcome::Azure(AzureFailure::Unavailable { why: "lost".into(), retry_after: None }),
        false => Outcome::Failed("lost".into()),
    }
}
