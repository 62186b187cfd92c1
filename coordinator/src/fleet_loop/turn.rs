//! One turn of the loop: a batch of events, one decision, one commit, then the answers.

use std::collections::BTreeSet;

use fleet_model::{At, HostName};

use super::{denied::Denied, event::Reply, state::State};
use crate::{book::Changes, store::NewEvent};

/// What is done when the turn is safe on disk, or when it could not be made so.
type After = Box<dyn FnOnce(Result<&mut State, &Denied>) + Send>;

/// See the module.
pub(crate) struct Turn {
    /// When it happens.
    pub(crate) now: At,
    /// What is to be stored.
    pub(crate) changes: Changes,
    /// Something happened from which a decision may follow. Heartbeats alone do not count.
    pub(crate) decide: bool,
    /// Hosts whose state may have changed.
    pub(crate) hosts: BTreeSet<HostName>,
    /// Hosts whose session began in this turn and that have to be told what they keep.
    pub(crate) begun: BTreeSet<HostName>,
    /// What the watcher of Azure looks at may have changed.
    pub(crate) targets: bool,
    after: Vec<After>,
}

impl Turn {
    pub(crate) fn new(now: At) -> Self {
        Self {
            now,
            changes: Changes::default(),
            decide: false,
            hosts: BTreeSet::new(),
            begun: BTreeSet::new(),
            targets: false,
            after: Vec::new(),
        }
    }

    /// A line of history.
    pub(crate) fn event(&mut self, event: NewEvent) {
        self.changes.event(event);
    }

    /// Answers when the turn is safe, with what `answer` makes of the new state.
    pub(crate) fn reply<T, F>(&mut self, reply: Reply<T>, answer: F)
    where
        T: Send + 'static,
        F: FnOnce(&mut State) -> T + Send + 'static,
    {
        self.after.push(Box::new(move |done| {
            // Nobody waits any more: the change stands all the same.
            let _ = reply.send(done.map(answer).map_err(Clone::clone));
        }));
    }

    /// Answers with the outcome of a check: a refusal at once, the rest when the turn is safe.
    pub(crate) fn settle<T, F>(&mut self, reply: Reply<T>, checked: Result<F, Denied>)
    where
        T: Send + 'static,
        F: FnOnce(&mut State) -> T + Send + 'static,
    {
        match checked {
            Ok(answer) => self.reply(reply, answer),
            Err(denied) => {
                let _ = reply.send(Err(denied));
            }
        }
    }

    /// Gives all answers.
    pub(crate) fn finish(self, mut done: Result<&mut State, &Denied>) {
        for after in self.after {
            match &mut done {
                Ok(state) => after(Ok(state)),
                Err(denied) => after(Err(denied)),
            }
        }
    }
}
