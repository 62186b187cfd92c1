//! Sessions and messages: how a listener is online, and how jobs reach it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::Settings;
use super::super::journal::Kind;
use super::{PendingUpdate, Refusal, State};
use crate::types::compare_versions;

/// The body of a session's creation.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "fields are named as on the wire")]
pub struct SessionForm {
    pub owner_name: String,
    pub agent: SessionAgent,
    pub system_capabilities: Option<BTreeMap<String, String>>,
}

/// The agent a session is for.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SessionAgent {
    /// The row.
    pub id: i64,
    /// Its name, as the listener believes.
    pub name: String,
    /// Version of the listener that runs.
    pub version: Option<String>,
    /// Operating system, free text.
    pub os_description: Option<String>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) pool: i64,
    pub(super) agent: i64,
    owner: String,
    last_contact: Timestamp,
    /// Polls that stand open: while one does, the listener is surely there.
    open_polls: u32,
    /// The listener said that it will end after its job: it gets no other.
    pub(super) closing: bool,
    messages: Vec<Pending>,
    next_message: i64,
}

#[derive(Debug)]
struct Pending {
    visible_at: Timestamp,
    job: Option<i64>,
    message: Message,
}

/// Why a session is no more; decides what its next poll is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ended {
    AgentDeleted(i64),
    Otherwise,
}

/// One message to a listener.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "fields are named as on the wire")]
pub struct Message {
    pub message_id: i64,
    pub message_type: &'static str,
    /// JSON as text.
    pub body: String,
}

/// What a poll finds.
#[derive(Debug, Clone, PartialEq)]
pub enum Polled {
    /// Deliver this.
    Message(Message),
    /// Nothing yet; look again then at the latest, if a time is given.
    Nothing(Option<Timestamp>),
}

impl Session {
    pub(super) fn expires_at(&self, settings: &Settings) -> Option<Timestamp> {
        (self.open_polls == 0).then(|| self.last_contact + settings.session_expiry)
    }

    fn push(&mut self, kind: &'static str, body: &Value, job: Option<i64>, visible_at: Timestamp) {
        let message =
            Message { message_id: self.next_message, message_type: kind, body: body.to_string() };
        self.next_message += 1;
        self.messages.push(Pending { visible_at, job, message });
    }
}

impl State {
    /// Opens the agent's session: it is online from here on, with the capabilities it brings.
    ///
    /// # Errors
    /// Unknown pool or agent; another session is alive.
    pub fn create_session(
        &mut self,
        pool: i64,
        form: &SessionForm,
        now: Timestamp,
    ) -> Result<Uuid, Refusal> {
        let agent_id = form.agent.id;
        let agent = self.world.agent(pool, agent_id)?;
        if let Some(owner) =
            agent.session.and_then(|s| self.sessions.get(&s)).map(|s| s.owner.clone())
        {
            let refusal = Refusal::session_conflict(&agent.name, &owner);
            self.journal.add(now, Kind::SessionConflict, self.about(pool, agent_id));
            return Err(refusal);
        }
        let id = self.new_uuid();
        let session = Session {
            pool,
            agent: agent_id,
            owner: form.owner_name.clone(),
            last_contact: now,
            open_polls: 0,
            closing: false,
            messages: Vec::new(),
            next_message: 1,
        };
        self.sessions.insert(id, session);
        self.bring_online(pool, agent_id, id, form, now)?;
        self.journal.add(now, Kind::SessionCreated, self.about(pool, agent_id));
        self.redeliver(pool, agent_id, now);
        Ok(id)
    }

    fn bring_online(
        &mut self,
        pool: i64,
        id: i64,
        session: Uuid,
        form: &SessionForm,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let agent = self.world.agent_mut(pool, id)?;
        agent.session = Some(session);
        agent.status_changed_on = Some(now);
        agent.version = form.agent.version.clone().or(agent.version.take());
        agent.os_description = form.agent.os_description.clone().or(agent.os_description.take());
        if let Some(capabilities) = &form.system_capabilities {
            agent.system_capabilities.clone_from(capabilities);
        }
        let version = agent.version.clone().unwrap_or_default();
        let reached = |u: &PendingUpdate| compare_versions(&version, &u.target_version).is_ge();
        if agent.pending_update.as_ref().is_some_and(reached) {
            agent.pending_update = None;
        }
        Ok(())
    }

