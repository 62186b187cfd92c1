//! The one owner of what is known.
//!
//! ```text
//!  session, runtimes, actions ──Input──► inbox ─┐
//!                                               ▼           one turn: everything that waits
//!      ┌─────────────────────────────── take in (Known::apply)
//!      │                                        ▼
//!   tell: log, view,                plan ─► begin ─► ledger stored ─► actions spawned ─┐
//!   history                                          │ not stored: nothing is done     │
//!      ▲                                             ▼ and it is tried again           │
//!      └─────────────────────────────────────────────┘          Input::Done ◄──────────┘
//! ```
//! Nothing is decided here. What waits is taken in at once, so a burst of events is one plan and
//! one write. With nothing to do the loop sleeps, but for the watchdog.

mod alone;
mod brake;
mod input;
mod lists;
mod tell;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fleet_model::{At, Condition, RuntimeKind};
use fleet_proto::logging::Report;
use hostd_plan::{Action, Known, Ledger, Outcome, Plan, Subject};
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

pub use input::Input;

use self::{alone::Alone, brake::Brake, lists::Lists};
use crate::{
    clock::{Clock, jittered},
    execute::{Executor, Task},
    guardian::Sizes,
    ledger_file::{LedgerError, LedgerFile},
    runtime::Runtime,
    secrets::Secrets,
    slots::SlotStore,
    view::{Happened, View},
};

/// Most that one turn takes in; the rest waits for the next.
const BURST: usize = 1024;
/// Everything is looked at anew this often, whatever events said.
const FULL_PASS: Duration = Duration::from_secs(5 * 60);
/// A sign of life this often, also with nothing to do.
const ALIVE: Duration = Duration::from_secs(10);
/// A ledger that could not be stored is tried again after this.
const STORE_AGAIN: Duration = Duration::from_secs(5);
/// Actions that are under way at the end get this long to come back.
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// Never sleeps for less: rounding must not make it spin.
const SHORTEST: Duration = Duration::from_millis(5);

/// What the loop works with.
pub struct Parts {
    /// What is known at the start: the ledger.
    pub known: Known,
    /// Time.
    pub clock: Clock,
    /// Where the ledger is stored.
    pub ledger: LedgerFile,
    /// What an operator should know about how it was found.
    pub ledger_was: Option<String>,
    /// Who does what is planned.
    pub executor: Arc<Executor>,
    /// What is served.
    pub runtimes: BTreeMap<RuntimeKind, Arc<dyn Runtime>>,
    /// The slots' directories.
    pub slots: SlotStore,
    /// Credentials.
    pub secrets: Arc<Secrets>,
    /// Both ends of the inbox.
    pub inbox: (mpsc::Sender<Input>, mpsc::Receiver<Input>),
    /// Whether there is a session with the coordinator.
    pub in_session: watch::Receiver<bool>,
    /// Where the view is shown.
    pub view: watch::Sender<Arc<View>>,
    /// Where the history goes.
    pub history: broadcast::Sender<Happened>,
    /// Called about every ten seconds, and only while the loop turns.
    pub alive: Box<dyn FnMut() + Send>,
}

/// The loop's own state beside [`Known`].
pub struct HostLoop {
    parts: Parts,
    /// The ledger as it is on disk.
    stored: Ledger,
    /// Conditions of the host that are found elsewhere.
    standing: Vec<Condition>,
    /// What agents and caches take on disk.
    sizes: Sizes,
    /// Why it is not newer, and when it is tried again.
    unstored: Option<(String, Instant)>,
    /// Who waits until an order is stored.
    answers: Vec<oneshot::Sender<Result<(), String>>>,
    lists: Lists,
    brake: Brake,
    alone: Alone,
    tasks: JoinSet<()>,
    wake: Option<Instant>,
    full_pass: Instant,
}

impl HostLoop {
    /// A loop that has not begun.
    pub fn new(parts: Parts) -> Self {
        let mut new = Self {
            // The first turn stores it, whatever was found.
            stored: parts.known.ledger.clone(),
            standing: Vec::new(),
            sizes: Sizes::default(),
            unstored: None,
            answers: Vec::new(),
            lists: Lists::new(parts.runtimes.keys().copied(), Instant::now()),
            brake: Brake::default(),
            alone: Alone::new(Instant::now()),
            tasks: JoinSet::new(),
            wake: None,
            full_pass: Instant::now() + jittered(FULL_PASS),
            parts,
        };
        // Shown before anybody can look: an empty view would say that all agents are gone.
        new.tell(new.parts.clock.now());
        new
    }

