//! What is in use, by the ledger as it is stored. Nothing is begun before it is stored, so what does
//! not stand there is not begun.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use fleet_model::{AgentName, ImageRef, Wanted};
use fleet_proto::logging::Report;
use hostd_plan::Ledger;

use crate::{disk::blocking, ledger_file::LedgerFile};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keep {
    /// Agents that have a slot, with the evidence of their quarantine.
    pub agents: BTreeMap<AgentName, Option<String>>,
    /// SHA-256 of the agent packages that templates name.
    pub packages: BTreeSet<String>,
    /// Images that templates name.
    pub images: BTreeSet<ImageRef>,
}

impl Keep {
    /// By this ledger.
    pub fn of(ledger: &Ledger) -> Self {
        let mut keep = Self::default();
        for (agent, slot) in &ledger.slots {
            let evidence = slot.quarantine.as_ref().and_then(|aside| aside.evidence.clone());
            keep.agents.insert(agent.clone(), evidence);
        }
        let pools = ledger.assignment.iter().flat_map(|assignment| assignment.pools.values());
        for part in pools {
            let Wanted::Groups(groups) = &part.wanted else { continue };
            for group in groups.values() {
                let package = group.template.package.as_ref();
                keep.packages.extend(package.map(|package| package.sha256.to_ascii_lowercase()));
                keep.images.extend(group.template.image.clone());
            }
        }
        keep
    }

    /// By the one on disk.
    ///
    /// # Errors
    /// In words, when it is not beyond doubt: then nothing is known to be unused.
    pub(crate) async fn stored(ledger: &LedgerFile) -> Result<Self, String> {
        let file = ledger.clone();
        let look =
            move || file.look().map_err(|error| io::Error::other(Report(&error).to_string()));
        let found = blocking(look).await.map_err(|error| error.to_string())?;
        match found.warning {
            Some(warning) => Err(warning),
            None if found.ledger.assignment.is_none() => {
                Err("what templates name is not known before the first assignment".into())
            }
            None => Ok(Self::of(&found.ledger)),
        }
    }
}
