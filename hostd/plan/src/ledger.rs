//! What a host remembers across restarts: its last assignment and its slots.

use std::collections::{BTreeMap, BTreeSet};

use fleet_model::{AgentName, Assignment, At, GroupName, Order, PoolName, RuntimeKind};
use serde::{Deserialize, Serialize};

/// The ledger. hostd stores it before it acts on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Highest order ever taken; an older one is refused.
    pub highest: Order,
    /// The last assignment: kept to, however long the coordinator is away.
    pub assignment: Option<Assignment>,
    /// Pools that the newest assignment no longer names, although they have slots here: kept as
    /// they last were.
    pub orphaned: BTreeSet<PoolName>,
    /// All slots.
    pub slots: BTreeMap<AgentName, Slot>,
}

/// A numbered place of an agent in a pool on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Its pool.
    pub pool: PoolName,
    /// Its group.
    pub group: GroupName,
    /// Its number, unique per pool on this host.
    pub number: u16,
    /// What keeps it; a slot never changes it.
    pub runtime: RuntimeKind,
    /// The last attempt used. Written before the run is made, so that no two runs share a name.
    pub attempt: u32,
    /// hostd holds the registration's files.
    pub registered: bool,
    /// Its row at Azure, where known.
    pub row: Option<RowId>,
    /// What is wanted of it.
    pub role: Role,
    /// Written before Azure is asked to disable it: such a disable is ours to undo.
    pub disabled_by_us: bool,
    /// How far its removal is; none while it is kept.
    pub removal: Option<Removal>,
    /// Its last run ended without saying goodbye: Azure may hold its session for minutes.
    pub unclean_since: Option<At>,
    /// Failures in a row.
    pub failures: u32,
    /// Not started again before.
    pub retry_at: Option<At>,
    /// Why it last failed.
    pub failed_why: String,
    /// It was told to update and restarted for it: a second time in a row is no update any more.
    pub updates: u32,
}

/// A row at Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowId {
    /// The Azure pool.
    pub pool_id: i64,
    /// The agent in it.
    pub agent_id: i64,
}

/// What is wanted of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// An agent runs in it.
    Run,
    /// No agent, but its registration stays as the pool's last one.
    Hold,
    /// It goes.
    Remove,
}

/// The steps of a removal, in order. Each is stored before the next begins, each may be repeated.
///
/// ```text
///   Disabling ─► Watching ─► Settling ─► Checking ─► Stopping ─► Releasing ─► (slot forgotten)
///                  ▲  ▲          │           │           │
///                  │  └─ request ┘   worker ─┘           │
///                  └───────── worker after all ──────────┘
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Removal {
    /// Azure is asked to give it no more jobs.
    Disabling,
    /// Its row is read until it holds no request.
    Watching,
    /// The first clear read was at that time; the second comes one settle time later.
    Settling {
        /// When the row was first read without a request.
        clear_since: At,
    },
    /// The second clear read was made; the process list decides.
    Checking,
    /// It is drained and may be stopped. The listener is asked to end.
    Stopping {
        /// When it was asked; the ask is repeated after a minute.
        asked: Option<At>,
    },
    /// No run is left. The row is deleted, or kept enabled and offline when the slot is held.
    Releasing,
    /// Row and runs are gone, or the row is held: only the slot's own things are left.
    Released,
}

impl Slot {
    /// A slot that never ran.
    pub fn new(pool: PoolName, group: GroupName, number: u16, runtime: RuntimeKind) -> Self {
        Self {
            pool,
            group,
            number,
            runtime,
            attempt: 0,
            registered: false,
            row: None,
            role: Role::Run,
            disabled_by_us: false,
            removal: None,
            unclean_since: None,
            failures: 0,
            retry_at: None,
            failed_why: String::new(),
            updates: 0,
        }
    }

    /// It holds the group's last registration and nothing else.
    pub fn is_placeholder(&self) -> bool {
        self.role == Role::Hold && self.removal == Some(Removal::Released)
    }
}
