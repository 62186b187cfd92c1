//! Rows that nobody keeps an agent for: looked at with their marks when that is wished for, and, once
//! the loop has given them up in the store, deleted step by step ([`coordinator_plan::next_step`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use azdo::{AgentQuery, AgentRow, AgentStatus, Client, Error, Reply, TaskAgent};
use coordinator_plan::{MarkedRow, RowStep, may_go, next_step, offers};
use fleet_model::{Assigned, At, OwnerMark, RowState};
use tokio::time::Instant;

use super::{
    Job,
    check::trouble,
    poll::{Bad, Poller, bad},
};
use crate::{
    fleet_loop::{AzureEvent, RowEnd},
    records::Orphan,
};

/// Changes of rows in one look: the service slows down who does much at once.
const AT_ONCE: usize = 25;

/// Where rows are.
pub(super) struct Place {
    pub(super) client: Client,
    pub(super) pool_id: i64,
}

/// What a look may still change, and what Azure wishes.
struct Turn {
    left: usize,
    wish: Option<Duration>,
}

impl Turn {
    /// Something may still be done.
    fn goes_on(&self) -> bool {
        self.left > 0 && self.wish.is_none()
    }
}

impl Poller {
    /// Takes all rows that are to go one step on; returns Azure's wish for the next look.
    pub(super) async fn tidy(
        &mut self,
        place: &Place,
        work: &Job,
        rows: &[AgentRow],
        asked: Instant,
    ) -> Result<Option<Duration>, Bad> {
        let going: BTreeSet<i64> = work.orphans.iter().map(|orphan| orphan.agent_id).collect();
        self.disabled.retain(|id, _| going.contains(id));
        let by_id: BTreeMap<i64, &AgentRow> = rows.iter().map(|row| (row.id, row)).collect();
        let mut turn = Turn { left: AT_ONCE, wish: None };
        let mut due = BTreeMap::new();
        for orphan in &work.orphans {
            let row = by_id.get(&orphan.agent_id).map(|row| state(row));
            if self.step(place, orphan, row.as_ref(), asked, &mut turn).await {
                due.insert(orphan.agent_id, orphan);
            }
        }
        if turn.wish.is_some() || (due.is_empty() && work.marks <= self.marked) {
            return Ok(turn.wish);
        }
        let reply = self.marks(place).await?;
        let wish = reply.pace.retry_after;
        let rows: Vec<MarkedRow> = reply.value.iter().map(marked).collect();
        let ids: BTreeSet<i64> = due.keys().copied().collect();
        for id in may_go(&rows, &ids, &going, work.leaving) {
            if let Some(orphan) = due.get(&id).filter(|_| wish.is_none() && turn.goes_on()) {
                self.delete(place, orphan, &mut turn).await;
            }
        }
        if work.marks > self.marked {
            self.marked = work.marks;
            let pools = work.pools.clone();
            self.say(AzureEvent::Marked { pools, number: work.marks, rows }).await;
        }
        Ok(wish.or(turn.wish))
    }

    /// One step for one row; true: it may be read with its mark, and then go.
    async fn step(
        &mut self,
        place: &Place,
        orphan: &Orphan,
        row: Option<&RowState>,
        asked: Instant,
        turn: &mut Turn,
    ) -> bool {
        match row.map(|row| row.enabled) {
            Some(false) => drop(self.disabled.entry(orphan.agent_id).or_insert(asked)),
            Some(true) | None => drop(self.disabled.remove(&orphan.agent_id)),
        }
        let disabled_for =
            self.disabled.get(&orphan.agent_id).map(|at| asked.saturating_duration_since(*at));
        match next_step(row, orphan.claim(), disabled_for, self.stale()) {
            RowStep::Gone => {
                self.ended(orphan, RowEnd::Gone).await;
            }
            RowStep::Release => self.ended(orphan, RowEnd::Kept).await,
            RowStep::Disable if turn.goes_on() => self.enable(place, orphan, false, turn).await,
            RowStep::Enable if turn.goes_on() => self.enable(place, orphan, true, turn).await,
            RowStep::Delete => return true,
            RowStep::Disable | RowStep::Enable | RowStep::Leave => {}
        }
        false
    }

    async fn enable(&self, place: &Place, orphan: &Orphan, enabled: bool, turn: &mut Turn) {
        turn.left -= 1;
        let (id, name) = (orphan.agent_id, orphan.agent.as_str());
        let asked = place.client.set_enabled(place.pool_id, id, name, enabled).await;
        self.count(if enabled { "enable" } else { "disable" }, asked.as_ref().err());
        if let Err(error) = asked {
            self.not_now(orphan, &error, turn);
        }
    }

    async fn delete(&self, place: &Place, orphan: &Orphan, turn: &mut Turn) {
        turn.left -= 1;
        let asked = place.client.delete_agent(place.pool_id, orphan.agent_id).await;
        self.count("delete", asked.as_ref().err());
        let end = match asked {
            Ok(_) => RowEnd::Deleted,
            Err(error) if error.is_not_found() => RowEnd::Gone,
            Err(error) => return self.not_now(orphan, &error, turn),
        };
        self.ended(orphan, end).await;
    }

    async fn ended(&self, orphan: &Orphan, end: RowEnd) {
        self.say(AzureEvent::OrphanEnded { id: orphan.id(), end }).await;
    }

    /// The next look tries again.
    fn not_now(&self, orphan: &Orphan, error: &Error, turn: &mut Turn) {
        turn.wish = turn.wish.or(error.retry_after());
        tracing::warn!(agent = %orphan.agent, error = %trouble(error), "a row without an agent stays");
    }

    async fn marks(&self, place: &Place) -> Result<Reply<Vec<TaskAgent>>, Bad> {
        let query =
            AgentQuery { capabilities: true, assigned_request: true, ..AgentQuery::default() };
        let asked = place.client.agents(place.pool_id, &query).await;
        self.count("marks", asked.as_ref().err());
        asked.map_err(|error| bad(&error))
    }
}

/// A word that is not known may hide a session: it counts as one.
fn is_online(status: AgentStatus) -> bool {
    status != AgentStatus::Offline
}

pub(super) fn state(row: &AgentRow) -> RowState {
    RowState {
        agent_id: row.id,
        enabled: row.enabled,
        online: is_online(row.status),
        assigned: row.assigned_request.as_ref().map(|job| Assigned {
            request_id: job.request_id,
            job: job.job_name.clone().unwrap_or_default(),
            run_url: job.run_url().map(str::to_owned),
        }),
    }
}

fn marked(row: &TaskAgent) -> MarkedRow {
    let since = row.status_changed_on.or(row.created_on);
    let all = row.system_capabilities.iter().chain(&row.user_capabilities);
    let assigned = row.assigned_request.as_ref();
    MarkedRow {
        agent: row.name.clone(),
        state: RowState {
            agent_id: row.id,
            enabled: row.enabled,
            online: is_online(row.status),
            assigned: assigned
                .map(|job| Assigned::new(job.request_id, job.job_name.clone().unwrap_or_default())),
        },
        since: since.and_then(|at| u64::try_from(at.as_millisecond()).ok()).map(At),
        owner: row.capability(OwnerMark::CAPABILITY).and_then(|mark| mark.parse().ok()),
        offers: offers(all),
    }
}
