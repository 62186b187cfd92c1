//! Looking for what is left over at Azure, by an operator's wish or now and then; what may go is
//! written down here, and taken away by the watcher.
//!
//! ```text
//!   operator, or rows of nobody ─► wish ─► watcher lists rows with their marks ─► Fleet::tidy
//!        answer ◄── each row with its verdict and why ◄──────────────────────────────┤
//!        (not in a dry run)  Orphan stored, with an event ◄── Verdict::Delete ◄───────┘
//!                                     └─► watcher: disable, look again, delete ─► forgotten
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use coordinator_plan::{Leftover, MarkedRow, Pass, Tidiness, Verdict};
use fleet_model::{At, AzureTarget, HostName, PoolName};
use fleet_proto::{convert::timestamp, v1};

use super::{
    denied::Denied,
    event::{Reply, RowEnd},
    state::{SELF, State},
    turn::Turn,
};
use crate::{
    records::{ORPHAN, Orphan},
    store::NewEvent,
};

/// Less than the limit of an answer: what is known by then is said.
const PATIENCE: Duration = Duration::from_secs(15);

/// Wishes, and who waits for them.
#[derive(Default)]
pub(crate) struct Janitor {
    last: u64,
    numbers: BTreeMap<PoolName, u64>,
    /// When each pool was last looked through.
    looked: BTreeMap<PoolName, At>,
    wishes: Vec<Wish>,
}

struct Wish {
    number: u64,
    since: At,
    /// Pools that were not looked through yet.
    left: BTreeSet<PoolName>,
    found: Vec<v1::TidyPool>,
    /// In whose name rows go; none: nothing is done.
    by: Option<String>,
    /// None: it is ours.
    reply: Option<Reply<Vec<v1::TidyPool>>>,
}

impl Janitor {
    /// For each pool the number of the newest wish.
    pub(crate) fn numbers(&self) -> &BTreeMap<PoolName, u64> {
        &self.numbers
    }

    fn wish(
        &mut self,
        left: BTreeSet<PoolName>,
        by: Option<String>,
        reply: Option<Reply<Vec<v1::TidyPool>>>,
        now: At,
    ) {
        self.last += 1;
        let number = self.last;
        self.numbers.extend(left.iter().map(|pool| (pool.clone(), number)));
        self.wishes.push(Wish { number, since: now, left, found: Vec::new(), by, reply });
        self.answer();
    }

    /// Wishes that are fulfilled are answered.
    fn answer(&mut self) {
        let (done, left): (Vec<Wish>, _) =
            std::mem::take(&mut self.wishes).into_iter().partition(|wish| wish.left.is_empty());
        self.wishes = left;
        for Wish { reply, found, .. } in done {
            // Whoever asked may have gone.
            let _ = reply.map(|reply| reply.send(Ok(found)));
        }
    }

    /// These pools were looked through for wishes up to `number`; in whose name rows go.
    fn fulfil(&mut self, pools: &[PoolName], number: u64, said: &v1::TidyPool) -> Option<String> {
        let mut by = None;
        for wish in self.wishes.iter_mut().filter(|wish| wish.number <= number) {
            if pools.iter().filter(|pool| wish.left.remove(*pool)).count() > 0 {
                wish.found.push(said.clone());
                // An operator's name says more than ours.
                by = wish.by.clone().filter(|_| wish.reply.is_some()).or(by).or(wish.by.clone());
            }
        }
        self.answer();
        by
    }
}

impl State {
    /// An operator asks.
    pub(crate) fn tidy(
        &mut self,
        pool: Option<&str>,
        dry_run: bool,
        by: String,
        reply: Reply<Vec<v1::TidyPool>>,
        turn: &mut Turn,
    ) {
        let pools = match self.pools_to_tidy(pool, dry_run) {
            Ok(pools) => pools,
            // Whoever asked may have gone.
            Err(denied) => return drop(reply.send(Err(denied))),
        };
        let by = Some(by).filter(|_| !dry_run);
        self.janitor.wish(pools, by, Some(reply), turn.now);
        turn.targets = true;
    }

    fn pools_to_tidy(
        &self,
        pool: Option<&str>,
        dry_run: bool,
    ) -> Result<BTreeSet<PoolName>, Denied> {
        if !dry_run {
            self.writable()?;
        }
        match pool {
            Some(name) => Ok([self.known_pool(name)?].into()),
            None => Ok(self.fleet.pool_names().cloned().collect()),
        }
    }

