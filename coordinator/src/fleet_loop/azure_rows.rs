//! What Azure says, as far as the loop is concerned.

use std::collections::BTreeMap;

use coordinator_plan::FleetEvent;
use fleet_model::{AgentName, AgentStatus, At, HostName, PoolName, RowState};
use fleet_proto::convert::{Row, RowChange};

use super::{
    event::AzureEvent,
    state::{SELF, State},
    turn::Turn,
    watchers::Watched,
};
use crate::store::NewEvent;

impl State {
    pub(crate) fn take_azure(&mut self, event: AzureEvent, turn: &mut Turn) {
        match event {
            AzureEvent::Rows { pool, rows, asked } => self.take_rows(pool, rows, asked, turn),
            AzureEvent::Trouble { pool, trouble } => self.take_trouble(pool, trouble, turn),
            AzureEvent::OrphanEnded { id, end } => self.forget_orphan(&id, end, turn),
            AzureEvent::Marked { pools, number, rows } => self.marked(&pools, number, &rows, turn),
        }
    }

    fn take_rows(
        &mut self,
        pool: PoolName,
        rows: BTreeMap<AgentName, RowState>,
        asked: At,
        turn: &mut Turn,
    ) {
        let Some(view) = self.fleet.pool_view(&pool) else { return };
        let over = view.trouble.is_some();
        let mut by_host: BTreeMap<HostName, Vec<Row>> = BTreeMap::new();
        for (host, _, agent) in self.fleet.agents().filter(|(_, _, agent)| agent.pool == pool) {
            let change = match (view.rows.get(&agent.agent), rows.get(&agent.agent)) {
                (old, Some(new)) if old != Some(new) => RowChange::Seen(new.clone()),
                (Some(old), None) => RowChange::Gone { agent_id: old.agent_id },
                (None, None) => match self.missing_row(agent, turn.now) {
                    Some(agent_id) => RowChange::Gone { agent_id },
                    None => continue,
                },
                _ => continue,
            };
            self.told_gone.remove(&agent.agent);
            if let RowChange::Gone { agent_id } = &change {
                self.told_gone.insert(agent.agent.clone(), *agent_id);
            }
            let row = Row { pool: pool.clone(), agent: agent.agent.clone(), change };
            by_host.entry(host.clone()).or_default().push(row);
        }
        for (host, changed) in by_host {
            for row in &changed {
                self.watchers.touch(Watched::Agent(host.clone(), row.agent.clone()), turn.now);
            }
            self.sessions.send_rows(&host, changed);
        }
        if over {
            let said = "Azure answers again";
            turn.event(NewEvent::new(turn.now, "azure.ok", SELF).pool(&pool).says(said));
        }
        self.watchers.touch(Watched::Pool(pool.clone()), turn.now);
        let stale = i64::try_from(self.settings.azure_stale.as_millis()).unwrap_or(i64::MAX);
        let event = FleetEvent::Rows { pool: pool.clone(), rows, shows: asked.moved(-stale) };
        // No placement follows from rows alone, for it asks hosts, not Azure. The end of a pause may.
        self.fleet.apply(event, turn.now);
        turn.decide |= !self.fleet.restraint_steps(turn.now).is_empty();
        self.wish_for_marks(&pool, turn);
    }

    /// The row that an agent has by its host's word and that was never seen: it vanished while the
    /// host or this coordinator was away. One that was made a moment ago may not be shown yet.
    fn missing_row(&self, agent: &AgentStatus, now: At) -> Option<i64> {
        let old_enough = now.since(agent.since) >= self.settings.azure_stale;
        let told = self.told_gone.get(&agent.agent).copied();
        agent.agent_id.filter(|id| old_enough && told != Some(*id))
    }

    fn take_trouble(&mut self, pool: PoolName, trouble: Option<String>, turn: &mut Turn) {
        if let Some(why) = &trouble {
            self.no_marks(&pool, why);
        }
        let Some(view) = self.fleet.pool_view(&pool) else { return };
        if view.trouble == trouble.as_deref() {
            return;
        }
        let (kind, said) = match &trouble {
            Some(trouble) => ("azure.trouble", trouble.clone()),
            None => ("azure.ok", "Azure answers again".to_owned()),
        };
        tracing::warn!(%pool, "{said}");
        turn.event(NewEvent::new(turn.now, kind, SELF).pool(&pool).says(said));
        self.watchers.touch(Watched::Pool(pool.clone()), turn.now);
        self.fleet.apply(FleetEvent::PoolTrouble { pool, trouble }, turn.now);
    }
}