    /// What an earlier session left unread waits for the next one.
    fn redeliver(&mut self, pool: i64, id: i64, now: Timestamp) {
        let Ok(agent) = self.world.agent(pool, id) else { return };
        let unread =
            agent.assigned.filter(|j| self.world.job(*j).is_ok_and(|j| j.receive_time.is_none()));
        let update = agent.pending_update.clone();
        if let Some(job) = unread {
            self.send_job(job, now);
        }
        if let Some(update) = update {
            self.send_update(pool, id, &update.target_version, now);
        }
    }

    /// The listener's own, clean end: offline at once. A job it never received goes back to the queue.
    ///
    /// # Errors
    /// Unknown session.
    pub fn delete_session(&mut self, id: Uuid, now: Timestamp) -> Result<(), Refusal> {
        let (pool, agent) = self.session_owner(id)?;
        self.journal.add(now, Kind::SessionDeleted, self.about(pool, agent));
        self.end_session(id, now);
        let assigned = self.world.agent(pool, agent).ok().and_then(|a| a.assigned);
        if let Some(job) =
            assigned.filter(|j| self.world.job(*j).is_ok_and(|j| j.receive_time.is_none()))
        {
            self.requeue(job, now);
        }
        Ok(())
    }

    /// Ends a session from the server's side; the listener learns it from its next poll.
    ///
    /// # Errors
    /// Unknown pool or agent; it has no session.
    pub fn kill_session(&mut self, pool: i64, agent: i64, now: Timestamp) -> Result<(), Refusal> {
        let session =
            self.world.agent(pool, agent)?.session.ok_or_else(Refusal::session_expired)?;
        self.journal.add(now, Kind::SessionKilled, self.about(pool, agent));
        self.end_session(session, now);
        Ok(())
    }

    pub(super) fn expire_sessions(&mut self, now: Timestamp) {
        let due = |s: &Session| s.expires_at(&self.settings).is_some_and(|at| at <= now);
        let expired: Vec<Uuid> =
            self.sessions.iter().filter(|(_, s)| due(s)).map(|(id, _)| *id).collect();
        for id in expired {
            if let Ok((pool, agent)) = self.session_owner(id) {
                self.journal.add(now, Kind::SessionExpired, self.about(pool, agent));
            }
            self.end_session(id, now);
        }
    }

