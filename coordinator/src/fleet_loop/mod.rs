//! The fleet loop: the one task that owns what is wanted and what is known.
//!
//! ```text
//!   sessions ─┐
//!   operators ┼─► Event ─► take … take ─► decide ─► commit ─► begin ─► outboxes, answers, watchers
//!   Azure ────┘            (one turn: as many events as are there, one decision, one commit)
//! ```
//!
//! Nothing is answered or sent before it is safe on disk. A burst of a thousand events is one turn
//! and costs one commit. When the store refuses, memory is ahead of it: the loop drops everything,
//! loads the store anew, and hosts and operators come back by themselves.

mod adopt;
mod agent_orders;
mod azure_rows;
mod denied;
mod enrol;
mod event;
mod explain;
mod groups;
mod handle;
mod hosts;
mod janitor;
mod logs;
mod outbox;
mod pools;
mod refusals;
mod requests;
mod restrain;
mod sessions;
mod state;
mod summary;
mod turn;
mod views;
mod watchers;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    azure::Targets,
    clock::Clock,
    credentials::Vault,
    metrics::Metrics,
    store::{EventQuery, Keep, Store, StoreError},
};
pub use denied::Denied;
pub(crate) use event::{
    About, AzureEvent, Enrol, Event, Filter, Grant, Insist, Invitation, Key, Kinds, LogPlace,
    NewCredential, NewPool, Request, Restrain, RestrainVerb, RowEnd, SessionEvent, Whom,
};
use fleet_model::At;
use fleet_proto::logging::Report;
pub use handle::FleetHandle;
pub(crate) use outbox::Outbox;
pub(crate) use state::LoopSettings;
use state::State;
pub use summary::{PoolSummary, Summary};
use turn::Turn;
pub(crate) use watchers::Changed;

/// Events that may wait for the loop: what arrives while one commit is on its way. Sessions wait when
/// it is full.
const QUEUE: usize = 1024;
/// Most events in one turn, and so in one commit: all hosts may report everything at once, and what
/// a turn makes of that is held until it is stored.
const TURN: usize = 128;
/// Even with nothing to wait for, a pass now and then finds what an event did not say.
const SAFETY_NET: Duration = Duration::from_secs(5);
/// How often hosts are looked over while events never stop.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the loop waits before it looks at a store that failed again.
const STORE_RETRY: Duration = Duration::from_secs(1);

/// What the loop needs from outside.
pub(crate) struct LoopParts {
    /// What must not be forgotten.
    pub store: Arc<dyn Store>,
    /// Secrets, sealed.
    pub vault: Arc<Vault>,
    /// Time.
    pub clock: Clock,
    /// Numbers.
    pub settings: LoopSettings,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Ends the loop.
    pub stop: CancellationToken,
}

/// The loop, before it runs.
pub(crate) struct FleetLoop {
    parts: LoopParts,
    state: State,
    events: mpsc::Receiver<Event>,
    last_seq: watch::Sender<u64>,
    /// The next lease that runs out, as of the last decision.
    lease_ends: Option<At>,
    /// When hosts were last looked over for leases that ran out.
    looked: At,
}

/// What others hold of the loop.
pub(crate) struct LoopEnds {
    /// Asks and tells.
    pub handle: FleetHandle,
    /// What the watcher of Azure looks at.
    pub targets: watch::Receiver<Targets>,
}

