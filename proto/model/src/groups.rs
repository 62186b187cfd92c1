//! Changing the groups of a pool.

use crate::{GroupName, GroupSpec, PoolName, PoolSpec, SpecError};

/// Why a pool's groups stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The name is taken.
    #[error(
        "group {group} of pool {pool} exists already and differs; choose another name, or remove that group first with `agentctl group remove {pool} {group}`"
    )]
    Differs {
        /// The pool.
        pool: PoolName,
        /// The group.
        group: GroupName,
    },
    /// There is no such group.
    #[error("pool {pool} has no group {group}; its groups are {known}")]
    Unknown {
        /// The pool.
        pool: PoolName,
        /// As asked.
        group: GroupName,
        /// What there is.
        known: String,
    },
    /// A pool without a group could place nothing and explain nothing.
    #[error(
        "group {group} is the only one of pool {pool}; add another group first, or remove the pool with `agentctl pool delete {pool}`"
    )]
    Last {
        /// The pool.
        pool: PoolName,
        /// The group.
        group: GroupName,
    },
    /// The group itself is wrong.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl PoolSpec {
    /// The group of that name.
    pub fn group(&self, name: &GroupName) -> Option<&GroupSpec> {
        self.groups.iter().find(|group| group.name == *name)
    }

    /// Adds a group. Says whether that changed anything: the very same one again does not.
    ///
    /// # Errors
    /// A group of that name differs, or the new one breaks a rule. Nothing is changed then.
    pub fn add_group(&mut self, group: GroupSpec) -> Result<bool, GroupError> {
        group.check()?;
        if let Some(old) = self.group(&group.name) {
            let (pool, name) = (self.name.clone(), group.name.clone());
            let same = *old == group;
            return same.then_some(false).ok_or(GroupError::Differs { pool, group: name });
        }
        self.gone_groups.remove(&group.name);
        self.groups.push(group);
        Ok(true)
    }

    /// Takes a group away: its agents leave as after a scale-down. Says whether that changed
    /// anything: one that was removed before is not removed again. `seen`: hosts report agents of it,
    /// so that also a group can be removed that an older store never heard of.
    ///
    /// # Errors
    /// There is no such group, or it is the last one. Nothing is changed then.
    pub fn remove_group(&mut self, name: &GroupName, seen: bool) -> Result<bool, GroupError> {
        let (pool, group) = (self.name.clone(), name.clone());
        if self.group(name).is_none() {
            if self.gone_groups.contains(name) {
                return Ok(false);
            }
            if !seen {
                return Err(GroupError::Unknown { pool, group, known: self.group_names() });
            }
        } else if self.groups.len() == 1 {
            return Err(GroupError::Last { pool, group });
        }
        self.groups.retain(|group| group.name != *name);
        self.gone_groups.insert(group);
        Ok(true)
    }

    /// The names of its groups, as a list for people.
    pub fn group_names(&self) -> String {
        self.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{AzureTarget, Mode, Template};

    fn pool() -> PoolSpec {
        let target = AzureTarget { url: "https://dev.example/f".into(), pool: "nightly".into() };
        let template = Template::docker("agent:1".parse().expect("image"), Mode::Once);
        let (name, credential) = ("nightly".parse().expect("pool"), "pat".parse().expect("name"));
        PoolSpec::single(name, target, credential, Default::default(), template).expect("a prefix")
    }

    fn units() -> GroupSpec {
        GroupSpec {
            name: "units".parse().expect("group"),
            selector: "lab=tk5".parse().expect("selector"),
            template: Template::systemd(Mode::LongLived).into(),
            weight: 1,
            max_per_host: None,
        }
    }

    #[test]
    fn a_group_is_added_once_and_adding_it_again_is_fine() {
        let mut pool = pool();
        assert_eq!(pool.add_group(units()), Ok(true));
        assert_eq!(pool.add_group(units()), Ok(false));
        assert_eq!((pool.group_names().as_str(), pool.check()), ("default, units", Ok(())));
        let before = pool.clone();
        let mut other = units();
        Arc::make_mut(&mut other.template).docker_group = true;
        let said = pool.add_group(other).expect_err("it differs").to_string();
        assert!(said.contains("agentctl group remove nightly units"), "{said}");
        let mut broken = units();
        broken.name = "third".parse().expect("group");
        Arc::make_mut(&mut broken.template).docker_socket = true;
        assert!(matches!(pool.add_group(broken), Err(GroupError::Spec(_))));
        assert_eq!(pool, before, "what is refused changes nothing");
    }

    #[test]
    fn a_removed_group_is_remembered_until_it_comes_back() {
        let mut pool = pool();
        let (units_name, default) = (units().name, pool.groups[0].name.clone());
        assert_eq!(pool.add_group(units()), Ok(true));
        assert_eq!(pool.remove_group(&units_name, false), Ok(true));
        assert!(pool.gone_groups.contains(&units_name));
        assert_eq!(pool.remove_group(&units_name, false), Ok(false), "twice is as good as once");
        let last = pool.remove_group(&default, true).expect_err("the last one").to_string();
        assert!(last.contains("agentctl pool delete nightly"), "{last}");
        assert_eq!(pool.add_group(units()), Ok(true));
        assert!(pool.gone_groups.is_empty());
        assert_eq!(pool.check(), Ok(()));
    }

    #[test]
    fn a_group_nobody_heard_of_is_an_error_unless_hosts_have_agents_of_it() {
        let mut pool = pool();
        let name = units().name;
        let said = pool.remove_group(&name, false).expect_err("unknown").to_string();
        assert!(said.contains("no group units; its groups are default"), "{said}");
        assert_eq!(pool.remove_group(&name, true), Ok(true));
        assert_eq!((pool.groups.len(), pool.gone_groups.len()), (1, 1));
    }
}