    pub(super) fn end_session(&mut self, id: Uuid, now: Timestamp) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.ended.insert(id, Ended::Otherwise);
        self.woken.insert(id);
        if let Ok(agent) = self.world.agent_mut(session.pool, session.agent) {
            agent.session = None;
            agent.status_changed_on = Some(now);
        }
    }

    /// Pool and agent of a live session.
    ///
    /// # Errors
    /// The session is over: expired, or its agent was deleted.
    pub fn session_owner(&self, id: Uuid) -> Result<(i64, i64), Refusal> {
        match (self.sessions.get(&id), self.ended.get(&id)) {
            (Some(session), _) => Ok((session.pool, session.agent)),
            (None, Some(Ended::AgentDeleted(agent))) => Err(Refusal::agent_not_found(*agent)),
            (None, _) => Err(Refusal::session_expired()),
        }
    }

    /// A sign of life: a poll begins (`true`) or ends (`false`).
    pub fn poll_open(&mut self, id: Uuid, open: bool, now: Timestamp) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.last_contact = now;
            session.open_polls =
                if open { session.open_polls + 1 } else { session.open_polls.saturating_sub(1) };
        }
    }

    /// A sign of life of an agent: any request with its token.
    pub fn touch(&mut self, pool: i64, agent: i64, now: Timestamp) {
        let session = self.world.agent(pool, agent).ok().and_then(|a| a.session);
        if let Some(session) = session.and_then(|s| self.sessions.get_mut(&s)) {
            session.last_contact = now;
        }
    }

    /// The next message after the last one seen. Reading does not remove it.
    ///
    /// # Errors
    /// The session is over.
    pub fn poll(&self, id: Uuid, last_seen: i64, now: Timestamp) -> Result<Polled, Refusal> {
        self.session_owner(id)?;
        let waiting = self.sessions.get(&id).map(|s| s.messages.as_slice()).unwrap_or_default();
        let unseen = || waiting.iter().filter(|p| p.message.message_id > last_seen);
        Ok(match unseen().find(|p| p.visible_at <= now) {
            Some(pending) => Polled::Message(pending.message.clone()),
            None => Polled::Nothing(unseen().map(|p| p.visible_at).min()),
        })
    }

    /// The listener has read it.
    ///
    /// # Errors
    /// The session is over.
    pub fn delete_message(&mut self, id: Uuid, message: i64) -> Result<(), Refusal> {
        self.session_owner(id)?;
        if let Some(session) = self.sessions.get_mut(&id) {
            session.messages.retain(|p| p.message.message_id != message);
        }
        Ok(())
    }

    /// Asks the agent to update itself; it gets no job until it comes back with that version.
    ///
    /// # Errors
    /// Unknown pool or agent.
    pub fn request_update(
        &mut self,
        pool: i64,
        agent: i64,
        target: &str,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let row = self.world.agent_mut(pool, agent)?;
        row.pending_update = Some(PendingUpdate {
            source_version: row.version.clone(),
            target_version: target.to_owned(),
            request_time: now,
            current_state: None,
        });
        self.journal.add(now, Kind::AgentUpdateRequested, self.about(pool, agent).note(target));
        self.send_update(pool, agent, target, now);
        Ok(())
    }

    /// The agent's own words about its update.
    ///
    /// # Errors
    /// Unknown pool or agent.
    pub fn update_state(
        &mut self,
        pool: i64,
        agent: i64,
        words: &str,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let row = self.world.agent_mut(pool, agent)?;
        if let Some(update) = &mut row.pending_update {
            update.current_state = Some(words.to_owned());
        }
        self.journal.add(now, Kind::AgentUpdateState, self.about(pool, agent).note(words));
        Ok(())
    }

    pub(super) fn send_job(&mut self, job: i64, now: Timestamp) {
        let lag = self.random_between(self.settings.delivery_lag);
        let Ok(found) = self.world.job(job) else { return };
        let body = found.message();
        let Some(agent) = found.reserved.as_ref().map(|(id, _)| *id) else { return };
        self.send(found.pool, agent, "PipelineAgentJobRequest", &body, Some(job), now + lag);
    }

    pub(super) fn send_cancel(&mut self, job: i64, now: Timestamp) {
        let Ok(found) = self.world.job(job) else { return };
        let Some(agent) = found.reserved.as_ref().map(|(id, _)| *id) else { return };
        let body = json!({ "jobId": found.job_id, "timeout": "00:01:00" });
        self.send(found.pool, agent, "JobCancellation", &body, Some(job), now);
    }

    fn send_update(&mut self, pool: i64, agent: i64, target: &str, now: Timestamp) {
        let body = json!({ "agentId": agent, "targetVersion": target, "timeout": "00:05:00" });
        self.send(pool, agent, "AgentRefresh", &body, None, now);
    }

    fn send(
        &mut self,
        pool: i64,
        agent: i64,
        kind: &'static str,
        body: &Value,
        job: Option<i64>,
        at: Timestamp,
    ) {
        let Some(id) = self.world.agent(pool, agent).ok().and_then(|a| a.session) else { return };
        if let Some(session) = self.sessions.get_mut(&id) {
            session.push(kind, body, job, at);
            self.woken.insert(id);
        }
    }

    /// Messages of a job that is over or given to another are taken back.
    pub(super) fn retract(&mut self, job: i64) {
        for session in self.sessions.values_mut() {
            session.messages.retain(|p| p.job != Some(job));
        }
    }

    pub(super) fn session_mut(&mut self, pool: i64, agent: i64) -> Option<&mut Session> {
        let id = self.world.agent(pool, agent).ok()?.session?;
        self.sessions.get_mut(&id)
    }

    pub(super) fn is_closing(&self, id: Uuid) -> bool {
        self.sessions.get(&id).is_none_or(|s| s.closing)
    }
}
