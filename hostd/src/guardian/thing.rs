//! Things that a host may keep without use.

use std::fmt;

use fleet_model::{AgentName, ImageRef};
use hostd_plan::Unused;

/// One of them. Its text is its name in the book of unused things, and in the history.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// An unpacked agent package, by its SHA-256.
    Package(String),
    /// Half a package, or what was about to be removed: an entry of the packages' directory.
    Scrap(String),
    /// An image that hostd pulled.
    Image(ImageRef),
    /// User and home of an agent that has no slot.
    User(AgentName),
    /// Directory of a slot that is none.
    SlotDir(AgentName),
    /// Evidence of a run, by its directory's name.
    Evidence(String),
}

impl Thing {
    /// Of which kind it is.
    pub fn kind(&self) -> Unused {
        match self {
            Self::Package(_) | Self::Image(_) => Unused::Cache,
            Self::Scrap(_) => Unused::Scrap,
            Self::User(_) | Self::SlotDir(_) => Unused::LeftOver,
            Self::Evidence(_) => Unused::Evidence,
        }
    }
}

impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Package(sha256) => write!(f, "package {}", short(sha256)),
            Self::Scrap(name) => write!(f, "leftover {name}"),
            Self::Image(image) => write!(f, "image {image}"),
            Self::User(agent) => write!(f, "home of {agent}"),
            Self::SlotDir(agent) => write!(f, "slot directory of {agent}"),
            Self::Evidence(run) => write!(f, "evidence of {run}"),
        }
    }
}

/// As much of a hash as tells two apart.
pub(crate) fn short(sha256: &str) -> &str {
    sha256.get(..12).unwrap_or(sha256)
}