    /// Rows were listed: if some seem to be nobody's, their marks are wished for now and then.
    pub(crate) fn wish_for_marks(&mut self, pool: &PoolName, turn: &mut Turn) {
        // Right after the start no host has said what it has: all rows would be nobody's.
        let looked = *self.janitor.looked.entry(pool.clone()).or_insert(turn.now);
        if turn.now.since(looked) < self.settings.tidy_every || self.writable().is_err() {
            return;
        }
        self.janitor.looked.insert(pool.clone(), turn.now);
        let Some(view) = self.fleet.pool_view(pool) else { return };
        if self.fleet.has_strangers(&view.spec.azure, view.rows) {
            self.janitor.wish([pool.clone()].into(), Some(SELF.to_owned()), None, turn.now);
            turn.targets = true;
        }
    }

    /// The rows of an Azure pool with their marks.
    pub(crate) fn marked(
        &mut self,
        pools: &[PoolName],
        number: u64,
        rows: &[MarkedRow],
        turn: &mut Turn,
    ) {
        // The pools may have gone meanwhile.
        let views = || pools.iter().filter_map(|pool| self.fleet.pool_view(pool));
        let Some(azure) = views().map(|view| view.spec.azure.clone()).next() else { return };
        let last_may_go = views().all(|view| view.spec.deleted);
        let tidiness = self.look_through(&azure, last_may_go, rows, turn.now);
        let by = self.janitor.fulfil(pools, number, &said(pools, &tidiness));
        self.janitor.looked.extend(pools.iter().map(|pool| (pool.clone(), turn.now)));
        let Some(by) = by.filter(|_| self.writable().is_ok()) else { return };
        for leftover in tidiness.leftovers {
            if leftover.verdict == Verdict::Delete {
                self.give_up(&azure, pools, leftover, rows, &by, turn);
            }
        }
    }

    fn look_through(
        &self,
        azure: &AzureTarget,
        last_may_go: bool,
        rows: &[MarkedRow],
        now: At,
    ) -> Tidiness {
        let removed: BTreeSet<HostName> = self.book.removed.keys().cloned().collect();
        let here = self.book.orphans.values().filter(|orphan| orphan.azure == *azure);
        let going = here.map(|orphan| orphan.agent_id).collect();
        let pass = Pass {
            fleet: &self.book.meta.fleet,
            azure,
            removed: &removed,
            going: &going,
            age: self.settings.leftover_age,
            last_may_go,
        };
        self.fleet.tidy(&pass, rows, now)
    }

    /// From here on the row is the watcher's to take away.
    fn give_up(
        &mut self,
        azure: &AzureTarget,
        pools: &[PoolName],
        leftover: Leftover,
        rows: &[MarkedRow],
        by: &str,
        turn: &mut Turn,
    ) {
        // Ours by its mark, so its name was made by a host of ours.
        let (Ok(agent), Some(pool)) = (leftover.agent.parse(), self.pool_of(pools, &leftover))
        else {
            return;
        };
        let mut rows = rows.iter().filter(|row| row.state.agent_id == leftover.row);
        let orphan = Orphan {
            pool,
            azure: azure.clone(),
            agent_id: leftover.row,
            agent,
            host: leftover.host,
            why: leftover.why,
            was_enabled: rows.any(|row| row.state.enabled),
            claimed: false,
        };
        let said = format!("row {} is to be deleted: {}", orphan.agent_id, orphan.why);
        let event = NewEvent::new(turn.now, "azure.row-given-up", by).pool(&orphan.pool);
        turn.event(event.host(&orphan.host).agent(&orphan.agent).says(said));
        turn.changes.put(ORPHAN, orphan.id(), &orphan);
        self.book.orphans.insert(orphan.id(), orphan);
        turn.targets = true;
    }

    /// Of pools that share an Azure pool the one whose agents are called so.
    fn pool_of(&self, pools: &[PoolName], leftover: &Leftover) -> Option<PoolName> {
        let called = |pool: &&PoolName| {
            let prefix = self.fleet.pool_view(pool).map(|view| view.spec.prefix.to_string());
            prefix.is_some_and(|prefix| leftover.agent.starts_with(&format!("{prefix}-")))
        };
        pools.iter().find(called).or(pools.first()).cloned()
    }

