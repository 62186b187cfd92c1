//! The directory that holds everything of a coordinator.
//!
//! ```text
//! fleet.db   the store           ca.pem   the CA's certificate
//! seal.key   opens the secrets   ca.key   its key
//! lock       held while a coordinator runs
//! ```
//!
//! A backup needs all but the lock. `fleet.db` without `seal.key` shows no secret.

use std::{
    fs::{File, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use fleet_proto::{
    files::{self, FileError},
    pki::{Ca, PkiError},
    seal::{SealError, SealKey},
};
use secrecy::SecretString;

use crate::store::{SqliteStore, StoreError};

pub(crate) const STORE: &str = "fleet.db";
pub(crate) const SEAL_KEY: &str = "seal.key";
pub(crate) const CA_CERTIFICATE: &str = "ca.pem";
pub(crate) const CA_KEY: &str = "ca.key";
const LOCK: &str = "lock";

/// A directory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Nothing there.
    #[error("{} holds no fleet; make one with `coordinator init --data {}`", .0.display(), .0.display())]
    NoFleet(PathBuf),
    /// Somebody else has it.
    #[error("{} is in use by a running coordinator; stop it first", .0.display())]
    InUse(PathBuf),
    /// The lock cannot be taken.
    #[error("cannot lock {}", .path.display())]
    Lock {
        /// Which directory.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A file cannot be used.
    #[error("cannot use {what}")]
    File {
        /// Which.
        what: &'static str,
        /// Why not.
        source: FileError,
    },
    /// The CA's files are not a CA.
    #[error("cannot load the CA")]
    Ca(#[source] PkiError),
    /// The seal key is not usable.
    #[error("cannot load the seal key; restore it from the backup that the store comes from")]
    Seal(#[source] SealError),
    /// The store is not usable.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An opened directory; nobody else has it until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    // Held, never read: the system gives it back when the process ends, however it ends.
    _lock: Option<File>,
}

impl DataDir {
    /// Opens the directory of a fleet for this process alone.
    ///
    /// # Errors
    /// When there is none, or another process has it.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        if !path.join(STORE).is_file() {
            return Err(DataError::NoFleet(path.to_owned()));
        }
        Self::lock(path)
    }

    /// Takes a directory that may be empty.
    pub(crate) fn lock(path: &Path) -> Result<Self, DataError> {
        let failed = |source| DataError::Lock { path: path.to_owned(), source };
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: Some(lock) }),
            Err(TryLockError::WouldBlock) => Err(DataError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// A look that shuts nobody out, at what never changes.
    pub(crate) fn peek(path: &Path) -> Self {
        Self { path: path.to_owned(), _lock: None }
    }

    /// The CA with its key.
    ///
    /// # Errors
    /// When the files are not there, not private, or not a CA.
    pub fn ca(&self) -> Result<Ca, DataError> {
        let certificate = std::fs::read_to_string(self.path.join(CA_CERTIFICATE));
        let certificate = certificate.map_err(|source| DataError::File {
            what: "the CA's certificate",
            source: FileError::Io { doing: "read", path: self.path.join(CA_CERTIFICATE), source },
        })?;
        let key = files::read_private(&self.path.join(CA_KEY))
            .map_err(|source| DataError::File { what: "the CA's key", source })?;
        let key: SecretString = String::from_utf8_lossy(&key).into_owned().into();
        Ca::load(&certificate, &key).map_err(DataError::Ca)
    }

    /// The key that opens the secrets. Never made here: a new one would open none of them.
    ///
    /// # Errors
    /// When it is not there or not private.
    pub fn seal_key(&self) -> Result<SealKey, DataError> {
        SealKey::load(&self.path.join(SEAL_KEY)).map_err(DataError::Seal)
    }

    /// The store.
    ///
    /// # Errors
    /// When it is damaged or newer than this program.
    pub fn store(&self) -> Result<SqliteStore, DataError> {
        Ok(SqliteStore::open(&self.path.join(STORE))?)
    }
}
