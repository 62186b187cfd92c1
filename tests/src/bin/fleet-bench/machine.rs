//! The machine that the figures belong to.

use anyhow::Context as _;
use bollard::Docker;
use serde::{Deserialize, Serialize};

/// What a reader needs to know of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_mib: u64,
    pub(crate) kernel: String,
    pub(crate) system: String,
    /// Engine, version and storage driver; "none" when it was not needed.
    pub(crate) engine: String,
    /// Build profile of the programs that were measured.
    pub(crate) profile: String,
    pub(crate) date: String,
    /// Load average over the last minute before the first measurement.
    pub(crate) load_before: String,
}

impl Machine {
    pub(crate) async fn look(profile: &str, docker: Option<&Docker>) -> anyhow::Result<Self> {
        let cpu = read("/proc/cpuinfo")?;
        let field = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key));
            line.and_then(|line| line.split_once([':', '=']))
                .map(|(_, value)| value.trim().trim_matches('"').to_owned())
        };
        let memory = field(&read("/proc/meminfo")?, "MemTotal").unwrap_or_default();
        let kib: u64 = memory.trim_end_matches("kB").trim().parse().unwrap_or_default();
        let system = read("/etc/os-release").unwrap_or_default();
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: field(&cpu, "model name").unwrap_or_else(|| "unknown".into()),
            memory_mib: kib / 1024,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            system: field(&system, "PRETTY_NAME").unwrap_or_else(|| "unknown".into()),
            engine: engine(docker).await?,
            profile: profile.to_owned(),
            date: jiff::Zoned::now().date().to_string(),
            load_before: read("/proc/loadavg")?.split(' ').next().unwrap_or_default().to_owned(),
        })
    }

    /// The same machine with the same programs: figures may stand in one table. Date and load may
    /// differ, and a section that needs no engine does not look at it.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let fixed = |m: &Self| {
            (m.cores, m.processor.clone(), m.memory_mib, m.kernel.clone(), m.profile.clone())
        };
        fixed(self) == fixed(other)
    }
}

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

async fn engine(docker: Option<&Docker>) -> anyhow::Result<String> {
    let Some(docker) = docker else { return Ok("none".into()) };
    let (version, info) = (docker.version().await?, docker.info().await?);
    let unknown = || "unknown".to_owned();
    Ok(format!(
        "Docker Engine {}, storage driver {}, cgroups v{}",
        version.version.unwrap_or_else(unknown),
        info.driver.unwrap_or_else(unknown),
        info.cgroup_version.map_or_else(unknown, |version| version.to_string()),
    ))
}
