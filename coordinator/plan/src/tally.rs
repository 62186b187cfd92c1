//! Counting agents by what they are, kept up to date agent by agent.

use fleet_model::{AgentStatus, Intent, Phase};

/// Agents of a pool by what they are. Placeholders are in none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolCounts {
    /// Kept, waiting for a job.
    pub idle: u32,
    /// Kept, with a job.
    pub busy: u32,
    /// Kept, on their way to be online.
    pub starting: u32,
    /// Kept, and in need of a look: failed, disabled by somebody else.
    pub failed: u32,
    /// Drained or removed at their job's end.
    pub leaving: u32,
    /// On hosts that are Down.
    pub unknown: u32,
    /// Kept, and without jobs for a while.
    pub paused: u32,
    /// Kept aside. Others have their places, so they are in no total.
    pub quarantined: u32,
}

impl PoolCounts {
    /// Kept agents that are online.
    pub fn ready(&self) -> u32 {
        self.idle + self.busy
    }

    /// All of them.
    pub fn total(&self) -> u32 {
        self.ready() + self.starting + self.failed + self.leaving + self.unknown + self.paused
    }

    /// The pool is as asked for: that many online, nothing else.
    pub fn converged(&self, desired: u32) -> bool {
        self.ready() == desired && self.total() == desired
    }

    fn bucket(&mut self, agent: &AgentStatus, host_is_down: bool) -> Option<&mut u32> {
        if agent.placeholder {
            return None;
        }
        if host_is_down {
            return Some(&mut self.unknown);
        }
        Some(match (agent.intent, agent.phase) {
            (_, Phase::Quarantined) => &mut self.quarantined,
            (Intent::Drain | Intent::Remove, _) => &mut self.leaving,
            (Intent::Keep, Phase::Idle) => &mut self.idle,
            (Intent::Keep, Phase::Busy) => &mut self.busy,
            (Intent::Keep, Phase::Paused) => &mut self.paused,
            (Intent::Keep, Phase::Failed | Phase::DisabledElsewhere) => &mut self.failed,
            (Intent::Keep, _) => &mut self.starting,
        })
    }

    pub(crate) fn add(&mut self, agent: &AgentStatus, host_is_down: bool) {
        if let Some(count) = self.bucket(agent, host_is_down) {
            *count += 1;
        }
    }

    pub(crate) fn take(&mut self, agent: &AgentStatus, host_is_down: bool) {
        if let Some(count) = self.bucket(agent, host_is_down) {
            *count = count.saturating_sub(1);
        }
    }
}

/// It takes a place: what only holds a registration or is kept aside does not.
pub(crate) fn takes_place(agent: &AgentStatus) -> bool {
    !agent.placeholder && agent.phase != Phase::Quarantined
}
