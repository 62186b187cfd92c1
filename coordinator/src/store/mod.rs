//! What the coordinator must not forget: objects with compare-and-swap, and the log of events.
//!
//! The seam is as small as what several coordinators on a replicated key-value store need too: an
//! object is `(kind, id)` with a revision and a body, a batch of changes holds as a whole or not at
//! all, and each change names the revision it was decided on. Nobody above this seam knows files.

mod memory;
mod sqlite;
mod sqlite_rows;

use std::{borrow::Cow, path::Path};

use async_trait::async_trait;
use fleet_model::At;

pub use memory::MemoryStore;
pub use sqlite::SqliteStore;

/// A stored object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// What sort of thing it is; see [`crate::records`].
    pub kind: String,
    /// Unique within its kind.
    pub id: String,
    /// Raised by one with each change; the first is 1.
    pub rev: u64,
    /// JSON.
    pub body: Vec<u8>,
}

/// What the writer believes of an object that it is about to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// There is none yet.
    Absent,
    /// It has this revision.
    Rev(u64),
}

/// A new body for an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// What sort of thing it is.
    pub kind: &'static str,
    /// Unique within its kind.
    pub id: String,
    /// What it replaces.
    pub expected: Expected,
    /// JSON.
    pub body: Vec<u8>,
}

/// The end of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// What sort of thing it is.
    pub kind: &'static str,
    /// Unique within its kind.
    pub id: String,
    /// The revision that is deleted.
    pub expected: u64,
}

/// A line for the fleet's history. Empty texts where something does not apply.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewEvent {
    /// When.
    pub at: At,
    /// A short fixed word such as `pool.scaled`.
    pub kind: Cow<'static, str>,
    /// Who did it: an operator, a host, or `coordinator`.
    pub actor: String,
    /// About this pool.
    pub pool: String,
    /// About this host.
    pub host: String,
    /// About this agent.
    pub agent: String,
    /// What changed and why, in words.
    pub message: String,
}

/// An event as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the log; rises, with gaps allowed.
    pub seq: u64,
    /// When.
    pub at: At,
    /// A short fixed word.
    pub kind: String,
    /// Who did it.
    pub actor: String,
    /// About this pool.
    pub pool: String,
    /// About this host.
    pub host: String,
    /// About this agent.
    pub agent: String,
    /// In words.
    pub message: String,
}

/// Changes that hold together or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// New bodies. An object occurs at most once in a batch.
    pub puts: Vec<Put>,
    /// Objects that end.
    pub deletes: Vec<Delete>,
    /// What to write into the history.
    pub events: Vec<NewEvent>,
}

impl Batch {
    /// Nothing would change.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.deletes.is_empty() && self.events.is_empty()
    }
}

/// A batch that is safe on disk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Committed {
    /// New revisions, in the order of the puts.
    pub revs: Vec<u64>,
    /// The newest event of the log; 0 when it never had one.
    pub last_seq: u64,
}

/// Which end of the log a query with a limit keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// The oldest that match, for reading on from a known place.
    #[default]
    Oldest,
    /// The newest that match, for a first look.
    Newest,
}

/// Which events to read. The answer is in rising order in any case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventQuery {
    /// Only events behind this one.
    pub after: u64,
    /// Only events from this moment on.
    pub since: Option<At>,
    /// At most so many.
    pub limit: usize,
    /// Which ones, when more match.
    pub keep: Keep,
    /// Only of this pool.
    pub pool: Option<String>,
    /// Only of this host.
    pub host: Option<String>,
    /// Only of this agent.
    pub agent: Option<String>,
}

/// Why the store did not do as asked. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed the object since it was read.
    #[error("{kind} {id:?} was changed meanwhile")]
    Conflict {
        /// Sort of the object.
        kind: String,
        /// Which one.
        id: String,
    },
    /// The store was written by a newer program.
    #[error(
        "the store has layout {found}, this program knows up to {known}; install the newer version again, or restore a backup made with this one"
    )]
    Newer {
        /// Layout found.
        found: i64,
        /// Newest layout known.
        known: i64,
    },
    /// The store's content is broken.
    #[error(
        "the store is damaged ({detail}); stop the coordinator, keep the broken files, restore a backup, then run `coordinator recover`"
    )]
    Damaged {
        /// What the check said.
        detail: String,
    },
    /// There is no store where one is needed.
    #[error("there is no store at {path}; `coordinator init` makes one")]
    Missing {
        /// Where it was looked for.
        path: String,
    },
    /// It could not be read or written.
    #[error("cannot {what} the store; check the disk's space and the directory's rights")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Its writer has ended, as it does at shutdown.
    #[error("the store is closed")]
    Closed,
}

/// Objects with compare-and-swap, and an event log.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Every object, ordered by kind and id.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn load_all(&self) -> Result<Vec<Object>, StoreError>;

    /// Makes a batch durable. When this returns `Ok`, no crash undoes it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an object is not as expected; nothing is changed on any error.
    async fn commit(&self, batch: Batch) -> Result<Committed, StoreError>;

    /// Events that match, in rising order.
    ///
    /// # Errors
    /// When it cannot be read.
    async fn events(&self, query: EventQuery) -> Result<Vec<StoredEvent>, StoreError>;

    /// Forgets events older than `before`; says how many. The numbering goes on.
    ///
    /// # Errors
    /// When it cannot be written.
    async fn prune_events(&self, before: At) -> Result<u64, StoreError>;

    /// Writes a consistent copy while work goes on. `to` must not exist.
    ///
    /// # Errors
    /// When the copy cannot be written.
    async fn backup(&self, to: &Path) -> Result<(), StoreError>;

    /// Does what is still waiting and comes to rest: whoever copies the store afterwards has all of
    /// it. Later calls are refused with [`StoreError::Closed`].
    ///
    /// # Errors
    /// When it cannot be written.
    async fn close(&self) -> Result<(), StoreError>;
}

impl NewEvent {
    /// An event of that kind by that actor.
    pub fn new(at: At, kind: impl Into<Cow<'static, str>>, actor: impl Into<String>) -> Self {
        Self { at, kind: kind.into(), actor: actor.into(), ..Self::default() }
    }

    /// About a pool.
    #[must_use]
    pub fn pool(mut self, pool: &impl ToString) -> Self {
        self.pool = pool.to_string();
        self
    }

    /// About a host.
    #[must_use]
    pub fn host(mut self, host: &impl ToString) -> Self {
        self.host = host.to_string();
        self
    }

    /// About an agent.
    #[must_use]
    pub fn agent(mut self, agent: &impl ToString) -> Self {
        self.agent = agent.to_string();
        self
    }

    /// In words.
    #[must_use]
    pub fn says(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }
}
