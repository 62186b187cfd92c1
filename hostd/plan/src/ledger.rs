//! What a host remembers across restarts: its last assignment and its slots.

use std::collections::{BTreeMap, BTreeSet};

use fleet_model::{
    AgentName, Assignment, At, GroupName, Order, PoolAssignment, PoolName, Quarantine, RuntimeKind,
    Wanted, numbers::AZURE_STALE,
};
use serde::{Deserialize, Serialize};

use crate::pause::Pause;

/// The ledger. hostd stores it before it acts on it. What a newer hostd added has a default, so that
/// the ledger of an older one is read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ledger {
    /// Highest order ever taken; an older one is refused.
    pub highest: Order,
    /// The last assignment: kept to, however long the coordinator is away.
    pub assignment: Option<Assignment>,
    /// Pools that the newest assignment no longer names, although they have slots here: kept as
    /// they last were.
    pub orphaned: BTreeSet<PoolName>,
    /// The same of single groups, by pool: the newest assignment names the pool, and of this group
    /// says neither that it is wanted nor that it is gone.
    #[serde(default)]
    pub orphaned_groups: BTreeMap<PoolName, BTreeSet<GroupName>>,
    /// The highest attempt of any slot that was forgotten. A new slot counts on from there: late news
    /// of a run must not be taken for news of another one under the same name.
    #[serde(default)]
    pub attempts_used: u32,
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
    /// That attempt was asked for, and nothing was heard of it: perhaps it was made. Under the same
    /// name it is found; under a new one it would be a second run of the same agent.
    #[serde(default)]
    pub start_unheard: bool,
    /// hostd holds the registration's files.
    pub registered: bool,
    /// Its row at Azure, where known.
    pub row: Option<RowId>,
    /// What is wanted of it.
    pub role: Role,
    /// A run was to register, and what row it made, if any, is not known yet.
    #[serde(default)]
    pub row_unsure: bool,
    /// A read of the row that is asked before then decides nothing: it may show what was before the
    /// row came to be, or an earlier disable than the one that counts.
    #[serde(default)]
    pub reads_count_from: At,
    /// Written before Azure is asked to disable it: such a disable is ours to undo.
    pub disabled_by_us: bool,
    /// How far its removal is; none while it is kept.
    pub removal: Option<Removal>,
    /// Written before its run is asked to end: that run goes, whatever is wanted meanwhile, for a
    /// job given to it would die with it.
    #[serde(default)]
    pub stop_begun: bool,
    /// It goes, or went, without Azure's word: by whose leave and why. Until Azure answers.
    #[serde(default)]
    pub forced_why: Option<String>,
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
    /// Its last failures that may be its own fault; too many within a while lead into quarantine.
    #[serde(default)]
    pub failed_at: Vec<At>,
    /// Its run is to be replaced.
    #[serde(default)]
    pub renewal: Option<Renewal>,
    /// It is to be kept aside.
    #[serde(default)]
    pub quarantine: Option<Quarantine>,
    /// It takes no jobs for a while. Written before its row is disabled for it.
    #[serde(default)]
    pub pause: Option<Pause>,
}

/// Why a run is replaced by a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Renewal {
    /// An operator asked for it: who and why.
    Asked(String),
    /// It is not well: what is wrong.
    Ill(String),
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
    /// The same, but its present run goes first, as in a removal; row and slot stay.
    Renew,
    /// No agent: it is kept aside with what is left of it, its row disabled.
    Quarantine,
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
///
/// While Azure does not answer, and with an operator's leave only, [`Removal::Unheard`] leads from
/// the first three to Stopping.
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
    /// Azure does not answer, an operator gave leave, and the process list showed no worker. So it
    /// must again one settle time later.
    Unheard {
        /// When it first showed none.
        free_since: At,
    },
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

impl Ledger {
    /// It says something new that must outlive damage to its newest file, because others go by it
    /// already: a newer order, a disable at Azure that is ours to undo, a run that was asked to end.
    /// Whatever else the last store said can be seen anew, or is asked for again under the same name.
    pub fn must_outlive_damage(&self, stored: &Ledger) -> bool {
        let promised = |slot: &Slot| (slot.disabled_by_us, slot.stop_begun);
        let news = |(agent, slot): (&AgentName, &Slot)| {
            let (disabled, stopped) = promised(slot);
            let before = stored.slots.get(agent).map(promised).unwrap_or_default();
            (disabled && !before.0) || (stopped && !before.1)
        };
        self.highest > stored.highest || self.slots.iter().any(news)
    }

