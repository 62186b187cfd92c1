//! What is left over: rows of ours at Azure that no host keeps an agent for, and agents whose row is
//! gone.
//!
//! ```text
//!   a row ── no mark of this fleet ───────────────────────────► not ours: never touched
//!     └ ours ── a host says that it is its agent's ───────────► in use
//!        └ nobody's ── a job, a session, a host that is away, ► kept, and why
//!           │         or the last one that offers what it does
//!           └ offline for less than the age ──────────────────► waits
//!              └ else ────────────────────────────────────────► deleted, step by step
//!
//!   deleting:  disabled ──AZURE_STALE──► read anew: disabled, offline, free, not the last? ──► deleted
//! ```
//!
//! A missing word is never a reason to delete: only the host that is named in the mark can say that
//! it keeps no such agent, and only while it is in session; or an operator, by removing that host.
//! Agents without a row are their hosts' own to replace; here they are only named.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fleet_model::{
    AgentName, AgentStatus, Assigned, At, AzureTarget, HostName, OwnerMark, RowState,
};

use crate::fleet::{Fleet, HostEntry};

/// A row with its mark, and what it offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkedRow {
    /// Its name. A foreign one may be no agent's name of ours.
    pub agent: String,
    /// How it stands.
    pub state: RowState,
    /// The last flip between online and offline, else when it was made; none: Azure does not say.
    pub since: Option<At>,
    /// Whose it is; none: not of any fleet.
    pub owner: Option<OwnerMark>,
    /// What jobs may demand of it: see [`offers`].
    pub offers: BTreeMap<String, String>,
}

/// What a look for leftovers has to know beside the rows.
#[derive(Debug, Clone, Copy)]
pub struct Pass<'a> {
    /// This fleet's name.
    pub fleet: &'a str,
    /// Which Azure pool.
    pub azure: &'a AzureTarget,
    /// Hosts that operators removed.
    pub removed: &'a BTreeSet<HostName>,
    /// Rows that are on their way out already.
    pub going: &'a BTreeSet<i64>,
    /// How long a row must have been offline.
    pub age: Duration,
    /// No job will be queued for this pool any more: nothing has to be left of it.
    pub last_may_go: bool,
}

/// What was found in an Azure pool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tidiness {
    /// Rows with an agent of ours.
    pub in_use: u32,
    /// Rows that are not ours.
    pub foreign: u32,
    /// The rest, and agents without a row.
    pub leftovers: Vec<Leftover>,
}

/// A row without an agent, or an agent without a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// Its name.
    pub agent: String,
    /// The row's id; of an agent: the one that is gone.
    pub row: i64,
    /// The host that it belongs to, or belonged to.
    pub host: HostName,
    /// There is an agent, and no row.
    pub row_is_gone: bool,
    /// Of a row, since when it has been as it is.
    pub since: Option<At>,
    /// What becomes of it.
    pub verdict: Verdict,
    /// In words.
    pub why: String,
}

/// What becomes of a leftover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The row is to be deleted.
    Delete,
    /// It is on its way out.
    Going,
    /// It is looked at again then.
    Wait(At),
    /// It stays.
    Keep,
    /// Its host replaces the agent.
    Replace,
}

impl Fleet {
    /// Looks through all rows of an Azure pool.
    pub fn tidy(&self, pass: &Pass<'_>, rows: &[MarkedRow], now: At) -> Tidiness {
        let mut tidiness = Tidiness::default();
        let (ids, names) = self.kept(pass.azure);
        let mut candidates = Vec::new();
        for row in rows {
            let ours = row.owner.as_ref().filter(|owner| owner.fleet == pass.fleet);
            if ids.contains(&row.state.agent_id) || names.contains(row.agent.as_str()) {
                tidiness.in_use += 1;
            } else if let Some(owner) = ours {
                candidates.push((row, owner));
            } else {
                tidiness.foreign += 1;
            }
        }
        let mut stock = Stock::of(rows, pass.going);
        for (row, owner) in candidates {
            let (verdict, why) = self.judge(pass, row, owner, &mut stock, now);
            tidiness.leftovers.push(Leftover {
                agent: row.agent.clone(),
                row: row.state.agent_id,
                host: owner.host.clone(),
                row_is_gone: false,
                since: row.since,
                verdict,
                why,
            });
        }
        let there: BTreeSet<i64> = rows.iter().map(|row| row.state.agent_id).collect();
        tidiness.leftovers.extend(self.without_row(pass.azure, &there));
        tidiness
    }

