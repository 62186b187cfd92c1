//! One host's engine and the agents in it, as the simulation needs them.

use std::collections::BTreeMap;

use fleet_model::{GroupName, PoolName};
use hostd_plan::{RunListed, RunState};

use super::RunKey;

/// A run and the agent in it.
#[derive(Debug, Clone)]
pub(super) struct SimRun {
    pub(super) pool: PoolName,
    pub(super) group: GroupName,
    pub(super) number: u16,
    pub(super) state: RunState,
    /// It takes one job and ends.
    pub(super) once: bool,
    /// Made with a registration.
    pub(super) registered: bool,
    /// Its row, once it registered or was given its registration.
    pub(super) row: Option<i64>,
    /// The configuration run's files are there to be taken.
    pub(super) files_ready: bool,
    pub(super) listening: bool,
    pub(super) job: Option<u64>,
    pub(super) conflicts: u32,
    /// It was asked to end and does not.
    pub(super) stubborn: bool,
}

#[derive(Debug, Default)]
pub(super) struct Engine {
    pub(super) runs: BTreeMap<RunKey, SimRun>,
}

impl Engine {
    pub(super) fn list(&self) -> Vec<RunListed> {
        self.runs
            .iter()
            .map(|((agent, attempt), run)| RunListed {
                agent: agent.clone(),
                attempt: *attempt,
                pool: run.pool.clone(),
                group: run.group.clone(),
                number: run.number,
                state: run.state,
            })
            .collect()
    }

    /// The run, if it runs.
    pub(super) fn live(&mut self, key: &RunKey) -> Option<&mut SimRun> {
        self.runs.get_mut(key).filter(|run| run.state == RunState::Running)
    }
}
