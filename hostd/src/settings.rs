//! The settings of hostd: `/etc/hostd/hostd.toml`, `conf.d/*.toml` beside it, and `HOSTD_*`.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use azdo::ProxyConfig;
use fleet_model::{
    Labels, Package, RuntimeKind,
    numbers::{DISK_CLEAN_PERCENT, DISK_PAUSE_MIB, DISK_PAUSE_PERCENT},
};
use fleet_proto::{
    logging::Format,
    settings::{self, SettingsError, Sources},
    tls::{Proxy, TlsError},
};
use hostd_plan::DiskMarks;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::{execute::ProxyForAzure, session::Way};

/// The file when none is named.
pub const DEFAULT_FILE: &str = "/etc/hostd/hostd.toml";
/// The state directory when none is named.
pub const DEFAULT_DATA: &str = "/var/lib/hostd";
/// More starts at once do not make an engine faster.
const STARTS_MAX: usize = 64;
/// Agents go on at twice the mark, and that must be possible.
const DISK_PERCENT_MAX: u8 = 40;

/// All settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What must survive a restart: identity, ledger, credentials, slots.
    pub data: PathBuf,
    /// What must not survive a reboot: what is handed to runs.
    pub run: PathBuf,
    /// What keeps agents here.
    pub runtimes: Vec<RuntimeKind>,
    /// Most agents of all pools together; none: no limit of this host's own.
    pub capacity: Option<u32>,
    /// Starts under way at the same time.
    pub starts_at_once: usize,
    /// Log filter, as in `info,hostd=debug`.
    pub log: String,
    /// How log lines are written: auto, journal, json or text.
    pub log_format: Format,
    /// Labels of this host. Those given with the invitation win over them.
    pub labels: Labels,
    /// The Docker runtime.
    pub docker: Docker,
    /// The process runtime.
    pub process: Process,
    /// The systemd runtime.
    pub systemd: Systemd,
    /// When room is short.
    pub disk: DiskSettings,
    /// How this host gets out.
    pub proxy: Proxies,
}

/// The table `docker`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Docker {
    /// The engine's socket.
    pub socket: PathBuf,
    /// Network of the containers; none: the engine's default.
    pub network: Option<String>,
    /// Lines for their `/etc/hosts`, `name:address`.
    pub extra_hosts: Vec<String>,
}

/// The table `process`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// An unpacked agent package.
    pub package: Option<PathBuf>,
}

/// The table `systemd`.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Systemd {
    /// The agent package of pools that name none.
    pub package: Option<PackageSetting>,
    /// Where the homes of agents' users are. On one file system with the packages, which lie beside
    /// them.
    pub homes: PathBuf,
    /// Numbers of agents' users begin after this one.
    pub first_uid: u32,
    /// Where runs are written down. In memory; every user can pass through.
    pub runs: PathBuf,
}

/// `systemd.package`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageSetting {
    /// See [`Package::source`].
    pub source: String,
    /// See [`Package::sha256`].
    pub sha256: String,
}

impl From<PackageSetting> for Package {
    fn from(PackageSetting { source, sha256 }: PackageSetting) -> Self {
        Self { source, sha256 }
    }
}

/// The table `disk`: below which free room what is done.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskSettings {
    /// Per cent below which what nothing uses is removed; 0: nothing ever is.
    pub clean_below: u8,
    /// Per cent below which agents are paused, until there is twice as much; 0: never.
    pub pause_below: u8,
    /// MiB below which they are too, as long as that is no more than a tenth of the disk.
    pub pause_below_mib: u32,
}

impl DiskSettings {
    /// For the plan.
    pub fn marks(&self) -> DiskMarks {
        DiskMarks {
            clean_percent: self.clean_below,
            pause_percent: self.pause_below,
            pause_bytes: u64::from(self.pause_below_mib) << 20,
        }
    }
}

