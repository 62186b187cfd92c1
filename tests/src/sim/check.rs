//! What must hold, while it runs and at its end.

use fleet_model::{AgentName, HostName, PoolName, Wanted};

use hostd_plan::Role;

use super::{Kept, World, azure::JobState};

/// How a simulation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What should never have happened. Empty is good.
    pub violations: Vec<String>,
    /// Everything that happened, in order: equal for equal seeds.
    pub log: Vec<String>,
    /// Jobs that ran to their end.
    pub finished: usize,
    /// Drains and pauses that were called done.
    pub rested: usize,
    /// Actions of all hosts.
    pub actions: u64,
    /// How agents were kept without the coordinator.
    pub kept: Kept,
    /// Listeners that met the session of a dead run.
    pub conflicts: u64,
}

impl World {
    /// A row was made: its host has no more of them than it was told.
    pub(super) fn check_rows(&mut self, name: &HostName, pool: &PoolName) {
        let Some(host) = self.hosts.get(name) else { return };
        let prefix = format!("{pool}-{name}-");
        let of_host =
            |row: &&super::azure::Row| row.pool == *pool && row.name.as_str().starts_with(&prefix);
        let rows = self.azure.rows.values().filter(of_host).count();
        let part = host.disk.ledger.assignment.as_ref().and_then(|told| told.pools.get(pool));
        let told = part.map_or(0, |part| part.replicas()) as usize;
        let leaving =
            host.disk.ledger.slots.values().filter(|s| s.pool == *pool && s.removal.is_some());
        let most = told.max(leaving.count() + told.min(rows));
        let slots = host.disk.ledger.slots.values().filter(|slot| slot.pool == *pool).count();
        if rows > slots || rows > most {
            self.violation(format!("{name} has {rows} rows of {pool}, was told {told}"));
        }
    }
}

/// Looks at the end: the counts are right, everywhere.
pub(super) fn verdict(world: &World) -> Verdict {
    let mut violations = world.violations.clone();
    if let Some(fleet) = &world.fleet {
        if let Some(read_only) = fleet.read_only() {
            violations.push(format!("the coordinator became read-only: {read_only:?}"));
        }
        check_reports(world, fleet, &mut violations);
        for spec in &world.saved.pools {
            check_pool(world, fleet, &spec.name, spec.replicas, &mut violations);
        }
    } else {
        violations.push("the coordinator never came back".into());
    }
    for (name, host) in &world.hosts {
        if host.known.ledger.highest > world.highest_order() {
            violations.push(format!("{name} took an order that was never stored"));
        }
    }
    if world.azure.busy_deletes_obeyed > 0 && !world.options.faults {
        violations.push("a busy row was deleted".into());
    }
    let held = |id: &u64| {
        world.hosts.values().any(|host| host.engine.runs.values().any(|run| run.job == Some(*id)))
    };
    for (id, job) in &world.azure.jobs {
        if matches!(job.state, JobState::Running(_)) && !held(id) {
            violations.push(format!("job {id} runs nowhere"));
        }
    }
    Verdict {
        violations,
        log: world.log.clone(),
        finished: world.azure.finished,
        rested: world.rested,
        kept: Kept {
            attempts: world.hosts.values().map(|host| u64::from(host.attempts())).sum(),
            ..world.kept
        },
        actions: world.actions,
        conflicts: world.azure.conflicts,
    }
}

/// The coordinator knows of each agent what its host knows.
fn check_reports(world: &World, fleet: &coordinator_plan::Fleet, violations: &mut Vec<String>) {
    for (name, host) in &world.hosts {
        let Some(entry) = fleet.host(name) else { continue };
        for (agent, status) in host.known.statuses() {
            let heard = entry.agents.get(agent);
            if heard.is_none_or(|heard| heard.phase != status.phase) {
                let heard = heard.map(|heard| heard.phase);
                violations
                    .push(format!("{agent} is {}, the coordinator has {heard:?}", status.phase));
            }
        }
    }
}

/// Slots of a pool whose last run has ended, or whose new one is not online yet.
fn between_runs(world: &World, pool: &PoolName) -> usize {
    let runs = world.hosts.values().flat_map(|host| host.engine.runs.values());
    runs.filter(|run| run.pool == *pool).filter(|run| run.is_between()).count()
}

fn is_aside(world: &World, agent: &AgentName) -> bool {
    let slots = world.hosts.values().filter_map(|host| host.disk.ledger.slots.get(agent));
    slots.into_iter().any(|slot| slot.role == Role::Quarantine)
}

fn check_pool(
    world: &World,
    fleet: &coordinator_plan::Fleet,
    pool: &PoolName,
    wanted: u32,
    violations: &mut Vec<String>,
) {
    let Some(view) = fleet.pool_view(pool) else { return };
    let kept = view.counts.ready() + view.counts.starting;
    if kept != wanted || view.counts.total() != wanted || view.unplaced > 0 {
        let counts = view.counts;
        violations.push(format!("{pool}: wanted {wanted}, counts {counts:?}"));
    }
    let rows = world.azure.rows.values().filter(|row| row.pool == *pool);
    // What is kept aside has a row too: disabled and offline, and in no count.
    let (aside, rows): (Vec<_>, Vec<_>) = rows.partition(|row| is_aside(world, &row.name));
    if let Some(row) = aside.iter().find(|row| row.enabled || row.session.is_some()) {
        violations.push(format!("{} is aside, and could be given a job", row.name));
    }
    let online = rows.iter().filter(|row| row.session.is_some() && row.silent.is_none()).count();
    // A listener between two runs is offline for a moment.
    if online > wanted as usize || online + between_runs(world, pool) < wanted as usize {
        violations.push(format!("{pool}: wanted {wanted}, online {online}"));
    }
    if let Some(row) = rows.iter().find(|row| !row.enabled) {
        violations.push(format!("{} was left disabled", row.name));
    }
    let keepers = world.hosts.values().filter(|host| {
        let part = host.disk.ledger.assignment.as_ref().and_then(|told| told.pools.get(pool));
        part.is_some_and(|part| match &part.wanted {
            Wanted::Groups(groups) => groups.values().any(|g| g.placeholder && g.replicas == 0),
            Wanted::Gone => false,
        })
    });
    let most = wanted as usize + keepers.count();
    if rows.len() > most {
        violations.push(format!("{pool}: wanted {wanted}, rows {}", rows.len()));
    }
}
