//! What hostd keeps for a slot: the registration of its agent, which outlives every run, hostd's
//! restart, and the token it was made with.
//!
//! ```text
//!   slots/<agent>/            0700
//!     registration.sealed     .agent, .credentials, .credentials_rsaparams, and the run they came from
//!     …                       what a runtime keeps there: caches, the agent's root
//! ```
//! One file for the three: a key of one registration beside the name of another would be worth
//! nothing, so they are replaced together or not at all. It is there exactly while the ledger says
//! `registered`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use azdo::AgentRegistration;
use base64::{Engine, prelude::BASE64_STANDARD};
use fleet_model::AgentName;
use fleet_proto::{
    files::{self, FileError},
    seal::{SealError, SealKey},
};
use hostd_plan::RowId;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

const FILE: &str = "registration.sealed";
/// The file that names the row.
const AGENT_FILE: &str = ".agent";

/// All slots of this host on disk.
#[derive(Debug, Clone)]
pub struct SlotStore {
    root: PathBuf,
    key: Arc<SealKey>,
}

/// A registration as it is kept. Its `Debug` shows the row only.
#[derive(Clone)]
pub struct Registration {
    /// Its row at Azure.
    pub row: RowId,
    /// The run that made it.
    pub attempt: u32,
    /// Name → content.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("row", &self.row).finish_non_exhaustive()
    }
}

/// A registration that cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    /// The disk.
    #[error("the registration of {agent} cannot be kept")]
    File {
        /// Whose.
        agent: AgentName,
        /// The cause.
        source: FileError,
    },
    /// The seal.
    #[error("the registration of {agent} cannot be sealed or opened")]
    Seal {
        /// Whose.
        agent: AgentName,
        /// The cause.
        source: SealError,
    },
    /// What it holds.
    #[error("the registration of {agent} is not one: {why}")]
    Content {
        /// Whose.
        agent: AgentName,
        /// What is wrong.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Kept {
    attempt: u32,
    files: BTreeMap<String, String>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.files.values_mut().for_each(Zeroize::zeroize);
    }
}

impl SlotStore {
    /// The slots of a state directory, sealed under `key`.
    pub fn within(data: &Path, key: Arc<SealKey>) -> Self {
        Self { root: data.join("slots"), key }
    }

    /// A slot's own directory.
    pub fn dir(&self, agent: &AgentName) -> PathBuf {
        self.root.join(agent.as_str())
    }

    /// Keeps the registration that run `attempt` made, in place of an older one. Blocks on the disk.
    ///
    /// # Errors
    /// When the files name no row, or cannot be stored.
    pub fn store(
        &self,
        agent: &AgentName,
        attempt: u32,
        registration: &BTreeMap<String, Vec<u8>>,
    ) -> Result<RowId, SlotError> {
        let row = row_of(agent, registration)?;
        let encoded =
            |(name, bytes): (&String, &Vec<u8>)| (name.clone(), BASE64_STANDARD.encode(bytes));
        let kept = Kept { attempt, files: registration.iter().map(encoded).collect() };
        let content = |e: serde_json::Error| content(agent, &e);
        let plain = Zeroizing::new(serde_json::to_vec(&kept).map_err(content)?);
        let sealed = self.key.seal(&context(agent), &plain).map_err(sealing(agent))?;
        files::write_private(&self.dir(agent).join(FILE), &sealed)
            .map_err(|source| SlotError::File { agent: agent.clone(), source })?;
        Ok(row)
    }

    /// The registration of a slot, if it has one.
    ///
    /// # Errors
    /// When there is one and it cannot be read.
    pub fn load(&self, agent: &AgentName) -> Result<Option<Registration>, SlotError> {
        let sealed = match files::read_private(&self.dir(agent).join(FILE)) {
            Ok(sealed) => sealed,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(source) => return Err(SlotError::File { agent: agent.clone(), source }),
        };
        let plain = self.key.open(&context(agent), &sealed).map_err(sealing(agent))?;
        let kept: Kept = serde_json::from_slice(&plain).map_err(|e| content(agent, &e))?;
        let decoded = |(name, text): (&String, &String)| {
            Ok((name.clone(), BASE64_STANDARD.decode(text).map_err(|e| content(agent, &e))?))
        };
        let files: BTreeMap<_, _> =
            kept.files.iter().map(decoded).collect::<Result<_, SlotError>>()?;
        Ok(Some(Registration { row: row_of(agent, &files)?, attempt: kept.attempt, files }))
    }

    /// Drops the registration of a slot: its row is gone.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn drop_registration(&self, agent: &AgentName) -> Result<(), SlotError> {
        let path = self.dir(agent).join(FILE);
        gone(fs::remove_file(&path)).map_err(|source| {
            let source = FileError::Io { doing: "remove", path, source };
            SlotError::File { agent: agent.clone(), source }
        })
    }

    /// Removes the slot's directory, if a runtime has not done so already.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub fn forget(&self, agent: &AgentName) -> Result<(), SlotError> {
        let path = self.dir(agent);
        gone(fs::remove_dir_all(&path)).map_err(|source| {
            let source = FileError::Io { doing: "remove", path, source };
            SlotError::File { agent: agent.clone(), source }
        })
    }
}

