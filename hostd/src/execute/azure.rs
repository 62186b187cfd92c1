//! Azure itself: one client per organization and secret, its pace, and its refusals in the plan's
//! words.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use azdo::{
    AgentQuery, AgentStatus, Client, ClientConfig, Credential, Error, ProxyConfig, Reply, TaskAgent,
};
use fleet_model::{AgentName, Assigned, AzureTarget, CredentialRef, OwnerMark, RowState};
use fleet_proto::logging::Report;
use hostd_plan::{AzureFailure, RowId, RowRead};
use secrecy::SecretString;

use super::pace::Paces;

/// Limit of one call.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// The service's name for the error "no such agent".
const NO_AGENT: &str = "TaskAgentNotFoundException";

/// An Azure pool and who asks about it.
#[derive(Debug, Clone)]
pub struct AzurePool {
    /// Organization and pool.
    pub target: AzureTarget,
    /// Which secret.
    pub credential: CredentialRef,
    /// The secret.
    pub secret: SecretString,
}

/// A row that was found by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRow {
    /// Which.
    pub row: RowId,
    /// How it stands.
    pub state: RowState,
    /// Whose it says it is.
    pub owner: Option<String>,
}

/// The few things a host asks of Azure. Each has a limit.
#[async_trait]
pub trait Azure: Send + Sync + 'static {
    /// Allows or forbids new jobs.
    async fn set_enabled(
        &self,
        pool: &AzurePool,
        row: RowId,
        agent: &AgentName,
        enabled: bool,
    ) -> Result<(), AzureFailure>;

    /// Reads a row by its id.
    async fn read(
        &self,
        pool: &AzurePool,
        row: RowId,
        agent: &AgentName,
    ) -> Result<RowRead, AzureFailure>;

    /// Looks for a row by the agent's name.
    async fn find(
        &self,
        pool: &AzurePool,
        agent: &AgentName,
    ) -> Result<Option<FoundRow>, AzureFailure>;

    /// All rows of the pool by their ids.
    async fn list(&self, pool: &AzurePool) -> Result<BTreeMap<i64, RowState>, AzureFailure>;

    /// Deletes a row.
    async fn delete(&self, pool: &AzurePool, row: RowId) -> Result<(), AzureFailure>;
}

/// How this host reaches Azure.
#[derive(Clone, Default)]
pub struct ProxyForAzure(pub Option<ProxyConfig>);

/// Azure itself: one client per organization and secret, made when first needed.
#[derive(Default)]
pub struct AzureClients {
    proxy: ProxyForAzure,
    clients: Mutex<BTreeMap<(String, CredentialRef), Client>>,
    pool_ids: Mutex<BTreeMap<PoolKey, i64>>,
    paces: Paces,
}

/// Organization and pool, as a key.
type PoolKey = (String, String);

impl AzureClients {
    /// Clients that go through `proxy`.
    pub fn new(proxy: ProxyForAzure) -> Self {
        Self { proxy, ..Self::default() }
    }

    fn client(&self, pool: &AzurePool) -> Result<Client, AzureFailure> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (pool.target.url.clone(), pool.credential.clone());
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let config = ClientConfig {
            timeout: CALL_LIMIT,
            proxy: self.proxy.0.clone(),
            ..ClientConfig::new(&pool.target.url, Credential::Pat(pool.secret.clone()))
        };
        let client = Client::new(&config)
            .map_err(|error| AzureFailure::NotAllowed(Report(&error).to_string()))?;
        // An older secret of the same name is of no use any more.
        clients.retain(|(url, old), _| *url != pool.target.url || old.name != pool.credential.name);
        clients.insert(key, client.clone());
        Ok(client)
    }

    /// One call: within the pool's pace, its answer's wishes heard.
    async fn call<T, F>(&self, pool: &AzurePool, ask: impl FnOnce(Client) -> F) -> Answer<T>
    where
        F: Future<Output = Result<Reply<T>, Error>>,
    {
        let (url, name) = (&pool.target.url, &pool.target.pool);
        let client = self.client(pool)?;
        self.paces.turn(url, name).await.map_err(|left| AzureFailure::Unavailable {
            why: format!("Azure asks to be left alone for {} s", left.as_secs()),
            retry_after: Some(left),
        })?;
        match ask(client).await {
            Ok(reply) => {
                self.paces.heard(url, name, reply.pace.retry_after);
                Ok(reply.value)
            }
            Err(error) => {
                self.paces.heard(url, name, error.retry_after());
                Err(failure(pool, &error))
            }
        }
    }

    async fn pool_id(&self, pool: &AzurePool) -> Answer<i64> {
        let key = (pool.target.url.clone(), pool.target.pool.clone());
        let known = self.pool_ids.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some(id) = known {
            return Ok(id);
        }
        let name = &pool.target.pool;
        let pools = self.call(pool, |c| async move { c.pools(Some(name)).await }).await?;
        let id = pools.iter().find(|p| p.name.eq_ignore_ascii_case(name)).map(|p| p.id);
        let id = id.ok_or_else(|| {
            AzureFailure::NotAllowed(format!(
                "{} shows no pool {name:?} to credential {}",
                pool.target.url, pool.credential.name
            ))
        })?;
        self.pool_ids.lock().unwrap_or_else(PoisonError::into_inner).insert(key, id);
        Ok(id)
    }
}

