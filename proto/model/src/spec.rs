//! What an operator asks for: pools and their groups.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    AgentPrefix, CredentialName, GroupName, PoolName, RuntimeKind, Selector, Template,
    numbers::{REPLICAS_MAX, SETTLE},
};

/// Where the agents of a pool register.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
            group.check()?;
        }
        Ok(())
    }
}

impl GroupSpec {
    fn check(&self) -> Result<(), SpecError> {
        let template = &self.template;
        if template.runtime == RuntimeKind::Docker && template.image.is_none() {
            return Err(SpecError::NoImage(self.name.clone()));
        }
        template.env.keys().try_for_each(|name| check_env(name))?;
        match template.caches.iter().find(|c| !c.path.starts_with('/') || c.path.contains("..")) {
            Some(cache) => Err(SpecError::CachePath(cache.path.clone())),
            None => Ok(()),
        }
    }
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
mod tests {
    use super::*;
    use crate::Mode;

    fn pool() -> PoolSpec {
        PoolSpec::single(
            "nightly-svc".parse().expect("pool"),
            AzureTarget { url: "https://dev.example/fabrikam".into(), pool: "nightly-svc".into() },
            "nightly-svc".parse().expect("credential"),
            "lab=svc".parse().expect("selector"),
            Template::docker("fleet-agent:demo".parse().expect("image"), Mode::Once),
        )
        .expect("names fit")
    }

    #[test]
    fn a_plain_pool_passes() {
        assert_eq!(pool().check(), Ok(()));
    }

    #[test]
    fn each_broken_rule_is_named() {
        let broken = |change: fn(&mut PoolSpec)| {
            let mut spec = pool();
            change(&mut spec);
            spec.check().expect_err("must be refused").to_string()
        };
        let said = [
            (broken(|p| p.replicas = u32::MAX), "more than a pool may have"),
            (broken(|p| p.azure.url = "dev.example/x".into()), "must begin with https://"),
            (broken(|p| p.azure.url = "https://u:p@dev.example/x".into()), "must begin with"),
            (broken(|p| p.groups.clear()), "at least one group"),
            (broken(|p| p.groups.push(p.groups[0].clone())), "two groups"),
            (broken(|p| Arc::make_mut(&mut p.groups[0].template).image = None), "--image"),
            (broken(|p| p.settle = Duration::ZERO), "settle time"),
            (
                broken(|p| {
                    Arc::make_mut(&mut p.groups[0].template)
                        .env
                        .insert("AZP_TOKEN".into(), "x".into());
                }),
                "hand a credential",
            ),
        ];
        for (text, part) in said {
            assert!(text.contains(part), "{text:?} should say {part:?}");
        }
    }
}
