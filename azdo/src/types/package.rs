//! The downloadable agent package, as the service describes it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One package for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PackageMetadata {
    /// E.g. `linux-x64`.
    #[serde(default)]
    pub platform: String,
    /// Version of the agent inside.
    pub version: PackageVersion,
    /// Where to get it.
    pub download_url: String,
    /// SHA-256 of the file, hexadecimal; absent or empty for very old ones.
    #[serde(default)]
    pub hash_value: Option<String>,
    /// Its file name.
    #[serde(default)]
    pub filename: Option<String>,
}

/// Three numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct PackageVersion {
    /// Generation of the agent.
    pub major: u32,
    /// Rises every sprint.
    pub minor: u32,
    /// Repairs.
    pub patch: u32,
}

impl PackageVersion {
    /// Reads `4.260.0`; `None` when it is not three numbers.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('.').map(|p| p.parse().ok());
        let version = Self { major: parts.next()??, minor: parts.next()??, patch: parts.next()?? };
        parts.next().is_none().then_some(version)
    }
}

impl fmt::Display for PackageVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}