    /// The last store was lost, and this is the one before. What it asked of Azure then is not known:
    /// what Azure says counts when it is newer than that can be.
    pub fn is_behind(&mut self, now: At) {
        for slot in self.slots.values_mut().filter(|slot| slot.row.is_some()) {
            slot.row_changed(now);
        }
    }

    /// A group of `before` of which `newer` says nothing is unknown to the coordinator, not unwanted
    /// (its store may be older than the group): while it has slots here, it goes on as it was.
    pub(crate) fn keep_unnamed_groups(
        &mut self,
        pool: &PoolName,
        before: PoolAssignment,
        newer: &mut PoolAssignment,
    ) {
        let (Wanted::Groups(before), Wanted::Groups(groups)) = (before.wanted, &mut newer.wanted)
        else {
            return;
        };
        for (name, group) in before {
            let of_it = |slot: &Slot| slot.pool == *pool && slot.group == name;
            let unsaid = !groups.contains_key(&name) && !newer.gone_groups.contains(&name);
            if unsaid && self.slots.values().any(of_it) {
                self.orphaned_groups.entry(pool.clone()).or_default().insert(name.clone());
                groups.insert(name, group);
            }
        }
    }
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
            start_unheard: false,
            registered: false,
            row: None,
            row_unsure: false,
            reads_count_from: At(0),
            role: Role::Run,
            disabled_by_us: false,
            removal: None,
            stop_begun: false,
            forced_why: None,
            unclean_since: None,
            failures: 0,
            retry_at: None,
            failed_why: String::new(),
            updates: 0,
            failed_at: Vec::new(),
            renewal: None,
            quarantine: None,
            pause: None,
        }
    }

    /// Why its run goes although the slot stays.
    pub(crate) fn whither(&self) -> Option<String> {
        match (self.role, &self.renewal, &self.quarantine) {
            (Role::Renew, Some(Renewal::Asked(by)), _) => Some(format!("restarted by {by}")),
            (Role::Renew, Some(Renewal::Ill(why)), _) => Some(format!("replaced, {why}")),
            (Role::Quarantine, _, Some(quarantine)) => {
                Some(format!("into quarantine, {}", quarantine.why))
            }
            _ => None,
        }
    }

    /// There is reason to expect that its next start goes better than the last ones.
    pub(crate) fn starts_afresh(&mut self) {
        self.failed_at.clear();
        self.failures = 0;
        self.retry_at = None;
    }

    /// hostd was away, for a moment or for days: what it saw of row and worker before does not
    /// allow a stop any more. The removal looks anew.
    pub(crate) fn evidence_lapses(&mut self) {
        self.removal = match self.removal {
            Some(Removal::Settling { .. } | Removal::Checking | Removal::Stopping { .. }) => {
                Some(Removal::Watching)
            }
            Some(Removal::Unheard { .. }) => Some(Removal::Disabling),
            other => other,
        };
    }

    /// The registration that hostd holds on disk, if any, names this row. The file is what a run can
    /// be started with, so it decides, whatever the ledger says.
    pub fn holds(&mut self, registration: Option<RowId>) {
        self.registered = registration.is_some();
        if let Some(row) = registration {
            self.row = Some(row);
            self.row_unsure = false;
        }
    }

    /// Its row is this one.
    pub(crate) fn row_is(&mut self, row: RowId, now: At) {
        self.row_unsure = false;
        if self.row != Some(row) {
            self.row = Some(row);
            self.row_changed(now);
        }
    }

    /// Its row was made or enabled, at the latest now: what Azure says until its answers are newer
    /// than that does not count.
    pub(crate) fn row_changed(&mut self, now: At) {
        self.reads_count_from = now + AZURE_STALE;
    }

    /// A run is gone that may have registered without a word: what Azure says of the row counts when
    /// it cannot be older than that.
    pub(crate) fn may_have_registered(&mut self, now: At) {
        if self.row_unsure {
            self.row_changed(now);
        }
    }

    /// It holds the group's last registration and nothing else.
    pub fn is_placeholder(&self) -> bool {
        self.role == Role::Hold && self.removal == Some(Removal::Released)
    }
}