/// The table `proxy`: of hostd itself. Agents have theirs in their pool.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proxies {
    /// To the coordinator: `http://[USER:PASSWORD@]HOST:PORT`.
    pub coordinator: Option<SecretString>,
    /// To Azure, in the same form.
    pub azure: Option<SecretString>,
    /// What is reached without them: names, domains, addresses, networks, separated by commas.
    pub no_proxy: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: DEFAULT_DATA.into(),
            run: "/run/hostd".into(),
            runtimes: vec![RuntimeKind::Docker],
            capacity: None,
            starts_at_once: 8,
            log: "info".into(),
            log_format: Format::Auto,
            labels: Labels::default(),
            docker: Docker::default(),
            process: Process::default(),
            systemd: Systemd::default(),
            disk: DiskSettings::default(),
            proxy: Proxies::default(),
        }
    }
}

impl Default for Docker {
    fn default() -> Self {
        Self { socket: "/var/run/docker.sock".into(), network: None, extra_hosts: Vec::new() }
    }
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            clean_below: DISK_CLEAN_PERCENT,
            pause_below: DISK_PAUSE_PERCENT,
            pause_below_mib: DISK_PAUSE_MIB,
        }
    }
}

impl Default for Systemd {
    fn default() -> Self {
        Self {
            package: None,
            homes: "/home".into(),
            // Above what people and services get, below what containers and systemd take.
            first_uid: 40_000,
            runs: "/run/hostd-agents".into(),
        }
    }
}

/// Settings that do not serve.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    /// They cannot be read.
    #[error(transparent)]
    Read(#[from] SettingsError),
    /// They can, and make no sense.
    #[error("setting {key}: {why}")]
    Sense {
        /// Which.
        key: &'static str,
        /// What is wrong, and what to write.
        why: String,
    },
    /// A proxy.
    #[error("setting {key}")]
    Proxy {
        /// Which.
        key: &'static str,
        /// What is wrong with it, without the text: it may hold a password.
        source: TlsError,
    },
}

impl Settings {
    /// Reads them; `file` must be there when it is named.
    ///
    /// # Errors
    /// The first mistake with its place.
    pub fn load(file: Option<&Path>) -> Result<Self, BadSettings> {
        let default_file = Path::new(DEFAULT_FILE);
        let beside = file.unwrap_or(default_file).parent().unwrap_or(Path::new("."));
        let settings: Self = settings::load(&Sources {
            file,
            default_file,
            fragments: &beside.join("conf.d"),
            env_prefix: "HOSTD_",
            not_settings: &[],
        })?;
        settings.check()?;
        Ok(settings)
    }

