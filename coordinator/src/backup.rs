//! `coordinator backup`: a consistent copy of everything a coordinator needs, also while it runs.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use fleet_proto::files::{self, FileError};

use crate::{
    data_dir::{CA_CERTIFICATE, CA_KEY, DataError, SEAL_KEY, STORE},
    store::{SqliteStore, Store as _},
};

/// Why there is no backup. What was written of it is gone again.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The place is taken or cannot be written.
    #[error("cannot create {}; name a directory that does not exist yet", path.display())]
    Target {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The fleet's directory.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Copies store, CA and seal key into the new directory `to`. To restore: stop the coordinator, put
/// the files into an empty data directory, run `coordinator recover`, start it.
///
/// The copy holds the seal key and the CA's key: whoever has it can open the secrets and admit
/// hosts. It is readable by its owner only.
///
/// # Errors
/// When there is no fleet, or the copy cannot be written.
pub async fn backup(data: &Path, to: &Path) -> Result<(), BackupError> {
    let made = DirBuilder::new().mode(0o700).create(to);
    made.map_err(|source| BackupError::Target { path: to.to_owned(), source })?;
    let done = copy(data, to).await;
    if done.is_err() {
        let _ = std::fs::remove_dir_all(to);
    }
    done
}

async fn copy(data: &Path, to: &Path) -> Result<(), BackupError> {
    // Not locked: a running coordinator goes on, the copy is of one moment between two commits.
    let store = SqliteStore::open(&data.join(STORE)).map_err(DataError::Store)?;
    store.backup(&to.join(STORE)).await.map_err(DataError::Store)?;
    for name in [CA_KEY, SEAL_KEY] {
        files::write_private(&to.join(name), &files::read_private(&data.join(name))?)?;
    }
    let path = data.join(CA_CERTIFICATE);
    let certificate =
        std::fs::read(&path).map_err(|source| FileError::Io { doing: "read", path, source })?;
    files::write_public(&to.join(CA_CERTIFICATE), &certificate)?;
    Ok(())
}
