//! What an operator asks for: pools and their groups.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    AgentPrefix, CredentialName, Entry, Forced, GroupName, Package, PoolName, Restraint,
    RuntimeKind, Selector, Template,
    numbers::{REPLICAS_MAX, SETTLE},
};

/// Where the agents of a pool register.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AzureTarget {
    /// Organization URL, without a slash at its end.
    pub url: String,
    /// The pool's name there.
    pub pool: String,
}

/// A part of a pool: which hosts, and how an agent is built there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    /// Name, unique in the pool.
    pub name: GroupName,
    /// Hosts it may use.
    pub selector: Selector,
    /// How its agents are built. Shared: a thousand hosts are told the same one.
    pub template: Arc<Template>,
    /// Share of the pool compared with its other groups; 0 takes nothing.
    pub weight: u32,
    /// Most agents on one host; absent means the host's own limit.
    pub max_per_host: Option<u32>,
}

/// A pool as the operator wants it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSpec {
    /// Name in the fleet.
    pub name: PoolName,
    /// Where its agents register.
    pub azure: AzureTarget,
    /// First part of its agents' names.
    pub prefix: AgentPrefix,
    /// Agents wanted, all groups together.
    pub replicas: u32,
    /// Between the two clear reads that allow a stop.
    pub settle: Duration,
    /// The credential by name.
    pub credential: CredentialName,
    /// At least one group.
    pub groups: Vec<GroupSpec>,
    /// Groups that were removed. Hosts are told, because a group that is merely not named is unknown
    /// to them, not unwanted: an older store would else drain the groups it never heard of.
    #[serde(default)]
    pub gone_groups: BTreeSet<GroupName>,
    /// The leave to remove idle agents without Azure's word, if it was given; it lapses by itself.
    #[serde(default)]
    pub forced: Option<Forced>,
    /// An operator holds it back.
    #[serde(default)]
    pub restraint: Option<Restraint>,
    /// Tombstone: its agents are removed everywhere, then the pool is forgotten.
    pub deleted: bool,
}

/// Why a spec is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// See the text.
    #[error("{0} agents are more than a pool may have ({REPLICAS_MAX}); check the number")]
    TooMany(u64),
    /// See the text.
    #[error("the Azure URL {0:?} must begin with https:// or http:// and name an organization")]
    Url(String),
    /// See the text.
    #[error("the pool needs at least one group")]
    NoGroup,
    /// See the text.
    #[error("two groups have the name {0}")]
    GroupTwice(GroupName),
    /// See the text.
    #[error("group {0} is named both as wanted and as removed; name it once")]
    GroupGone(GroupName),
    /// See the text.
    #[error("group {group}: {option} does not go with the {runtime} runtime; {next}")]
    NotFor {
        /// The group.
        group: GroupName,
        /// Its runtime.
        runtime: RuntimeKind,
        /// As on the command line.
        option: &'static str,
        /// What to do.
        next: &'static str,
    },
    /// See the text; what was given may hold a password and is not repeated.
    #[error(
        "group {0}: a package comes from an https:// or http:// address without a password, or from the absolute path of a file on the host; give one of these with --package"
    )]
    PackageSource(GroupName),
    /// See the text.
    #[error(
        "group {0}: {1:?} is not the SHA-256 of a package; give 64 lower-case hex digits, as sha256sum prints them"
    )]
    PackageSum(GroupName, String),
    /// See the text.
    #[error("group {0} runs containers and names no image; give one with --image")]
    NoImage(GroupName),
    /// See the text.
    #[error("environment variable {0:?} cannot be set here: {1}")]
    Env(String, &'static str),
    /// See the text.
    #[error("cache path {0:?} must be absolute and without '..'")]
    CachePath(String),
    /// See the text.
    #[error("settle time {0:?} must lie between 1 s and 10 min")]
    Settle(Duration),
}