    /// Turns until `stop`, then waits a little for actions that are under way. Runs go on.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut waiting = Vec::new();
        let mut alive = tokio::time::interval(ALIVE);
        self.take_in(Input::CredentialsChanged, self.parts.clock.now());
        loop {
            self.list_what_is_due();
            self.look_when_alone();
            self.settle().await;
            let next = self.next_wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = alive.tick() => (self.parts.alive)(),
                // A sender that is gone says no more; that is a session that ended.
                Ok(()) = self.parts.in_session.changed() => {
                    let is_open = *self.parts.in_session.borrow_and_update();
                    self.alone.session(is_open, Instant::now());
                }
                _ = self.parts.inbox.1.recv_many(&mut waiting, BURST) => {}
                () = sleep_until(next) => {}
            }
            if Instant::now() >= self.full_pass {
                self.full_pass();
            }
            // Tasks say what they did through the inbox; here they are only let go.
            while self.tasks.try_join_next().is_some() {}
            self.follow_the_clock();
            let now = self.parts.clock.now();
            for input in waiting.drain(..) {
                self.take_in(input, now);
            }
        }
        self.wind_down().await;
    }

    /// The wall clock may have been set: what is remembered moves with it, and nothing comes sooner or
    /// later for it.
    fn follow_the_clock(&mut self) {
        let Some(by_ms) = self.parts.clock.follow() else { return };
        self.parts.known.clock_set(by_ms);
        let (seconds, way) =
            (by_ms.unsigned_abs() / 1000, if by_ms < 0 { "back" } else { "forward" });
        let message = format!("this host's clock was set {way} by {seconds} s, or the host slept");
        tracing::warn!("{message}");
        self.happened("host.clock", None, None, message, self.parts.clock.now());
    }

    fn next_wake(&self) -> Instant {
        let store = self.unstored.as_ref().map(|(_, at)| *at);
        let first =
            [self.wake, self.lists.next(), self.alone.next(), store].into_iter().flatten().min();
        let next = first.map_or(self.full_pass, |first| first.min(self.full_pass));
        next.max(Instant::now() + SHORTEST)
    }

    /// Plans, writes down, stores, and only then acts.
    async fn settle(&mut self) {
        let now = self.parts.clock.now();
        let plan = hostd_plan::plan(&self.parts.known, now);
        let mut next = self.parts.known.clone();
        next.begin(&plan, now);
        self.wake = plan.wake_after.map(|wait| Instant::now() + wait);
        if next.ledger != self.stored && !self.store(&next.ledger).await {
            // Not stored, not done. What is known stays as if it had not been planned.
            self.answer(
                Err("the host cannot store it; it is carried out as soon as it can".into()),
            );
            self.clean_all_the_same(plan.actions, now);
            self.tell(now);
            return;
        }
        self.answer(Ok(()));
        self.parts.known = next;
        for action in plan.actions {
            self.begin(action);
        }
        self.tell(now);
    }

    /// A disk may be so full that the ledger cannot be stored. Making room needs no ledger: it goes by
    /// the one that is stored.
    fn clean_all_the_same(&mut self, mut planned: Vec<Action>, now: At) {
        planned.retain(|action| matches!(action, Action::Clean { .. }));
        let cleaning = Plan { actions: planned, ..Plan::default() };
        self.parts.known.begin(&cleaning, now);
        cleaning.actions.into_iter().for_each(|action| self.begin(action));
    }

    /// Orders up to here are stored, or why they are not.
    fn answer(&mut self, stored: Result<(), String>) {
        for waiting in self.answers.drain(..) {
            // Whoever asked may have gone.
            let _ = waiting.send(stored.clone());
        }
    }

    async fn store(&mut self, ledger: &Ledger) -> bool {
        if self.unstored.as_ref().is_some_and(|(_, again)| *again > Instant::now()) {
            return false;
        }
        self.drop_lost_registrations(ledger);
        let (file, text, now) =
            (self.parts.ledger.clone(), ledger.clone(), self.parts.clock.moment());
        let twice = ledger.must_outlive_damage(&self.stored);
        let stored = tokio::task::spawn_blocking(move || match twice {
            true => file.store_twice(&text, &now),
            false => file.store(&text, &now),
        });
        let stored = stored.await;
        let why = match stored {
            Ok(Ok(())) => {
                self.stored = ledger.clone();
                if self.unstored.take().is_some() {
                    tracing::info!("the ledger is stored again");
                }
                return true;
            }
            Ok(Err(error)) => reason(&error),
            Err(_) => "writing it was broken off".to_owned(),
        };
        if self.unstored.as_ref().is_none_or(|(before, _)| *before != why) {
            tracing::error!(
                why,
                "the ledger cannot be stored; nothing is started or removed until it is"
            );
        }
        self.unstored = Some((why, Instant::now() + STORE_AGAIN));
        false
    }

    /// A registration whose row is gone goes from the disk before the ledger says so: the file is
    /// there only while the ledger says that it is.
    fn drop_lost_registrations(&self, next: &Ledger) {
        for (agent, before) in &self.stored.slots {
            let kept = next.slots.get(agent).is_some_and(|slot| slot.registered);
            if before.registered
                && !kept
                && let Err(error) = self.parts.slots.drop_registration(agent)
            {
                tracing::warn!(%agent, error = %Report(&error), "a worthless registration stays on disk");
            }
        }
    }

    /// Spawns an action; its end comes back through the inbox.
    fn begin(&mut self, action: Action) {
        self.tell_action(&action);
        let task = self.task(action);
        if let Some(slot) = &task.slot {
            self.lists.touched(slot.runtime);
        }
        let delay = self.brake.delay(&task.action, Instant::now());
        let (executor, inbox) = (Arc::clone(&self.parts.executor), self.parts.inbox.0.clone());
        self.tasks.spawn(async move {
            if let Some(delay) = delay {
                tokio::time::sleep(delay).await;
            }
            let action = task.action.clone();
            // A task of its own, so that a panic in it is an outcome too.
            let ended = tokio::spawn(async move { executor.run(task).await }).await;
            let ended = ended.unwrap_or_else(|error| {
                tracing::error!(%action, %error, "an action broke off");
                Outcome::Failed("hostd broke off in the middle of it; see its log".into()).into()
            });
            // The loop is gone only when hostd ends.
            let _ = inbox.send(Input::Done { action, ended }).await;
        });
    }

    fn task(&self, action: Action) -> Task {
        let ledger = &self.parts.known.ledger;
        let slot = match action.subject() {
            Subject::Agent(agent) => ledger.slots.get(&agent).cloned(),
            Subject::Image(..) | Subject::Disk(..) => None,
        };
        let pools = ledger.assignment.as_ref().map(|assignment| &assignment.pools);
        let part = slot.as_ref().and_then(|slot| pools?.get(&slot.pool)).cloned();
        let labels = ledger.assignment.as_ref().map(|assignment| assignment.labels.clone());
        Task { action, slot, part, labels: labels.unwrap_or_default() }
    }

    fn full_pass(&mut self) {
        self.full_pass = Instant::now() + jittered(FULL_PASS);
        let now = Instant::now();
        for kind in self.parts.runtimes.keys() {
            self.lists.need(*kind, now);
        }
        let assignment = self.parts.known.ledger.assignment.as_ref();
        let needed = assignment.into_iter().flat_map(|assignment| assignment.pools.values());
        let needed = needed.map(|part| part.credential.name.clone()).collect();
        self.parts.secrets.tidy(&needed, FULL_PASS);
        self.take_in(Input::CredentialsChanged, self.parts.clock.now());
    }

    /// Takes in what actions under way still say. What they leave open, the next start takes up.
    async fn wind_down(mut self) {
        let limit = Instant::now() + LAST_ANSWERS;
        while !self.tasks.is_empty() {
            tokio::select! {
                _ = self.tasks.join_next() => {}
                () = sleep_until(limit) => break,
            }
        }
        let now = self.parts.clock.now();
        while let Ok(input) = self.parts.inbox.1.try_recv() {
            self.take_in(input, now);
        }
        let ledger = self.parts.known.ledger.clone();
        if ledger != self.stored {
            self.unstored = None;
            self.store(&ledger).await;
        }
    }
}

fn reason(error: &LedgerError) -> String {
    Report(error).to_string()
}
