//! What agents and caches take on disk.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use fleet_model::{AgentName, AgentStatus, CacheSize};

use super::{Budget, Seen, size_of};

/// What was measured last, complete.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sizes {
    /// Bytes of each agent, without what it shares with others.
    pub agents: BTreeMap<AgentName, u64>,
    /// What else takes room.
    pub caches: Vec<CacheSize>,
}

impl Sizes {
    /// And these.
    pub(crate) fn add(&mut self, more: Self) {
        for (agent, bytes) in more.agents {
            *self.agents.entry(agent).or_default() += bytes;
        }
        self.caches.extend(more.caches);
        self.caches.sort();
    }

    /// Agents as they are shown, with their sizes.
    pub(crate) fn shown(
        &self,
        agents: &BTreeMap<AgentName, AgentStatus>,
    ) -> BTreeMap<AgentName, AgentStatus> {
        let mut agents = agents.clone();
        for (agent, status) in &mut agents {
            status.disk_bytes = self.agents.get(agent).copied();
        }
        agents
    }
}

/// Slots' directories, and the evidence.
pub(super) fn of_dirs(dirs: &[(AgentName, PathBuf)], evidence: &Path) -> Sizes {
    let mut budget = Budget::default();
    let mut sizes = Sizes::default();
    for (agent, dir) in dirs {
        if let Some(bytes) = size_of(dir, &mut Seen::new(), &mut budget) {
            sizes.agents.insert(agent.clone(), bytes);
        }
    }
    let bytes = size_of(evidence, &mut Seen::new(), &mut budget);
    sizes.caches.extend(
        bytes.filter(|bytes| *bytes > 0).map(|bytes| CacheSize { what: "evidence".into(), bytes }),
    );
    sizes
}
