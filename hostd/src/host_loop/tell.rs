//! What the loop says: one log line per change of phase, the history, the view.

use std::sync::Arc;

use fleet_model::{AgentName, At, Condition, ConditionKind, PoolName};
use hostd_plan::{Action, PhaseChange, Role};

use super::HostLoop;
use crate::view::{Happened, View};

impl HostLoop {
    /// After each turn.
    pub(super) fn tell(&mut self, now: At) {
        for change in self.parts.known.refresh(now) {
            Self::phase_changed(&change);
        }
        let mut conditions = self.parts.known.conditions(now);
        conditions.extend(self.standing.iter().cloned());
        let unstored = self.unstored.as_ref().map(|(why, _)| {
            format!("nothing is started or removed, because the ledger cannot be stored: {why}")
        });
        let trouble = [self.parts.ledger_was.clone(), unstored].into_iter().flatten();
        conditions.extend(trouble.map(|message| Condition {
            kind: ConditionKind::LedgerTrouble,
            pool: None,
            message,
        }));
        let view = View {
            // What is only in memory is not taken yet.
            applied: self.stored.highest,
            agents: self.sizes.shown(self.parts.known.statuses()),
            conditions,
            credentials: self.parts.secrets.refs(),
            disks: self.parts.known.disks(),
            caches: self.sizes.caches.clone(),
        };
        self.parts.view.send_if_modified(|shown| {
            let changed = **shown != view;
            if changed {
                *shown = Arc::new(view);
            }
            changed
        });
    }

    /// A line for this host's log. The fleet's history has it from the report.
    fn phase_changed(change: &PhaseChange) {
        let word = |phase: Option<fleet_model::Phase>| phase.map_or("none", |phase| phase.as_str());
        let (from, to) = (word(change.from), word(change.to));
        tracing::info!(
            agent = %change.agent, pool = %change.pool, from, to, why = change.why,
            "{} {from} {to} {}", change.agent, change.why
        );
    }

    /// A disable at Azure is in the history before it is done, with its reason.
    pub(super) fn tell_action(&self, action: &Action) {
        tracing::debug!(%action, "begins");
        let Action::Disable { agent, row } = action else { return };
        let Some(slot) = self.parts.known.ledger.slots.get(agent) else { return };
        let why = match (slot.role, &slot.pause) {
            (Role::Renew, _) => "its run is to be replaced",
            (Role::Quarantine, _) => "it goes into quarantine",
            (Role::Remove, _) => "it is to be removed",
            (Role::Hold, _) => "it is to stop and hold the group's last registration",
            (Role::Run, Some(pause)) => &format!("it is {}", pause.words()),
            (Role::Run, None) => "its removal was taken back meanwhile",
        };
        let message = format!("row {} is disabled at Azure by the fleet: {why}", row.agent_id);
        let now = self.parts.clock.now();
        self.happened("agent.disable", Some(slot.pool.clone()), Some(agent.clone()), message, now);
    }

    pub(super) fn happened(
        &self,
        kind: &'static str,
        pool: Option<PoolName>,
        agent: Option<AgentName>,
        message: String,
        at: At,
    ) {
        // Nobody listens while there is no session; the log has it all.
        let _ = self.parts.history.send(Happened { at, kind, pool, agent, message });
    }
}
