//! Agents: one list call tells the state of a whole pool, so that nobody polls per agent.

use std::collections::BTreeMap;

use http::Method;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{Ask, Client};
use crate::types::{AgentAuthorization, List};
use crate::{AgentRow, Error, Reply, TaskAgent};

/// What to ask about agents. All off gives the bare rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentQuery {
    /// Only the agent of this exact name.
    pub name: Option<String>,
    /// With system and user capabilities.
    pub capabilities: bool,
    /// With the job it holds: the remote half of "busy".
    pub assigned_request: bool,
    /// With the job before.
    pub last_completed: bool,
}

impl AgentQuery {
    /// What a watcher wants: the job it holds, nothing large.
    pub fn with_assigned() -> Self {
        Self { assigned_request: true, ..Self::default() }
    }
}

/// A registration to add or to replace another with.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewAgent {
    /// Name, unique in the pool.
    pub name: String,
    /// Version of the agent package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Operating system, free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_description: Option<String>,
    /// May it take jobs? Left out of a replace, the flag stays as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Jobs at a time; the service knows only 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_parallelism: Option<u32>,
    /// The key the agent will sign with; a placeholder has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<AgentAuthorization>,
    /// What jobs may demand.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub system_capabilities: BTreeMap<String, String>,
}

impl Client {
    /// The agents of a pool, offline ones included, all in one answer.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown pool, or any other [`Error`].
    pub async fn agents(
        &self,
        pool_id: i64,
        query: &AgentQuery,
    ) -> Result<Reply<Vec<TaskAgent>>, Error> {
        self.list(pool_id, query).await
    }

    /// All agents of a pool with their jobs, in short.
    ///
    /// # Errors
    /// As [`Client::agents`].
    pub async fn agent_rows(&self, pool_id: i64) -> Result<Reply<Vec<AgentRow>>, Error> {
        self.list(pool_id, &AgentQuery::with_assigned()).await
    }

    async fn list<T: DeserializeOwned>(
        &self,
        pool_id: i64,
        query: &AgentQuery,
    ) -> Result<Reply<Vec<T>>, Error> {
        let mut ask =
            flags(Ask::get("agents", &[&"distributedtask", &"pools", &pool_id, &"agents"]), query);
        if let Some(name) = &query.name {
            ask = ask.query("agentName", name);
        }
        Ok(self.call::<List<_>>(ask).await?.map(|list| list.value))
    }

    /// One agent. The query's name is not used.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown id, or any other [`Error`].
    pub async fn agent(
        &self,
        pool_id: i64,
        agent_id: i64,
        query: &AgentQuery,
    ) -> Result<Reply<TaskAgent>, Error> {
        let ask =
            Ask::get("agent", &[&"distributedtask", &"pools", &pool_id, &"agents", &agent_id]);
        self.call(flags(ask, query)).await
    }

    /// Allows or forbids new jobs. A running job goes on either way.
    ///
    /// # Errors
    /// Any [`Error`]; see [`Error::is_ambiguous`]: read back before relying on it.
    pub async fn set_enabled(
        &self,
        pool_id: i64,
        agent_id: i64,
        name: &str,
        enabled: bool,
    ) -> Result<Reply<TaskAgent>, Error> {
        let path: [&(dyn std::fmt::Display + Sync); 5] =
            [&"distributedtask", &"pools", &pool_id, &"agents", &agent_id];
        let body = json!({ "id": agent_id, "name": name, "enabled": enabled });
        self.call(Ask::new(Method::PATCH, "agent", &path).body(body)).await
    }

    /// Removes the row. Offline, idle and disabled agents go; the answer for a busy one is
    /// [`Error::JobStillRunning`].
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is gone already, or any other [`Error`].
    pub async fn delete_agent(&self, pool_id: i64, agent_id: i64) -> Result<Reply<()>, Error> {
        let path: [&(dyn std::fmt::Display + Sync); 5] =
            [&"distributedtask", &"pools", &pool_id, &"agents", &agent_id];
        self.command(Ask::new(Method::DELETE, "agent", &path)).await
    }

    /// Registers an agent, or a placeholder when it has no key.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the name exists, or any other [`Error`].
    pub async fn add_agent(
        &self,
        pool_id: i64,
        agent: &NewAgent,
    ) -> Result<Reply<TaskAgent>, Error> {
        let ask =
            Ask::new(Method::POST, "agent", &[&"distributedtask", &"pools", &pool_id, &"agents"]);
        self.call(ask.body(json!(agent))).await
    }

    /// Replaces the registration and keeps the id: the old key is worth nothing from then on.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown id, or any other [`Error`].
    pub async fn replace_agent(
        &self,
        pool_id: i64,
        agent_id: i64,
        agent: &NewAgent,
    ) -> Result<Reply<TaskAgent>, Error> {
        let path: [&(dyn std::fmt::Display + Sync); 5] =
            [&"distributedtask", &"pools", &pool_id, &"agents", &agent_id];
        let mut body = json!(agent);
        body["id"] = json!(agent_id);
        self.call(Ask::new(Method::PUT, "agent", &path).body(body)).await
    }

    /// Replaces the whole set of user capabilities; they survive a replace of the registration.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown id, or any other [`Error`].
    pub async fn set_user_capabilities(
        &self,
        pool_id: i64,
        agent_id: i64,
        capabilities: &BTreeMap<String, String>,
    ) -> Result<Reply<TaskAgent>, Error> {
        let path: [&(dyn std::fmt::Display + Sync); 6] =
            [&"distributedtask", &"pools", &pool_id, &"agents", &agent_id, &"usercapabilities"];
        self.call(Ask::new(Method::PUT, "agent", &path).preview().body(json!(capabilities))).await
    }
}

fn flags<'a>(ask: Ask<'a>, query: &AgentQuery) -> Ask<'a> {
    ask.flag("includeCapabilities", query.capabilities)
        .flag("includeAssignedRequest", query.assigned_request)
        .flag("includeLastCompletedRequest", query.last_completed)
}