type Answer<T> = Result<T, AzureFailure>;

#[async_trait]
impl Azure for AzureClients {
    async fn set_enabled(
        &self,
        pool: &AzurePool,
        row: RowId,
        agent: &AgentName,
        enabled: bool,
    ) -> Answer<()> {
        let ask = |c: Client| async move {
            c.set_enabled(row.pool_id, row.agent_id, agent.as_str(), enabled).await
        };
        self.call(pool, ask).await.map(drop)
    }

    async fn read(&self, pool: &AzurePool, row: RowId, agent: &AgentName) -> Answer<RowRead> {
        let query = AgentQuery::with_assigned();
        let ask = |c: Client| async move { c.agent(row.pool_id, row.agent_id, &query).await };
        let read = self.call(pool, ask).await?;
        // A row that was renamed is somebody else's business; its id is still ours to watch.
        if !read.name.eq_ignore_ascii_case(agent.as_str()) {
            tracing::warn!(%agent, row = row.agent_id, name = read.name, "its row has another name");
        }
        Ok(RowRead::There(row, state(&read)))
    }

    async fn find(&self, pool: &AzurePool, agent: &AgentName) -> Answer<Option<FoundRow>> {
        let pool_id = self.pool_id(pool).await?;
        let query = AgentQuery {
            name: Some(agent.to_string()),
            capabilities: true,
            assigned_request: true,
            last_completed: false,
        };
        let found = self.call(pool, |c| async move { c.agents(pool_id, &query).await }).await?;
        Ok(found.iter().find(|row| row.name.eq_ignore_ascii_case(agent.as_str())).map(|row| {
            FoundRow {
                row: RowId { pool_id, agent_id: row.id },
                state: state(row),
                owner: row.capability(OwnerMark::CAPABILITY).map(str::to_owned),
            }
        }))
    }

    async fn list(&self, pool: &AzurePool) -> Answer<BTreeMap<i64, RowState>> {
        let pool_id = self.pool_id(pool).await?;
        let query = AgentQuery::with_assigned();
        let rows = self.call(pool, |c| async move { c.agents(pool_id, &query).await }).await?;
        Ok(rows.iter().map(|row| (row.id, state(row))).collect())
    }

    async fn delete(&self, pool: &AzurePool, row: RowId) -> Answer<()> {
        let ask = |c: Client| async move { c.delete_agent(row.pool_id, row.agent_id).await };
        self.call(pool, ask).await
    }
}

fn state(row: &TaskAgent) -> RowState {
    RowState {
        agent_id: row.id,
        enabled: row.enabled,
        // An unknown word may hide a session: it counts as one.
        online: row.status != AgentStatus::Offline,
        assigned: row
            .assigned_request
            .as_ref()
            .map(|job| Assigned::new(job.request_id, job.job_name.clone().unwrap_or_default())),
    }
}

/// Azure's refusal in the plan's words, with what to do where somebody must do something.
fn failure(pool: &AzurePool, error: &Error) -> AzureFailure {
    let name = &pool.credential.name;
    let text = Report(error).to_string();
    match error {
        Error::NotAuthenticated { why } => AzureFailure::NotAllowed(format!(
            "Azure refuses credential {name}: {why}; if it expired or was revoked, give the fleet a new one"
        )),
        Error::Forbidden { message } => AzureFailure::NotAllowed(format!(
            "credential {name} may not manage the pool: {message}; it needs Agent Pools (read, manage)"
        )),
        Error::NotFound { type_key, .. } if type_key == NO_AGENT => AzureFailure::RowGone,
        // Of a pool, or of who knows what: never taken for a missing row.
        Error::NotFound { .. } => AzureFailure::NotAllowed(text),
        Error::JobStillRunning { .. } => AzureFailure::JobStillRunning,
        Error::Setting { .. } => AzureFailure::NotAllowed(text),
        other => AzureFailure::Unavailable { why: text, retry_after: other.retry_after() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> AzurePool {
        AzurePool {
            target: AzureTarget { url: "https://a.example/o".into(), pool: "p".into() },
            credential: CredentialRef {
                name: "pat".parse().expect("a name"),
                fingerprint: "0".into(),
            },
            secret: "s".to_owned().into(),
        }
    }

    fn not_found(type_key: &str) -> Error {
        Error::NotFound { type_key: type_key.into(), message: "no".into() }
    }

    #[test]
    fn only_the_agents_own_not_found_means_that_the_row_is_gone() {
        assert_eq!(failure(&pool(), &not_found(NO_AGENT)), AzureFailure::RowGone);
        for other in ["TaskAgentPoolNotFoundException", "", "VssServiceException"] {
            let got = failure(&pool(), &not_found(other));
            assert!(matches!(got, AzureFailure::NotAllowed(_)), "{other}: {got:?}");
        }
    }

    #[test]
    fn a_throttled_answer_keeps_its_wait() {
        let retry_after = Some(Duration::from_secs(7));
        let error = Error::Throttled { retry_after, message: "slow".into() };
        let got = failure(&pool(), &error);
        assert!(
            matches!(got, AzureFailure::Unavailable { retry_after: r, .. } if r == retry_after)
        );
    }
}