    /// Rows that hosts say are their agents', by id and by name: one that registers has no id yet.
    fn kept(&self, azure: &AzureTarget) -> (BTreeSet<i64>, BTreeSet<&str>) {
        let (mut ids, mut names) = (BTreeSet::new(), BTreeSet::new());
        for (_, _, agent) in self.agents() {
            // Of a pool that is not known it could be any.
            if self.pools.get(&agent.pool).is_none_or(|pool| pool.spec.azure == *azure) {
                ids.extend(agent.agent_id);
                names.insert(agent.agent.as_str());
            }
        }
        (ids, names)
    }

    /// A row of ours that no host speaks for.
    fn judge<'r>(
        &self,
        pass: &Pass<'_>,
        row: &'r MarkedRow,
        owner: &OwnerMark,
        stock: &mut Stock<'r>,
        now: At,
    ) -> (Verdict, String) {
        if pass.going.contains(&row.state.agent_id) {
            return (Verdict::Going, "it is being deleted".into());
        }
        if let Some(Assigned { request_id: request, job, .. }) = &row.state.assigned {
            return (Verdict::Keep, format!("it holds request {request} ({job})"));
        }
        if row.state.online {
            let why = format!("a listener of it runs somewhere: look for it on {}", owner.host);
            return (Verdict::Keep, why);
        }
        let whose = match self.nobodys(pass, &owner.host) {
            Ok(whose) => whose,
            Err(why) => return (Verdict::Keep, why),
        };
        let Some(since) = row.since else {
            return (Verdict::Keep, format!("{whose}; since when it is offline is not known"));
        };
        if now.since(since) < pass.age {
            return (
                Verdict::Wait(since + pass.age),
                format!("{whose}; not offline for long enough"),
            );
        }
        if !pass.last_may_go && !stock.spare(row) {
            let why = "jobs that demand what only it offers would fail instead of waiting";
            return (Verdict::Keep, format!("{whose}; but {why}"));
        }
        (Verdict::Delete, whose)
    }

    /// Why no host has an agent for the row; or why that is not known.
    fn nobodys(&self, pass: &Pass<'_>, host: &HostName) -> Result<String, String> {
        match self.hosts.get(host) {
            Some(entry) if entry.in_session && entry.reported => {
                Ok(format!("host {host} has no such agent"))
            }
            Some(entry) => {
                Err(format!("host {host} is {}: only it knows its agents", entry.state()))
            }
            None if pass.removed.contains(host) => Ok(format!("host {host} was removed")),
            None => Err(format!("host {host} is not known here: it may be one of an older store")),
        }
    }

    fn without_row(&self, azure: &AzureTarget, there: &BTreeSet<i64>) -> Vec<Leftover> {
        let in_pool = |agent: &AgentStatus| {
            self.pools.get(&agent.pool).is_some_and(|pool| pool.spec.azure == *azure)
        };
        let here = self.agents().filter(|(_, _, agent)| in_pool(agent));
        here.filter_map(|(host, entry, agent)| {
            let row = agent.agent_id.filter(|id| !there.contains(id))?;
            let (verdict, why) = what_its_host_does(host, entry, agent);
            Some(Leftover {
                agent: agent.agent.to_string(),
                row,
                host: host.clone(),
                row_is_gone: true,
                since: None,
                verdict,
                why,
            })
        })
        .collect()
    }
}

fn what_its_host_does(
    host: &HostName,
    entry: &HostEntry,
    agent: &AgentStatus,
) -> (Verdict, String) {
    if agent.placeholder {
        let pool = &agent.pool;
        let why = "its row is gone, which was the last one: jobs fail instead of waiting";
        return (Verdict::Keep, format!("{why}; `agentctl scale {pool} 1` makes another"));
    }
    if entry.in_session {
        let why = "its row is gone; when that lasts and it has no job, its host replaces it";
        return (Verdict::Replace, why.into());
    }
    (Verdict::Keep, format!("its row is gone, and host {host} is {}", entry.state()))
}

/// Rows by what they offer. A job whose demands nobody meets is not queued but fails, and offline
/// agents meet them too: so the last one of each kind stays.
struct Stock<'r> {
    offers: BTreeMap<&'r BTreeMap<String, String>, u32>,
}

