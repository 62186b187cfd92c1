//! Orders of an operator for one agent.

use fleet_model::{AgentOrder, AgentVerb, At, Quarantine};

use crate::{
    known::Known,
    ledger::{Renewal, Role, Slot},
};

/// Why an order cannot be carried out, with the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit(pub String);

impl Known {
    /// Takes an order for one agent. What follows from it is planned.
    ///
    /// # Errors
    /// It does not fit the agent as it is: nothing changed.
    pub fn order_agent(&mut self, order: &AgentOrder, now: At) -> Result<(), Unfit> {
        let agent = &order.agent;
        let live = self.live(agent).is_some();
        let elsewhere = self.rows.get(agent).is_some_and(|row| !row.enabled);
        let unfit = |why: &str| Err(Unfit(format!("{agent} {why}")));
        let Some(slot) = self.ledger.slots.get_mut(agent) else {
            return unfit("is not on this host (any more)");
        };
        match (order.verb, slot.role) {
            // What is kept of such a pool is not chosen anew.
            _ if self.ledger.orphaned.contains(&slot.pool) => {
                return unfit("is of a pool that the coordinator does not know; it stays as it is");
            }
            (_, Role::Remove) => return unfit("is being removed"),
            (AgentVerb::Release, _) if !slot.is_aside(now) => {
                return unfit("is not in quarantine");
            }
            (AgentVerb::Release, _) => {
                slot.quarantine = None;
                slot.starts_afresh();
            }
            (_, Role::Hold) => {
                return unfit("only holds the group's last registration; scale the pool up");
            }
            (AgentVerb::Restart, _) if slot.is_aside(now) => {
                return unfit("is in quarantine; release it first");
            }
            (AgentVerb::Restart, _) if elsewhere && !slot.disabled_by_us => {
                return unfit("was disabled at Azure, not by the fleet; enable it there first");
            }
            (AgentVerb::Restart, _) => {
                slot.starts_afresh();
                slot.renewal = live.then(|| Renewal::Asked(order.to_string()));
            }
            (AgentVerb::Quarantine(time), _) => {
                let evidence = slot.quarantine.take().and_then(|before| before.evidence);
                slot.quarantine = Some(Quarantine {
                    since: now,
                    until: now + time,
                    why: asked(order),
                    by: Some(order.by.clone()),
                    evidence,
                });
            }
        }
        Ok(())
    }
}

fn asked(order: &AgentOrder) -> String {
    match &order.reason {
        Some(reason) => reason.to_string(),
        None => "no reason was given".to_owned(),
    }
}

impl Slot {
    /// What its role is to be while an agent is wanted in it. A renewal is over when its run is.
    pub(crate) fn role_when_wanted(&self, runs: bool, is_ill: bool) -> Role {
        match &self.renewal {
            Some(Renewal::Asked(_)) if runs => Role::Renew,
            Some(Renewal::Ill(_)) if runs && is_ill => Role::Renew,
            _ => Role::Run,
        }
    }
}
