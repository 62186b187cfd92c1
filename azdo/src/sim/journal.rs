//! The journal: everything that matters, in order, and the figures tests ask for.
//!
//! Entries are kept for good; the counts and maxima restart at a mark, so that a test can look at
//! one stretch (the fault, the scale-down) by itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Kind {
    PoolCreated,
    PoolDeleted,
    AgentRegistered,
    AgentReplaced,
    AgentDeleted,
    /// A delete met an assigned request, whether refused or obeyed.
    AgentDeleteWhileBusy,
    AgentEnabled,
    AgentDisabled,
    AgentUpdateRequested,
    AgentUpdateState,
    SessionCreated,
    SessionDeleted,
    SessionExpired,
    /// Ended by the control API.
    SessionKilled,
    SessionConflict,
    TokenIssued,
    TokenRefused,
    JobQueued,
    JobAssigned,
    /// Assigned, never received, and back in the queue since the session was closed cleanly.
    JobRequeued,
    JobReceived,
    JobFinished,
    JobCancelled,
    JobAbandoned,
    JobCancelRequested,
    FaultSet,
    FaultsCleared,
    Mark,
}

/// Whom or what an entry is about; absent where it does not apply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct About {
    /// Pool name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Agent name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Agent id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<i64>,
    /// Request id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<i64>,
    /// Anything else worth knowing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl About {
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Position, from 1.
    pub seq: u64,
    /// The simulator's time.
    pub at: Timestamp,
    /// What happened.
    pub kind: Kind,
    /// To whom.
    #[serde(flatten)]
    pub about: About,
}

/// The journal and what is counted since the last mark.
#[derive(Debug, Default)]
pub struct Journal {
    entries: Vec<Entry>,
    marked_at: u64,
    counts: BTreeMap<Kind, u64>,
    results: BTreeMap<String, u64>,
    requests: BTreeMap<String, u64>,
    /// Ever, marks or not.
    requests_ever: u64,
    rows_max: BTreeMap<String, usize>,
}

impl Journal {
    pub(crate) fn add(&mut self, at: Timestamp, kind: Kind, about: About) {
        *self.counts.entry(kind).or_default() += 1;
        self.entries.push(Entry { seq: self.entries.len() as u64 + 1, at, kind, about });
    }

    pub(crate) fn count_request(&mut self, endpoint: String) {
        self.requests_ever += 1;
        *self.requests.entry(endpoint).or_default() += 1;
    }

    pub(crate) fn count_result(&mut self, result: &str) {
        *self.results.entry(result.to_owned()).or_default() += 1;
    }

    /// Keeps the largest number of rows a pool ever showed at once.
    pub(crate) fn rows(&mut self, pool: &str, rows: usize) {
        let max = self.rows_max.entry(pool.to_owned()).or_default();
        *max = (*max).max(rows);
    }

    /// Starts a new stretch: counts at zero, maxima to be learned anew.
    pub(crate) fn mark(&mut self, at: Timestamp, note: &str) {
        self.add(at, Kind::Mark, About::default().note(note));
        self.marked_at = self.last_seq();
        self.counts.clear();
        self.results.clear();
        self.requests.clear();
        self.rows_max.clear();
    }

    /// Number of the newest entry; 0 when there is none.
    pub fn last_seq(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Number of the entry at the last mark.
    pub fn marked_at(&self) -> u64 {
        self.marked_at
    }

    /// Entries after this number.
    pub fn since(&self, seq: u64) -> &[Entry] {
        let from = usize::try_from(seq).unwrap_or(usize::MAX).min(self.entries.len());
        self.entries.get(from..).unwrap_or_default()
    }

    /// How often, since the mark.
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    pub(crate) fn result(&self, result: &str) -> u64 {
        self.results.get(result).copied().unwrap_or(0)
    }

    pub(crate) fn requests_ever(&self) -> u64 {
        self.requests_ever
    }

    pub(crate) fn requests(&self) -> &BTreeMap<String, u64> {
        &self.requests
    }

    pub(crate) fn rows_max(&self, pool: &str) -> usize {
        self.rows_max.get(pool).copied().unwrap_or(0)
    }
}
