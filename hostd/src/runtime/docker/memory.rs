//! The little that the engine cannot be asked for.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use fleet_model::Entry;

use crate::runtime::RunId;

/// By run; gone with hostd, and found out anew by the next one.
#[derive(Debug, Default)]
pub(super) struct Memory {
    runs: Mutex<BTreeMap<RunId, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// The image brings its own start script.
    own_script: bool,
    /// It was said to have ended, with this exit code.
    ended: Option<Option<i32>>,
}

impl Memory {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<RunId, Known>> {
        // Flags are whole at every moment, whoever panicked.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run that is made or listed.
    pub(super) fn met(&self, run: &RunId, entry: Entry) {
        if entry == Entry::Image {
            self.runs().entry(run.clone()).or_default().own_script = true;
        }
    }

    /// Its container is started (again).
    pub(super) fn begins(&self, run: &RunId) {
        if let Some(known) = self.runs().get_mut(run) {
            known.ended = None;
        }
    }

    /// Everybody is told that it ended.
    pub(super) fn ends(&self, run: &RunId, code: Option<i32>) {
        self.runs().entry(run.clone()).or_default().ended = Some(code);
    }

    /// It is removed.
    pub(super) fn forget(&self, run: &RunId) {
        self.runs().remove(run);
    }

    pub(super) fn has_own_script(&self, run: &RunId) -> bool {
        self.runs().get(run).is_some_and(|known| known.own_script)
    }

    /// The exit code with which it was said to have ended.
    pub(super) fn ended(&self, run: &RunId) -> Option<Option<i32>> {
        self.runs().get(run)?.ended
    }

    /// As [`Self::ended`], for an agent whose container may go on without it.
    pub(super) fn spent(&self, run: &RunId) -> Option<Option<i32>> {
        self.runs().get(run).filter(|known| known.own_script)?.ended
    }
}
