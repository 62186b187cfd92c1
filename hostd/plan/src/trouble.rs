//! Azure trouble of a pool: met by one agent, counted for all of its pool.

use std::time::Duration;

use fleet_model::{AgentName, At, PoolName};

use crate::{
    event::AzureFailure,
    known::Known,
    ledger::Slot,
    starts::{Trouble, backoff},
};

/// First wait after Azure did not answer.
const AZURE_FIRST: Duration = Duration::from_secs(2);

impl Known {
    pub(crate) fn azure_failed(&mut self, agent: &AgentName, failure: &AzureFailure, now: At) {
        let Some(slot) = self.ledger.slots.get(agent) else { return };
        let pool = slot.pool.clone();
        let (why, asked) = match failure {
            // These are answers.
            AzureFailure::RowGone | AzureFailure::JobStillRunning => {
                return self.azure_answered(agent);
            }
            AzureFailure::NotAllowed(why) => (why.clone(), None),
            AzureFailure::Unavailable { why, retry_after } => (why.clone(), *retry_after),
        };
        let failures = self.azure.get(&pool).map_or(0, |trouble| trouble.failures) + 1;
        let own = backoff(AZURE_FIRST, failures, pool.as_str());
        let next = now + asked.unwrap_or_default().max(own);
        self.silent(&pool, true);
        self.nobody_is_ill(&pool, now);
        self.azure.insert(pool, Trouble { why, next, failures });
    }

    /// Azure answered, about this agent: the trouble of its whole pool is over.
    pub(crate) fn azure_answered(&mut self, agent: &AgentName) {
        let Some(slot) = self.ledger.slots.get_mut(agent) else { return };
        slot.forced_why = None;
        let pool = slot.pool.clone();
        self.azure.remove(&pool);
        self.silent(&pool, false);
    }

    /// One agent asks for its whole pool while Azure is in trouble: the answer counts for all.
    fn silent(&mut self, pool: &PoolName, silent: bool) {
        let leaving = |slot: &&Slot| slot.pool == *pool && slot.removal.is_some();
        for (agent, _) in self.ledger.slots.iter().filter(|(_, slot)| leaving(slot)) {
            self.looks.entry(agent.clone()).or_default().silent = silent;
        }
    }
}
