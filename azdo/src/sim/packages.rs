//! Agent packages the simulator describes and serves itself.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest;
use axum::body::Bytes;
use serde_json::{Value, json};

use super::wire;

/// One package, in memory: there are few, and they are asked for often.
#[derive(Clone)]
pub(super) struct Package {
    pub(super) platform: String,
    pub(super) version: String,
    pub(super) filename: String,
    pub(super) content: Bytes,
    hash: String,
}

/// Why a package cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The file cannot be read.
    #[error("cannot read package {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its name does not say platform and version.
    #[error(
        "package {0}: the name must be vsts-agent-PLATFORM-VERSION.tar.gz, e.g. vsts-agent-linux-x64-4.260.0.tar.gz"
    )]
    Name(PathBuf),
}

impl Package {
    pub(super) fn read(path: &Path) -> Result<Self, PackageError> {
        let (platform, version) = named(path).ok_or_else(|| PackageError::Name(path.to_owned()))?;
        let source = std::fs::read(path);
        let content =
            source.map_err(|source| PackageError::Read { path: path.to_owned(), source })?;
        let hash = digest::digest(&digest::SHA256, &content);
        Ok(Self {
            filename: format!("vsts-agent-{platform}-{version}.tar.gz"),
            platform,
            version,
            hash: hash.as_ref().iter().map(|b| format!("{b:02x}")).collect(),
            content: content.into(),
        })
    }

    /// As the service describes it; served at our own address.
    pub(super) fn describe(&self, base: &str) -> Value {
        json!({
            "type": "agent", "platform": self.platform, "createdOn": "2026-08-01T00:00:00Z",
            "version": wire::version(&self.version),
            "downloadUrl": format!("{base}/_sim/packages/{}", self.filename),
            "filename": self.filename, "hashValue": self.hash,
            "infoUrl": "https://go.microsoft.com/fwlink/?LinkId=798199",
        })
    }
}

fn named(path: &Path) -> Option<(String, String)> {
    let name = path.file_name()?.to_str()?;
    let middle = name.strip_prefix("vsts-agent-")?.strip_suffix(".tar.gz")?;
    let (platform, version) = middle.rsplit_once('-')?;
    version
        .starts_with(|c: char| c.is_ascii_digit())
        .then(|| (platform.to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platform_and_version_come_from_the_name() {
        let check = |name: &str| named(Path::new(name));
        assert_eq!(
            check("/x/vsts-agent-linux-x64-4.260.0.tar.gz"),
            Some(("linux-x64".into(), "4.260.0".into()))
        );
        assert_eq!(check("agent.tar.gz"), None);
        assert_eq!(check("vsts-agent-linux-x64.tar.gz"), None);
    }
}