    /// Hosts have agents for rows that were to go: they stay, and are made as they were.
    pub(crate) fn claim_rows(&mut self, whose: impl Fn(&Orphan) -> bool, turn: &mut Turn) {
        for (id, orphan) in &mut self.book.orphans {
            if !orphan.claimed && whose(orphan) {
                orphan.claimed = true;
                turn.changes.put(ORPHAN, id, orphan);
                turn.targets = true;
            }
        }
    }

    /// Rows that a host says are its agents'.
    pub(crate) fn claim_rows_of(&mut self, host: &HostName, turn: &mut Turn) {
        if self.book.orphans.is_empty() {
            return;
        }
        let Some(entry) = self.fleet.host(host) else { return };
        let pool = |agent: &fleet_model::AgentStatus| {
            let view = self.fleet.pool_view(&agent.pool)?;
            Some((agent.agent_id?, view.spec.azure.clone()))
        };
        let kept: BTreeSet<(i64, AzureTarget)> = entry.agents.values().filter_map(pool).collect();
        self.claim_rows(|row| kept.contains(&(row.agent_id, row.azure.clone())), turn);
    }

    /// A row that was to go is gone, or stays.
    pub(crate) fn forget_orphan(&mut self, id: &str, end: RowEnd, turn: &mut Turn) {
        let Some(orphan) = self.book.orphans.remove(id) else { return };
        turn.changes.delete(ORPHAN, id);
        let (kind, how) = match end {
            RowEnd::Deleted => ("azure.row-deleted", "was deleted"),
            RowEnd::Gone => ("azure.row-deleted", "was gone already"),
            RowEnd::Kept => ("azure.row-kept", "stays, it has an agent"),
        };
        let why = match orphan.why.as_str() {
            "" => format!("host {} was removed", orphan.host),
            why => why.to_owned(),
        };
        let said = format!("row {} {how} ({why})", orphan.agent_id);
        let event = NewEvent::new(turn.now, kind, SELF).pool(&orphan.pool);
        turn.event(event.host(&orphan.host).agent(&orphan.agent).says(said));
        turn.targets = true;
    }

    /// Azure does not answer for a pool: who waits for it hears why.
    pub(crate) fn no_marks(&mut self, pool: &PoolName, why: &str) {
        let said = |pool: &PoolName| v1::TidyPool {
            pools: vec![pool.to_string()],
            trouble: why.to_owned(),
            ..v1::TidyPool::default()
        };
        for wish in &mut self.janitor.wishes {
            if wish.left.remove(pool) {
                wish.found.push(said(pool));
            }
        }
        self.janitor.answer();
    }

    /// Azure may have asked to be left alone for long: those who wait are told what is known.
    pub(crate) fn give_up_waiting(&mut self, now: At) {
        let late = |wish: &&Wish| now.since(wish.since) >= PATIENCE;
        let left: BTreeSet<PoolName> =
            self.janitor.wishes.iter().filter(late).flat_map(|wish| wish.left.clone()).collect();
        for pool in left {
            self.no_marks(&pool, "Azure does not answer now, or asks to be left alone for a while");
        }
    }
}

fn said(pools: &[PoolName], tidiness: &Tidiness) -> v1::TidyPool {
    v1::TidyPool {
        pools: pools.iter().map(ToString::to_string).collect(),
        in_use: tidiness.in_use,
        foreign: tidiness.foreign,
        leftovers: tidiness.leftovers.iter().map(said_of).collect(),
        trouble: String::new(),
    }
}

fn said_of(leftover: &Leftover) -> v1::Leftover {
    let kind = match leftover.row_is_gone {
        true => v1::LeftoverKind::Agent,
        false => v1::LeftoverKind::Row,
    };
    let (verdict, until) = match leftover.verdict {
        Verdict::Delete => (v1::LeftoverVerdict::Delete, None),
        Verdict::Going => (v1::LeftoverVerdict::Going, None),
        Verdict::Wait(until) => (v1::LeftoverVerdict::Wait, Some(until)),
        Verdict::Keep => (v1::LeftoverVerdict::Keep, None),
        Verdict::Replace => (v1::LeftoverVerdict::Replace, None),
    };
    v1::Leftover {
        kind: kind.into(),
        agent: leftover.agent.clone(),
        agent_id: leftover.row,
        host: leftover.host.to_string(),
        since: leftover.since.map(timestamp),
        verdict: verdict.into(),
        until: until.map(timestamp),
        why: leftover.why.clone(),
    }
}