impl<'r> Stock<'r> {
    /// All that stay: who is disabled may soon be no more.
    fn of(rows: &'r [MarkedRow], going: &BTreeSet<i64>) -> Self {
        let mut offers = BTreeMap::new();
        let stays = |row: &&MarkedRow| row.state.enabled && !going.contains(&row.state.agent_id);
        for row in rows.iter().filter(stays) {
            *offers.entry(&row.offers).or_default() += 1;
        }
        Self { offers }
    }

    /// Takes a row out, if another one offers all that it does.
    fn spare(&mut self, row: &'r MarkedRow) -> bool {
        let own = u32::from(row.state.enabled);
        let covered = self.offers.iter().any(|(offers, count)| {
            let others = count - if **offers == row.offers { own.min(*count) } else { 0 };
            others > 0 && row.offers.iter().all(|(name, value)| offers.get(name) == Some(value))
        });
        if covered
            && own > 0
            && let Some(count) = self.offers.get_mut(&row.offers)
        {
            *count = count.saturating_sub(1);
        }
        covered
    }
}

/// Of a row's capabilities those that a job may be after: what names the agent, its machine, its user
/// or its version tells one agent from another of the same kind, and is left out.
pub fn offers<'a>(
    capabilities: impl Iterator<Item = (&'a String, &'a String)>,
) -> BTreeMap<String, String> {
    const PERSONAL: [&str; 19] = [
        "_",
        "agent.computername",
        "agent.homedirectory",
        "agent.name",
        "agent.osversion",
        "agent.version",
        "fleet_owner",
        "home",
        "hostname",
        "invocation_id",
        "journal_stream",
        "logname",
        "oldpwd",
        "path",
        "pwd",
        "shlvl",
        "systemd_exec_pid",
        "user",
        "vso_agent_ignore",
    ];
    capabilities
        .map(|(name, value)| (name.to_ascii_lowercase(), value.clone()))
        .filter(|(name, _)| !PERSONAL.contains(&name.as_str()))
        .collect()
}

/// What to do next with a row that is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowStep {
    /// It is not there any more.
    Gone,
    /// Nothing now.
    Leave,
    /// It may have jobs again: an agent was found for it.
    Enable,
    /// It has an agent, and nothing is left to undo.
    Release,
    /// It is to get no more jobs.
    Disable,
    /// It may be read anew, and then deleted.
    Delete,
}

/// Whether a host has an agent for a row that was on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// None does.
    Nobody,
    /// One does.
    Kept,
    /// One does, and the row may have been disabled for us.
    Undo,
}

/// The next step for a row that is on its way out, from a list that Azure was asked for.
///
/// `disabled_for`: how long before the list was asked for this coordinator knew it disabled; none: it
/// did not. `stale`: how old Azure's answers may be.
pub fn next_step(
    row: Option<&RowState>,
    claim: Claim,
    disabled_for: Option<Duration>,
    stale: Duration,
) -> RowStep {
    let Some(row) = row else { return RowStep::Gone };
    match (claim, row.enabled) {
        (Claim::Undo, false) => RowStep::Enable,
        (Claim::Undo | Claim::Kept, _) => RowStep::Release,
        // A session or a job: somebody lives there after all.
        (Claim::Nobody, _) if !row.is_quiet() => RowStep::Leave,
        (Claim::Nobody, true) => RowStep::Disable,
        (Claim::Nobody, false) if disabled_for.is_some_and(|time| time >= stale) => RowStep::Delete,
        (Claim::Nobody, false) => RowStep::Leave,
    }
}

/// Of rows that are due to be deleted, by a list that was just read with their capabilities: those
/// that may go now.
pub fn may_go(
    rows: &[MarkedRow],
    due: &BTreeSet<i64>,
    going: &BTreeSet<i64>,
    last_may_go: bool,
) -> BTreeSet<i64> {
    let mut stock = Stock::of(rows, going);
    let free = |row: &&MarkedRow| {
        due.contains(&row.state.agent_id) && !row.state.enabled && row.state.is_quiet()
    };
    rows.iter()
        .filter(free)
        .filter(|row| last_may_go || stock.spare(row))
        .map(|row| row.state.agent_id)
        .collect()
}

impl Fleet {
    /// A row that looks as if nobody kept an agent for it: worth a look at its mark.
    pub fn has_strangers(&self, azure: &AzureTarget, rows: &BTreeMap<AgentName, RowState>) -> bool {
        let (ids, names) = self.kept(azure);
        rows.iter().any(|(name, row)| {
            row.is_quiet() && !ids.contains(&row.agent_id) && !names.contains(name.as_str())
        })
    }
}

#[cfg(test)]
#[path = "janitor_tests.rs"]
mod tests;
