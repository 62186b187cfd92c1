//! How an agent is built: its runtime, what it is made of, and what it may use.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{GroupName, ImageRef};

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

/// The agent's own package, for a runtime that brings none with it: a tarball as Azure offers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    /// An https:// or http:// address, or the absolute path of a file on the host.
    pub source: String,
    /// SHA-256 of the tarball, 64 lower-case hex digits: what is not that is not unpacked.
    pub sha256: String,
}

impl Package {
    /// Its source is an address with a host and without a password, or an absolute path without `..`.
    pub fn has_source(&self) -> bool {
        let source = self.source.as_str();
        if source.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return false;
        }
        match source.strip_prefix("https://").or_else(|| source.strip_prefix("http://")) {
            Some(rest) => {
                let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
                !host.is_empty() && !host.contains('@')
            }
            None => source.starts_with('/') && !source.split('/').any(|part| part == ".."),
        }
    }

    /// Its sum is one.
    pub fn has_sum(&self) -> bool {
        let hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
        self.sha256.len() == 64 && self.sha256.bytes().all(hex)
    }
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
    /// The agent's package (systemd only); absent means the one of the host's own settings.
    #[serde(default)]
    pub package: Option<Package>,
    /// The agent's user is a member of the host's `docker` group (systemd only). It is root on the
    /// host for every job.
    #[serde(default)]
    pub docker_group: bool,
}

impl Template {
    /// A template for containers of `image`, everything else by default.
    pub fn docker(image: ImageRef, mode: Mode) -> Self {
        Self { image: Some(image), ..Self::bare(RuntimeKind::Docker, mode) }
    }

    /// A template for users and units with the host's own package, everything else by default.
    pub fn systemd(mode: Mode) -> Self {
        Self::bare(RuntimeKind::Systemd, mode)
    }

    fn bare(runtime: RuntimeKind, mode: Mode) -> Self {
        Self {
            runtime,
            image: None,
            mode,
            entry: Entry::Own,
            env: BTreeMap::new(),
            limits: Limits::default(),
            caches: Vec::new(),
            mtu: None,
            proxy: Proxy::default(),
            docker_socket: false,
            package: None,
            docker_group: false,
        }
    }
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
