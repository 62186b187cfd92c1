//! A host that has been without its coordinator for a while looks at its own pools at Azure itself:
//! who was disabled by hand, who holds a request. Seldom, because every lonely host does so.

use std::{sync::Arc, time::Duration};

use fleet_model::{PoolAssignment, PoolName};
use fleet_proto::convert::{Row, RowChange};
use hostd_plan::RowId;
use tokio::time::Instant;

use super::{HostLoop, Input};

/// Alone for this long, it begins.
const PATIENCE: Duration = Duration::from_secs(5 * 60);
/// From one look to the next: this, and up to half of it more.
const EVERY: Duration = Duration::from_secs(60);
/// Longest, when Azure does not answer either.
const LONGEST: Duration = Duration::from_secs(15 * 60);

#[derive(Debug)]
pub(super) struct Alone {
    next: Option<Instant>,
    failures: u32,
}

impl Alone {
    /// hostd starts alone.
    pub(super) fn new(now: Instant) -> Self {
        Self { next: Some(now + PATIENCE), failures: 0 }
    }

    /// The session began or ended.
    pub(super) fn session(&mut self, is_open: bool, now: Instant) {
        match (is_open, self.next) {
            (true, _) => *self = Self { next: None, failures: 0 },
            (false, None) => *self = Self::new(now),
            (false, Some(_)) => {}
        }
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Whether to look now; then the next look is set.
    fn take_due(&mut self, now: Instant) -> bool {
        if self.next.is_none_or(|next| next > now) {
            return false;
        }
        let wait = EVERY.saturating_mul(1 << self.failures.min(4)).min(LONGEST);
        self.next = Some(now + wait.mul_f64(rand::random_range(1.0..1.5)));
        true
    }

    /// How a look went.
    pub(super) fn looked(&mut self, is_good: bool) {
        self.failures = if is_good { 0 } else { self.failures + 1 };
    }
}

impl HostLoop {
    /// Asks for the rows of every pool that has some here, if it is time; the answers come through
    /// the inbox.
    pub(super) fn look_when_alone(&mut self) {
        if !self.alone.take_due(Instant::now()) {
            return;
        }
        for (pool, part, own) in self.own_pools() {
            let (executor, inbox) = (Arc::clone(&self.parts.executor), self.parts.inbox.0.clone());
            self.tasks.spawn(async move {
                let found = match executor.list_rows(&part).await {
                    Ok(found) => found,
                    Err(why) => {
                        tracing::debug!(%pool, ?why, "alone, and Azure does not tell either");
                        let _ = inbox.send(Input::LookedAlone(None)).await;
                        return;
                    }
                };
                let change = |id: RowId| {
                    let state = found.get(&id.agent_id).cloned();
                    state.map_or(RowChange::Gone { agent_id: id.agent_id }, RowChange::Seen)
                };
                let rows = own.into_iter().map(|(agent, id)| Row {
                    pool: pool.clone(),
                    agent,
                    change: change(id),
                });
                let _ = inbox.send(Input::LookedAlone(Some(rows.collect()))).await;
            });
        }
    }

    #[expect(clippy::type_complexity, reason = "used once, right above")]
    fn own_pools(&self) -> Vec<(PoolName, PoolAssignment, Vec<(fleet_model::AgentName, RowId)>)> {
        let ledger = &self.parts.known.ledger;
        let pools = ledger.assignment.iter().flat_map(|assignment| &assignment.pools);
        let with_own = pools.map(|(pool, part)| {
            let of_pool = ledger.slots.iter().filter(|(_, slot)| slot.pool == *pool);
            let own = of_pool.filter_map(|(agent, slot)| Some((agent.clone(), slot.row?)));
            (pool.clone(), part.clone(), own.collect::<Vec<_>>())
        });
        with_own.filter(|(_, _, own)| !own.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_begins_late_goes_on_slowly_and_ends_with_the_session() {
        let mut now = Instant::now();
        let begun = now;
        let mut alone = Alone::new(now);
        let mut looks = 0;
        while now < begun + Duration::from_secs(3600) {
            now = alone.next().expect("alone");
            assert!(now >= begun + PATIENCE && alone.take_due(now) && !alone.take_due(now));
            alone.looked(true);
            looks += 1;
        }
        assert!((30..60).contains(&looks), "{looks} looks in an hour");
        alone.session(true, now);
        assert_eq!(alone.next(), None);
        alone.session(false, now);
        assert_eq!(alone.next(), Some(now + PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn an_azure_that_does_not_answer_is_asked_less() {
        let mut now = Instant::now();
        let end = now + Duration::from_secs(3600);
        let mut alone = Alone::new(now);
        let mut looks = 0;
        while now < end {
            now = alone.next().expect("alone");
            assert!(alone.take_due(now));
            alone.looked(false);
            looks += 1;
        }
        assert!(looks < 12, "{looks} looks in an hour");
    }
}
