//! The one owner of the state: every step locks, lets pass what is due, acts, and rings the bells of
//! those who wait. Nothing here is held across an await.

use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::clock::Clock;
use super::faults::Faults;
use super::journal::Entry;
use super::packages::Package;
use super::{State, World};

/// What one lock guards.
pub(super) struct Core {
    pub(super) state: State,
    pub(super) faults: Faults,
    pub(super) dice: StdRng,
    written: u64,
}

/// Shared by all requests.
pub(super) struct Shell {
    core: Mutex<Core>,
    bells: Mutex<HashMap<Uuid, Arc<Notify>>>,
    changed: watch::Sender<u64>,
    journal_out: Option<Sender<Entry>>,
    pub(super) clock: Clock,
    pub(super) org: String,
    pub(super) packages: Vec<Package>,
    pub(super) stop: CancellationToken,
}

impl Shell {
    pub(super) fn new(
        state: State,
        dice: StdRng,
        clock: Clock,
        org: String,
        packages: Vec<Package>,
    ) -> Self {
        Self {
            core: Mutex::new(Core { state, faults: Faults::default(), dice, written: 0 }),
            bells: Mutex::default(),
            changed: watch::Sender::new(0),
            journal_out: None,
            clock,
            org,
            packages,
            stop: CancellationToken::new(),
        }
    }

    pub(super) fn write_journal_to(&mut self, out: Sender<Entry>) {
        self.journal_out = Some(out);
    }

    /// One step of the organisation's history.
    pub(super) fn step<R>(&self, act: impl FnOnce(&mut Core, Timestamp) -> R) -> R {
        let (result, pulse) = {
            let mut core = lock(&self.core);
            let now = self.clock.now();
            core.state.advance(now);
            let result = act(&mut core, now);
            // What the act made possible (a freed agent, a new job) happens in the same step.
            core.state.advance(now);
            self.settle(&mut core, now);
            (result, core.state.pulse())
        };
        self.changed.send_if_modified(|seen| std::mem::replace(seen, pulse) != pulse);
        result
    }

    fn settle(&self, core: &mut Core, now: Timestamp) {
        let revision = core.state.revision();
        let Core { state, faults, .. } = &mut *core;
        faults.remember(now, revision, &state.world);
        if let Some(out) = &self.journal_out {
            for entry in core.state.journal.since(core.written) {
                // The writer ends with the simulator; a lost line then is no loss.
                let _ = out.send(entry.clone());
            }
        }
        core.written = revision;
        let bells = lock(&self.bells);
        for session in core.state.take_woken() {
            if let Some(bell) = bells.get(&session) {
                bell.notify_waiters();
            }
        }
    }

    /// Rings for this session when it has news.
    pub(super) fn bell(&self, session: Uuid) -> Arc<Notify> {
        Arc::clone(lock(&self.bells).entry(session).or_default())
    }

    pub(super) fn forget_bell(&self, session: Uuid) {
        lock(&self.bells).remove(&session);
    }

    /// Moves the clock; all who wait for a time look again.
    pub(super) fn advance_clock(&self, by: Duration) {
        self.clock.advance(by);
        self.step(|_, _| ());
        for bell in lock(&self.bells).values() {
            bell.notify_waiters();
        }
        self.changed.send_modify(|_| ());
    }

    /// Changes with the journal and with every request.
    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Reads without changing anything.
    pub(super) fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        self.step(|core, _| look(&core.state))
    }

    /// Lets due things happen when nobody asks. Ends with the simulator.
    pub(super) async fn tick(self: Arc<Self>) {
        let mut changed = self.watch();
        loop {
            changed.mark_unchanged();
            let due = self.look(State::next_due);
            let now = self.clock.now();
            let wait = due.map_or(Duration::from_secs(3600), |at| until(at, now));
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                _ = changed.changed() => {}
            }
        }
    }
}

impl Core {
    /// The world a read sees.
    pub(super) fn stale_world(&mut self, secs: u64, now: Timestamp) -> Option<Arc<World>> {
        self.faults.stale(secs, now, &mut self.dice)
    }
}

/// From now until then, not less than a millisecond so that a rounded-down sleep cannot spin.
pub(super) fn until(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default().max(Duration::from_millis(1))
}

/// A panic of another request does not make the state unreadable for the test that looks into it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
