//! Rows: registered, replaced, switched on and off, deleted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;

use super::super::journal::Kind;
use super::super::settings::BusyDelete;
use super::sessions::Ended;
use super::{Agent, PublicKey, Refusal, State};

/// The body of a registration, a replacement or a patch. What is absent stays as it was.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "fields are named as on the wire")]
pub struct AgentForm {
    pub id: Option<i64>,
    pub name: Option<String>,
    pub version: Option<String>,
    pub os_description: Option<String>,
    pub enabled: Option<bool>,
    pub max_parallelism: Option<i64>,
    pub provisioning_state: Option<String>,
    pub authorization: Option<AuthorizationForm>,
    pub system_capabilities: Option<BTreeMap<String, String>>,
}

/// The part of [`AgentForm`] that carries the key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorizationForm {
    /// Absent for a placeholder.
    pub public_key: Option<KeyForm>,
}

/// A public key as sent.
#[derive(Debug, Clone, Deserialize)]
pub struct KeyForm {
    /// Base64.
    pub exponent: String,
    /// Base64.
    pub modulus: String,
}

impl AgentForm {
    fn key(&self) -> Option<PublicKey> {
        let key = self.authorization.as_ref()?.public_key.as_ref()?;
        Some(PublicKey { exponent: key.exponent.clone(), modulus: key.modulus.clone() })
    }

    /// Everything a registration says about itself, but not the flag.
    fn describe(&self, agent: &mut Agent) {
        agent.version = self.version.clone().or(agent.version.take());
        agent.os_description = self.os_description.clone().or(agent.os_description.take());
        agent.max_parallelism = self.max_parallelism.unwrap_or(agent.max_parallelism);
        if let Some(state) = &self.provisioning_state {
            agent.provisioning_state.clone_from(state);
        }
        if let Some(capabilities) = &self.system_capabilities {
            agent.system_capabilities.clone_from(capabilities);
        }
    }
}

impl State {
    /// Adds a row.
    ///
    /// # Errors
    /// Unknown pool; no name; a row of that name exists.
    pub fn add_agent(
        &mut self,
        pool: i64,
        form: &AgentForm,
        now: Timestamp,
    ) -> Result<i64, Refusal> {
        let found = self.world.pool(pool)?;
        let name = form.name.clone().filter(|n| !n.trim().is_empty());
        let name = name.ok_or_else(|| Refusal::bad_request("The agent has no name."))?;
        if found.agent_named(&name).is_some() {
            return Err(Refusal::agent_exists(pool, &name));
        }
        let id = self.next_agent;
        self.next_agent += 1;
        let mut agent = Agent::new(id, name, self.new_uuid(), now);
        form.describe(&mut agent);
        agent.enabled = form.enabled.unwrap_or(true);
        agent.public_key = form.key();
        if let Some(found) = self.world.pools.get_mut(&pool) {
            found.agents.insert(id, agent);
            self.journal.rows(&found.name, found.agents.len());
        }
        self.journal.add(now, Kind::AgentRegistered, self.about(pool, id));
        Ok(id)
    }

    /// Replaces the registration: same id, new key, capabilities overwritten, the flag kept unless
    /// given. A session of the old registration lives on until it ends by itself.
    ///
    /// # Errors
    /// Unknown pool or agent; the new name belongs to another row.
    pub fn replace_agent(
        &mut self,
        pool: i64,
        id: i64,
        form: &AgentForm,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.world.agent(pool, id)?;
        if let Some(name) = &form.name {
            let holder = self.world.pool(pool)?.agent_named(name).map(|a| a.id);
            if holder.is_some_and(|holder| holder != id) {
                return Err(Refusal::agent_exists(pool, name));
            }
        }
        let client_id = self.new_uuid();
        let agent = self.world.agent_mut(pool, id)?;
        form.describe(agent);
        if let Some(name) = &form.name {
            agent.name.clone_from(name);
        }
        if let Some(key) = form.key() {
            agent.public_key = Some(key);
            agent.client_id = client_id;
        }
        self.journal.add(now, Kind::AgentReplaced, self.about(pool, id));
        self.switch(pool, id, form.enabled, now)
    }

    /// Changes what a patch may change: the flag and the parallelism.
    ///
    /// # Errors
    /// Unknown pool or agent; the body names no agent, or another one than the path.
    pub fn patch_agent(
        &mut self,
        pool: i64,
        id: i64,
        form: &AgentForm,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let agent = self.world.agent_mut(pool, id)?;
        if form.id != Some(id) {
            return Err(Refusal::bad_request(format!(
                "The agent id in the body must be {id}, as in the address."
            )));
        }
        agent.max_parallelism = form.max_parallelism.unwrap_or(agent.max_parallelism);
        self.switch(pool, id, form.enabled, now)
    }

    fn switch(
        &mut self,
        pool: i64,
        id: i64,
        enabled: Option<bool>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let agent = self.world.agent_mut(pool, id)?;
        let Some(enabled) = enabled.filter(|e| *e != agent.enabled) else { return Ok(()) };
        agent.enabled = enabled;
        let kind = if enabled { Kind::AgentEnabled } else { Kind::AgentDisabled };
        self.journal.add(now, kind, self.about(pool, id));
        Ok(())
    }

    /// Removes a row. One with an assigned request stays, unless the settings say "obey": then the
    /// job is lost with it.
    ///
    /// # Errors
    /// Unknown pool or agent; it holds a job.
    pub fn delete_agent(&mut self, pool: i64, id: i64, now: Timestamp) -> Result<(), Refusal> {
        let agent = self.world.agent(pool, id)?;
        let (name, assigned, session) = (agent.name.clone(), agent.assigned, agent.session);
        let about = self.about(pool, id);
        if let Some(job) = assigned {
            let busy = super::About { job: Some(job), ..about.clone() };
            self.journal.add(
                now,
                Kind::AgentDeleteWhileBusy,
                busy.note(format!("{:?}", self.settings.busy_delete)),
            );
            if self.settings.busy_delete == BusyDelete::Refuse {
                return Err(Refusal::job_running(&name, &self.world.pool(pool)?.name));
            }
            self.end_job(job, "abandoned", now);
        }
        if let Some(session) = session {
            self.sessions.remove(&session);
            self.ended.insert(session, Ended::AgentDeleted(id));
            self.woken.insert(session);
        }
        if let Some(found) = self.world.pools.get_mut(&pool) {
            found.agents.remove(&id);
        }
        self.journal.add(now, Kind::AgentDeleted, about);
        Ok(())
    }

    /// Replaces the whole set of user capabilities.
    ///
    /// # Errors
    /// Unknown pool or agent.
    pub fn set_user_capabilities(
        &mut self,
        pool: i64,
        id: i64,
        set: BTreeMap<String, String>,
    ) -> Result<(), Refusal> {
        self.world.agent_mut(pool, id)?.user_capabilities = set;
        Ok(())
    }
}