impl FleetLoop {
    /// Loads the store and makes the loop ready.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(crate) async fn load(parts: LoopParts) -> Result<(Self, LoopEnds), StoreError> {
        let (targets, watched) = watch::channel(Targets::default());
        let objects = parts.store.load_all().await?;
        let (settings, vault) = (parts.settings.clone(), Arc::clone(&parts.vault));
        let state = State::load(objects, settings, vault, targets, parts.clock.now())?;
        let (sender, events) = mpsc::channel(QUEUE);
        let newest = EventQuery { limit: 1, keep: Keep::Newest, ..EventQuery::default() };
        let newest = parts.store.events(newest).await?.first().map_or(0, |event| event.seq);
        let (last_seq, newest) = watch::channel(newest);
        let handle = FleetHandle::new(sender, newest);
        let fleet_loop = Self { parts, state, events, last_seq, lease_ends: None, looked: At(0) };
        Ok((fleet_loop, LoopEnds { handle, targets: watched }))
    }

    /// Runs until it is stopped or nobody is left to speak to it.
    pub(crate) async fn run(mut self) {
        let mut batch = Vec::new();
        // The first turn has no events: it places what the store asks for.
        let mut wake = Duration::ZERO;
        loop {
            tokio::select! {
                // An end that is asked for comes before the next turn.
                biased;
                () = self.parts.stop.cancelled() => break,
                count = self.events.recv_many(&mut batch, TURN) => {
                    if count == 0 {
                        break;
                    }
                }
                () = tokio::time::sleep(wake) => {}
            }
            wake = self.turn(batch.drain(..)).await;
        }
        self.state.sessions.end_all("the coordinator stops");
    }

    /// One turn; returns how long the loop may sleep when nothing happens.
    async fn turn(&mut self, events: impl Iterator<Item = Event>) -> Duration {
        let now = self.parts.clock.now();
        let mut turn = Turn::new(now);
        let mut idle = true;
        for event in events {
            idle = false;
            self.state.take(event, &mut turn);
        }
        self.state.settle_contests(&mut turn);
        self.state.give_up_waiting(now);
        self.state.finish_adoption(&mut turn);
        let decision = if turn.decide || idle {
            self.state.take_restraint_steps(&mut turn);
            self.state.decide(&mut turn)
        } else {
            None
        };
        if let Some(decision) = &decision {
            self.lease_ends = decision.wake_after.map(|wait| now + wait);
        }
        if idle || now.since(self.looked) >= LOOK_EVERY {
            self.looked = now;
            self.state.note_leases(&mut turn);
        }
        self.state.note_states(&mut turn);
        match self.commit(&mut turn).await {
            Ok(()) => {
                self.state.begin(decision.as_ref(), &turn);
                turn.finish(Ok(&mut self.state));
            }
            Err(error) => {
                turn.finish(Err(&Denied::store(&error)));
                self.reload(&error).await;
            }
        }
        self.state.flush_watchers(now);
        self.next_wake(self.parts.clock.now())
    }

    async fn commit(&mut self, turn: &mut Turn) -> Result<(), StoreError> {
        if turn.changes.is_empty() {
            return Ok(());
        }
        let outgoing = self.state.book.outgoing(std::mem::take(&mut turn.changes));
        let (batch, puts, deletes) = outgoing.split();
        let started = tokio::time::Instant::now();
        let committed = self.parts.store.commit(batch).await;
        self.parts.metrics.commit(started.elapsed(), committed.is_ok());
        let committed = committed?;
        self.state.book.committed(puts, &deletes, &committed);
        self.state.store_trouble = None;
        self.last_seq.send_if_modified(|seq| {
            let newer = committed.last_seq > *seq;
            *seq = committed.last_seq.max(*seq);
            newer
        });
        Ok(())
    }

    /// Memory says things that the store does not: go back to what is safe.
    async fn reload(&mut self, error: &StoreError) {
        tracing::error!(error = %Report(error), "the store refused a change; going back to what is stored");
        let why = Report(error).to_string();
        self.state.sessions.end_all("the coordinator could not store a change; come again");
        while !self.parts.stop.is_cancelled() {
            match self.try_reload(&why).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::error!(error = %Report(&error), "the store cannot be read");
                    tokio::time::sleep(STORE_RETRY).await;
                }
            }
        }
    }

    async fn try_reload(&mut self, why: &str) -> Result<(), StoreError> {
        let objects = self.parts.store.load_all().await?;
        self.state.reload(objects, self.parts.clock.now())?;
        self.state.store_trouble = Some(why.to_owned());
        Ok(())
    }

    fn next_wake(&self, now: At) -> Duration {
        let lease = self.lease_ends.map(|ends| ends.since(now));
        [
            lease,
            self.state.watchers.due_in(now),
            self.state.next_contest(now),
            self.state.adoption_ends(now),
        ]
        .into_iter()
        .flatten()
        .fold(SAFETY_NET, Duration::min)
    }
}

#[cfg(test)]
mod tests;
