//! What the host loop shows to the rest of hostd.

use std::collections::BTreeMap;

use fleet_model::{
    AgentName, AgentStatus, At, CacheSize, Condition, CredentialRef, Disk, HostReport, Order,
    PoolName,
};

/// The host as it stands, as the coordinator is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// Highest order taken and stored.
    pub applied: Order,
    /// All agents.
    pub agents: BTreeMap<AgentName, AgentStatus>,
    /// All conditions that hold.
    pub conditions: Vec<Condition>,
    /// All credentials held.
    pub credentials: Vec<CredentialRef>,
    /// The disks that its agents depend on.
    pub disks: Vec<Disk>,
    /// What takes room beside the agents.
    pub caches: Vec<CacheSize>,
}

/// Something worth a line in the fleet's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: At,
    /// A short fixed word: `agent.disable`, `order.refused`. (Phases are in the reports.)
    pub kind: &'static str,
    /// About which pool.
    pub pool: Option<PoolName>,
    /// About which agent.
    pub agent: Option<AgentName>,
    /// What and why, in words.
    pub message: String,
}

impl View {
    /// All of it.
    pub fn full(&self) -> HostReport {
        HostReport {
            full: true,
            applied: self.applied,
            agents: self.agents.values().cloned().collect(),
            removed: Vec::new(),
            conditions: self.conditions.clone(),
            credentials: self.credentials.clone(),
            disks: self.disks.clone(),
            caches: self.caches.clone(),
        }
    }

    /// What changed since `before` was told; none when nothing did.
    pub fn since(&self, before: &Self) -> Option<HostReport> {
        if self == before {
            return None;
        }
        let changed =
            self.agents.iter().filter(|(agent, now)| before.agents.get(*agent) != Some(now));
        let removed = before.agents.keys().filter(|agent| !self.agents.contains_key(*agent));
        Some(HostReport {
            full: false,
            applied: self.applied,
            agents: changed.map(|(_, status)| status.clone()).collect(),
            removed: removed.cloned().collect(),
            conditions: self.conditions.clone(),
            credentials: self.credentials.clone(),
            disks: self.disks.clone(),
            caches: self.caches.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use fleet_model::{Intent, Phase, RuntimeKind};
    use proptest::prelude::*;

    use super::*;

    fn status(number: u16, phase: Phase) -> AgentStatus {
        AgentStatus {
            agent: format!("p-h-{number:02}").parse().expect("a name"),
            pool: "p".parse().expect("a name"),
            group: "default".parse().expect("a name"),
            slot: number,
            runtime: RuntimeKind::Fake,
            attempt: 1,
            phase,
            since: At(1),
            intent: Intent::Keep,
            job: None,
            why: String::new(),
            agent_id: None,
            placeholder: false,
            quarantine: None,
            disk_bytes: None,
        }
    }

    fn view(agents: &BTreeMap<u16, bool>, generation: u64) -> View {
        let phase = |busy: bool| if busy { Phase::Busy } else { Phase::Idle };
        let each = agents.iter().map(|(number, busy)| status(*number, phase(*busy)));
        View {
            applied: Order::new(1, generation),
            agents: each.map(|status| (status.agent.clone(), status)).collect(),
            ..View::default()
        }
    }

    /// What the other end does with a report.
    fn told(mut known: View, report: HostReport) -> View {
        if report.full {
            known.agents.clear();
        }
        for gone in report.removed {
            known.agents.remove(&gone);
        }
        known.agents.extend(report.agents.into_iter().map(|s| (s.agent.clone(), s)));
        View { applied: report.applied, ..known }
    }

    proptest! {
        #[test]
        fn changes_lead_from_one_view_to_the_next_and_name_only_what_changed(
            before in prop::collection::btree_map(1..20_u16, any::<bool>(), 0..20),
            after in prop::collection::btree_map(1..20_u16, any::<bool>(), 0..20),
            generation in 1..3_u64,
        ) {
            let (old, new) = (view(&before, 1), view(&after, generation));
            prop_assert_eq!(&told(View::default(), new.full()), &new);
            match new.since(&old) {
                None => prop_assert_eq!(old, new),
                Some(report) => {
                    let same = |s: &AgentStatus| old.agents.get(&s.agent) == Some(s);
                    prop_assert!(!report.agents.iter().any(same));
                    prop_assert_eq!(told(old, report), new);
                }
            }
        }
    }
}
