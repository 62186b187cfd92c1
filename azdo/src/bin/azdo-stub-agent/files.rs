//! The files that make a directory a registered agent: `.agent`, `.credentials`, `.credentials_rsaparams`.
//! All JSON, all starting with a UTF-8 byte order mark as the real agent's do: readers must cope.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::key::RsaParams;
use crate::layout::Layout;

const AGENT: &str = ".agent";
const CREDENTIALS: &str = ".credentials";
const KEY: &str = ".credentials_rsaparams";
const BOM: char = '\u{feff}';

/// `.agent`: which row of which pool this directory is. Default values are left out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AgentFile {
    /// From `--acceptTeeEula`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) accept_tee_eula: bool,
    /// Id of the row.
    pub(crate) agent_id: i64,
    /// Name of the row.
    pub(crate) agent_name: String,
    /// Named pipe that hears of jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) notification_pipe_name: Option<String>,
    /// TCP address that hears of jobs, `host:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) notification_socket_address: Option<String>,
    /// Id of the pool.
    pub(crate) pool_id: i64,
    /// Name of the pool.
    pub(crate) pool_name: String,
    /// From `--disableLogUploads`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) disable_log_uploads: bool,
    /// Organization URL with a slash at its end.
    pub(crate) server_url: String,
    /// Work folder, beneath the root when relative.
    pub(crate) work_folder: String,
}

/// `.credentials`: how the listener gets its own token. No PAT in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Credentials {
    /// Always `OAuth`.
    pub(crate) scheme: String,
    /// What the scheme needs.
    pub(crate) data: CredentialsData,
}

/// The data of the OAuth scheme.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CredentialsData {
    /// The agent's identity at the token service.
    pub(crate) client_id: String,
    /// Where tokens are asked for.
    pub(crate) authorization_url: String,
    /// The same for older agents.
    pub(crate) oauth_endpoint_url: String,
}

/// All three files.
pub(crate) struct Registration {
    /// `.agent`
    pub(crate) agent: AgentFile,
    /// `.credentials`
    pub(crate) credentials: Credentials,
    /// `.credentials_rsaparams`
    pub(crate) key: RsaParams,
}

impl Registration {
    pub(crate) fn load(layout: &Layout) -> anyhow::Result<Self> {
        Ok(Self {
            agent: agent(layout)?,
            credentials: read(&layout.file(CREDENTIALS))?,
            key: read(&layout.file(KEY))?,
        })
    }

    /// Key first, `.agent` last: what exists of a half-written registration must not count as configured.
    pub(crate) fn save(&self, layout: &Layout) -> anyhow::Result<()> {
        write(&layout.file(KEY), &self.key, 0o600)?;
        write(&layout.file(CREDENTIALS), &self.credentials, 0o644)?;
        write(&layout.file(AGENT), &self.agent, 0o644)
    }
}

pub(crate) fn agent(layout: &Layout) -> anyhow::Result<AgentFile> {
    read(&layout.file(AGENT))
}

pub(crate) fn has_credentials(layout: &Layout) -> bool {
    layout.file(CREDENTIALS).exists()
}

/// Removes the credential and its key.
pub(crate) fn remove_credentials(layout: &Layout) -> std::io::Result<()> {
    remove(&layout.file(KEY)).and_then(|()| remove(&layout.file(CREDENTIALS)))
}

/// Removes `.agent`: from here on the directory is not configured.
pub(crate) fn remove_agent(layout: &Layout) -> std::io::Result<()> {
    remove(&layout.file(AGENT))
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(text.trim_start_matches(BOM))
        .with_context(|| format!("cannot understand {}", path.display()))
}

/// Writes a new file with its mode from the start; a key that is readable for an instant is a leaked key.
fn write(path: &Path, value: &impl Serialize, mode: u32) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    let put = || -> std::io::Result<()> {
        remove(path)?;
        let mut file =
            std::fs::File::options().write(true).create_new(true).mode(mode).open(path)?;
        write!(file, "{BOM}{text}")
    };
    put().with_context(|| format!("cannot write {}", path.display()))
}
