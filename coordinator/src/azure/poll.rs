//! Looking at one Azure pool, again and again.

use std::{collections::BTreeMap, time::Duration};

use azdo::{AgentRow, AgentStatus, Client, ClientConfig, Credential, Error};
use fleet_model::{AgentName, RowState};
use tokio::{sync::watch, time::Instant};

use super::{
    Job, JobKey, Shared,
    check::trouble,
    leftovers::{Place, state},
    pace::next_look,
};
use crate::fleet_loop::AzureEvent;

/// See the module.
pub(super) struct Poller {
    shared: Shared,
    key: JobKey,
    work: watch::Receiver<Job>,
    /// Made at the first look; the secret is read only then.
    client: Option<Client>,
    /// The pool's id at Azure, once known.
    pool_id: Option<i64>,
    failures: u32,
    /// Since when rows that are to go have been seen disabled.
    pub(super) disabled: BTreeMap<i64, Instant>,
    /// The newest wish for marks that was fulfilled.
    pub(super) marked: u64,
}

/// A look that failed.
pub(super) struct Bad {
    why: String,
    pub(super) wish: Option<Duration>,
}

impl Poller {
    pub(super) fn new(shared: Shared, key: JobKey, work: watch::Receiver<Job>) -> Self {
        Self {
            shared,
            key,
            work,
            client: None,
            pool_id: None,
            failures: 0,
            disabled: BTreeMap::new(),
            marked: 0,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let wish = match self.look().await {
                Ok(wish) => {
                    self.failures = 0;
                    wish
                }
                Err(bad) => {
                    self.failures = self.failures.saturating_add(1);
                    self.tell_trouble(&bad.why).await;
                    bad.wish
                }
            };
            let interval = self.shared.settings.interval;
            let wait = next_look(interval, self.failures, wish, rand::random());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // A new pool wants its rows soon; but the server's wish and a back-off stand.
                changed = self.work.changed(), if wish.is_none() && self.failures == 0 => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// One look; returns the server's wish for the next one.
    async fn look(&mut self) -> Result<Option<Duration>, Bad> {
        let work = self.work.borrow_and_update().clone();
        let client = self.client()?;
        let pool_id = self.find_pool(&client).await?;
        let (asked_at, asked) = (Instant::now(), self.shared.clock.now());
        let answer = client.agent_rows(pool_id).await;
        self.count("list", answer.as_ref().err());
        let reply = match answer {
            Ok(reply) => reply,
            Err(error) => {
                // The pool may have been deleted and made anew with another id.
                if error.is_not_found() {
                    self.pool_id = None;
                }
                return Err(bad(&error));
            }
        };
        let rows = rows(&reply.value);
        for pool in &work.pools {
            self.say(AzureEvent::Rows { pool: pool.clone(), rows: rows.clone(), asked }).await;
        }
        let place = Place { client, pool_id };
        match reply.pace.retry_after {
            Some(wish) => Ok(Some(wish)),
            None => self.tidy(&place, &work, &reply.value, asked_at).await,
        }
    }

    fn client(&mut self) -> Result<Client, Bad> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let plain = |why: String| Bad { why, wish: None };
        let opened = self.shared.vault.open_text(&self.key.credential);
        let secret = opened.map_err(|error| plain(error.to_string()))?;
        let secret = secret.ok_or_else(|| {
            plain(format!("credential {} has no secret", self.key.credential.name))
        })?;
        let mut config = ClientConfig::new(&self.key.url, Credential::Pat(secret));
        config.timeout = self.shared.settings.timeout;
        config.proxy = self.shared.settings.proxy();
        let client = Client::new(&config).map_err(|error| bad(&error))?;
        Ok(self.client.insert(client).clone())
    }

    async fn find_pool(&mut self, client: &Client) -> Result<i64, Bad> {
        if let Some(id) = self.pool_id {
            return Ok(id);
        }
        let asked = client.pools(Some(&self.key.pool)).await;
        self.count("pool", asked.as_ref().err());
        let reply = asked.map_err(|error| bad(&error))?;
        let Some(pool) = reply.value.first() else {
            let why = format!("Azure: there is no pool {:?} at {}", self.key.pool, self.key.url);
            return Err(Bad { why, wish: reply.pace.retry_after });
        };
        self.pool_id = Some(pool.id);
        Ok(pool.id)
    }

    async fn tell_trouble(&self, why: &str) {
        let pools = self.work.borrow().pools.clone();
        for pool in pools {
            self.say(AzureEvent::Trouble { pool, trouble: Some(why.to_owned()) }).await;
        }
    }

    /// Tells the loop what happened.
    pub(super) async fn say(&self, event: AzureEvent) {
        // Fails only when the daemon ends; then this task ends with it.
        let _ = self.shared.handle.azure(event).await;
    }

    /// Between a change of a row and answers that must show it.
    pub(super) fn stale(&self) -> Duration {
        self.shared.settings.stale
    }

    pub(super) fn count(&self, call: &'static str, error: Option<&Error>) {
        self.shared.metrics.azure_call(call, error.map_or("ok", result));
    }
}

pub(super) fn bad(error: &Error) -> Bad {
    Bad { why: trouble(error), wish: error.retry_after() }
}

fn rows(agents: &[AgentRow]) -> BTreeMap<AgentName, RowState> {
    let row = |agent: &AgentRow| {
        // A name that none of ours could have is a foreign row.
        let name: AgentName = agent.name.parse().ok()?;
        // What is shown is only what Azure says outright.
        let state = RowState { online: agent.status == AgentStatus::Online, ..state(agent) };
        Some((name, state))
    };
    agents.iter().filter_map(row).collect()
}

/// A word for a kind of failure, for the counter.
fn result(error: &Error) -> &'static str {
    match error {
        Error::NotAuthenticated { .. } => "not-authenticated",
        Error::Forbidden { .. } => "forbidden",
        Error::NotFound { .. } => "not-found",
        Error::Throttled { .. } => "throttled",
        Error::Unavailable { .. } => "unavailable",
        Error::Unreachable(_) => "unreachable",
        Error::Timeout { .. } => "timeout",
        Error::Malformed { .. } => "malformed",
        _ => "refused",
    }
}
