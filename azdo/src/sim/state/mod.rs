//! The service's state and its rules, without clock, network or waiting.
//!
//! Every verb takes the time as an argument and first lets pass what is due by then
//! ([`State::advance`]): sessions expire, locks run out, jobs are assigned. So the order of
//! assignment and of a disable is the order of the calls, and a week is lived through in a millisecond.
//!
//! ```text
//! agent    offline ──session created──▶ online ──session deleted, expired, killed──▶ offline
//! job      queued ──▶ assigned ──first renew──▶ running ──finish──▶ finished
//!             │ ▲         │ clean end of session    └─lock runs out──▶ abandoned
//!             │ └─────────┘
//!             └─ no registered agent matches ──▶ failed, at once
//! ```

mod agents;
mod assign;
mod jobs;
mod people;
mod sessions;
mod summary;
mod tokens;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use uuid::Uuid;

pub use agents::AgentForm;
pub use jobs::{JobForm, JobRecord};
pub use people::{AuthFailure, Caller, PatForm, Role};
pub use sessions::{Message, Polled, SessionForm};
pub use summary::{JobCounts, PoolCounts, Summary};
pub use tokens::{IssuedToken, TokenRefusal};
pub use world::{Agent, Job, JobState, PendingUpdate, Pool, PublicKey, World};

use super::journal::{About, Journal, Kind};
use super::{Refusal, Settings};
use sessions::{Ended, Session};

/// The whole of the simulated organisation.
#[derive(Debug)]
pub struct State {
    /// Times and limits; may change while running.
    pub settings: Settings,
    /// What a reader of the REST API can see.
    pub world: World,
    /// What happened.
    pub journal: Journal,
    people: people::People,
    tokens: BTreeMap<String, tokens::ListenerToken>,
    sessions: BTreeMap<Uuid, Session>,
    ended: BTreeMap<Uuid, Ended>,
    /// Sessions whose poll must look again.
    woken: BTreeSet<Uuid>,
    rng: StdRng,
    next_agent: i64,
    next_pool: i64,
    next_request: i64,
}

impl State {
    /// An organisation as it is on its first day: a `Default` pool and Microsoft's hosted one.
    pub fn new(settings: Settings, now: Timestamp) -> Self {
        let rng = StdRng::seed_from_u64(settings.seed);
        let mut state = Self {
            settings,
            world: World::default(),
            journal: Journal::default(),
            people: people::People::default(),
            tokens: BTreeMap::new(),
            sessions: BTreeMap::new(),
            ended: BTreeMap::new(),
            woken: BTreeSet::new(),
            rng,
            next_agent: 10,
            next_pool: 1,
            next_request: 890_000,
        };
        state.add_pool("Default", now);
        state.add_hosted_pool(now);
        state
    }

    /// Lets everything happen that is due by now.
    pub fn advance(&mut self, now: Timestamp) {
        self.expire_sessions(now);
        self.expire_locks(now);
        self.assign(now);
    }

    /// When [`State::advance`] has something to do next, if nobody calls before.
    pub fn next_due(&self) -> Option<Timestamp> {
        let sessions = self.sessions.values().filter_map(|s| s.expires_at(&self.settings));
        let locks = self.world.open_jobs().filter_map(|job| job.locked_until);
        sessions.chain(locks).min()
    }

    /// Sessions whose poll must look again; empties the set.
    pub fn take_woken(&mut self) -> BTreeSet<Uuid> {
        std::mem::take(&mut self.woken)
    }

    /// Changes with everything that is written down.
    pub fn revision(&self) -> u64 {
        self.journal.last_seq()
    }

    /// Changes with everything that a watcher of the figures may wait for.
    pub fn pulse(&self) -> u64 {
        self.revision() + self.journal.requests_ever()
    }

    /// Makes a pool, or finds it: the name is unique.
    pub fn add_pool(&mut self, name: &str, now: Timestamp) -> i64 {
        if let Some(pool) = self.world.pool_named(name) {
            return pool.id;
        }
        let id = self.next_pool;
        self.next_pool += 1;
        self.world.pools.insert(id, Pool::new(id, name, now));
        self.journal.add(
            now,
            Kind::PoolCreated,
            About { pool: Some(name.to_owned()), ..About::default() },
        );
        id
    }

    /// Removes a pool and its rows.
    ///
    /// # Errors
    /// Unknown pool; an agent of it holds a job.
    pub fn delete_pool(&mut self, id: i64, now: Timestamp) -> Result<(), Refusal> {
        let agents: Vec<i64> = self.world.pool(id)?.agents.keys().copied().collect();
        for agent in agents {
            self.delete_agent(id, agent, now)?;
        }
        if let Some(pool) = self.world.pools.remove(&id) {
            self.journal.add(
                now,
                Kind::PoolDeleted,
                About { pool: Some(pool.name), ..About::default() },
            );
        }
        Ok(())
    }

    fn add_hosted_pool(&mut self, now: Timestamp) {
        let id = self.add_pool("Azure Pipelines", now);
        if let Some(pool) = self.world.pools.get_mut(&id) {
            pool.is_hosted = true;
            let mut agent = Agent::new(1, "Hosted Agent".to_owned(), Uuid::nil(), now);
            agent.version = Some("3.220.5".to_owned());
            agent.provisioning_state = "Deallocated".to_owned();
            pool.agents.insert(1, agent);
        }
    }

    fn about(&self, pool: i64, agent: i64) -> About {
        let found = self.world.pools.get(&pool);
        About {
            pool: found.map(|p| p.name.clone()),
            agent: found.and_then(|p| p.agents.get(&agent)).map(|a| a.name.clone()),
            agent_id: Some(agent),
            ..About::default()
        }
    }

    fn new_uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.rng.random()).into_uuid()
    }

    fn random_between(&mut self, (low, high): (Duration, Duration)) -> Duration {
        if low >= high { low } else { self.rng.random_range(low..=high) }
    }
}

#[cfg(test)]
mod tests;