    /// Whether they make sense together.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check(&self) -> Result<(), BadSettings> {
        let bad = |key, why: &str| Err(BadSettings::Sense { key, why: why.to_owned() });
        for (key, path) in [
            ("data", &self.data),
            ("run", &self.run),
            ("systemd.homes", &self.systemd.homes),
            ("systemd.runs", &self.systemd.runs),
        ] {
            if !path.is_absolute() {
                return bad(key, "it must be an absolute path");
            }
        }
        if self.runtimes.is_empty() {
            return bad("runtimes", "at least one is needed; write [\"docker\"]");
        }
        let different: BTreeSet<_> = self.runtimes.iter().collect();
        if different.len() != self.runtimes.len() {
            return bad("runtimes", "one stands there twice");
        }
        if let Some(other) = self.runtimes.iter().find(|kind| !Self::can_serve(**kind)) {
            let why =
                format!("{other} is not served by this hostd; use docker, systemd or process");
            return bad("runtimes", &why);
        }
        if self.runtimes.contains(&RuntimeKind::Process) && self.process.package.is_none() {
            return bad("process.package", "the process runtime needs an unpacked agent package");
        }
        let package = self.systemd.package.clone().map(Package::from);
        if package.as_ref().is_some_and(|package| !package.has_source()) {
            return bad("systemd.package", "source must be a URL or an absolute path");
        }
        if package.is_some_and(|package| !package.has_sum()) {
            return bad(
                "systemd.package",
                "sha256 must have 64 lower-case hex digits; see sha256sum",
            );
        }
        if !(1_000..=2_000_000_000).contains(&self.systemd.first_uid) {
            return bad("systemd.first_uid", "it must lie between 1000 and 2000000000");
        }
        if !(1..=STARTS_MAX).contains(&self.starts_at_once) {
            return bad("starts_at_once", &format!("it must lie between 1 and {STARTS_MAX}"));
        }
        for (key, percent) in [
            ("disk.clean_below", self.disk.clean_below),
            ("disk.pause_below", self.disk.pause_below),
        ] {
            if percent > DISK_PERCENT_MAX {
                return bad(key, &format!("it must be at most {DISK_PERCENT_MAX} per cent"));
            }
        }
        for (key, url) in
            [("proxy.coordinator", &self.proxy.coordinator), ("proxy.azure", &self.proxy.azure)]
        {
            let url = url.as_ref().map(|url| url.expose_secret()).filter(|url| !url.is_empty());
            if let Some(Err(source)) = url.map(Proxy::parse) {
                return Err(BadSettings::Proxy { key, source });
            }
        }
        Ok(())
    }

    const fn can_serve(kind: RuntimeKind) -> bool {
        matches!(kind, RuntimeKind::Docker | RuntimeKind::Systemd | RuntimeKind::Process)
    }

    /// The way to the coordinator.
    pub fn way(&self) -> Way {
        Way { proxy: self.proxy.coordinator.clone(), no_proxy: self.proxy.no_proxy.clone() }
    }

    /// The way to Azure.
    pub fn azure_proxy(&self) -> ProxyForAzure {
        let url = self.proxy.azure.as_ref().map(|url| url.expose_secret().trim().to_owned());
        let no_proxy = self.proxy.no_proxy.clone();
        ProxyForAzure(url.filter(|u| !u.is_empty()).map(|url| ProxyConfig { url, no_proxy }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, BadSettings> {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("hostd.toml");
        std::fs::write(&file, text).expect("written");
        Settings::load(Some(&file))
    }

    #[test]
    fn an_empty_file_is_enough() {
        let settings = read("").expect("defaults");
        assert_eq!(settings.runtimes, [RuntimeKind::Docker]);
        assert_eq!((settings.starts_at_once, settings.capacity), (8, None));
    }

    #[test]
    fn the_shipped_example_is_read_and_says_what_the_defaults_are() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config/hostd.toml");
        let text = std::fs::read_to_string(&path).expect("shipped");
        let shipped = read(&text).expect("good");
        assert_eq!(format!("{shipped:?}"), format!("{:?}", Settings::default()));
        // Each commented line is a setting too, and is right when somebody takes the mark away.
        let setting = |line: &&str| line.starts_with('#') && line.contains(" = ");
        let bare: String = text
            .lines()
            .map(|line| if setting(&line) { line.trim_start_matches('#') } else { line })
            .collect::<Vec<_>>()
            .join("\n");
        let all = read(&bare).expect("good without the marks too");
        assert!(all.capacity.is_some() && all.docker.network.is_some());
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, part) in [
            ("starts_at_onse = 3", ":1:"),
            ("\ncapacity = \"many\"", ":2:"),
            ("runtimes = []", "at least one"),
            ("runtimes = [\"fake\"]", "not served"),
            ("runtimes = [\"docker\", \"docker\"]", "twice"),
            ("runtimes = [\"process\"]", "process.package"),
            ("starts_at_once = 0", "between 1 and"),
            ("[systemd]\nhomes = \"home\"", "absolute"),
            ("[systemd]\nfirst_uid = 0", "between 1000 and"),
            ("[systemd]\npackage = { source = \"x.tgz\", sha256 = \"00\" }", "systemd.package"),
            ("data = \"here\"", "absolute"),
            ("[disk]\npause_below = 60", "at most 40"),
            ("[disk]\nclean = 5", ":2:"),
            ("[proxy]\ncoordinator = \"https://u:secret@p:1\"", "proxy.coordinator"),
        ] {
            let error = read(text).expect_err(text);
            let error = fleet_proto::logging::Report(&error).to_string();
            assert!(error.contains(part) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let settings = read("[proxy]\nazure = \"http://u:hidden@p:1\"").expect("good");
        assert!(!format!("{settings:?}").contains("hidden"));
        assert!(settings.azure_proxy().0.is_some_and(|proxy| proxy.url.contains("hidden")));
    }
}