impl PoolSpec {
    /// A pool with one group called `default`, no agents yet, and the usual settle time.
    pub fn single(
        name: PoolName,
        azure: AzureTarget,
        credential: CredentialName,
        selector: Selector,
        template: impl Into<Arc<Template>>,
    ) -> Result<Self, crate::NameError> {
        Ok(Self {
            prefix: name.as_str().parse()?,
            name,
            azure,
            replicas: 0,
            settle: SETTLE,
            credential,
            groups: vec![GroupSpec {
                name: "default".parse()?,
                selector,
                template: template.into(),
                weight: 1,
                max_per_host: None,
            }],
            gone_groups: BTreeSet::new(),
            forced: None,
            restraint: None,
            deleted: false,
        })
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first rule that the spec breaks.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.replicas > REPLICAS_MAX {
            return Err(SpecError::TooMany(self.replicas.into()));
        }
        check_url(&self.azure.url)?;
        if self.groups.is_empty() {
            return Err(SpecError::NoGroup);
        }
        // Tests use a short settle time; below a second the second read would be no second read.
        if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&self.settle) {
            return Err(SpecError::Settle(self.settle));
        }
        for (at, group) in self.groups.iter().enumerate() {
            if self.groups[..at].iter().any(|other| other.name == group.name) {
                return Err(SpecError::GroupTwice(group.name.clone()));
            }
            if self.gone_groups.contains(&group.name) {
                return Err(SpecError::GroupGone(group.name.clone()));
            }
            group.check()?;
        }
        Ok(())
    }
}

impl GroupSpec {
    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first rule that the group breaks.
    pub fn check(&self) -> Result<(), SpecError> {
        let template = &self.template;
        if template.runtime == RuntimeKind::Docker && template.image.is_none() {
            return Err(SpecError::NoImage(self.name.clone()));
        }
        if let Some((option, next)) = misplaced(template) {
            let (group, runtime) = (self.name.clone(), template.runtime);
            return Err(SpecError::NotFor { group, runtime, option, next });
        }
        if let Some(package) = &template.package {
            self.check_package(package)?;
        }
        template.env.keys().try_for_each(|name| check_env(name))?;
        match template.caches.iter().find(|c| !c.path.starts_with('/') || c.path.contains("..")) {
            Some(cache) => Err(SpecError::CachePath(cache.path.clone())),
            None => Ok(()),
        }
    }

    fn check_package(&self, package: &Package) -> Result<(), SpecError> {
        if !package.has_source() {
            return Err(SpecError::PackageSource(self.name.clone()));
        }
        if !package.has_sum() {
            return Err(SpecError::PackageSum(self.name.clone(), package.sha256.clone()));
        }
        Ok(())
    }
}

/// What a template asks for that its runtime cannot give, and what to do. Left in silence it would
/// be a promise that nobody keeps.
fn misplaced(template: &Template) -> Option<(&'static str, &'static str)> {
    let of = |kind| template.runtime == kind;
    let (docker, systemd) = (of(RuntimeKind::Docker), of(RuntimeKind::Systemd));
    let container = "leave it out, or choose --runtime docker";
    let unit = "leave it out, or choose --runtime systemd";
    [
        (template.image.is_some() && !docker, "--image", container),
        (template.entry == Entry::Image && !docker, "--entry image", container),
        (!template.caches.is_empty() && systemd, "--cache", container),
        (
            template.docker_socket && systemd,
            "--docker-socket",
            "give its user the host's engine with --docker-group",
        ),
        (template.package.is_some() && !systemd, "--package", unit),
        (template.docker_group && !systemd, "--docker-group", unit),
    ]
    .into_iter()
    .find(|(wrong, ..)| *wrong)
    .map(|(_, option, next)| (option, next))
}

fn check_url(url: &str) -> Result<(), SpecError> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let ok = rest.is_some_and(|rest| {
        !rest.starts_with('/') && !url.contains(|c: char| c.is_whitespace() || c == '@')
    });
    if ok { Ok(()) } else { Err(SpecError::Url(url.to_owned())) }
}

/// Names that the fleet itself sets, or that would carry a secret into the pool's capabilities.
fn check_env(name: &str) -> Result<(), SpecError> {
    let refuse = |why| Err(SpecError::Env(name.to_owned(), why));
    let upper = name.to_ascii_uppercase();
    if name.is_empty() || name.contains(|c: char| c == '=' || c.is_control() || c.is_whitespace()) {
        return refuse("not a variable's name");
    }
    if upper.starts_with("FLEET_") {
        return refuse("names beginning with FLEET_ are the fleet's own");
    }
    if upper.starts_with("VSTS_AGENT_INPUT_") || upper.starts_with("AZP_TOKEN") {
        return refuse("it would hand a credential to jobs");
    }
    Ok(())
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;
