//! Settings of the daemon.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use fleet_model::numbers::{AZURE_STALE, HEARTBEAT, HOST_LEASE, LEFTOVER_AGE, TIDY_EVERY};
use fleet_proto::{logging::Format, settings, tls};
use serde::Deserialize;

/// Where the file is when none is named.
pub const DEFAULT_FILE: &str = "/etc/coordinator/coordinator.toml";
/// Fragments that are laid over the file.
pub const FRAGMENTS: &str = "/etc/coordinator/conf.d";

/// All settings; each has a default. Times are written with their unit (`"10s"`).
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Directory of store, CA and keys, made by `coordinator init`.
    pub data: PathBuf,
    /// Where hosts and operators connect, both sides authenticated.
    pub listen: SocketAddr,
    /// Where hosts without a certificate join, only the server authenticated.
    pub enroll_listen: SocketAddr,
    /// `/metrics` and `/healthz`, without authentication.
    pub http_listen: SocketAddr,
    /// HOST:PORT that hosts and operators dial; by default the first name of the certificate and
    /// the port of `listen`.
    pub advertise: Option<String>,
    /// HOST:PORT of the enrolment port; by default the host of `advertise` and its own port.
    pub enroll_advertise: Option<String>,
    /// Name in the server's certificate that clients check; by default the first of `sans`.
    pub server_name: Option<String>,
    /// Names and addresses of the server's certificate; by default those given to `init`.
    pub sans: Vec<String>,
    /// Between two looks at an Azure pool.
    #[serde(with = "settings::duration")]
    pub azure_interval: Duration,
    /// A row of ours at Azure that no host keeps an agent for goes when it was offline for so long.
    #[serde(with = "settings::duration")]
    pub leftover_age: Duration,
    /// How often such rows are looked for without being asked.
    #[serde(with = "settings::duration")]
    pub tidy_every: Duration,
    /// How old answers of Azure may be: between the disable of such a row and a list by which it goes.
    #[serde(with = "settings::duration")]
    pub azure_stale: Duration,
    /// Limit of one call to Azure.
    #[serde(with = "settings::duration")]
    pub azure_timeout: Duration,
    /// Proxy on the way to Azure, `http://HOST:PORT`.
    pub azure_proxy: Option<String>,
    /// What is reached without it, as `NO_PROXY`.
    pub azure_no_proxy: Option<String>,
    /// How often hosts and coordinator say that they are there.
    #[serde(with = "settings::duration")]
    pub heartbeat: Duration,
    /// A host that is silent for longer has no session any more.
    #[serde(with = "settings::duration")]
    pub lease: Duration,
    /// Most hosts in session.
    pub max_hosts: usize,
    /// After `recover`: how long hosts have to report before the first order.
    #[serde(with = "settings::duration")]
    pub adopt_window: Duration,
    /// How log lines are written: auto, journal, json or text.
    pub log_format: Format,
    /// Which log lines, as `info,coordinator=debug`.
    pub log: String,
}

/// What does not fit together.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A source cannot be read.
    #[error(transparent)]
    Settings(#[from] settings::SettingsError),
    /// A value makes no sense.
    #[error("{key}: {why}")]
    Value {
        /// Which setting.
        key: &'static str,
        /// What is wrong, and what is right.
        why: String,
    },
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "/var/lib/coordinator".into(),
            listen: SocketAddr::from(([0, 0, 0, 0], 7443)),
            enroll_listen: SocketAddr::from(([0, 0, 0, 0], 7444)),
            http_listen: SocketAddr::from(([127, 0, 0, 1], 7080)),
            advertise: None,
            enroll_advertise: None,
            server_name: None,
            sans: Vec::new(),
            azure_interval: Duration::from_secs(10),
            leftover_age: LEFTOVER_AGE,
            tidy_every: TIDY_EVERY,
            azure_stale: AZURE_STALE,
            azure_timeout: Duration::from_secs(30),
            azure_proxy: None,
            azure_no_proxy: None,
            heartbeat: HEARTBEAT,
            lease: HOST_LEASE,
            max_hosts: 20_000,
            adopt_window: Duration::from_secs(60),
            log_format: Format::Auto,
            log: "info".into(),
        }
    }
}

impl Config {
    /// Reads file, fragments and environment.
    ///
    /// # Errors
    /// The first mistake, with its place and what is right.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        // Fragments lie beside the file that is named: a tour or a test must not pick up /etc.
        let beside = file.and_then(Path::parent).map(|dir| dir.join("conf.d"));
        let config: Self = settings::load(&settings::Sources {
            file,
            default_file: Path::new(DEFAULT_FILE),
            fragments: beside.as_deref().unwrap_or(Path::new(FRAGMENTS)),
            env_prefix: "COORDINATOR_",
            not_settings: &[],
        })?;
        config.check()?;
        Ok(config)
    }

    /// Checks what types cannot.
    ///
    /// # Errors
    /// The first value that makes no sense.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |key, why: String| Err(ConfigError::Value { key, why });
        if self.heartbeat.is_zero() || self.lease < self.heartbeat * 3 {
            let why =
                "a lease must be at least three heartbeats, or one lost message ends a session";
            return wrong("lease", why.into());
        }
        if self.azure_interval < Duration::from_millis(100) {
            return wrong(
                "azure_interval",
                "at least \"100ms\"; Azure slows down who asks often".into(),
            );
        }
        if self.max_hosts == 0 {
            return wrong("max_hosts", "at least 1".into());
        }
        for (key, text) in
            [("advertise", &self.advertise), ("enroll_advertise", &self.enroll_advertise)]
        {
            if let Some(text) = text
                && !is_endpoint(text)
            {
                return wrong(key, format!("{text:?} is not HOST:PORT"));
            }
        }
        if let Some(proxy) = &self.azure_proxy
            && let Err(error) = tls::Proxy::parse(proxy)
        {
            return wrong("azure_proxy", error.to_string());
        }
        Ok(())
    }
}

fn is_endpoint(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}
