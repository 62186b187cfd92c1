//! Operators ask something of single agents: passed on to the agent's host, answered when that has
//! taken it.
//!
//! Nothing of it is stored here: it is the host that carries it out and will not forget it. An order
//! whose answer is lost is looked up in the agent's state, and may be given again.

use std::collections::BTreeMap;

use fleet_model::{AgentName, AgentOrder, AgentVerb, HostName};
use fleet_proto::{convert::timestamp, v1};

use super::{denied::Denied, event::Reply, state::State, turn::Turn};
use crate::store::NewEvent;

/// Orders that hosts have not answered.
#[derive(Default)]
pub(crate) struct AgentOrders {
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
}

struct Waiting {
    host: HostName,
    order: AgentOrder,
    reply: Reply<v1::Agent>,
}

impl State {
    pub(crate) fn order_agent(&mut self, order: AgentOrder, reply: Reply<v1::Agent>) {
        // Whoever waited too long has gone, and its answer is of no use.
        self.agent_orders.waiting.retain(|_, waiting| !waiting.reply.is_closed());
        let host = match self.host_of_agent(&order.agent) {
            Ok(host) => host,
            // Whoever asked may have gone.
            Err(denied) => return drop(reply.send(Err(denied))),
        };
        self.agent_orders.last += 1;
        let id = self.agent_orders.last;
        self.sessions.order_agent(&host, id, &order);
        self.agent_orders.waiting.insert(id, Waiting { host, order, reply });
    }

    /// The host that has the agent, if it can be told something.
    fn host_of_agent(&self, agent: &AgentName) -> Result<HostName, Denied> {
        self.writable()?;
        let found = self.fleet.agents().find(|(_, _, status)| status.agent == *agent);
        let Some((host, entry, status)) = found else {
            return Err(Denied::UnknownAgent(agent.to_string()));
        };
        if self.sessions.has(host) {
            return Ok(host.clone());
        }
        Err(Denied::HostAway {
            host: host.clone(),
            heard: timestamp(entry.heard).to_string(),
            instead: format!(
                "{agent} was {} then, and cannot be told anything; look at hostd there: \
                 `systemctl status hostd`",
                status.phase
            ),
        })
    }

    /// A host has taken an order, or refuses it.
    pub(crate) fn agent_ordered(
        &mut self,
        host: &HostName,
        id: u64,
        refused: Option<String>,
        turn: &mut Turn,
    ) {
        // An answer to what another host was asked is none.
        let Some(waiting) = self.agent_orders.waiting.get(&id).filter(|w| w.host == *host) else {
            return;
        };
        let order = waiting.order.clone();
        let Some(Waiting { reply, .. }) = self.agent_orders.waiting.remove(&id) else { return };
        let before = self.views().agent(host, &order.agent);
        let taken = match (refused, before) {
            (Some(why), _) => Err(Denied::NotNow(why)),
            (None, None) => Err(Denied::UnknownAgent(order.agent.to_string())),
            (None, Some(agent)) => Ok(agent),
        };
        if taken.is_ok() {
            turn.event(self.history_of(host, &order, turn));
        }
        turn.settle(reply, taken.map(|agent| move |_: &mut State| agent));
    }

    fn history_of(&self, host: &HostName, order: &AgentOrder, turn: &Turn) -> NewEvent {
        let status = self.fleet.host(host).and_then(|entry| entry.agents.get(&order.agent));
        let (kind, what) = match order.verb {
            AgentVerb::Restart => ("agent.restart", "to be restarted at its job's end".to_owned()),
            AgentVerb::Quarantine(time) => {
                let hours = time.as_secs_f64() / 3600.0;
                ("agent.quarantine", format!("to be kept aside for {hours:.1} h"))
            }
            AgentVerb::Release => ("agent.release", "to be kept aside no longer".to_owned()),
        };
        let was = status.map(|status| format!(", was {}", status.phase)).unwrap_or_default();
        let why = order.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let mut event = NewEvent::new(turn.now, kind, &order.by).host(host).agent(&order.agent);
        if let Some(status) = status {
            event = event.pool(&status.pool);
        }
        event.says(format!("{what}{was}{why}"))
    }

    /// A host whose session ended answers nothing any more.
    pub(crate) fn orders_end_with(&mut self, host: &HostName) {
        let (gone, left) = std::mem::take(&mut self.agent_orders.waiting)
            .into_iter()
            .partition(|(_, waiting)| waiting.host == *host);
        self.agent_orders.waiting = left;
        let gone: BTreeMap<u64, Waiting> = gone;
        for waiting in gone.into_values() {
            // Whoever asked may have gone.
            let _ = waiting.reply.send(Err(Denied::HostLost(host.clone())));
        }
    }
}
