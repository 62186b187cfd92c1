//! What Azure says, as far as the loop is concerned.

use std::collections::BTreeMap;

use coordinator_plan::FleetEvent;
use fleet_model::{AgentName, HostName, PoolName, RowState};
use fleet_proto::convert::{Row, RowChange};

use super::{
    event::AzureEvent,
    state::{SELF, State},
    turn::Turn,
    watchers::Watched,
};
use crate::{records::ORPHAN, store::NewEvent};

impl State {
    pub(crate) fn take_azure(&mut self, event: AzureEvent, turn: &mut Turn) {
        match event {
            AzureEvent::Rows { pool, rows } => self.take_rows(pool, rows, turn),
            AzureEvent::Trouble { pool, trouble } => self.take_trouble(pool, trouble, turn),
            AzureEvent::OrphanGone { id, deleted } => {
                let Some(orphan) = self.book.orphans.remove(&id) else { return };
                turn.changes.delete(ORPHAN, &id);
                let how = if deleted { "deleted" } else { "was gone already" };
                let said = format!("row {} of removed host {} {how}", orphan.agent_id, orphan.host);
                let event = NewEvent::new(turn.now, "azure.row-deleted", SELF).pool(&orphan.pool);
                turn.event(event.host(&orphan.host).agent(&orphan.agent).says(said));
                turn.targets = true;
            }
        }
    }

    fn take_rows(&mut self, pool: PoolName, rows: BTreeMap<AgentName, RowState>, turn: &mut Turn) {
        let Some(view) = self.fleet.pool_view(&pool) else { return };
        let over = view.trouble.is_some();
        let mut by_host: BTreeMap<HostName, Vec<Row>> = BTreeMap::new();
        for (host, _, agent) in self.fleet.agents().filter(|(_, _, agent)| agent.pool == pool) {
            let change = match (view.rows.get(&agent.agent), rows.get(&agent.agent)) {
                (old, Some(new)) if old != Some(new) => RowChange::Seen(new.clone()),
                (Some(old), None) => RowChange::Gone { agent_id: old.agent_id },
                _ => continue,
            };
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
        // No decision follows from rows alone: placement asks hosts, not Azure.
        self.fleet.apply(FleetEvent::Rows { pool, rows }, turn.now);
    }

    fn take_trouble(&mut self, pool: PoolName, trouble: Option<String>, turn: &mut Turn) {
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
