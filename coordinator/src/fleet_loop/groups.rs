//! Operators change the groups of a pool. What is allowed stands at [`PoolSpec::add_group`] and
//! [`PoolSpec::remove_group`].

use std::collections::BTreeSet;

use coordinator_plan::FleetEvent;
use fleet_model::{GroupError, GroupName, GroupSpec, HostName, PoolName, PoolSpec};

use super::{denied::Denied, event::Regrouped, state::State, turn::Turn, watchers::Watched};
use crate::{records::POOL, store::NewEvent};

impl From<GroupError> for Denied {
    fn from(error: GroupError) -> Self {
        let text = error.to_string();
        match error {
            GroupError::Differs { .. } => Self::Exists(text),
            GroupError::Last { .. } => Self::NotNow(text),
            GroupError::Unknown { .. } | GroupError::Spec(_) => Self::Invalid(text),
        }
    }
}

impl State {
    pub(crate) fn add_group(
        &mut self,
        pool: &str,
        group: GroupSpec,
        by: &str,
        turn: &mut Turn,
    ) -> Result<impl FnOnce(&mut State) -> Regrouped + use<>, Denied> {
        self.writable()?;
        let name = self.known_pool(pool)?;
        let mut spec = self.kept_spec(&name)?;
        let built = built(&group);
        // Its last agents are built in the old way: they must not pass for new ones.
        if spec.gone_groups.contains(&group.name) {
            self.all_left(&name, &group.name)?;
        }
        let before = spec.group_names();
        let changed = spec.add_group(group)?;
        if changed {
            let said = format!("groups {before} → {}; {built}", spec.group_names());
            self.put_groups(spec, "pool.group-added", said, by, turn);
        }
        Ok(move |state: &mut State| state.regrouped(&name, changed))
    }

    pub(crate) fn remove_group(
        &mut self,
        pool: &str,
        group: &str,
        by: &str,
        turn: &mut Turn,
    ) -> Result<impl FnOnce(&mut State) -> Regrouped + use<>, Denied> {
        self.writable()?;
        let name = self.known_pool(pool)?;
        let mut spec = self.kept_spec(&name)?;
        let group: GroupName =
            group.parse().map_err(|error| Denied::Invalid(format!("{error}")))?;
        let seen = self.agents_of(&name, &group).next().is_some();
        let before = spec.group_names();
        let changed = spec.remove_group(&group, seen)?;
        if changed {
            let said = format!(
                "groups {before} → {}; the agents of {group} go at the end of their jobs",
                spec.group_names()
            );
            self.put_groups(spec, "pool.group-removed", said, by, turn);
        }
        Ok(move |state: &mut State| state.regrouped(&name, changed))
    }

    fn put_groups(
        &mut self,
        spec: PoolSpec,
        kind: &'static str,
        said: String,
        by: &str,
        turn: &mut Turn,
    ) {
        turn.changes.put(POOL, &spec.name, &spec);
        turn.event(NewEvent::new(turn.now, kind, by).pool(&spec.name).says(said));
        self.watchers.touch(Watched::Pool(spec.name.clone()), turn.now);
        self.apply(FleetEvent::PoolPut(spec), turn);
    }

    fn regrouped(&self, pool: &PoolName, changed: bool) -> Regrouped {
        Regrouped {
            order: self.fleet.order(),
            changed,
            pool: self.views().pool(pool).unwrap_or_default(),
        }
    }

    /// Hosts of the agents of a group, one for each agent, as last reported.
    fn agents_of(&self, pool: &PoolName, group: &GroupName) -> impl Iterator<Item = &HostName> {
        self.fleet
            .agents()
            .filter(move |(_, _, agent)| agent.pool == *pool && agent.group == *group)
            .map(|(host, ..)| host)
    }

    /// No host reports an agent of the group any more.
    fn all_left(&self, pool: &PoolName, group: &GroupName) -> Result<(), Denied> {
        let hosts: BTreeSet<&str> = self.agents_of(pool, group).map(HostName::as_str).collect();
        if hosts.is_empty() {
            return Ok(());
        }
        let hosts = hosts.into_iter().collect::<Vec<_>>().join(", ");
        Err(Denied::NotNow(format!(
            "the agents of the removed group {group} of pool {pool} have not all left {hosts}; wait until they are gone, or choose another name"
        )))
    }
}

/// A group in words, for the history.
fn built(group: &GroupSpec) -> String {
    let GroupSpec { name, selector, template, weight, max_per_host } = group;
    let selector = String::from(selector.clone());
    let hosts = if selector.is_empty() { "all hosts".to_owned() } else { selector };
    let most = max_per_host.map(|n| format!(", at most {n} on a host")).unwrap_or_default();
    format!("{name}: {}, {}, on {hosts}, weight {weight}{most}", template.runtime, template.mode)
}
