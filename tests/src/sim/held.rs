//! Operators hold hosts and pools back, and are told when it is done. What they are told must be so.

use std::collections::BTreeMap;

use coordinator_plan::{FleetEvent, HostRecord, Target};
use fleet_model::{
    AgentName, PoolName, PoolSpec, Restraint, RestraintKind, RestraintStep, RowState,
};
use hostd_plan::RunState;

use super::{Due, World};

impl World {
    /// Drawn in advance; all of it is taken back before it is calm.
    pub(super) fn write_restraints(&mut self) {
        let rough = self.options.rough_ms;
        let hosts: Vec<Target> = self.hosts.keys().cloned().map(Target::Host).collect();
        let pools = self.saved.pools.iter().map(|spec| Target::Pool(spec.name.clone()));
        let targets: Vec<Target> = hosts.into_iter().chain(pools).collect();
        for _ in 0..30 {
            let pick = usize::try_from(self.between(0, targets.len() as u64)).unwrap_or(0);
            let Some(target) = targets.get(pick).cloned() else { continue };
            let kinds = [RestraintKind::Cordon, RestraintKind::Pause, RestraintKind::Drain];
            let pick = usize::try_from(self.between(0, 5)).unwrap_or(0);
            let at = self.between(0, rough);
            // Somebody may change his mind within seconds, or forget it for an hour.
            let long = if self.between(0, 3) == 0 { 40_000 } else { 600_000 };
            let until = (at + self.between(1_000, long)).min(rough);
            self.after(at, Due::Hold(target.clone(), kinds.get(pick).copied()));
            self.after(until, Due::Hold(target, None));
        }
    }

    pub(super) fn hold(&mut self, target: &Target, kind: Option<RestraintKind>) {
        let Some(fleet) = &self.fleet else {
            // Taking back is tried again; an order that comes after its end would stand for ever.
            if kind.is_none() {
                self.after(30_000, Due::Hold(target.clone(), kind));
            }
            return;
        };
        let since = fleet.restraint(target).filter(|old| Some(old.kind) == kind).map(|r| r.since);
        let restraint = kind.map(|kind| Restraint {
            kind,
            by: "ann".into(),
            reason: None,
            since: since.unwrap_or(self.now),
            until: None,
            deadline: None,
            done: None,
        });
        self.note(format!("hold {target:?} {kind:?}"));
        self.put_restraint(target, restraint);
        self.decide();
    }

    fn put_restraint(&mut self, target: &Target, restraint: Option<Restraint>) {
        let event = match target {
            Target::Host(name) => {
                let found = self.saved.hosts.iter_mut().find(|record| record.name == *name);
                let Some(record) = found else { return };
                *record = HostRecord { restraint, ..record.clone() };
                FleetEvent::HostPut(record.clone())
            }
            Target::Pool(name) => {
                let found = self.saved.pools.iter_mut().find(|spec| spec.name == *name);
                let Some(spec) = found else { return };
                *spec = PoolSpec { restraint, ..spec.clone() };
                FleetEvent::PoolPut(spec.clone())
            }
        };
        if let Some(fleet) = &mut self.fleet {
            fleet.apply(event, self.now);
        }
    }

    /// Notes what the coordinator makes of restraints; when it says done, the world is looked at.
    pub(super) fn take_restraint_steps(&mut self) {
        let Some(fleet) = &self.fleet else { return };
        for (target, step) in fleet.restraint_steps(self.now) {
            let Some(restraint) = self.fleet.as_ref().and_then(|f| f.restraint(&target)).cloned()
            else {
                continue;
            };
            self.note(format!("{target:?} {} {step:?}", restraint.kind));
            if step == RestraintStep::Done {
                self.rested += 1;
                self.check_rest(&target, restraint.kind);
            }
            self.put_restraint(&target, restraint.after(step, self.now));
        }
    }

    /// Nothing runs where it is drained; where it is paused no job runs, and none can come.
    fn check_rest(&mut self, target: &Target, kind: RestraintKind) {
        let mut wrong = Vec::new();
        for (name, host) in &self.hosts {
            for ((agent, attempt), run) in &host.engine.runs {
                let concerned = match target {
                    Target::Host(host) => host == name,
                    Target::Pool(pool) => *pool == run.pool,
                };
                if !concerned || run.state != RunState::Running {
                    continue;
                }
                let row = self.azure.find(agent).and_then(|id| self.azure.rows.get(&id));
                let open = row.is_some_and(|row| row.enabled || row.assigned.is_some());
                let busy = run.job.is_some() || open;
                // What the engine began late on its own is asked for by nobody, and its row decides.
                let is_ours =
                    host.known.ledger.slots.get(agent).is_some_and(|slot| slot.attempt == *attempt);
                if (kind == RestraintKind::Drain && is_ours)
                    || (kind == RestraintKind::Pause && busy)
                {
                    wrong.push(format!(
                        "{kind} of {target:?} is called done, and {agent} {attempt} runs"
                    ));
                }
            }
        }
        wrong.into_iter().for_each(|text| self.violation(text));
    }

    /// All rows of each pool, as the coordinator's watcher sees them: now and then of old.
    pub(super) fn rows_for_coordinator(
        &mut self,
    ) -> BTreeMap<PoolName, BTreeMap<AgentName, RowState>> {
        let old = if self.unlucky(20) { self.between(1, 30_000) } else { 0 };
        let mut all: BTreeMap<PoolName, BTreeMap<AgentName, RowState>> = BTreeMap::new();
        let ids: Vec<i64> = self.azure.rows.keys().copied().collect();
        for id in ids {
            let Some(row) = self.azure.rows.get(&id) else { continue };
            let (pool, name) = (row.pool.clone(), row.name.clone());
            if let Some(state) = self.azure.read(id, old, self.now) {
                all.entry(pool).or_default().insert(name, state);
            }
        }
        all
    }
}
