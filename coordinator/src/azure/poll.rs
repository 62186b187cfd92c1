//! Looking at one Azure pool, again and again.

use std::{collections::BTreeMap, time::Duration};

use azdo::{AgentRow, AgentStatus, Client, ClientConfig, Credential, Error};
use fleet_model::{AgentName, RowState};
use tokio::sync::watch;

use super::{Job, JobKey, Shared, check::trouble, pace::next_look};
use crate::{fleet_loop::AzureEvent, records::Orphan};

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
}

/// A look that failed.
struct Bad {
    why: String,
    wish: Option<Duration>,
}

impl Poller {
    pub(super) fn new(shared: Shared, key: JobKey, work: watch::Receiver<Job>) -> Self {
        Self { shared, key, work, client: None, pool_id: None, failures: 0 }
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
        let asked = client.agent_rows(pool_id).await;
        self.count("list", asked.as_ref().err());
        let reply = match asked {
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
            let event = AzureEvent::Rows { pool: pool.clone(), rows: rows.clone() };
            // Fails only when the daemon ends; then this task ends with it.
            let _ = self.shared.handle.azure(event).await;
        }
        for orphan in &work.orphans {
            self.tend(&client, pool_id, orphan, &reply.value).await;
        }
        Ok(reply.pace.retry_after)
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

    /// Deletes the row of a removed host when that can hurt nobody: offline, without a job, and not
    /// the last row of the pool, without which jobs would fail at queue time.
    async fn tend(&self, client: &Client, pool_id: i64, orphan: &Orphan, rows: &[AgentRow]) {
        let gone = |deleted| AzureEvent::OrphanGone { id: orphan.id(), deleted };
        let Some(row) = rows.iter().find(|row| row.id == orphan.agent_id) else {
            let _ = self.shared.handle.azure(gone(false)).await;
            return;
        };
        if row.status != AgentStatus::Offline || row.assigned_request.is_some() || rows.len() < 2 {
            return;
        }
        let asked = client.delete_agent(pool_id, orphan.agent_id).await;
        self.count("delete", asked.as_ref().err());
        match asked {
            Ok(_) => drop(self.shared.handle.azure(gone(true)).await),
            Err(error) if error.is_not_found() => {
                let _ = self.shared.handle.azure(gone(false)).await;
            }
            // A job came in between, or Azure is in trouble: the next look tries again.
            Err(error) => {
                tracing::warn!(agent = %orphan.agent, error = %trouble(&error), "row of a removed host stays");
            }
        }
    }

    async fn tell_trouble(&self, why: &str) {
        let pools = self.work.borrow().pools.clone();
        for pool in pools {
            let event = AzureEvent::Trouble { pool, trouble: Some(why.to_owned()) };
            let _ = self.shared.handle.azure(event).await;
        }
    }

    fn count(&self, call: &'static str, error: Option<&Error>) {
        self.shared.metrics.azure_call(call, error.map_or("ok", result));
    }
}

fn bad(error: &Error) -> Bad {
    Bad { why: trouble(error), wish: error.retry_after() }
}

fn rows(agents: &[AgentRow]) -> BTreeMap<AgentName, RowState> {
    let row = |agent: &AgentRow| {
        // A name that none of ours could have is a foreign row.
        let name: AgentName = agent.name.parse().ok()?;
        let assigned = agent
            .assigned_request
            .as_ref()
            .map(|request| (request.request_id, request.job_name.clone().unwrap_or_default()));
        let state = RowState {
            agent_id: agent.id,
            enabled: agent.enabled,
            online: agent.status == AgentStatus::Online,
            assigned,
        };
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