/// A slot's directory has a registration in it.
pub(crate) fn holds_registration(dir: &Path) -> bool {
    // In doubt it has.
    !matches!(fs::symlink_metadata(dir.join(FILE)), Err(error) if error.kind() == io::ErrorKind::NotFound)
}

fn gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn row_of(agent: &AgentName, files: &BTreeMap<String, Vec<u8>>) -> Result<RowId, SlotError> {
    let bytes = files.get(AGENT_FILE).ok_or_else(|| SlotError::Content {
        agent: agent.clone(),
        why: format!("it has no {AGENT_FILE}"),
    })?;
    let read = AgentRegistration::parse(bytes).map_err(|e| content(agent, &e))?;
    // What a run hands out may have been written by a job: a row of another agent is none of ours.
    if read.agent_name != agent.as_str() {
        let why = format!("it is that of {:?}", read.agent_name);
        return Err(SlotError::Content { agent: agent.clone(), why });
    }
    Ok(RowId { pool_id: read.pool_id, agent_id: read.agent_id })
}

fn content(agent: &AgentName, error: &(dyn std::error::Error + 'static)) -> SlotError {
    let why = fleet_proto::logging::Report(error).to_string();
    SlotError::Content { agent: agent.clone(), why }
}

fn sealing(agent: &AgentName) -> impl Fn(SealError) -> SlotError + '_ {
    move |source| SlotError::Seal { agent: agent.clone(), source }
}

/// Bound to the slot, so that no slot can be given another's registration.
fn context(agent: &AgentName) -> String {
    format!("registration of {agent}")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    pub(crate) fn registration(agent: &str, agent_id: i64) -> BTreeMap<String, Vec<u8>> {
        let text = format!(
            "\u{feff}{{\"agentId\":{agent_id},\"agentName\":\"{agent}\",\"poolId\":7,\
             \"serverUrl\":\"https://a.example/o\"}}"
        );
        BTreeMap::from([
            (AGENT_FILE.to_owned(), text.into_bytes()),
            (".credentials_rsaparams".to_owned(), vec![0, 255, 1]),
        ])
    }

    fn store() -> (tempfile::TempDir, SlotStore) {
        let dir = tempfile::tempdir().expect("a directory");
        let key = SealKey::load_or_create(&dir.path().join("seal.key")).expect("a key");
        let store = SlotStore::within(dir.path(), Arc::new(key));
        (dir, store)
    }

    #[test]
    fn a_registration_comes_back_whole_and_is_private() {
        let (_dir, store) = store();
        let agent: AgentName = "p-h-01".parse().expect("a name");
        assert!(store.load(&agent).expect("none").is_none());
        let files = registration("p-h-01", 12);
        let row = store.store(&agent, 3, &files).expect("stored");
        assert_eq!(row, RowId { pool_id: 7, agent_id: 12 });
        let back = store.load(&agent).expect("read").expect("there");
        assert_eq!((back.row, back.attempt, &back.files), (row, 3, &files));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        let dir = store.dir(&agent);
        assert_eq!((mode(&dir), mode(&dir.join(FILE))), (0o700, 0o600));
        let raw = fs::read(dir.join(FILE)).expect("read");
        assert!(!raw.windows(7).any(|part| part == b"agentId"), "it is not sealed");
        assert!(!format!("{back:?}").contains("rsaparams"));
    }

    #[test]
    fn another_agents_registration_is_refused() {
        let (_dir, store) = store();
        let (one, two) = ("p-h-01".parse().expect("a name"), "p-h-02".parse().expect("a name"));
        store.store(&one, 1, &registration("p-h-02", 12)).expect_err("not its own");
        store.store(&one, 1, &BTreeMap::new()).expect_err("empty");
        store.store(&one, 1, &registration("p-h-01", 12)).expect("its own");
        fs::create_dir(store.dir(&two)).expect("made");
        fs::copy(store.dir(&one).join(FILE), store.dir(&two).join(FILE)).expect("copied");
        assert!(matches!(store.load(&two), Err(SlotError::Seal { .. })));
    }

    #[test]
    fn dropping_twice_is_dropping_once() {
        let (_dir, store) = store();
        let agent: AgentName = "p-h-01".parse().expect("a name");
        store.store(&agent, 1, &registration("p-h-01", 12)).expect("stored");
        store.drop_registration(&agent).expect("dropped");
        store.drop_registration(&agent).expect("dropped before");
        assert!(store.load(&agent).expect("read").is_none());
        store.forget(&agent).expect("gone");
        store.forget(&agent).expect("gone before");
    }
}
