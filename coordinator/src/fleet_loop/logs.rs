//! Agents' logs: the loop knows who can be asked. The logs themselves never come through it.

use coordinator_plan::HostEntry;
use fleet_model::{AgentStatus, HostName, RuntimeKind};
use fleet_proto::{convert::timestamp, v1};

use super::{denied::Denied, event::LogPlace, state::State};

impl State {
    /// The session that keeps the agent.
    pub(crate) fn find_log(&self, agent: String) -> Result<LogPlace, Denied> {
        let found = self.fleet.agents().find(|(_, _, status)| status.agent.as_str() == agent);
        let Some((host, entry, status)) = found else { return Err(Denied::UnknownAgent(agent)) };
        match self.sessions.number(host) {
            Some(session) => Ok(LogPlace { agent, host: host.clone(), session }),
            None => Err(away(host, entry, status)),
        }
    }

    /// Puts the request into the session's outbox.
    pub(crate) fn open_log(&self, place: &LogPlace, open: v1::OpenLogs) -> Result<(), Denied> {
        if self.sessions.open_log(&place.host, place.session, open) {
            return Ok(());
        }
        // It went, or came back, between the two questions: the answer to the first is of now.
        self.find_log(place.agent.clone())?;
        Err(Denied::Away("meeting this host anew at this moment"))
    }
}

fn away(host: &HostName, entry: &HostEntry, status: &AgentStatus) -> Denied {
    let agent = &status.agent;
    let instead = match status.runtime {
        RuntimeKind::Docker => format!("docker logs {agent}-{}", status.attempt),
        RuntimeKind::Systemd => format!("journalctl -u fleet-agent-{agent}"),
        RuntimeKind::Process | RuntimeKind::Fake => "journalctl -u hostd".to_owned(),
    };
    let heard = timestamp(entry.heard).to_string();
    Denied::HostAway {
        host: host.clone(),
        heard,
        instead: format!("read the log there: `{instead}`"),
    }
}
