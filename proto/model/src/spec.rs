//! What an operator asks for: pools, groups, templates.

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    AgentPrefix, CredentialName, GroupName, ImageRef, PoolName, Selector,
    numbers::{REPLICAS_MAX, SETTLE},
};

/// How agents are kept on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RuntimeKind {
    /// One container per agent on the host's Docker engine.
    Docker,
    /// One user and one systemd unit per agent.
    Systemd,
    /// Child processes of hostd, without isolation: for a tour and for tests. They end with hostd.
    Process,
    /// In memory, for tests.
    Fake,
}

/// How long an agent lives.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// One job, then a fresh start from a clean place.
    #[default]
    Once,
    /// Many jobs, one after another.
    LongLived,
}

/// Who starts the listener inside a container.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// hostd's own entry, mounted into the container; the registration belongs to the slot.
    #[default]
    Own,
    /// The image's own start script, told by `AZP_URL`, `AZP_POOL`, `AZP_AGENT_NAME`, `AZP_WORK`
    /// and `AZP_TOKEN_FILE`: each run registers anew.
    Image,
}

/// Limits of one agent; absent means the engine's own.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Thousandths of a core.
    pub cpu_millis: Option<u32>,
    /// Bytes.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u32>,
}

/// A named directory that outlives the runs of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cache {
    /// Name, unique in the template; part of a directory's name on the host.
    pub name: GroupName,
    /// Absolute path inside the agent's container.
    pub path: String,
}

/// Proxies as the agents and their jobs see them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Proxy {
    /// `http_proxy`.
    pub http: Option<String>,
    /// `https_proxy`.
    pub https: Option<String>,
    /// `no_proxy`.
    pub no_proxy: Option<String>,
}

/// How an agent is built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Which runtime keeps it.
    pub runtime: RuntimeKind,
    /// The image (Docker only).
    pub image: Option<ImageRef>,
    /// Once or long-lived.
    pub mode: Mode,
    /// Who starts the listener.
    pub entry: Entry,
    /// Extra environment of the listener: becomes capabilities at Azure.
    pub env: BTreeMap<String, String>,
    /// Limits of each agent.
    pub limits: Limits,
    /// Caches, kept per slot.
    pub caches: Vec<Cache>,
    /// MTU for the networks of container jobs.
    pub mtu: Option<u16>,
    /// Proxies.
    pub proxy: Proxy,
    /// The engine's socket inside the agent. It is root on the host for every job.
    pub docker_socket: bool,
}

impl Template {
    /// A template for containers of `image`, everything else by default.
    pub fn docker(image: ImageRef, mode: Mode) -> Self {
        Self {
            runtime: RuntimeKind::Docker,
            image: Some(image),
            mode,
            entry: Entry::Own,
            env: BTreeMap::new(),
            limits: Limits::default(),
            caches: Vec::new(),
            mtu: None,
            proxy: Proxy::default(),
            docker_socket: false,
        }
    }
}

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

impl RuntimeKind {
    /// The word for it on the wire's edge and the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Systemd => "systemd",
            Self::Process => "process",
            Self::Fake => "fake",
        }
    }
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for RuntimeKind {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Docker, Self::Systemd, Self::Process, Self::Fake]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| format!("{text:?} is not a runtime; use docker, systemd or process"))
    }
}

impl FromStr for Mode {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "once" => Ok(Self::Once),
            "long-lived" => Ok(Self::LongLived),
            _ => Err(format!("{text:?} is not a mode; use once or long-lived")),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Once => "once",
            Self::LongLived => "long-lived",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
